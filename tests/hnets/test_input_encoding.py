"""HEncodedInput: encodings, whose conditions they encode, and that it composes."""

from __future__ import annotations

import math
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hypnettorch.hnets import HMLP, ChunkedHMLP, HEncodedInput, HPerturbWrapper, HyperNetInterface
from hypnettorch.hnets.hnet_helpers import init_conditional_embeddings
from hypnettorch.hnets.input_encoding import complement, cos_sin
from hypnettorch.hyper_model import HyperModel
from hypnettorch.mnets import MLP
from hypnettorch.testing import check_hypernetwork
from tests.hnets.tables import looked_up_in_a_table

TARGETS = [[4, 3], [4], [2, 4], [2]]
INNER: dict[str, Any] = {"cond_in_size": 4, "layers": [5], "num_cond_embs": 0, "no_cond_weights": True}
NOISE: dict[str, Any] = {"uncond_in_size": 4, "cond_in_size": 3, "num_cond_embs": 2, "no_cond_weights": False}


def hmlp(**options: Any) -> HMLP:
    return HMLP(TARGETS, **{**INNER, "verbose": False, **options}).double()


def chunked(**options: Any) -> ChunkedHMLP:
    return ChunkedHMLP(TARGETS, 7, 2, **{**INNER, "verbose": False, **options}).double()


def encoded(hnet: HyperNetInterface, *args: Any, **options: Any) -> HEncodedInput:
    return HEncodedInput(hnet, *args, **{"verbose": False, **options}).double()


