"""``HyperNetClassifier``: a training set goes in, the weights of a classifier come out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from hypnettorch.sklearn.estimator import ProbabilisticClassifier
from hypnettorch.sklearn.network import WEIGHTS, Classifier, load
from hypnettorch.sklearn.tables import Projection, fit_projection

LIMIT = 10.0
"""Rows are cut off here: nothing so far from a training set was seen in training."""


class HyperNetClassifier(ProbabilisticClassifier):
    """A classifier for tables whose weights a hypernetwork generates, without optimisation.

    ``fit`` standardises columns, projects them onto at most 32 principal components, and gives the training set to a
    hypernetwork as a set. This generates the hidden layer of a perceptron with 256 rectified units; the output layer is
    the solution of a ridge regression. So training is one evaluation and one system of linear equations, whatever the
    number of rows, columns and classes, and nothing is to be tuned. The hypernetwork comes with this package, trained
    on synthetic tables (``hypnettorch pretrain``).

    It is meant for small training sets of numbers; :doc:`/gallery/plot_tabular_classifier` shows how it compares.

    Args:
        weights: File with the parameters of the hypernetwork, as ``hypnettorch pretrain`` writes it; by default that of
            this package.

    Attributes:
        classes_: The classes ``[C]``.
        n_features_in_: Number of columns.
        projection_: What becomes of rows: :class:`~hypnettorch.sklearn.tables.Projection`.
        network_: The classifier of projected rows: :class:`~hypnettorch.sklearn.network.Classifier`.

    References:
        Bonet et al., "HyperFast: Instant Classification for Tabular Data", AAAI 2024,
        https://arxiv.org/abs/2402.14335.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.model_selection import cross_val_score
        >>> scores = cross_val_score(HyperNetClassifier(), *load_iris(return_X_y=True))
        >>> bool(scores.mean() > 0.9)
        True
    """

    projection_: Projection
    network_: Classifier

    def __init__(self, weights: str | os.PathLike[str] | None = None) -> None:
        self.weights = weights

    def fit(self, X: Any, y: Any) -> HyperNetClassifier:
        """Generate the weights for a training set.

        Args:
            X: Rows ``[n, d]``.
            y: Their classes ``[n]``.

        Raises:
            ValueError: If there are not two classes, a number is missing or infinite, or the file of weights is another
                one.
            FileNotFoundError: If there is no file of weights.
        """
        X, codes = self.check_training_set(X, y)
        rows, targets = torch.tensor(X), F.one_hot(torch.tensor(codes)).double()
        with torch.no_grad():
            self.projection_ = fit_projection(rows)
            self.network_ = load(Path(self.weights or WEIGHTS))(self._project(rows), targets)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of the classes.

        Args:
            X: Rows ``[n, d]``.

        Returns:
            ``[n, C]``, in the order of ``classes_``.
        """
        X = self.check_rows(X)
        with torch.no_grad():
            return self.network_(self._project(torch.tensor(X))).softmax(-1).numpy()

    def _project(self, rows: torch.Tensor) -> torch.Tensor:
        return self.projection_(rows).clamp(-LIMIT, LIMIT)
