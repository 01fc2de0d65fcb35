"""Hyperfan with samples of the inputs instead of variances."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hypnettorch.core.starts import hyperfan
from hypnettorch.hnets import HMLP, ChunkedHMLP, HEncodedInput, HRecurrent, HSetInput, ModuleHNet, StructuredHMLP
from hypnettorch.hnets.initialization import describe_targets
from hypnettorch.mnets import MLP
from tests.hnets import calibrated
from tests.hnets.calibrated import FREE, chunked

DRAWS = 12
SIZE = 16


def main_network() -> MLP:
    return MLP(n_in=30, n_out=20, hidden_layers=[40], no_weights=True, verbose=False)


def halves(shapes: Any) -> StructuredHMLP:
    """One kind of chunk per layer."""
    pairs = [shapes[:2], shapes[2:]]

    def assembly(chunks: list[list[Tensor]]) -> list[Tensor]:
        return [*chunks[0], *chunks[1]]

    return StructuredHMLP(shapes, pairs, [1, 1], 8, {"layers": (40,)}, assembly, **FREE)


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Linear(SIZE, 40), nn.Tanh())


UNCENTRED = 3 + torch.randn(200, SIZE)

CASES: dict[str, tuple[Any, Tensor]] = {
    "HMLP": (lambda shapes: HMLP(shapes, **FREE), UNCENTRED),
    "HMLP, tanh": (lambda shapes: HMLP(shapes, activation_fn=nn.Tanh(), **FREE), UNCENTRED),
    "ChunkedHMLP": (lambda shapes: chunked(shapes, **FREE), UNCENTRED),
    "StructuredHMLP": (halves, UNCENTRED),
    "HDeconv": (lambda shapes: calibrated.deconv(shapes, **FREE), UNCENTRED),
    "ChunkedHDeconv": (lambda shapes: calibrated.chunked_deconv(shapes, **FREE), UNCENTRED),
    "HEncodedInput": (
        lambda shapes: HEncodedInput(HMLP(shapes, **FREE), "z|1-z", verbose=False),
        0.1 * torch.rand(200, SIZE // 2),
    ),
    "HSetInput": (
        lambda shapes: HSetInput(HMLP(shapes, **FREE), nn.Linear(3, SIZE), verbose=False),
        4 * torch.randn(200, 9, 3),
    ),
    "HRecurrent": (lambda shapes: HRecurrent(HMLP(shapes, **FREE), 3, verbose=False), torch.randn(20, 10, 3)),
    "ModuleHNet": (lambda shapes: ModuleHNet(perceptron(), shapes, cond_in_size=SIZE, verbose=False), UNCENTRED),
}


@pytest.mark.parametrize("name", CASES)
def test_second_moments(name: str) -> None:
    torch.manual_seed(0)
    net = main_network()
    build, inputs = CASES[name]
    hnet = build(net.hyper_shapes_learned)
    found = torch.zeros(4)
    for _ in range(DRAWS):
        hnet.apply_hyperfan_init(mnet=net, cond_input=inputs)
        with torch.no_grad():
            weights = hnet(cond_input=inputs, ret_format="stacked")
        found += torch.stack([weight.square().mean() for weight in weights]) / DRAWS
    wanted = [hyperfan(target).variance for target in describe_targets(hnet.target_shapes, net)]
    for moment, variance, shape in zip(found.tolist(), wanted, hnet.target_shapes, strict=True):
        assert moment == pytest.approx(variance, rel=0.35 if math.prod(shape) >= 100 else 0.6)


def test_variances_are_mean_squares() -> None:
    """Inputs that are not centred are described by the mean square of their entries."""
    torch.manual_seed(0)
    hnet = HMLP([[200, 100]], **FREE)
    inputs = 0.5 + 0.1 * torch.randn(400, SIZE)
    ratios = []
    for given in ({"cond_var": 0.26}, {"cond_input": inputs}):
        for _ in range(10):
            hnet.apply_hyperfan_init(**given)
            ratios.append(hnet(cond_input=inputs, ret_format="flattened").detach().square().mean().item() / 0.02)
    assert sum(ratios[:10]) / 10 == pytest.approx(1, rel=0.3)
    assert sum(ratios[10:]) / 10 == pytest.approx(1, rel=0.1)


def test_both_inputs() -> None:
    torch.manual_seed(0)
    hnet = HMLP([[200, 100]], uncond_in_size=8, cond_in_size=4, num_cond_embs=3, verbose=False)
    noise = 9 * torch.randn(50, 8)
    hnet.apply_hyperfan_init(uncond_input=noise)
    produced = hnet(uncond_input=noise, cond_id=[i % 3 for i in range(50)], ret_format="flattened")
    assert produced.detach().square().mean().item() / 0.02 == pytest.approx(1, rel=0.1)


def test_chunks() -> None:
    """The chunked initialisation takes mean squares of the samples."""
    hnet = ChunkedHMLP([[20, 10], [20], [8, 20]], 20, chunk_emb_size=20, layers=(60,), cond_in_size=10, verbose=False)
    states = []
    inputs = 0.1 * torch.randn(50, 10)
    for given in ({"cond_input": inputs}, {"cond_var": inputs.square().mean().item()}):
        torch.manual_seed(0)
        hnet.apply_chunked_hyperfan_init(**given)
        states.append({name: value.clone() for name, value in hnet.state_dict().items()})
    torch.testing.assert_close(states[0], states[1])
