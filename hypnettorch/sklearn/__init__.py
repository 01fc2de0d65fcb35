"""Estimators for scikit-learn whose weights a trained hypernetwork generates. Needs the extra ``sklearn``."""

from hypnettorch.common.extras import require

require("sklearn", "hypnettorch.sklearn", "sklearn")

from hypnettorch.sklearn.classifier import HyperNetClassifier  # noqa: E402
from hypnettorch.sklearn.feature_views import FeatureViewsClassifier  # noqa: E402

__all__ = ["FeatureViewsClassifier", "HyperNetClassifier"]
