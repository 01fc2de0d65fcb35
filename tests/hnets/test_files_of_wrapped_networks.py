"""Files of networks load into those that wrap them, and the other way round."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from hypnettorch.hnets import HMLP, HLowRank, HPerturbWrapper, HResidual
from hypnettorch.mnets import MLP

MATRICES = [[4, 3], [2, 4]]


def inner(conditions: int = 3, **options: Any) -> HMLP:
    """A hypernetwork for factors of rank 2 of two matrices."""
    shapes = HLowRank.factor_shapes(MATRICES, 2)
    return HMLP(shapes, cond_in_size=4, layers=(5,), num_cond_embs=conditions, verbose=False, **options)


WRAPPERS: dict[str, Callable[[Any], Any]] = {
    "residual": lambda hnet: HResidual(hnet, verbose=False),
    "perturbed": lambda hnet: HPerturbWrapper(hnet, 0, verbose=False),
    "low rank": lambda hnet: HLowRank(hnet, MATRICES, 2, verbose=False),
    "two deep": lambda hnet: HLowRank(HResidual(hnet, verbose=False), MATRICES, 2, verbose=False),
}


def innermost(hnet: Any) -> Any:
    """What is inside of all wrappers."""
    while "hnet" in hnet._modules:
        hnet = hnet.hnet
    return hnet


@pytest.mark.parametrize("options", [{}, {"split_head": True}, {"embedding_table": True}], ids=str)
@pytest.mark.parametrize("name", WRAPPERS)
def test_both_ways(name: str, options: dict[str, Any]) -> None:
    """What the wrapper has itself is missing, or too much; all else is loaded."""
    bare, wrapped = inner(**options), WRAPPERS[name](inner())
    own = {f for f in wrapped.state_dict() if f.removeprefix("hnet.").removeprefix("hnet.") not in inner().state_dict()}
    result = wrapped.load_state_dict(bare.state_dict(), strict=False)
    assert (set(result.missing_keys), result.unexpected_keys) == (own, [])
    torch.testing.assert_close(innermost(wrapped)(cond_id=1), bare(cond_id=1))

    bare, wrapped = inner(**options), WRAPPERS[name](inner())
    result = bare.load_state_dict(wrapped.state_dict(), strict=False)
    assert (result.missing_keys, len(result.unexpected_keys)) == ([], len(own))
    torch.testing.assert_close(innermost(wrapped)(cond_id=1), bare(cond_id=1))


def test_a_wrapper_without_tensors_of_its_own_loads_strictly() -> None:
    bare, wrapped = inner(), WRAPPERS["perturbed"](inner())
    wrapped.load_state_dict(bare.state_dict())
    bare.load_state_dict(wrapped.state_dict())


def test_what_is_missing_is_told() -> None:
    with pytest.raises(RuntimeError, match=r'Missing key.*"base.0", "base.1", "base.2", "base.3". $'):
        WRAPPERS["residual"](inner()).load_state_dict(inner().state_dict())


def test_another_network_is_refused() -> None:
    with pytest.raises(RuntimeError, match=r"size mismatch for hnet.layers.0.weight"):
        WRAPPERS["residual"](inner()).load_state_dict(MLP(verbose=False).state_dict())
