"""HSetInput: pooled encodings as conditions, one set or many."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hypnettorch.hnets import HMLP, ChunkedHMLP, HEncodedInput, HResidual, HSetInput
from hypnettorch.hyper_model import HyperModel
from hypnettorch.mnets import MLP
from hypnettorch.testing import check_hypernetwork

TARGETS = [[4, 3], [4], [2, 4], [2]]
COMMON: dict[str, Any] = {"cond_in_size": 4, "num_cond_embs": 0, "no_cond_weights": True, "verbose": False}


def hmlp(**options: Any) -> HMLP:
    return HMLP(TARGETS, layers=[5], **{**COMMON, **options}).double()


def chunked(**options: Any) -> ChunkedHMLP:
    return ChunkedHMLP(TARGETS, 7, 2, layers=[5], **{**COMMON, **options}).double()


def encoder(size: int = 2, out: int = 4) -> nn.Module:
    return nn.Sequential(nn.Linear(size, 6), nn.Tanh(), nn.Linear(6, out)).double()


class Attention(nn.Module):
    """A pool with parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.score = nn.Linear(4, 1)

    def forward(self, encoded: Tensor) -> Tensor:
        return (self.score(encoded).softmax(-2) * encoded).sum(-2)


def set_net(hnet: Any, *args: Any, **options: Any) -> HSetInput:
    return HSetInput(hnet, *(args or (encoder(),)), **{"verbose": False, **options}).double()


def deviations(encoded: Tensor) -> Tensor:
    return encoded.std(-2)


POOLED: dict[str, Any] = {
    "mean": lambda encoded: encoded.mean(1),
    "max": lambda encoded: encoded.max(1).values,
    "own": deviations,
}


@pytest.mark.parametrize("build", [hmlp, chunked])
@pytest.mark.parametrize("pool", POOLED)
def test_equation(build: Any, pool: str) -> None:
    hnet = set_net(build(), pool=deviations if pool == "own" else pool)
    sets = torch.randn(3, 6, 2).double()
    expected = hnet.internal_hnet(cond_input=POOLED[pool](hnet.encoder(sets)), ret_format="flattened")
    got = hnet(cond_input=sets, ret_format="flattened")
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(hnet(cond_input=sets[1], ret_format="flattened"), expected[1:2])
    shuffled = sets[:, torch.randperm(6)]
    torch.testing.assert_close(hnet(cond_input=shuffled, ret_format="flattened"), got)


def test_images() -> None:
    images = nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    hnet = set_net(hmlp(), images, element_dims=3)
    sets = torch.randn(2, 5, 1, 6, 6).double()
    expected = hnet.internal_hnet(cond_input=images(sets.flatten(0, 1)).view(2, 5, 4).mean(1))
    torch.testing.assert_close(hnet(cond_input=sets), expected)


@pytest.mark.parametrize("build", [hmlp, chunked])
def test_contract(build: Any) -> None:
    sets = torch.randn(3, 6, 2)
    unused = {"gradients_reach_passed_weights": "with cond_id there is no set to encode"}
    check_hypernetwork(set_net(build(num_cond_embs=3, no_cond_weights=False)), limits=unused)
    check_hypernetwork(set_net(build()), cond_input=sets)
    check_hypernetwork(set_net(build(uncond_in_size=2), pool=Attention()), torch.randn(3, 2), sets)
    check_hypernetwork(set_net(build(no_uncond_weights=True)), cond_input=sets)


@pytest.mark.filterwarnings("ignore:cond_input. expected values in")
def test_contract_of_compositions() -> None:
    sets = torch.randn(3, 6, 2)
    check_hypernetwork(HResidual(set_net(hmlp()), verbose=False), cond_input=sets)
    inner = HResidual(hmlp(), verbose=False).double()
    check_hypernetwork(set_net(HEncodedInput(inner, verbose=False), encoder(out=2)), cond_input=sets)


def test_parameters_are_in_the_table() -> None:
    hnet = set_net(hmlp(), pool=Attention())
    assert [meta["name"] for meta in hnet.param_shapes_meta[-6:]] == ["weight", "bias"] * 3
    assert len(hnet.internal_params) == len(list(hnet.parameters()))
    sets = torch.randn(3, 6, 2).double()
    hnet(cond_input=sets, ret_format="flattened").square().sum().backward()
    assert all(param.grad is not None for param in hnet.internal_params)
    for copied in (copy.deepcopy(hnet), pickle.loads(pickle.dumps(hnet))):
        torch.testing.assert_close(copied(cond_input=sets), hnet(cond_input=sets))


