"""What is special about the multilayer perceptron: its equation, its options, its initialisation."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from hypnettorch.mnets import MLP
from hypnettorch.testing import check_main_network


def mlp(*hidden: int, **options: Any) -> MLP:
    return MLP(**{"n_in": 3, "n_out": 2, "hidden_layers": hidden or (4, 5), "verbose": False, **options}).double()


def inputs(rows: int = 7, size: int = 3) -> torch.Tensor:
    return torch.randn(rows, size, dtype=torch.float64)


def randomize(net: MLP) -> list[torch.Tensor]:
    """Other values in all internal parameters, in published order."""
    for param in net.internal_params:
        nn.init.normal_(param)
    return [param.detach() for param in net.internal_params]


# The equation


@pytest.mark.parametrize("hidden", [(), (4,), (4, 5, 6)])
@pytest.mark.parametrize("bias", [True, False])
def test_plain_network_is_a_sequential(hidden: tuple[int, ...], bias: bool) -> None:
    net = MLP(n_in=3, n_out=2, hidden_layers=hidden, use_bias=bias, verbose=False).double()
    sizes = [3, *hidden, 2]
    modules: list[nn.Module] = []
    for fan_in, fan_out in pairwise(sizes):
        modules += [nn.Linear(fan_in, fan_out, bias=bias), nn.ReLU()]
    plain = nn.Sequential(*modules[:-1]).double()
    plain.load_state_dict(dict(zip(plain.state_dict(), net.internal_params, strict=True)))
    x = inputs()
    torch.testing.assert_close(net(x), plain(x))
    assert net.param_shapes == [list(p.shape) for p in plain.parameters()]


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_order_of_the_stages(late: bool, training: bool) -> None:
    """Linear, modulation, batch norm, nonlinearity; or modulation last. Input and output are modulated as well."""
    net = mlp(
        4,
        use_batch_norm=True,
        use_context_mod=True,
        context_mod_inputs=True,
        context_mod_post_activation=late,
        activation_fn=nn.Tanh(),
    ).train(training)
    (g0, s0, g1, s1, g2, s2), (scale, shift), (w1, b1, w2, b2) = split(randomize(net), 6, 2)
    mean, var = (torch.randn(4).double(), torch.rand(4).double() + 0.5)
    for buffer, value in zip(net.batchnorm_layers[0].get_stats(), (mean, var), strict=True):
        buffer.copy_(value)
    x = inputs()

    def norm(h: torch.Tensor) -> torch.Tensor:
        return F.batch_norm(h, mean.clone(), var.clone(), scale, shift, training=training)

    h = F.linear(x * g0 + s0, w1, b1)
    h = torch.tanh(norm(h)) * g1 + s1 if late else torch.tanh(norm(h * g1 + s1))
    torch.testing.assert_close(net(x), F.linear(h, w2, b2) * g2 + s2)


def split(values: list[torch.Tensor], *sizes: int) -> list[list[torch.Tensor]]:
    parts = []
    for size in sizes:
        parts.append(values[:size])
        values = values[size:]
    return [*parts, values]


@pytest.mark.parametrize(
    ("options", "gain"),
    [
        ({}, lambda g: g),
        ({"context_mod_gain_offset": True}, lambda g: g + 1),
        ({"context_mod_gain_softplus": True}, F.softplus),
    ],
)
def test_kinds_of_gains(options: dict[str, bool], gain: Any) -> None:
    net = mlp(4, use_context_mod=True, no_last_layer_context_mod=True, **options)
    g, s, w1, b1, w2, b2 = randomize(net)
    x = inputs()
    torch.testing.assert_close(net(x), F.linear(torch.relu(F.linear(x, w1, b1) * gain(g) + s), w2, b2))


def test_fresh_modulation_is_none() -> None:
    for options in ({}, {"context_mod_gain_offset": True}):
        net = mlp(use_context_mod=True, context_mod_inputs=True, **options)
        plain = mlp()
        plain.overwrite_internal_params(list(net.internal_params)[8:])
        x = inputs()
        torch.testing.assert_close(net(x), plain(x))


def test_one_modulation_per_sample() -> None:
    net = mlp(4, use_context_mod=True, context_mod_no_weights=True)
    x = inputs(5)
    weights = [torch.randn(5, *shape).double() for shape in net.hyper_shapes_learned]
    rows = [net(x[n : n + 1], weights=[w[n] for w in weights]) for n in range(5)]
    torch.testing.assert_close(net(x, weights=weights), torch.cat(rows))
    with pytest.raises(ValueError, match="weights"):
        net(x, weights=[w[:3] for w in weights])


def test_dropout_stands_before_the_nonlinearity() -> None:
    net = mlp(1000, dropout_rate=0.25, activation_fn=lambda h: h + 1.0, n_out=1, use_bias=False)
    with torch.no_grad():
        for param in net.internal_params:
            param.fill_(1.0)
    x = torch.ones(1, 3).double()
    assert net.eval()(x).item() == 4000.0
    kept = (net.train()(x).item() - 1000.0) * 0.75 / 3.0
    assert 700 < kept < 800
    assert kept == pytest.approx(round(kept))


def test_out_fn_returns_logits_too() -> None:
    net, plain = mlp(out_fn=torch.sigmoid), mlp()
    plain.load_state_dict(net.state_dict())
    x = inputs()
    output, logits = net(x)
    assert torch.equal(logits, plain(x))
    assert torch.equal(output, torch.sigmoid(logits))
    assert (net.has_linear_out, plain.has_linear_out) == (False, True)


def test_spectral_norm_holds_for_every_layer() -> None:
    net = mlp(4, use_spectral_norm=True, activation_fn=None, use_bias=False)
    first, second = (w / torch.linalg.svdvals(w)[0] for w in randomize(net))
    x = inputs()
    torch.testing.assert_close(net(x), x @ first.T @ second.T)
    torch.testing.assert_close(net(x, weights=[7.0 * p for p in net.internal_params]), net(x))


def test_input_may_have_more_dimensions() -> None:
    net = mlp()
    x = torch.randn(2, 5, 3).double()
    torch.testing.assert_close(net(x), torch.stack([net(part) for part in x]))


# What it says of itself


def test_published_order() -> None:
    net = mlp(4, use_batch_norm=True, use_context_mod=True)
    names = [meta["name"] for meta in net.param_shapes_meta]
    assert names == [*["cm_scale", "cm_shift"] * 2, "bn_scale", "bn_shift", *["weight", "bias"] * 2]
    assert net.param_shapes == [[4], [4], [2], [2], [4], [4], [4, 3], [4], [2, 4], [2]]


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("modulated", [False, True])
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("mod_inputs", [False, True])
def test_layers_have_numbers_of_their_own(norm: bool, modulated: bool, late: bool, mod_inputs: bool) -> None:
    net = mlp(
        use_batch_norm=norm,
        use_context_mod=modulated,
        context_mod_post_activation=late,
        context_mod_inputs=mod_inputs,
    )
    owners: dict[int, set[str]] = {}
    for meta in net.param_shapes_meta:
        owners.setdefault(meta["layer"], set()).add(meta["name"].partition("_")[0].replace("bias", "weight"))
    assert all(len(kinds) == 1 for kinds in owners.values())
    assert sorted(owners) == list(range(len(owners)))
    assert len(owners) == 3 + 2 * norm + modulated * (3 + mod_inputs)


def test_plain_layers_count_from_zero() -> None:
    assert [meta["layer"] for meta in mlp().param_shapes_meta] == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("options", "internal", "learned"),
    [
        ({}, range(6), None),
        ({"no_weights": True}, (), range(6)),
        ({"use_context_mod": True, "no_weights": True}, range(6), range(6, 12)),
        ({"use_context_mod": True, "context_mod_no_weights": True}, range(6, 12), range(6)),
        ({"context_mod_no_weights": True}, range(6), None),
    ],
)
def test_sources(options: dict[str, bool], internal: Any, learned: Any) -> None:
    net = mlp(**options)
    assert net.internal_params_ref == list(internal)
    assert net.hyper_shapes_learned_ref == (None if learned is None else list(learned))
    assert isinstance(net.internal_params, nn.ParameterList)
    assert len(net.layer_weight_tensors) == (0 if options.get("no_weights") else 3)


def test_weight_shapes() -> None:
    assert MLP.weight_shapes() == [[10, 1], [10], [10, 10], [10], [1, 10], [1]]
    assert MLP.weight_shapes(n_in=3, n_out=2, hidden_layers=(4,), use_bias=False) == [[4, 3], [2, 4]]
    assert MLP.weight_shapes(3, 2, []) == [[2, 3], [2]]


def test_verbose_prints_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    MLP(n_in=3, n_out=2, hidden_layers=(4,), verbose=True)
    assert len(capsys.readouterr().out.splitlines()) == 1
    MLP(n_in=3, n_out=2, hidden_layers=(4,), verbose=False)
    assert capsys.readouterr().out == ""


# Statistics and conditions


def test_distilled_statistics() -> None:
    net = mlp(use_batch_norm=True, distill_bn_stats=True)
    assert net.hyper_shapes_distilled == [[4], [4], [5], [5]]
    x = inputs()
    net.train()(x)
    targets = net.distillation_targets()
    latest = [buffer for layer in net.batchnorm_layers for buffer in layer.get_stats()]
    assert all(a is b for a, b in zip(targets, latest, strict=True))
    other = mlp(use_batch_norm=True, distill_bn_stats=True).eval()
    other.overwrite_internal_params(net.internal_params)
    torch.testing.assert_close(other(x, distilled_params=targets), net.eval()(x))


def test_gradients_reach_distilled_statistics() -> None:
    net = mlp(use_batch_norm=True, distill_bn_stats=True).eval()
    distilled = [t.clone().requires_grad_() for t in net.distillation_targets()]
    net(inputs(), distilled_params=distilled).sum().backward()
    assert all(t.grad is not None for t in distilled)


def test_distillation_needs_batch_norm() -> None:
    net = mlp(distill_bn_stats=True)
    assert net.hyper_shapes_distilled is None
    assert net.distillation_targets() is None


def test_untracked_statistics_are_those_of_the_batch() -> None:
    net = mlp(use_batch_norm=True, bn_track_stats=False)
    x = inputs()
    assert torch.equal(net.eval()(x), net.train()(x))
    torch.testing.assert_close(net.eval()(x, condition=3), net(x))


def test_condition_as_a_dictionary() -> None:
    net = mlp(use_batch_norm=True, use_context_mod=True).eval()
    x = inputs()
    for layer in net.batchnorm_layers:
        layer.checkpoint_stats()
        for buffer in layer.get_stats(0):
            buffer.add_(1.0)
    assert torch.equal(net(x, condition={"bn_stats_id": 0}), net(x, condition=0))
    assert not torch.equal(net(x, condition=0), net(x))


def test_checkpointed_modulation() -> None:
    net = mlp(use_context_mod=True).eval()
    x = inputs()
    before = net(x)
    for layer in net.context_mod_layers:
        layer.checkpoint_weights()
        for param in layer.parameters():
            nn.init.normal_(param)
    assert not torch.allclose(net(x), before)
    torch.testing.assert_close(net(x, condition={"cmod_ckpt_id": 0}), before)
    with pytest.raises(ValueError, match="ckpt_id"):
        net(x, condition={"cmod_ckpt_id": 2})
    stacked = [torch.stack([p.detach()] * 3) for p in list(net.internal_params)[6:]]
    many = net.batched_forward(x, {"internal_weights": stacked}, share_input=True, condition={"cmod_ckpt_id": 0})
    torch.testing.assert_close(many, before.expand(3, -1, -1))


# Initialisation


def test_default_initialisation_is_that_of_linear() -> None:
    net = MLP(n_in=400, n_out=100, hidden_layers=(300,), verbose=False)
    for weight, bias in zip(net.layer_weight_tensors, net.layer_bias_vectors, strict=True):
        bound = weight.shape[1] ** -0.5
        for tensor in (weight, bias):
            assert 0.9 * bound < tensor.abs().max() <= bound
        assert weight.var().item() == pytest.approx(bound**2 / 3, rel=0.05)


def test_init_weights_are_copied() -> None:
    values = [torch.randn(shape) for shape in MLP.weight_shapes(3, 2, (4,))]
    net = MLP(n_in=3, n_out=2, hidden_layers=(4,), init_weights=values, verbose=False)
    assert all(torch.equal(a, b) for a, b in zip(net.internal_params, values, strict=True))
    values[0].add_(1.0)
    assert not torch.equal(net.internal_params[0], values[0])


def test_init_weights_with_modulation() -> None:
    values = [torch.randn(shape) for shape in mlp(use_context_mod=True).param_shapes]
    net = MLP(n_in=3, n_out=2, hidden_layers=(4, 5), use_context_mod=True, init_weights=values, verbose=False)
    assert all(torch.equal(a, b) for a, b in zip(net.internal_params, values, strict=True))


@pytest.mark.parametrize("normal", [False, True])
def test_custom_init(normal: bool) -> None:
    net = MLP(n_in=400, n_out=100, hidden_layers=(300,), use_batch_norm=True, verbose=False)
    net.custom_init(normal_init=normal, normal_std=0.1, zero_bias=False)
    assert all(bias.any() for bias in net.layer_bias_vectors)
    net.custom_init(normal_init=normal, normal_std=0.1)
    assert not any(bias.any() for bias in net.layer_bias_vectors)
    for weight in net.layer_weight_tensors:
        std = 0.1 if normal else (2 / sum(weight.shape)) ** 0.5
        assert weight.std().item() == pytest.approx(std, rel=0.05)
    assert net.batchnorm_layers[0].scale.eq(1).all()


def test_output_mask() -> None:
    net = mlp(4)
    *others, weight, bias = net.get_output_weight_mask([1])
    assert others == [None, None]
    assert weight.tolist() == [[False] * 4, [True] * 4]
    assert bias.tolist() == [False, True]
    assert all(mask.all() for mask in net.get_output_weight_mask()[2:])
    *others, weight = mlp(4, use_bias=False).get_output_weight_mask(torch.tensor([0]))
    assert others == [None]
    assert weight.tolist() == [[True] * 4, [False] * 4]


# Any combination of options


@st.composite
def options(draw: st.DrawFn) -> dict[str, Any]:
    flags = st.booleans()
    gains = draw(st.sampled_from([{}, {"context_mod_gain_offset": True}, {"context_mod_gain_softplus": True}]))
    statistics = draw(st.sampled_from([{}, {"bn_track_stats": False}, {"distill_bn_stats": True}]))
    names = (
        "use_bias",
        "no_weights",
        "use_spectral_norm",
        "use_batch_norm",
        "use_context_mod",
        "context_mod_inputs",
        "no_last_layer_context_mod",
        "context_mod_no_weights",
        "context_mod_post_activation",
    )
    return {
        "n_in": draw(st.integers(1, 3)),
        "n_out": draw(st.integers(1, 3)),
        "hidden_layers": draw(st.lists(st.integers(1, 4), max_size=3)),
        "activation_fn": draw(st.sampled_from([None, nn.ReLU(), nn.Tanh()])),
        "dropout_rate": draw(st.sampled_from([-1, 0, 0.5])),
        "out_fn": draw(st.sampled_from([None, torch.sigmoid])),
        **gains,
        **statistics,
        **{name: draw(flags) for name in names},
    }


@settings(max_examples=20, deadline=None, derandomize=True)
@given(options=options(), rows=st.integers(2, 4))
def test_every_combination_keeps_the_contract(options: dict[str, Any], rows: int) -> None:
    check_main_network(MLP(**options, verbose=False), torch.randn(rows, options["n_in"]))