class Fourier(nn.Module):
    """An encoding with parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return cos_sin(self.map(x))


@pytest.mark.parametrize("build", [hmlp, chunked])
@pytest.mark.parametrize(("name", "function"), [("cos|sin", cos_sin), ("z|1-z", complement)])
def test_equation(build: Any, name: str, function: Any) -> None:
    values = torch.rand(3, 2).double()
    hnet = encoded(build(), name)
    expected = hnet.internal_hnet(cond_input=function(values), ret_format="flattened")
    torch.testing.assert_close(hnet(cond_input=values, ret_format="flattened"), expected)
    uncond = encoded(build(**NOISE), name, which="uncond")
    expected = uncond.internal_hnet(function(values), cond_id=[1, 0, 1])
    torch.testing.assert_close(uncond(values, cond_id=[1, 0, 1]), expected)


def test_encodings() -> None:
    values = torch.rand(50, 3)
    torch.testing.assert_close(cos_sin(values).norm(dim=1), torch.full((50,), math.sqrt(3)))
    torch.testing.assert_close(complement(values).sum(1), torch.full((50,), 3.0))


@pytest.mark.parametrize("build", [hmlp, chunked])
@pytest.mark.parametrize(
    "options",
    [
        {"num_cond_embs": 3},
        {"num_cond_embs": 2, "encoding": "z|1-z", "no_cond_weights": True},
        {"num_cond_embs": 2, "encoding": Fourier(), "in_size": 3},
        {"encoding": Fourier(), "in_size": 3},
    ],
)
@pytest.mark.filterwarnings("ignore:cond_input. expected values in")
def test_contract(build: Any, options: dict[str, Any]) -> None:
    check_hypernetwork(encoded(build(), **options))


@pytest.mark.parametrize("build", [hmlp, chunked])
@pytest.mark.filterwarnings("ignore:uncond_input. expected values in")
def test_contract_of_unconditional_inputs(build: Any) -> None:
    check_hypernetwork(encoded(build(**NOISE), which="uncond"))
    noisy = HPerturbWrapper(encoded(build(**NOISE), which="uncond"), 2, sigma_noise=0.1, verbose=False)
    check_hypernetwork(noisy)


def test_conditions_belong_to_the_wrapper() -> None:
    hnet = encoded(hmlp(), num_cond_embs=2)
    assert hnet.conditional_param_shapes == [[2], [2]]
    assert hnet.get_cond_in_emb(1) is hnet.conditional_params[1]
    assert all(0 <= value <= 1 for param in hnet.conditional_params for value in param.flatten().tolist())
    torch.testing.assert_close(hnet(cond_id=[1]), hnet(cond_input=hnet.get_cond_in_emb(1)[None]))
    new = hnet.add_conditions(2)
    assert [tuple(param.shape) for param in new] == [(2,), (2,)]
    assert hnet.internal_hnet.num_known_conds == 0
    assert all((param >= 0).all() and (param <= 1).all() for param in new)
    init_conditional_embeddings(hnet, normal_std=0.0, normal_mean=0.5)
    assert all((param == 0.5).all() for param in hnet.conditional_params)
    inner = encoded(hmlp(**NOISE), which="uncond")
    assert inner.get_cond_in_emb(0) is inner.internal_hnet.get_cond_in_emb(0)
    assert len(inner.add_conditions(1)) == 1
    assert inner.internal_hnet.num_known_conds == 3


def test_embeddings_in_a_table() -> None:
    """The same numbers as one parameter; files of one form load into the other."""
    hnet = encoded(hmlp(), num_cond_embs=3)
    table = encoded(hmlp(), num_cond_embs=3, embedding_table=True)
    (embeddings,) = table.conditional_params
    assert embeddings.shape == (3, 2)
    assert ((embeddings >= 0) & (embeddings <= 1)).all()
    table.load_state_dict(hnet.state_dict())
    torch.testing.assert_close(table(cond_id=[2, 0]), hnet(cond_id=[2, 0]))
    (larger,) = table.add_conditions(2)
    assert ((larger >= 0) & (larger <= 1)).all()
    assert torch.equal(larger[:3], torch.stack(list(hnet.conditional_params)))
    looked_up_in_a_table(table)


def test_an_encoding_may_learn() -> None:
    hnet = encoded(hmlp(), Fourier(), in_size=3, num_cond_embs=1)
    assert [meta["name"] for meta in hnet.param_shapes_meta[-2:]] == ["weight", "bias"]
    hnet(cond_id=0, ret_format="flattened").square().sum().backward()
    assert all(param.grad is not None for param in hnet.parameters())


def test_values_outside_are_reported() -> None:
    hnet = encoded(hmlp())
    for wrong in (-0.1, 1.1):
        values = torch.tensor([[0.5, wrong]]).double()
        with pytest.warns(UserWarning, match="cond_input"):
            hnet(cond_input=values)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hnet(cond_input=torch.tensor([[0.0, 1.0]]).double())
        encoded(hmlp(), Fourier(), in_size=3)(cond_input=torch.full((1, 3), 5.0).double())


def test_hyper_model() -> None:
    mnet = MLP(n_in=3, n_out=2, hidden_layers=[4], no_weights=True, verbose=False).double()
    hnet = encoded(hmlp(), num_cond_embs=2)
    x = torch.randn(2, 5, 3).double()
    outputs = HyperModel(hnet, mnet)(x, cond_id=[1, 0])
    torch.testing.assert_close(outputs[0], mnet(x[0], weights=hnet(cond_id=1)))


@pytest.mark.parametrize("encoding", ["cos|sin", "z|1-z"])
def test_hyperfan(encoding: str) -> None:
    """Produced weights have the variance of an ordinary initialisation for values from the whole interval."""
    inner = HMLP([[40, 20]], cond_in_size=64, layers=(), num_cond_embs=0, no_cond_weights=True, verbose=False)
    hnet = encoded(inner, encoding)
    total = 0.0
    for _ in range(30):
        hnet.apply_hyperfan_init(cond_var=7.0)
        produced = hnet(cond_input=torch.rand(10, 32).double(), ret_format="flattened")
        total += produced.square().mean().item() / 30
    assert total == pytest.approx(2 / 20, rel=0.1)


def test_one_graph() -> None:
    hnet = encoded(chunked(), num_cond_embs=3)
    compiled = torch.compile(hnet, fullgraph=True, backend="aot_eager")
    ids = torch.tensor([2, 0])
    torch.testing.assert_close(compiled(cond_id=ids, ret_format="stacked"), hnet(cond_id=ids, ret_format="stacked"))
    torch._dynamo.reset()


WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "hypernetwork": ({"hnet": nn.Linear(1, 1)}, TypeError, "hnet"),
    "which": ({"which": "both"}, ValueError, "which"),
    "no such input": ({"which": "uncond"}, ValueError, "hnet"),
    "known conditions": ({"hnet": hmlp(num_cond_embs=1)}, ValueError, "hnet"),
    "odd size": ({"hnet": hmlp(cond_in_size=3)}, ValueError, "hnet"),
    "encoding": ({"encoding": "sin"}, ValueError, "encoding"),
    "encoding of a wrong type": ({"encoding": 3}, TypeError, "encoding"),
    "size of a function": ({"encoding": cos_sin}, ValueError, "in_size"),
    "other size": ({"in_size": 3}, ValueError, "in_size"),
    "number of conditions": ({"num_cond_embs": -1}, ValueError, "num_cond_embs"),
    "external": ({"no_cond_weights": 1}, TypeError, "no_cond_weights"),
    "table": ({"embedding_table": 1}, TypeError, "embedding_table"),
    "table of inner conditions": (
        {"hnet": hmlp(**NOISE), "which": "uncond", "embedding_table": True},
        ValueError,
        "embedding_table",
    ),
    "inner conditions": ({"hnet": hmlp(**NOISE), "which": "uncond", "num_cond_embs": 1}, ValueError, "num_cond_embs"),
}


@pytest.mark.parametrize(("options", "error", "name"), WRONG.values(), ids=WRONG)
def test_wrong_arguments(options: dict[str, Any], error: type[Exception], name: str) -> None:
    with pytest.raises(error, match=name):
        HEncodedInput(**{"hnet": hmlp(), "verbose": False, **options})


def test_wrong_calls() -> None:
    hnet = encoded(hmlp(), num_cond_embs=1)
    with pytest.raises(ValueError, match="cond_input: expected 2 entries"):
        hnet(cond_input=torch.rand(1, 4).double())
    with pytest.raises(ValueError, match="cond_input"):
        hnet()
    with pytest.raises(ValueError, match=r"encoding\(...\)"):
        encoded(hmlp(), cos_sin, in_size=3)(cond_input=torch.rand(1, 3).double())
    with pytest.raises(ValueError, match=r"encoding\(...\)"):
        encoded(hmlp(), lambda x: x[0], in_size=4)(cond_input=torch.rand(1, 4).double())
