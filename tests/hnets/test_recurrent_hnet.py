"""HRecurrent: cells as those of torch, steps and known sequences."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hypnettorch.hnets import HMLP, ChunkedHMLP, HEncodedInput, HRecurrent, HResidual, HScaling
from hypnettorch.hyper_model import HyperModel
from hypnettorch.mnets import MLP
from hypnettorch.testing import check_hypernetwork

TARGETS = [[4, 3], [4], [2, 4], [2]]
COMMON: dict[str, Any] = {"cond_in_size": 4, "num_cond_embs": 0, "no_cond_weights": True, "verbose": False}
CELLS = {"gru": nn.GRU, "rnn": nn.RNN, "lstm": nn.LSTM}
EACH = pytest.mark.parametrize("cell", CELLS)


def hmlp(**options: Any) -> HMLP:
    return HMLP(TARGETS, layers=[5], **{**COMMON, **options}).double()


def chunked(**options: Any) -> ChunkedHMLP:
    return ChunkedHMLP(TARGETS, 7, 2, layers=[5], **{**COMMON, **options}).double()


def recurrent(hnet: Any, cell: str = "gru", **options: Any) -> HRecurrent:
    return HRecurrent(hnet, 3, cell, **{"verbose": False, **options}).double()


@EACH
@pytest.mark.parametrize("build", [hmlp, chunked])
@pytest.mark.parametrize("use_bias", [True, False])
def test_cells_of_torch(cell: str, build: Any, use_bias: bool) -> None:
    hnet = recurrent(build(), cell, use_bias=use_bias)
    reference = CELLS[cell](3, 4, bias=use_bias).double()
    own = list(hnet.internal_params)[-4:] if use_bias else list(hnet.internal_params)[-2:]
    names = (
        ["weight_ih_l0", "bias_ih_l0", "weight_hh_l0", "bias_hh_l0"] if use_bias else ["weight_ih_l0", "weight_hh_l0"]
    )
    reference.load_state_dict({name: value.detach() for name, value in zip(names, own, strict=True)})
    sequence = torch.randn(6, 2, 3).double()
    states = reference(sequence)[0].flatten(0, 1)
    expected = hnet.internal_hnet(cond_input=states, ret_format="flattened")
    torch.testing.assert_close(hnet(cond_input=sequence, ret_format="flattened"), expected)
    torch.testing.assert_close(hnet(cond_input=sequence[:, 1], ret_format="flattened"), expected[1::2])


@EACH
@pytest.mark.parametrize("ret_format", ["sequential", "flattened", "stacked"])
def test_steps(cell: str, ret_format: str) -> None:
    hnet = recurrent(hmlp(uncond_in_size=2), cell)
    sequence, noise = torch.randn(5, 2, 3).double(), torch.randn(5, 2, 2).double()
    known = hnet(noise.flatten(0, 1), sequence, ret_format="stacked")
    state = None
    for t in range(5):
        weights, state = hnet.step(sequence[t], state, noise[t], ret_format=ret_format)
        expected = hnet.convert_out_format([w[2 * t : 2 * t + 2] for w in known], "stacked", ret_format)
        torch.testing.assert_close(weights, expected)
    assert isinstance(state, tuple) == (cell == "lstm")
    values = [2 * param for param in hnet.internal_params]
    changed, _ = hnet.step(sequence[0], None, noise[0], weights=values, ret_format="flattened")
    expected = hnet(noise[0], sequence[:1], weights=values, ret_format="flattened")
    torch.testing.assert_close(changed, expected)


@EACH
def test_contract(cell: str) -> None:
    check_hypernetwork(recurrent(hmlp(), cell))
    check_hypernetwork(recurrent(chunked(no_uncond_weights=True, uncond_in_size=2), cell))
    sequence = torch.randn(4, 1, 3)
    check_hypernetwork(recurrent(hmlp(), cell), cond_input=sequence)


@pytest.mark.filterwarnings("ignore:cond_input. expected values in")
def test_contract_of_compositions() -> None:
    check_hypernetwork(recurrent(HResidual(hmlp(), verbose=False)))
    check_hypernetwork(HResidual(recurrent(hmlp()), verbose=False))
    check_hypernetwork(recurrent(HEncodedInput(hmlp(), in_size=2, verbose=False)))
    check_hypernetwork(HEncodedInput(HRecurrent(hmlp(), 4, verbose=False), num_cond_embs=0, verbose=False))
    factors = HMLP(HScaling.factor_shapes(TARGETS), layers=[5], **COMMON)
    check_hypernetwork(recurrent(HScaling(factors, "init", TARGETS, verbose=False)))


def test_many_sequences_and_parameter_sets() -> None:
    hnet = recurrent(hmlp(), "lstm")
    sequence = torch.randn(3, 5, 2, 3).double()
    weights = [torch.randn(3, *shape).double() for shape in hnet.param_shapes]
    got = hnet.batched_forward(cond_input=sequence, weights=weights, ret_format="flattened")
    assert got.shape == (3, 10, 26)
    for b in range(3):
        one = hnet(cond_input=sequence[b], weights=[w[b] for w in weights], ret_format="flattened")
        torch.testing.assert_close(got[b], one)


def test_one_call_for_all_steps() -> None:
    hnet = recurrent(hmlp())
    calls = []
    inner = hnet.internal_hnet
    inner.generate = lambda request, values: calls.append(1) or HMLP.generate(inner, request, values)
    hnet(cond_input=torch.randn(9, 2, 3).double())
    assert len(calls) == 1


@EACH
def test_derivatives(cell: str) -> None:
    hnet = recurrent(hmlp(activation_fn=nn.Tanh()), cell)
    sequence = torch.randn(3, 2, 3).double().requires_grad_()
    leaves = [param.detach().clone().requires_grad_() for param in hnet.internal_params]

    def function(sequence: Tensor, *values: Tensor) -> Tensor:
        made: Tensor = hnet(cond_input=sequence, weights=list(values), ret_format="flattened")
        return made

    torch.autograd.gradcheck(function, [sequence, *leaves], fast_mode=True)
    torch.autograd.gradgradcheck(function, [sequence, *leaves], fast_mode=True)


@EACH
def test_one_graph(cell: str) -> None:
    hnet = recurrent(hmlp(), cell)
    sequence = torch.randn(3, 2, 3).double()
    compiled = torch.compile(hnet, fullgraph=True, backend="aot_eager")
    got = compiled(cond_input=sequence, ret_format="stacked")
    torch.testing.assert_close(got, hnet(cond_input=sequence, ret_format="stacked"))
    step = torch.compile(hnet.step, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(step(sequence[0], ret_format="stacked"), hnet.step(sequence[0], ret_format="stacked"))
    torch._dynamo.reset()


def test_copies_and_hyperfan() -> None:
    hnet = recurrent(hmlp())
    hnet.apply_hyperfan_init(cond_var=0.1)
    sequence = torch.randn(3, 2, 3).double()
    for copied in (copy.deepcopy(hnet), pickle.loads(pickle.dumps(hnet))):
        torch.testing.assert_close(copied(cond_input=sequence), hnet(cond_input=sequence))
    with pytest.raises(RuntimeError, match="conditions"):
        hnet.add_conditions(1)


def test_weights_that_change_in_time() -> None:
    """A main network whose weights follow the sequence that it reads."""
    mnet = MLP(n_in=3, n_out=2, hidden_layers=[4], no_weights=True, verbose=False).double()
    hnet = recurrent(hmlp())
    sequence = torch.randn(4, 2, 3).double()
    outputs = HyperModel(hnet, mnet)(sequence.flatten(0, 1).unsqueeze(1), cond_input=sequence)
    state = None
    for t in range(4):
        weights, state = hnet.step(sequence[t], state)
        for n in range(2):
            torch.testing.assert_close(outputs[2 * t + n], mnet(sequence[t, n : n + 1], weights=weights[n]))


WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "hypernetwork": ({"hnet": nn.Linear(1, 1)}, TypeError, "hnet"),
    "no condition": ({"hnet": hmlp(cond_in_size=0, uncond_in_size=2)}, ValueError, "hnet"),
    "known conditions": ({"hnet": hmlp(num_cond_embs=2)}, ValueError, "hnet"),
    "size": ({"input_size": 0}, ValueError, "input_size"),
    "type of size": ({"input_size": 2.5}, TypeError, "input_size"),
    "cell": ({"cell": "elman"}, ValueError, "cell"),
    "bias": ({"use_bias": 1}, TypeError, "use_bias"),
}


@pytest.mark.parametrize(("options", "error", "name"), WRONG.values(), ids=WRONG)
def test_wrong_arguments(options: dict[str, Any], error: type[Exception], name: str) -> None:
    with pytest.raises(error, match=name):
        HRecurrent(**{"hnet": hmlp(), "input_size": 3, "verbose": False, **options})


def test_wrong_calls() -> None:
    hnet, lstm = recurrent(hmlp()), recurrent(hmlp(), "lstm")
    sequence = torch.randn(4, 2, 3).double()
    for wrong in (sequence[:, :, :2], sequence[None], sequence[:0], None):
        with pytest.raises(ValueError, match="cond_input"):
            hnet(cond_input=wrong)
    with pytest.raises(ValueError, match="cond_id"):
        hnet(cond_id=0)
    with pytest.raises(ValueError, match="cond_id"):
        hnet.condition_inputs(0)
    for wrong in (sequence, sequence[0, 0], sequence[0, :, :2]):
        with pytest.raises(ValueError, match="x: expected"):
            hnet.step(wrong)
    with pytest.raises(TypeError, match="x: expected"):
        hnet.step(3)
    state = torch.zeros(2, 4).double()
    with pytest.raises(ValueError, match="state: expected shape"):
        hnet.step(sequence[0], state[:1])
    with pytest.raises(TypeError, match="state"):
        lstm.step(sequence[0], state)
    with pytest.raises(ValueError, match="state: expected 2 entries"):
        lstm.step(sequence[0], (state,))
    with pytest.raises(ValueError, match=r"state\[1\]"):
        lstm.step(sequence[0], (state, state[:, :2]))
