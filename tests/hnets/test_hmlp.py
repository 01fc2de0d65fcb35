"""What is special about the full hypernetwork: its equation, its table, its conditions."""

from __future__ import annotations

import warnings
from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from hypnettorch.hnets import HMLP, ChunkedHMLP
from hypnettorch.testing import check_hypernetwork

TARGETS = [[4, 3], [4], [2]]
NUM_OUTPUTS = 18


def hmlp(**options: Any) -> HMLP:
    settings = {"cond_in_size": 3, "layers": (5, 6), "num_cond_embs": 4, "verbose": False, **options}
    return HMLP(TARGETS, **settings)


@pytest.mark.parametrize("layers", [(), (5,), (5, 6)])
@pytest.mark.parametrize("bias", [True, False])
def test_plain_network_is_a_sequential(layers: tuple[int, ...], bias: bool) -> None:
    hnet = hmlp(layers=layers, use_bias=bias, uncond_in_size=2)
    sizes = [5, *layers, NUM_OUTPUTS]
    modules: list[nn.Module] = []
    for fan_in, fan_out in pairwise(sizes):
        modules += [nn.Linear(fan_in, fan_out, bias=bias), nn.ReLU()]
    plain = nn.Sequential(*modules[:-1])
    plain.load_state_dict(dict(zip(plain.state_dict(), hnet.unconditional_params, strict=True)))
    uncond = torch.randn(2, 2)
    got = hnet(uncond_input=uncond, cond_id=[3, 1], ret_format="flattened")
    embeddings = torch.stack([hnet.get_cond_in_emb(3), hnet.get_cond_in_emb(1)])
    torch.testing.assert_close(got, plain(torch.cat([uncond, embeddings], dim=1)))
    torch.testing.assert_close(hnet(uncond_input=uncond, cond_input=embeddings, ret_format="flattened"), got)


@pytest.mark.parametrize("training", [True, False])
def test_order_of_the_stages(training: bool) -> None:
    """Linear, batch norm, nonlinearity."""
    hnet = hmlp(layers=(5,), use_batch_norm=True, activation_fn=nn.Tanh()).double().train(training)
    with torch.no_grad():
        for param in hnet.internal_params:
            nn.init.normal_(param)
    scale, shift, w1, b1, w2, b2 = hnet.unconditional_params
    mean, var = (buffer.clone() for buffer in hnet.batchnorm_layers[0].get_stats())
    h = F.linear(torch.stack(hnet.conditional_params), w1, b1)
    h = torch.tanh(F.batch_norm(h, mean, var, scale, shift, training=training))
    torch.testing.assert_close(hnet(cond_id=range(4), ret_format="flattened"), F.linear(h, w2, b2))


def test_table() -> None:
    hnet = hmlp(use_batch_norm=True)
    names = [meta["name"] for meta in hnet.param_shapes_meta]
    assert names == [*["embedding"] * 4, *["bn_scale", "bn_shift"] * 2, *["weight", "bias"] * 3]
    assert [meta["layer"] for meta in hnet.param_shapes_meta] == [*[0] * 4, 2, 2, 4, 4, 1, 1, 3, 3, 5, 5]
    assert hnet.param_shapes[:4] == [[3]] * 4
    assert hnet.param_shapes[-2:] == [[NUM_OUTPUTS, 6], [NUM_OUTPUTS]]
    assert hnet.conditional_param_shapes_ref == [0, 1, 2, 3]
    assert hnet.hyper_shapes_learned == hnet.hyper_shapes_learned_ref == []
    assert (hnet.has_fc_out, hnet.mask_fc_out, hnet.has_linear_out, hnet.has_bias) == (True,) * 4
    assert hnet.distillation_targets() is None


def test_nothing_conditional_is_an_empty_list() -> None:
    hnet = hmlp(cond_in_size=0, uncond_in_size=2, num_cond_embs=0)
    assert hnet.conditional_params == []
    assert hmlp(no_uncond_weights=True).unconditional_params is None
    assert hmlp(no_uncond_weights=True).unconditional_params_ref is None


def test_warnings_of_the_constructor() -> None:
    with pytest.warns(UserWarning, match="num_cond_embs"):
        hnet = hmlp(cond_in_size=0, uncond_in_size=2)
    assert hnet.num_known_conds == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hmlp(num_cond_embs=0)
        hmlp(num_cond_embs=0, no_cond_weights=True)


@pytest.mark.parametrize("cond_id", [0, [0], torch.tensor([0])])
def test_without_known_conditions_an_id_is_refused_with_what_to_pass(cond_id: Any) -> None:
    with pytest.raises(ValueError, match="cond_id: expected cond_input instead"):
        hmlp(num_cond_embs=0)(cond_id=cond_id)


