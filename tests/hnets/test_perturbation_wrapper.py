"""HPerturbWrapper: handlers, noise, and that it shows what is inside as its own."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from hypnettorch.hnets import (
    HMLP,
    ChunkedHDeconv,
    ChunkedHMLP,
    HContainer,
    HDeconv,
    HPerturbWrapper,
    HyperNetInterface,
    StructuredHMLP,
)
from hypnettorch.hnets.hnet_helpers import (
    get_conditional_parameters,
    init_chunk_embeddings,
    init_conditional_embeddings,
)
from hypnettorch.hyper_model import HyperModel
from hypnettorch.mnets import MLP
from tests.hnets.assemblies import AddOtherColumns, FirstColumns, HandWritten, NegatedHMLP, hnets_around_plain, in_order

TARGETS = [[4, 3], [4], [2, 4], [2]]
NUM_OUTPUTS = 26
COMMON: dict[str, Any] = {"num_cond_embs": 3, "cond_in_size": 3, "verbose": False}


def hmlp(**options: Any) -> HMLP:
    return HMLP(TARGETS, **{**COMMON, "layers": [5], **options})


def chunked(**options: Any) -> ChunkedHMLP:
    return ChunkedHMLP(TARGETS, 7, **{**COMMON, "layers": [5], **options})


def structured(**options: Any) -> StructuredHMLP:
    kinds = [TARGETS[:2], TARGETS[2:]]
    return StructuredHMLP(TARGETS, kinds, [1, 1], 2, {"layers": [5]}, in_order, **{**COMMON, **options})


def deconv(**options: Any) -> HDeconv:
    return HDeconv(TARGETS, (8, 8), num_layers=2, num_filters=[4], sa_units=(0,), **{**COMMON, **options})


def chunked_deconv(**options: Any) -> ChunkedHDeconv:
    return ChunkedHDeconv(TARGETS, (4, 4), num_layers=2, num_filters=[4], sa_units=(), **{**COMMON, **options})


def container(**options: Any) -> HContainer:
    hnets = [HMLP(TARGETS[:2], **{**COMMON, **options})]
    return HContainer(TARGETS, hnets_around_plain, hnets, TARGETS[2:3], TARGETS[3:], num_cond_embs=3, verbose=False)


NOISE = {"uncond_in_size": 2}
INNER: dict[str, tuple[Callable[[], HyperNetInterface], int]] = {
    "HMLP": (lambda: hmlp(**NOISE), 2),
    "HMLP without noise": (hmlp, 0),
    "HMLP with batch norm": (lambda: hmlp(use_batch_norm=True, **NOISE), 2),
    "ChunkedHMLP": (lambda: chunked(**NOISE), 2),
    "ChunkedHMLP, own embeddings": (lambda: chunked(cond_chunk_embs=True, **NOISE), 2),
    "StructuredHMLP": (lambda: structured(cond_chunk_embs=True, **NOISE), 2),
    "HDeconv": (lambda: deconv(**NOISE), 2),
    "ChunkedHDeconv": (lambda: chunked_deconv(cond_chunk_embs=True, **NOISE), 2),
    "HContainer": (lambda: container(**NOISE), 2),
    "HPerturbWrapper": (lambda: HPerturbWrapper(hmlp(**NOISE), 2, verbose=False), NUM_OUTPUTS),
    "by hand": (lambda: HandWritten(TARGETS), 0),
    "overridden": (lambda: NegatedHMLP(TARGETS, **COMMON, **NOISE), 2),
}
ALL = pytest.mark.parametrize(("build", "size"), INNER.values(), ids=INNER)


def wrapped(build: Callable[[], HyperNetInterface], size: int, **options: Any) -> HPerturbWrapper:
    return HPerturbWrapper(build(), size, **{"sigma_noise": 0.1, "verbose": False, **options}).double().eval()


def noise(*shape: int, width: int = NUM_OUTPUTS) -> Tensor:
    return torch.randn(*shape, width, dtype=torch.float64)


@ALL
@pytest.mark.parametrize("ret_format", ["squeezed", "sequential", "flattened", "stacked"])
def test_equation(build: Callable[[], HyperNetInterface], size: int, ret_format: str) -> None:
    hnet = wrapped(build, size)
    z = noise(2)
    expected = hnet.internal_hnet(z[:, :size] if size else None, cond_id=[2, 0], ret_format="flattened") + 0.1 * z
    got = hnet(z, cond_id=[2, 0], ret_format=ret_format)
    torch.testing.assert_close(got, hnet.convert_out_format(expected, "flattened", ret_format))


@ALL
def test_it_shows_what_is_inside(build: Callable[[], HyperNetInterface], size: int) -> None:
    hnet = wrapped(build, size)
    inner = hnet.internal_hnet
    for name in (
        "param_shapes",
        "hyper_shapes_learned",
        "hyper_shapes_learned_ref",
        "param_shapes_meta",
        "unconditional_param_shapes_ref",
        "conditional_param_shapes_ref",
        "unconditional_params_ref",
        "target_shapes",
        "num_known_conds",
        "has_bias",
        "mask_fc_out",
    ):
        assert getattr(hnet, name) == getattr(inner, name), name
    assert all(a is b for a, b in zip(hnet.internal_params, inner.internal_params, strict=True))
    assert (hnet.has_fc_out, hnet.has_linear_out) == (False, False)


@ALL
def test_state(build: Callable[[], HyperNetInterface], size: int) -> None:
    """Also what version 0.0.4 wrote: everything twice, under the name of the inner network and at the top."""
    hnet, other, old = (wrapped(build, size) for _ in range(3))
    z = noise(2)
    expected = hnet(z, cond_id=[2, 0])
    other.load_state_dict(hnet.state_dict(), strict=True)
    torch.testing.assert_close(other(z, cond_id=[2, 0]), expected)
    assert {*hnet.param_names, *dict(hnet.named_buffers())} == set(hnet.state_dict())
    written = {name.replace("hnet.", "_hnet.", 1): value for name, value in hnet.named_buffers()}
    for i, param in enumerate(hnet.internal_params):
        written |= dict.fromkeys((f"_internal_params.{i}", f"_hnet._internal_params.{i}"), param.detach().clone())
    old.load_state_dict(written, strict=True)
    torch.testing.assert_close(old(z, cond_id=[2, 0]), expected)
    for copied in (copy.deepcopy(hnet), pickle.loads(pickle.dumps(hnet))):
        torch.testing.assert_close(copied(z, cond_id=[2, 0]), expected)


@ALL
def test_many_parameter_sets(build: Callable[[], HyperNetInterface], size: int) -> None:
    hnet = wrapped(build, size)
    weights = [torch.randn(4, *shape, dtype=torch.float64) for shape in hnet.param_shapes]
    z = noise(4, 2)
    for inputs, share in ((z, False), (z[0], True)):
        got = hnet.batched_forward(inputs, cond_id=[1, 2], weights=weights, share_input=share, ret_format="stacked")
        for b in range(4):
            own = inputs if share else inputs[b]
            one = hnet(own, cond_id=[1, 2], weights=[w[b] for w in weights], ret_format="stacked")
            torch.testing.assert_close([w[b] for w in got], one)


@ALL
def test_conditions(build: Callable[[], HyperNetInterface], size: int) -> None:
    hnet = wrapped(build, size)
    z = noise(2)
    torch.testing.assert_close(hnet(z, **hnet.condition_inputs([2, 0])), hnet(z, cond_id=[2, 0]))
    owned = [id(p) for k in range(3) for p in get_conditional_parameters(hnet, k)]
    assert sorted(owned) == sorted(id(p) for p in hnet.conditional_params)
    init_conditional_embeddings(hnet)
    init_chunk_embeddings(hnet)
    if isinstance(hnet.internal_hnet, HandWritten):
        with pytest.raises(NotImplementedError):
            hnet.add_conditions(1)
        return
    before = hnet(z, cond_id=[2, 0])
    new = hnet.add_conditions(2)
    torch.testing.assert_close(hnet(z, cond_id=[2, 0]), before)
    assert {id(p) for k in (3, 4) for p in get_conditional_parameters(hnet, k)} == {id(p) for p in new}
    assert hnet.internal_hnet.num_known_conds == hnet.num_known_conds == 5
    assert hnet.param_shapes == hnet.internal_hnet.param_shapes


def test_noise_is_reparametrised() -> None:
    """Weights are differentiable in parameters and noise, and vary by sigma."""
    hnet = wrapped(hmlp, 0)
    z = noise(3).requires_grad_()
    hnet(z, cond_id=[0, 1, 2], ret_format="flattened").sum().backward()
    torch.testing.assert_close(z.grad, torch.full_like(z, 0.1))
    samples = hnet(noise(4000), cond_id=0, ret_format="flattened")
    assert samples.std(0).mean().item() == pytest.approx(0.1, rel=0.02)
    same = hnet.internal_hnet(cond_id=0, ret_format="flattened")[0]
    torch.testing.assert_close(samples.mean(0), same, atol=0.01, rtol=0)


HANDLERS: dict[str, dict[str, Any]] = {
    "input": {"input_handler": FirstColumns(2)},
    "both": {"input_handler": FirstColumns(2), "output_handler": AddOtherColumns(2)},
    "output": {"hnet_uncond_in_size": 2, "output_handler": AddOtherColumns(2)},
}


@pytest.mark.parametrize("handlers", HANDLERS.values(), ids=HANDLERS)
def test_handlers(handlers: dict[str, Any]) -> None:
    hnet = HPerturbWrapper(hmlp(**NOISE), sigma_noise=0.1, verbose=False, **handlers).double()
    width = NUM_OUTPUTS + 2 if "output_handler" in handlers else NUM_OUTPUTS
    z = noise(4, 2, width=width)
    added = z[:, :, 2:] if "output_handler" in handlers else 0.1 * z
    made = hnet.internal_hnet(z[0, :, :2], cond_id=[1, 2], ret_format="flattened")
    torch.testing.assert_close(hnet(z[0], cond_id=[1, 2], ret_format="flattened"), made + added[0])
    weights = {"cond_weights": [torch.randn(4, 3, dtype=torch.float64) for _ in range(3)]}
    got = hnet.batched_forward(z, cond_id=[1, 2], weights=weights, ret_format="flattened")
    for b in range(4):
        one = {"cond_weights": [w[b] for w in weights["cond_weights"]]}
        torch.testing.assert_close(got[b], hnet(z[b], cond_id=[1, 2], weights=one, ret_format="flattened"))
    assert hnet.condition_inputs(1) == ({"cond_id": 1})


def test_handlers_see_what_was_passed() -> None:
    seen = []

    def swap(uncond_input: Any = None, cond_input: Any = None, cond_id: Any = None) -> tuple[Any, Any, Any]:
        seen.append(("in", uncond_input, cond_input, cond_id))
        return None, None, 2 - cond_id

    def double(hnet_out_int: Tensor, uncond_input: Any = None, cond_input: Any = None, cond_id: Any = None) -> Tensor:
        seen.append(("out", uncond_input, cond_input, cond_id))
        return 2 * hnet_out_int

    hnet = HPerturbWrapper(hmlp(), input_handler=swap, output_handler=double, verbose=False)
    expected = [2 * weight for weight in hnet.internal_hnet(cond_id=2)]
    torch.testing.assert_close(hnet(cond_id=0), expected)
    assert seen == [("in", None, None, 0), ("out", None, None, 0)]


def test_inner_keys_of_weights_pass_through() -> None:
    inner = chunked(cond_chunk_embs=True, cond_in_size=0, num_cond_embs=3).double()
    hnet = HPerturbWrapper(inner, 0, sigma_noise=0.1, verbose=False)
    z = noise(2)
    embeddings = torch.randn(2, 4, 8, dtype=torch.float64)
    expected = inner(weights={"chunk_embs": embeddings}, ret_format="flattened") + 0.1 * z
    torch.testing.assert_close(hnet(z, weights={"chunk_embs": embeddings}, ret_format="flattened"), expected)
    own = [2 * p for p in inner.unconditional_params]
    both = {"chunk_embs": embeddings, "uncond_weights": own}
    expected = inner(weights=both, ret_format="flattened") + 0.1 * z
    torch.testing.assert_close(hnet(z, weights=both, ret_format="flattened"), expected)
    with pytest.raises(ValueError, match="chunks"):
        hnet(z, cond_id=[0, 1], weights={"chunks": embeddings})


def test_external_parameters() -> None:
    inner = hmlp(**NOISE).double()
    hnet = HPerturbWrapper(hmlp(no_uncond_weights=True, no_cond_weights=True, **NOISE), 2, verbose=False)
    reference = HPerturbWrapper(inner, 2, verbose=False)
    z = noise(2)
    weights = list(inner.internal_params)
    torch.testing.assert_close(hnet(z, cond_id=[0, 2], weights=weights), reference(z, cond_id=[0, 2]))
    with pytest.raises(ValueError, match="weights"):
        hnet(z, cond_id=[0, 2])


def test_hyper_model() -> None:
    mnet = MLP(n_in=3, n_out=2, hidden_layers=[4], no_weights=True, verbose=False)
    model = HyperModel(wrapped(lambda: hmlp(**NOISE), 2), mnet).double()
    z, x = noise(2), torch.randn(2, 5, 3, dtype=torch.float64)
    outputs = model(x, uncond_input=z, cond_id=[0, 2])
    for n, cond_id in enumerate([0, 2]):
        torch.testing.assert_close(outputs[n], mnet(x[n], weights=model.hnet(z[n : n + 1], cond_id=cond_id)))


WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "no size": ({"hnet_uncond_in_size": None}, ValueError, "hnet_uncond_in_size"),
    "size too large": ({"hnet_uncond_in_size": NUM_OUTPUTS + 1}, ValueError, "hnet_uncond_in_size"),
    "size negative": ({"hnet_uncond_in_size": -1}, ValueError, "hnet_uncond_in_size"),
    "size no integer": ({"hnet_uncond_in_size": 2.5}, TypeError, "hnet_uncond_in_size"),
    "sigma": ({"sigma_noise": -0.1}, ValueError, "sigma_noise"),
    "input handler": ({"input_handler": 3}, TypeError, "input_handler"),
    "output handler": ({"output_handler": 3}, TypeError, "output_handler"),
    "hypernetwork": ({"hnet": torch.nn.Linear(1, 1)}, TypeError, "hnet"),
}


@pytest.mark.parametrize(("options", "error", "name"), WRONG.values(), ids=WRONG)
def test_wrong_arguments(options: dict[str, Any], error: type[Exception], name: str) -> None:
    with pytest.raises(error, match=name):
        HPerturbWrapper(**{"hnet": hmlp(), "hnet_uncond_in_size": 2, "verbose": False, **options})


def test_wrong_calls() -> None:
    hnet = wrapped(lambda: hmlp(**NOISE), 2)
    with pytest.raises(ValueError, match="uncond_input"):
        hnet(cond_id=0)
    for z in (noise(1, width=25), noise(1, width=27), noise(1, width=1), noise()):
        with pytest.raises(ValueError, match="uncond_input"):
            hnet(z, cond_id=0)
    with pytest.raises(ValueError, match="batch size"):
        hnet(noise(3), cond_id=[0, 1])
    with pytest.raises(ValueError, match="batch size"):
        wrapped(hmlp, 0)(noise(3), cond_id=[0, 1])
    with pytest.raises(ValueError, match="cond_input"):
        hnet(noise(1), cond_input=torch.zeros(3))
    with pytest.raises(NotImplementedError, match="distilled_params"):
        hnet(noise(1), cond_id=0, distilled_params=[torch.zeros(1)])


def test_wrong_handlers() -> None:
    for handler in (lambda **inputs: inputs["cond_id"], lambda **inputs: (None, None)):
        with pytest.raises(ValueError, match=r"input_handler\(...\)"):
            HPerturbWrapper(hmlp(), input_handler=handler, verbose=False)(noise(1), cond_id=0)
    for handler in (lambda out, **inputs: out[:, 1:], lambda out, **inputs: out[0]):
        with pytest.raises(ValueError, match=r"output_handler\(...\)"):
            HPerturbWrapper(hmlp(), 0, output_handler=handler, verbose=False)(noise(1), cond_id=0)
    with pytest.raises(TypeError, match=r"output_handler\(...\)"):
        HPerturbWrapper(hmlp(), 0, output_handler=lambda out, **inputs: None, verbose=False)(noise(1), cond_id=0)
