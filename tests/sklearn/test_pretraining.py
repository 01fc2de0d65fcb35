"""The network of ``HyperNetClassifier``: its parts, synthetic tables, and the command that trains it."""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_iris
from sklearn.linear_model import Ridge

from hypnettorch.__main__ import COMMANDS
from hypnettorch.sklearn import HyperNetClassifier, __main__
from hypnettorch.sklearn.network import TrainingSetNetwork, ridge
from hypnettorch.sklearn.synthetic_tables import draw_problems
from hypnettorch.sklearn.tables import MEAN_SQUARE, WIDTH, fit_projection


@pytest.mark.parametrize("columns", [5, 30, 80])
def test_ridge_is_that_of_scikit_learn(columns: int) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(2, 30, size, generator=generator).double() for size in (columns, 3))
    weight, intercept = ridge(x, y, torch.tensor(0.5).double())
    for i in range(2):
        expected = Ridge(alpha=0.5).fit(x[i].numpy(), y[i].numpy())
        np.testing.assert_allclose(weight[i].T, expected.coef_, atol=1e-10)
        np.testing.assert_allclose(intercept[i, 0], expected.intercept_, atol=1e-10)


@pytest.mark.parametrize("columns", [3, 100])
def test_projection_of_many_tables_is_that_of_each(columns: int) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 50, columns, generator=generator).double() * torch.arange(1, columns + 1)
    rows = fit_projection(x)(x)
    assert rows.shape == (4, 50, WIDTH)
    torch.testing.assert_close(rows.square().sum(-1).mean(-1), torch.full([4], MEAN_SQUARE).double())
    for one, expected in zip(x, rows, strict=True):
        torch.testing.assert_close(fit_projection(one)(one), expected)
    covariance = rows.mT @ rows
    torch.testing.assert_close(covariance, covariance.diagonal(dim1=-2, dim2=-1).diag_embed(), atol=1e-8, rtol=0)


@pytest.mark.parametrize("columns", [1, 2, 7])
def test_no_direction_is_lost(columns: int) -> None:
    """Those of two standardised columns are ``(1, 1)`` and ``(1, -1)``, whatever the columns."""
    x = torch.randn(60, columns, generator=torch.Generator().manual_seed(0)).double()
    assert torch.linalg.matrix_rank(fit_projection(x)(x)) == columns
    assert torch.linalg.matrix_rank(fit_projection(x.floor())(x.floor())) == columns


def test_a_network_of_many_tables_is_that_of_each() -> None:
    torch.manual_seed(0)
    network = TrainingSetNetwork().double()
    torch.nn.init.normal_(network.hnet.internal_hnet.internal_hnet.get_parameter("hnet.head.weight"), std=0.1)
    x, targets = torch.randn(3, 20, WIDTH).double(), F.one_hot(torch.randint(4, (3, 20)), 4).double()
    logits = network(x, targets)(x)
    for i in range(3):
        torch.testing.assert_close(network(x[i], targets[i])(x[i]), logits[i])
    logits.square().sum().backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in network.parameters())


def test_synthetic_tables_are_of_all_kinds_and_can_be_drawn_again() -> None:
    random.seed(0)
    torch.manual_seed(0)
    drawn = [draw_problems(3, 40) for _ in range(30)]
    for problems in drawn:
        assert problems.x.shape[:2] == problems.y.shape == (3, 40)
        assert problems.x.isfinite().all()
        assert set(problems.y.flatten().tolist()) <= set(range(problems.num_classes))
    assert {problems.num_classes for problems in drawn} > {2, 3, 5}
    assert len({problems.x.shape[-1] for problems in drawn}) > 10
    random.seed(0)
    torch.manual_seed(0)
    torch.testing.assert_close(draw_problems(3, 40).x, drawn[0].x)


def test_command_trains_a_network_that_can_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "weights.safetensors"
    assert COMMANDS["pretrain"][0] == "hypnettorch.sklearn"
    __main__.main(["--steps", "12", "--out", str(path)])
    assert "step 12: loss" in capsys.readouterr().out
    x, y = load_iris(return_X_y=True)
    assert HyperNetClassifier(weights=path).fit(x, y).score(x, y) > 0.8
    first = path.read_bytes()
    __main__.main(["--steps", "12", "--out", str(path)])
    assert path.read_bytes() == first


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps", "0"], "--steps: expected an integer of at least 1, got 0"),
        (["--seed", str(2**70)], "--seed: expected an integer between 0 and"),
        (["--out", os.devnull], "expected an ordinary file: '/dev/null'"),
    ],
)
def test_wrong_arguments_end_with_one_line(arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        __main__.main(["--steps", "1", *arguments])