def test_verbose_prints_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    hnet = hmlp(verbose=True, no_uncond_weights=True)
    out = capsys.readouterr().out
    assert str(hnet) in out
    uncond = hnet.num_params - 12
    for part in (f"{hnet.num_params} ", f"{NUM_OUTPUTS} ", f"{hnet.num_params / NUM_OUTPUTS:.2f}"):
        assert part in out
    assert f"{uncond} unconditional (0 internal), 12 conditional (12 internal)" in out
    hmlp()
    assert capsys.readouterr().out == ""


def test_default_initialisation() -> None:
    hnet = HMLP([[100, 20]], cond_in_size=50, layers=(300,), num_cond_embs=20, verbose=False)
    embeddings = torch.stack(hnet.conditional_params)
    assert embeddings.mean().item() == pytest.approx(0, abs=0.1)
    assert embeddings.std().item() == pytest.approx(1, rel=0.1)
    for weight, bias in zip(hnet.layer_weight_tensors, hnet.layer_bias_vectors, strict=True):
        bound = weight.shape[1] ** -0.5
        for tensor in (weight, bias):
            assert 0.9 * bound < tensor.abs().max() <= bound


def test_dropout_differs_between_conditions_and_is_off_in_evaluation() -> None:
    hnet = hmlp(layers=(200,), dropout_rate=0.5)
    first, second = hnet(cond_id=[0, 0], ret_format="flattened")
    assert not torch.equal(first, second)
    first, second = hnet.eval()(cond_id=[0, 0], ret_format="flattened")
    assert torch.equal(first, second)


def test_statistics_per_condition() -> None:
    hnet = hmlp(use_batch_norm=True).eval()
    for layer in hnet.batchnorm_layers:
        layer.checkpoint_stats()
        layer.get_stats(0)[0].add_(1.0)
    latest = hnet(cond_id=0, ret_format="flattened")
    assert torch.equal(hnet(cond_id=0, condition=1, ret_format="flattened"), latest)
    assert not torch.equal(hnet(cond_id=0, condition=0, ret_format="flattened"), latest)


def test_one_unconditional_input_serves_all_conditions() -> None:
    hnet = hmlp(uncond_in_size=2)
    uncond = torch.randn(1, 2)
    got = hnet(uncond_input=uncond, cond_id=[0, 2], ret_format="flattened")
    torch.testing.assert_close(got, hnet(uncond_input=uncond.expand(2, 2), cond_id=[0, 2], ret_format="flattened"))
    many = torch.randn(3, 2)
    got = hnet(uncond_input=many, cond_id=1, ret_format="flattened")
    torch.testing.assert_close(got, hnet(uncond_input=many, cond_id=[1, 1, 1], ret_format="flattened"))


def test_weights_of_single_parts() -> None:
    hnet = hmlp()
    new = [torch.randn_like(p) for p in hnet.conditional_params]
    got = hnet(cond_id=2, weights={"cond_weights": new}, ret_format="flattened")
    torch.testing.assert_close(got, hnet(cond_input=new[2][None], ret_format="flattened"))
    theta = [2 * p.detach() for p in hnet.unconditional_params]
    got = hnet(cond_id=2, weights={"uncond_weights": theta}, ret_format="flattened")
    torch.testing.assert_close(got, hnet(cond_id=2, weights=[*hnet.conditional_params, *theta], ret_format="flattened"))
    torch.testing.assert_close(hnet(cond_id=2, weights=[]), hnet(cond_id=2))


def test_weights_are_left_as_they_are() -> None:
    hnet = hmlp()
    weights = {"cond_weights": list(hnet.conditional_params)}
    hnet(cond_id=0, weights=weights)
    assert list(weights) == ["cond_weights"]


def test_an_embedding_is_the_parameter_itself() -> None:
    hnet = hmlp()
    assert hnet.get_cond_in_emb(1) is hnet.conditional_params[1]
    assert hnet.get_cond_in_emb(torch.tensor(3)) is hnet.conditional_params[3]
    for hnet, cond_id in ((hmlp(), 4), (hmlp(), -1), (hmlp(), "a"), (hmlp(no_cond_weights=True), 0)):
        with pytest.raises(RuntimeError, match="cond_id"):
            hnet.get_cond_in_emb(cond_id)


