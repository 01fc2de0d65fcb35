"""What the classifiers of this package share: checks of tables, and predictions from probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data


class ProbabilisticClassifier(ClassifierMixin, BaseEstimator):
    """A classifier that a subclass gives by ``fit`` and ``predict_proba``.

    Attributes:
        classes_: The classes ``[C]``.
        n_features_in_: Number of columns.
    """

    classes_: np.ndarray

    def check_training_set(self, X: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
        """Note columns and classes.

        Args:
            X: Rows ``[n, d]``.
            y: Their classes ``[n]``.

        Returns:
            The rows, and the position of the class of each of them in ``classes_``.

        Raises:
            ValueError: If there are not two classes, or a number is missing or infinite.
        """
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError("y: expected at least two classes, got one class")
        return X, codes

    def check_rows(self, X: Any) -> np.ndarray:
        """Rows ``[n, d]`` with the columns of the training set.

        Raises:
            NotFittedError: If there was none.
            ValueError: If columns differ, or a number is missing or infinite.
        """
        check_is_fitted(self)
        rows: np.ndarray = validate_data(self, X, dtype=np.float64, reset=False)
        return rows

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities ``[n, C]`` of the classes, for rows ``[n, d]``."""
        raise NotImplementedError(f"{type(self).__name__} implements no predict_proba")

    def predict(self, X: Any) -> np.ndarray:
        """The most probable classes ``[n]`` of rows ``[n, d]``."""
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(-1)]
