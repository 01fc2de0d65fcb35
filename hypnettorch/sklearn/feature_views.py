"""``FeatureViewsClassifier``: an ensemble of small networks, each for some of the columns, from one hypernetwork."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from torch import Tensor

from hypnettorch.common import checks
from hypnettorch.hnets import HMLP
from hypnettorch.hyper_model import HyperModel
from hypnettorch.mnets import MLP
from hypnettorch.sklearn.estimator import ProbabilisticClassifier


class FeatureViewsClassifier(ProbabilisticClassifier):
    """A classifier for small tables: one hypernetwork makes a small network for each of many subsets of the columns.

    ``p(x) = mean_m softmax(f(x[m]; h(m, θ)))``, where ``m`` are random subsets of the columns, as masks. Each view of a
    row is a sample of its own for ``h``, which is all that is trained: there are many samples, and no more parameters
    for more views. Columns are standardised, and classes count the same, however many rows they have.

    Args:
        fraction: Share of the columns that a view has, at least one of them.
        views: Number of views.
        hidden: Units of the hidden layer of each network.
        layers: Hidden layers of the hypernetwork.
        epochs: Passes over the training set.
        batch_size: Rows per step; each step sees them in all views.
        learning_rate: Rate of Adam.
        random_state: Seed of views, weights and batches, or a ``numpy.random.RandomState``.

    Attributes:
        classes_: The classes ``[C]``.
        n_features_in_: Number of columns.
        scaler_: What becomes of columns: :class:`sklearn.preprocessing.StandardScaler`.
        masks_: The views ``[V, d]``, ones and zeros.
        model_: The hypernetwork with its main network: :class:`~hypnettorch.hyper_model.HyperModel`.

    References:
        W. Wydmański, O. Bulenok, M. Śmieja, "HyperTab: Hypernetwork approach for deep learning on small tabular
        datasets", DSAA 2023, https://arxiv.org/abs/2304.03543.

    Example:
        >>> from sklearn.datasets import load_wine
        >>> x, y = load_wine(return_X_y=True)
        >>> model = FeatureViewsClassifier(random_state=0).fit(x[::2], y[::2])
        >>> model.score(x[1::2], y[1::2]) > 0.9
        True
    """

    scaler_: StandardScaler
    masks_: np.ndarray
    model_: HyperModel

    def __init__(
        self,
        fraction: float = 0.5,
        views: int = 100,
        hidden: int = 5,
        layers: tuple[int, ...] = (64, 64),
        epochs: int = 20,
        batch_size: int = 32,
        learning_rate: float = 3e-3,
        random_state: Any = None,
    ) -> None:
        self.fraction = fraction
        self.views = views
        self.hidden = hidden
        self.layers = layers
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> FeatureViewsClassifier:
        """Train the hypernetwork.

        Args:
            X: Rows ``[n, d]``.
            y: Their classes ``[n]``.

        Raises:
            ValueError: If there are not two classes, a number is missing or infinite, or an option makes no sense.
        """
        X, codes = self.check_training_set(X, y)
        checks.number("fraction", self.fraction, 0, 1)
        checks.positive("learning_rate", self.learning_rate)
        for name in ("views", "hidden", "epochs", "batch_size"):
            checks.integer(name, getattr(self, name), 1)
        random = check_random_state(self.random_state)
        self.scaler_ = StandardScaler().fit(X)
        size = max(1, round(self.fraction * X.shape[1]))
        ranks = random.random_sample((self.views, X.shape[1])).argsort(axis=1)
        self.masks_ = (ranks < size).astype(np.float32)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(random.randint(2**31))
            self.model_ = self._make_model(size)
            self._train(X, torch.tensor(codes))
        return self

    def _make_model(self, size: int) -> HyperModel:
        net = MLP(size, len(self.classes_), [self.hidden], no_weights=True, verbose=False)
        columns = self.n_features_in_
        hnet = HMLP(net.param_shapes, cond_in_size=columns, num_cond_embs=0, layers=self.layers, verbose=False)
        hnet.apply_calibrated_init(net, cond_input=torch.tensor(self.masks_))
        return HyperModel(hnet, net)

    def _train(self, x: np.ndarray, codes: Tensor) -> None:
        weights = len(codes) / codes.bincount().float()
        optimizer = torch.optim.Adam(self.model_.parameters(), lr=self.learning_rate)
        for _ in range(self.epochs):
            for rows in torch.randperm(len(x)).split(self.batch_size):
                logits = self._logits(x[rows.numpy()])
                targets = codes[rows].expand(len(logits), -1)
                loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), weight=weights)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    def _logits(self, x: np.ndarray) -> Tensor:
        """Logits ``[V, n, C]`` of all views of rows ``[n, d]``."""
        masks, rows = torch.tensor(self.masks_), torch.tensor(self.scaler_.transform(x), dtype=torch.float32)
        columns = masks.nonzero()[:, 1].view(len(masks), -1)
        logits: Tensor = self.model_(rows[:, columns].transpose(0, 1), cond_input=masks)
        return logits

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of the classes, the mean over all views.

        Args:
            X: Rows ``[n, d]``.

        Returns:
            ``[n, C]``, in the order of ``classes_``.
        """
        X = self.check_rows(X)
        with torch.no_grad():
            return self._logits(X).softmax(-1).double().mean(0).numpy()