def test_added_conditions_start_as_the_constructor_says() -> None:
    hnet = HMLP([[3]], cond_in_size=500, num_cond_embs=2, layers=(), verbose=False).double()
    new = hnet.add_conditions(3)
    assert [tuple(p.shape) for p in new] == [(500,)] * 3
    assert all(isinstance(p, nn.Parameter) and p.dtype == torch.float64 for p in new)
    assert torch.stack(new).std().item() == pytest.approx(1, rel=0.1)
    (last,) = hnet.add_conditions(1, init=nn.init.ones_)
    assert last is hnet.get_cond_in_emb(5)
    assert last.eq(1).all()


def test_added_conditions_keep_the_optimiser() -> None:
    hnet = hmlp()
    optimizer = torch.optim.Adam(hnet.parameters(), lr=0.1)
    hnet(cond_id=0, ret_format="flattened").square().sum().backward()
    optimizer.step()
    weight = hnet.layer_weight_tensors[-1]
    moments = optimizer.state[weight]["exp_avg"]
    optimizer.add_param_group({"params": hnet.add_conditions(1)})
    optimizer.zero_grad()
    hnet(cond_id=4, ret_format="flattened").square().sum().backward()
    before = hnet.get_cond_in_emb(4).detach().clone()
    optimizer.step()
    assert hnet.layer_weight_tensors[-1] is weight
    assert optimizer.state[weight]["exp_avg"] is moments
    assert not torch.equal(hnet.get_cond_in_emb(4), before)


def test_added_conditions_get_statistics_where_there_is_one_per_condition() -> None:
    hnet = hmlp(use_batch_norm=True)
    hnet.add_conditions(1)
    assert [layer.num_stats for layer in hnet.batchnorm_layers] == [1, 1]
    for layer in hnet.batchnorm_layers:
        for _ in range(4):
            layer.checkpoint_stats()
    hnet.add_conditions(2)
    assert [layer.num_stats for layer in hnet.batchnorm_layers] == [7, 7]


def test_external_conditions_may_be_added() -> None:
    hnet = hmlp(no_cond_weights=True)
    assert hnet.add_conditions(1) == []
    assert hnet.num_known_conds == 5
    assert hnet.hyper_shapes_learned == [[3]] * 5


def test_a_tensor_of_ids_is_one_graph() -> None:
    """Under compilation an id is an index: no second graph, and zero gradients for the others."""
    hnet = hmlp()
    torch._dynamo.reset()
    graphs = []

    def backend(graph: Any, _: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    forward = torch.compile(hnet.forward, fullgraph=True, backend=backend)
    for cond_id in range(4):
        got = forward(cond_id=torch.tensor([cond_id]), ret_format="flattened")
        torch.testing.assert_close(got, hnet(cond_id=cond_id, ret_format="flattened"))
    assert len(graphs) == 1
    got.sum().backward()
    assert all(torch.equal(param.grad, torch.zeros(3)) for param in hnet.conditional_params[:3])
    torch._dynamo.reset()


def test_a_tensor_of_ids_under_vmap() -> None:
    hnet = hmlp()
    ids = torch.tensor([[2], [0]])
    got = torch.func.vmap(lambda k: hnet(cond_id=k, ret_format="flattened"))(ids)
    torch.testing.assert_close(got[:, 0], hnet(cond_id=[2, 0], ret_format="flattened"))


COMMON = st.fixed_dictionaries(
    {
        "layers": st.lists(st.integers(1, 4), max_size=2),
        "uncond_in_size": st.integers(1, 3),
        "cond_in_size": st.integers(0, 3),
        "num_cond_embs": st.integers(0, 3),
        "activation_fn": st.sampled_from([None, nn.ReLU(), nn.Tanh()]),
        "dropout_rate": st.sampled_from([-1, 0, 0.5]),
        **dict.fromkeys(
            ("use_bias", "no_uncond_weights", "no_cond_weights", "use_spectral_norm", "use_batch_norm"), st.booleans()
        ),
    }
)
SHAPES = st.lists(st.lists(st.integers(1, 3), max_size=3), min_size=1, max_size=3)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(shapes=SHAPES, options=COMMON)
def test_every_combination_keeps_the_contract(shapes: list[list[int]], options: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        hnet = HMLP(shapes, **options, verbose=False)
    check_hypernetwork(hnet)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    shapes=SHAPES, options=COMMON, chunk_size=st.integers(1, 20), chunk_emb_size=st.integers(1, 3), own=st.booleans()
)
def test_every_chunked_combination_keeps_the_contract(
    shapes: list[list[int]], options: dict[str, Any], chunk_size: int, chunk_emb_size: int, own: bool
) -> None:
    if own:
        options = {**options, "num_cond_embs": max(options["num_cond_embs"], 1)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        hnet = ChunkedHMLP(shapes, chunk_size, chunk_emb_size, cond_chunk_embs=own, **options, verbose=False)
    check_hypernetwork(hnet)
