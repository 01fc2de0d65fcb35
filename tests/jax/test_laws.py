"""Laws across the halves: every kind of hypernetwork that both have computes the same in both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest
import torch
from torch import Tensor

import hypnettorch.jax as hj
from hypnettorch.core import formats
from hypnettorch.hnets import HyperNetwork
from hypnettorch.utils.hnet_regularizer import calc_fix_target_reg, get_current_targets
from tests.conformance.registry import Entry
from tests.jax.halves import SHARED, as_array, both, close, inputs, precision

for_all = pytest.mark.parametrize("entry", SHARED, ids=lambda entry: entry.name)

CHOSEN = [
    entry
    for entry in SHARED
    if entry.name
    in {
        *("HMLP-plain", "HMLP-split-head", "ChunkedHMLP-plain", "ChunkedHMLP-cond-chunks-only"),
        *("StructuredHMLP-table-cond-chunks", "HLowRank-ChunkedHMLP", "HResidual-HLowRank", "HResidual-calibrated"),
    }
]
"""One of each kind of equation, for what follows from it."""


def build(entry: Entry, double: bool) -> Any:
    torch.manual_seed(0)
    return entry.build().to(torch.float64 if double else torch.float32).eval()


@pytest.mark.parametrize(
    ("entry", "double"),
    [
        pytest.param(entry, double, id=f"{entry.name}-{'double' if double else 'single'}")
        for entries, double in ((SHARED, True), (CHOSEN, False))
        for entry in entries
    ],
)
def test_weights_and_gradients(entry: Entry, double: bool, tmp_path: Path) -> None:
    hnet = build(entry, double)
    theirs, ours = inputs(hnet)
    expected = hnet(**theirs, ret_format="stacked")
    factors = [torch.randn_like(weight) for weight in expected]
    sum((f * w).sum() for f, w in zip(factors, expected, strict=True)).backward()
    with precision(double):
        spec, params = both(hnet, tmp_path)
        trained, constants = hj.split(spec, params)
        arguments = {name: as_array(value) if isinstance(value, Tensor) else value for name, value in ours.items()}

        def loss(trained: Any) -> tuple[jax.Array, Any]:
            weights = hj.generate(spec, trained | constants, **arguments)
            return sum((as_array(f) * w).sum() for f, w in zip(factors, weights, strict=True)), weights

        gradients, weights = jax.jit(jax.grad(loss, has_aux=True))(trained)
        for weight, wanted in zip(weights, expected, strict=True):
            close(weight, wanted, double)
        assert gradients.keys() == {name for name, _ in hnet.named_parameters()}
        for name, parameter in hnet.named_parameters():
            wanted = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            close(gradients[name], wanted, double)


@pytest.mark.parametrize("entry", CHOSEN, ids=lambda entry: entry.name)
def test_many_conditions_are_many_single_ones(entry: Entry, tmp_path: Path) -> None:
    """Also where ids are traced."""
    spec, params = both(build(entry, double=False), tmp_path)
    count = spec.num_conditions

    @jax.jit
    def everything(ids: jax.Array) -> Any:
        single = [hj.generate(spec, params, i) for i in range(count)]
        return single, hj.generate(spec, params, ids), jax.vmap(lambda i: hj.generate(spec, params, i))(ids)

    single, *many = everything(jnp.arange(count))
    for n in range(count):
        for weight, *others in zip(single[n], *many, strict=True):
            for other in others:
                assert weight.shape == other.shape[1:]
                assert jnp.allclose(weight, other[n], atol=1e-5)


@pytest.mark.parametrize("double", [True, False], ids=["double", "single"])
@pytest.mark.parametrize("entry", CHOSEN, ids=lambda entry: entry.name)
def test_regulariser(entry: Entry, double: bool, tmp_path: Path) -> None:
    """Plain, weighted, with a look-ahead; and before the first task."""
    hnet = build(entry, double)
    count = hnet.num_known_conds
    tensors = get_current_targets(count, hnet)
    dtype = next(hnet.parameters()).dtype
    fisher, scaling = torch.rand(count, hnet.num_outputs, dtype=dtype), torch.rand(count, dtype=dtype)
    lists = formats.from_flat(fisher, hnet.target_shapes, "sequential")
    with precision(double):
        spec, params = both(hnet, tmp_path / "before")
        with torch.no_grad():
            for parameter in hnet.parameters():
                parameter.add_(0.01 * torch.randn_like(parameter))
        _, changed = both(hnet, tmp_path / "after")
        changes = {name: 0.01 * torch.randn_like(parameter) for name, parameter in hnet.named_parameters()}
        rows = hnet.table.internal()
        shared, own = ([changes[r.name] for r in rows if (r.kind is None) == which] for which in (True, False))

        @jax.jit
        def everything(params: Any, changed: Any, delta: Any) -> list[jax.Array]:
            targets = hj.get_current_targets(spec, params)
            options = {"fisher": as_array(fisher), "scaling": as_array(scaling)}
            return [
                hj.calc_fix_target_reg(spec, changed, 1, targets),
                hj.calc_fix_target_reg(spec, changed, count, targets, **options),
                hj.calc_fix_target_reg(spec, changed, count, targets, delta),
                hj.calc_fix_target_reg(spec, changed, 0, targets),
            ]

        first, weighted, ahead, none = everything(params, changed, {n: as_array(c) for n, c in changes.items()})
        close(first, calc_fix_target_reg(hnet, 1, tensors[:1]), double)
        expected = calc_fix_target_reg(hnet, count, tensors, fisher_estimates=lists, reg_scaling=scaling.tolist())
        close(weighted, expected, double)
        close(ahead, calc_fix_target_reg(hnet, count, tensors, dTheta=shared, dTembs=own), double)
        assert none == 0


@for_all
def test_files_go_back_and_forth_bit_by_bit(entry: Entry, tmp_path: Path) -> None:
    hnet = build(entry, double=True)
    with precision(True):
        spec, params = both(hnet, tmp_path / "torch")
        hj.save(tmp_path / "jax", spec, params)
        again, others = hj.load(tmp_path / "jax")
    assert again == spec
    assert hash(again) == hash(spec)
    loaded = HyperNetwork.from_pretrained(tmp_path / "jax")
    assert type(loaded) is type(hnet)
    assert loaded.target_shapes == hnet.target_shapes
    for state, tensors in ((hnet.state_dict(), params), (loaded.state_dict(), others)):
        assert state.keys() == tensors.keys()
    for name, tensor in hnet.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


def test_which_networks_are_shared() -> None:
    """A filter by names that leaves out too much would let no law fail."""
    kinds = [entry.name.partition("-")[0] for entry in SHARED]
    least = {"HMLP": 15, "ChunkedHMLP": 10, "StructuredHMLP": 4, "HLowRank": 2, "HResidual": 3}
    assert all(kinds.count(kind) >= number for kind, number in least.items()), kinds
    assert len(CHOSEN) == 8, CHOSEN
