"""``FeatureViewsClassifier`` keeps the contract of scikit-learn, and is the ensemble that its docstring promises."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_wine
from sklearn.utils.estimator_checks import check_estimator

from hypnettorch.sklearn import FeatureViewsClassifier

X, Y = load_wine(return_X_y=True)
SMALL: dict[str, Any] = {"views": 7, "epochs": 2, "fraction": 0.3, "random_state": 0}


def test_contract_of_scikit_learn() -> None:
    check_estimator(FeatureViewsClassifier(views=5, epochs=15), on_skip=None)


def test_probabilities_are_the_mean_over_networks_that_see_their_columns() -> None:
    model = FeatureViewsClassifier(**SMALL).fit(X, Y)
    standard = torch.tensor((X - X.mean(0)) / X.std(0), dtype=torch.float32)
    assert model.masks_.shape == (7, 13)
    parts = []
    for mask in torch.tensor(model.masks_):
        assert mask.sum() == 4
        weights = model.model_.hnet(cond_input=mask[None])
        parts.append(model.model_.mnet(standard[:, mask.bool()], weights=weights).softmax(-1))
    expected = torch.stack(parts).mean(0).detach().numpy()
    np.testing.assert_allclose(model.predict_proba(X), expected, atol=1e-5)
    assert len({tuple(mask) for mask in model.masks_}) > 1


def test_columns_outside_of_all_views_have_no_effect() -> None:
    model = FeatureViewsClassifier(**{**SMALL, "views": 1}).fit(X, Y)
    seen = model.masks_[0].astype(bool)
    other = np.where(seen, X, 0.0)
    np.testing.assert_array_equal(model.predict_proba(other), model.predict_proba(X))
    assert not np.allclose(model.predict_proba(np.where(seen, 0.0, X)), model.predict_proba(X))


def test_rare_classes_count_the_same() -> None:
    generator = np.random.default_rng(0)
    y = np.repeat([0, 1], [190, 10])
    x = generator.normal(size=(200, 2)) + 1.2 * y[:, None]
    model = FeatureViewsClassifier(fraction=1.0, views=1, epochs=40, random_state=0).fit(x, y)
    found = model.predict(x)
    assert min(np.mean(found[y == label] == label) for label in (0, 1)) > 0.7


def test_the_seed_decides_and_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first = FeatureViewsClassifier(**SMALL).fit(X, Y).predict_proba(X)
    assert torch.equal(torch.rand(1), expected)
    np.testing.assert_array_equal(FeatureViewsClassifier(**SMALL).fit(X, Y).predict_proba(X), first)
    other = FeatureViewsClassifier(**{**SMALL, "random_state": 1}).fit(X, Y).predict_proba(X)
    assert not np.allclose(other, first)


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("fraction", 1.5, "a number between 0 and 1"),
        ("views", 0, "an integer"),
        ("hidden", 0, "an integer"),
        ("epochs", 2.5, "an integer"),
        ("batch_size", 0, "an integer"),
        ("learning_rate", 0.0, "a positive number"),
        ("layers", (0,), "an integer"),
    ],
)
def test_options_that_make_no_sense_are_named(option: str, value: Any, expected: str) -> None:
    with pytest.raises((ValueError, TypeError), match=f"^{option}.*: expected {expected}"):
        FeatureViewsClassifier(**{option: value}).fit(X, Y)