@pytest.mark.parametrize("module", ["recurrent", "norm"])
def test_many_parameter_sets_where_vmap_fails(module: str) -> None:
    """A recurrent encoder, and one that updates running statistics."""

    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.GRU(2, 4, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.cell(x)[0][:, -1]

    dims, chosen = (2, Recurrent()) if module == "recurrent" else (1, nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4)))
    hnet = set_net(hmlp(), chosen, element_dims=dims).train()
    sets = torch.randn(3, 2, 5, *([7] if dims == 2 else []), 2).double()
    weights = [torch.randn(3, *shape).double() for shape in hnet.param_shapes]
    got = hnet.batched_forward(cond_input=sets, weights=weights, ret_format="flattened")
    for b in range(3):
        one = hnet(cond_input=sets[b], weights=[w[b] for w in weights], ret_format="flattened")
        torch.testing.assert_close(got[b], one)


def test_derivatives() -> None:
    hnet = set_net(hmlp(activation_fn=nn.Tanh()), pool=Attention())
    sets = torch.randn(2, 3, 2).double().requires_grad_()
    leaves = [param.detach().clone().requires_grad_() for param in hnet.internal_params]

    def function(sets: Tensor, *values: Tensor) -> Tensor:
        made: Tensor = hnet(cond_input=sets, weights=list(values), ret_format="flattened")
        return made

    torch.autograd.gradcheck(function, [sets, *leaves], fast_mode=True)
    torch.autograd.gradgradcheck(function, [sets, *leaves], fast_mode=True)


def test_weights_from_the_input_of_the_main_network() -> None:
    mnet = MLP(n_in=3, n_out=2, hidden_layers=[4], no_weights=True, verbose=False).double()
    hnet = set_net(hmlp(), encoder(3))
    x = torch.randn(2, 5, 3).double()
    outputs = HyperModel(hnet, mnet)(x, cond_input=x)
    torch.testing.assert_close(outputs[1], mnet(x[1], weights=hnet(cond_input=x[1])))


def test_one_graph() -> None:
    hnet = set_net(hmlp(), pool=Attention())
    sets = torch.randn(3, 6, 2).double()
    compiled = torch.compile(hnet, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(
        compiled(cond_input=sets, ret_format="stacked"), hnet(cond_input=sets, ret_format="stacked")
    )
    weights = [torch.randn(2, *shape).double() for shape in hnet.param_shapes]
    options: dict[str, Any] = {"cond_input": sets, "weights": weights, "share_input": True, "ret_format": "flattened"}
    batched = torch.compile(hnet.batched_forward, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(batched(**options), hnet.batched_forward(**options))
    torch._dynamo.reset()


WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "hypernetwork": ({"hnet": nn.Linear(1, 1)}, TypeError, "hnet"),
    "no condition": ({"hnet": hmlp(cond_in_size=0, uncond_in_size=2)}, ValueError, "hnet"),
    "encoder": ({"encoder": torch.tanh}, TypeError, "encoder"),
    "pool": ({"pool": "sum"}, ValueError, "pool"),
    "type of pool": ({"pool": 3}, TypeError, "pool"),
    "element_dims": ({"element_dims": 0}, ValueError, "element_dims"),
}


@pytest.mark.parametrize(("options", "error", "name"), WRONG.values(), ids=WRONG)
def test_wrong_arguments(options: dict[str, Any], error: type[Exception], name: str) -> None:
    with pytest.raises(error, match=name):
        HSetInput(**{"hnet": hmlp(), "encoder": encoder(), "verbose": False, **options})


def test_wrong_calls() -> None:
    hnet = set_net(hmlp(num_cond_embs=1, no_cond_weights=False))
    sets = torch.randn(2, 3, 2).double()
    for wrong in (sets[0, 0], sets[None], sets[:, :0]):
        with pytest.raises(ValueError, match="cond_input"):
            hnet(cond_input=wrong)
    with pytest.raises(ValueError, match="cond_i"):
        hnet(cond_input=sets, cond_id=0)
    with pytest.raises(ValueError, match=r"pool\(...\)"):
        set_net(hmlp(), encoder(out=3))(cond_input=sets)
    with pytest.raises(ValueError, match=r"encoder\(...\)"):
        set_net(hmlp(), nn.Flatten(0))(cond_input=sets)
    with pytest.raises(ValueError, match=r"pool\(...\)"):
        set_net(hmlp(), pool=lambda encoded: encoded)(cond_input=sets)
