"""Messages about unknown names say which known one may be meant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from hypnettorch.core import checks
from hypnettorch.mnets import MLP, ModuleNet


def misspelled_weights(weights: dict[str, torch.Tensor]) -> None:
    MLP(n_in=4, n_out=2, hidden_layers=[3], verbose=False)(torch.zeros(1, 4), weights=weights)


@pytest.mark.parametrize(
    ("call", "meant"),
    [
        (lambda: checks.one_of("method", "ecw", ["ewc", "si"]), "ewc"),
        (lambda: misspelled_weights({"layers.0.wieght": torch.zeros(3, 4)}), "layers.0.weight"),
        (lambda: ModuleNet(nn.Sequential(nn.Linear(4, 3)), include="0.wieght"), "0.weight"),
    ],
)
def test_what_may_be_meant(call: Callable[[], Any], meant: str) -> None:
    with pytest.raises(ValueError, match=rf"did you mean '{meant}'\?"):
        call()


def test_nothing_is_made_up() -> None:
    with pytest.raises(ValueError, match=r"got 'adam'$"):
        checks.one_of("method", "adam", ["ewc", "si"])
