"""``HyperNetClassifier`` keeps the contract of scikit-learn, and what its docstring promises."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.dummy import DummyClassifier
from sklearn.model_selection import StratifiedShuffleSplit, cross_val_score
from sklearn.utils.estimator_checks import check_estimator

from hypnettorch.sklearn import HyperNetClassifier
from hypnettorch.sklearn.network import WEIGHTS


def blobs(classes: int, columns: int, per_class: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Clusters far from each other."""
    generator = np.random.default_rng(0)
    centres = 5 * generator.normal(size=(classes, columns)) + 8 * (np.arange(classes)[:, None] % 2)
    y = np.repeat(np.arange(classes), per_class)
    return centres[y] + generator.normal(size=(len(y), columns)), y


def test_contract_of_scikit_learn() -> None:
    check_estimator(HyperNetClassifier(), on_skip=None)


SETS = {"iris": (load_iris, 0.93), "wine": (load_wine, 0.95), "cancer": (load_breast_cancer, 0.94)}


@pytest.mark.parametrize("name", SETS)
def test_real_tables(name: str) -> None:
    read, least = SETS[name]
    assert cross_val_score(HyperNetClassifier(), *read(return_X_y=True)).mean() > least


def test_few_digits() -> None:
    """Five pictures of each digit, by which it recognises most others."""
    x, y = load_digits(return_X_y=True)
    split = StratifiedShuffleSplit(3, train_size=50, random_state=0)
    assert cross_val_score(HyperNetClassifier(), x, y, cv=split).mean() > 0.75


def test_names_and_order_of_classes_have_no_effect() -> None:
    x, y = load_wine(return_X_y=True)
    known, asked = np.arange(0, 178, 2), np.arange(1, 178, 2)
    names = np.array(["c", "a", "b"])
    first = HyperNetClassifier().fit(x[known], y[known]).predict_proba(x[asked])
    second = HyperNetClassifier().fit(x[known], names[y[known]])
    np.testing.assert_array_equal(second.classes_, ["a", "b", "c"])
    np.testing.assert_allclose(second.predict_proba(x[asked]), first[:, [1, 2, 0]], atol=1e-9)


def test_order_of_rows_and_units_of_columns_have_no_effect() -> None:
    x, y = load_wine(return_X_y=True)
    expected = HyperNetClassifier().fit(x, y).predict_proba(x)
    order = np.random.default_rng(0).permutation(len(x))
    np.testing.assert_allclose(HyperNetClassifier().fit(x[order], y[order]).predict_proba(x), expected, atol=1e-7)
    other = x * np.geomspace(0.01, 100, x.shape[1]) + 7
    np.testing.assert_allclose(HyperNetClassifier().fit(other, y).predict_proba(other), expected, atol=1e-7)


@pytest.mark.parametrize(("classes", "columns"), [(2, 1), (40, 8), (3, 3000)])
def test_any_number_of_classes_and_columns(classes: int, columns: int) -> None:
    x, y = blobs(classes, columns)
    model = HyperNetClassifier().fit(x, y)
    probabilities = model.predict_proba(x)
    assert probabilities.shape == (len(y), classes)
    np.testing.assert_allclose(probabilities.sum(1), 1)
    assert model.score(x, y) > DummyClassifier().fit(x, y).score(x, y) + 0.4


def test_constant_and_repeated_columns_do_no_harm() -> None:
    x, y = load_iris(return_X_y=True)
    extended = np.concatenate([x, np.full_like(x, 3.0)], axis=1)
    expected = HyperNetClassifier().fit(x, y).predict_proba(x)
    np.testing.assert_allclose(HyperNetClassifier().fit(extended, y).predict_proba(extended), expected, atol=1e-7)
    assert HyperNetClassifier().fit(np.tile(x, 20), y).score(np.tile(x, 20), y) > 0.9


def test_files() -> None:
    assert WEIGHTS.stat().st_size <= 2 * 2**20
    x, y = load_iris(return_X_y=True)
    model = HyperNetClassifier().fit(x, y)
    copied = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copied.predict_proba(x), model.predict_proba(x))
    assert len(pickle.dumps(model)) < 2**18, "the hypernetwork is no part of a classifier"


def test_wrong_arguments(tmp_path: Path) -> None:
    x, y = load_iris(return_X_y=True)
    with pytest.raises(ValueError, match="at least two classes"):
        HyperNetClassifier().fit(x, np.zeros(len(x)))
    with pytest.raises(FileNotFoundError, match=r"no\.safetensors"):
        HyperNetClassifier(weights=tmp_path / "no.safetensors").fit(x, y)
    (tmp_path / "other.safetensors").write_bytes(b"something else")
    with pytest.raises(ValueError, match="weights: expected a file of 'hypnettorch pretrain'"):
        HyperNetClassifier(weights=tmp_path / "other.safetensors").fit(x, y)
    with pytest.raises(ValueError, match="NaN"):
        HyperNetClassifier().fit(np.where(x > 7, np.nan, x), y)
