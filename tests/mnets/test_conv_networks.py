"""What the convolutional networks have in common, beyond the contract of all main networks."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hypnettorch.core.checks import StateError
from hypnettorch.core.functional import join_sets
from hypnettorch.mnets import WRN, LeNet, ResNet, ResNetIN
from hypnettorch.mnets.batched import batched_by_vmap
from tests.mnets.conv_networks import MODULATED, SMALL, WITH_MODULATION, WITH_NORM, build, draw, images

SETS = 3


def loop(net: Any, x: Tensor, weights: Sequence[Tensor], conditions: Sequence[Any] | None = None) -> Tensor:
    ids = [None] * SETS if conditions is None else conditions
    return torch.stack([net(x[b], weights=[w[b] for w in weights], condition=ids[b]) for b in range(SETS)])


def gradients(output: Tensor, leaves: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(output.square().sum(), list(leaves))


VARIANTS = [
    *((name, {"no_weights": True}) for name in SMALL),
    *((name, {"no_weights": True, **MODULATED}) for name in WITH_MODULATION),
    *((name, {"no_weights": True, **MODULATED, "context_mod_post_activation": True}) for name in WITH_MODULATION),
    *((name, {"no_weights": True, "use_spectral_norm": True}) for name in ("LeNet", "ResNet", "WRN")),
    ("ResNet", {"no_weights": True, **MODULATED, "context_mod_apply_pixel_wise": True, "context_mod_inputs": True}),
    ("ResNetIN", {"no_weights": True, "projection_shortcut": True, "bottleneck_blocks": True}),
    ("ResNetIN", {"no_weights": True, "in_shape": (32, 32, 2), "cutout_mod": False, "use_bias": False}),
    ("WRN", {"no_weights": True, "use_fc_bias": False, "bn_track_stats": False}),
]


@pytest.mark.parametrize(("name", "options"), VARIANTS)
@pytest.mark.parametrize("training", [False, True])
def test_grouped_convolutions_equal_a_loop(name: str, options: dict[str, Any], training: bool) -> None:
    """Outputs, gradients and running statistics of one pass are those of one set after the other."""
    extra = {"dropout_rate": -1} if name == "ZenkeNet" else {}
    net = build(name, **options, **extra).double().train(training)
    for layer in net.batchnorm_layers or ():
        if layer.num_stats:
            layer.checkpoint_stats()
    conditions = [1, 0, 1]
    other = copy.deepcopy(net)
    weights = [w.requires_grad_() for w in draw(net.hyper_shapes_learned, SETS)]
    x = images(net, SETS, 2).requires_grad_()
    got = net.batched_forward(x, weights, condition=conditions)
    expected = loop(other, x, weights, conditions)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(gradients(got, [x, *weights]), gradients(expected, [x, *weights]))
    torch.testing.assert_close(dict(net.named_buffers()), dict(other.named_buffers()))


@pytest.mark.parametrize("name", SMALL)
def test_vmap_equals_grouped_convolutions(name: str) -> None:
    net = build(name, no_weights=True).double().eval()
    weights = draw(net.hyper_shapes_learned, SETS)
    x = images(net, SETS, 2)
    torch.testing.assert_close(batched_by_vmap(net, x, weights), net.batched_forward(x, weights))
    mapped = torch.func.vmap(lambda x, w: net.forward(x, weights=w))(x, weights)
    torch.testing.assert_close(mapped, net.batched_forward(x, weights))


@pytest.mark.parametrize("name", WITH_MODULATION)
def test_many_modulations_of_one_network(name: str) -> None:
    """The layers are shared by all sets, the modulation is one per set or one per sample of a set."""
    net = build(name, **MODULATED).double().eval()
    x = images(net, SETS, 2)
    for lead in ((SETS,), (SETS, 2)):
        gains = draw(net.hyper_shapes_learned, *lead)
        torch.testing.assert_close(net.batched_forward(x, gains), loop(net, x, gains))


@pytest.mark.parametrize("name", WITH_MODULATION)
def test_many_networks_with_one_modulation(name: str) -> None:
    net = build(name, no_weights=True, use_context_mod=True, context_mod_inputs=True).double().eval()
    for layer in net.context_mod_layers:
        layer.normal_init(0.3)
    weights = draw(net.hyper_shapes_learned, SETS)
    x = images(net, 2)
    torch.testing.assert_close(
        net.batched_forward(x, weights, share_input=True), loop(net, x.expand(SETS, -1, -1), weights)
    )


@pytest.mark.parametrize("name", WITH_MODULATION)
def test_modulation_of_a_checkpoint(name: str) -> None:
    net = build(name, use_context_mod=True, context_mod_inputs=True).double().eval()
    x = images(net, 2)
    for layer in net.context_mod_layers:
        layer.normal_init(0.5)
    first = net(x)
    for layer in net.context_mod_layers:
        layer.checkpoint_weights()
    assert not torch.allclose(net(x), first)
    torch.testing.assert_close(net(x, condition={"cmod_ckpt_id": 0}), first)


@pytest.mark.parametrize("name", WITH_MODULATION)
def test_no_modulation_leaves_nothing_external(name: str) -> None:
    net = build(name, context_mod_no_weights=True)
    assert net.hyper_shapes_learned is None
    assert net(images(net, 2).float()).shape == (2, 3)


@pytest.mark.parametrize("name", ["WRN", "ResNetIN"])
def test_image_formats_agree(name: str) -> None:
    """Rows of flattened pixels, images, images with channels last, and views that are not contiguous."""
    net = build(name).double().eval()
    rows = images(net, 5)
    expected = net(rows)
    hwc = rows.view(5, 8, 8, 2)
    torch.testing.assert_close(net(hwc), expected)
    torch.testing.assert_close(net(hwc.transpose(1, 2).contiguous().transpose(1, 2)), expected)
    chw = build(name, chw_input_format=True).double().eval()
    chw.load_state_dict(net.state_dict())
    x = hwc.permute(0, 3, 1, 2)
    for given in (x.contiguous(), x.contiguous(memory_format=torch.channels_last), x):
        torch.testing.assert_close(chw(given), expected)
    with pytest.raises(ValueError, match=r"x: expected shape \(N, 2, 8, 8\), got \(5, 8, 8, 2\)"):
        chw(hwc)
    weights = [p.detach().expand(SETS, *p.shape) for p in chw.internal_params]
    torch.testing.assert_close(chw.batched_forward(x.expand(SETS, -1, -1, -1, -1), weights)[1], expected)
    with pytest.raises(ValueError, match=r"x: expected shape \(B, N, 2, 8, 8\)"):
        chw.batched_forward(hwc.expand(SETS, -1, -1, -1, -1), weights)


def test_sets_stay_joined_in_memory() -> None:
    """No stage of a network moves activations between the memory orders of one and of many sets."""
    net = build("ResNet", no_weights=True, **MODULATED)
    seen = []

    class Watched:
        def __init__(self, stage: Any) -> None:
            self.stage = stage

        def __call__(self, x: Tensor, run: Any) -> Tensor:
            y = self.stage(x, run)
            seen.append(y)
            return y

    net._stages = [Watched(stage) for stage in net._stages]
    weights = [w.float() for w in draw(net.hyper_shapes_learned, SETS)]
    net.batched_forward(images(net, SETS, 2).float(), weights)
    inner = [y for y in seen if y.dim() == 5]
    assert len(inner) > 5
    for y in inner:
        joined = join_sets(y)
        assert joined.data_ptr() == y.data_ptr()
        assert joined.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_no_weight_set_is_an_empty_batch(name: str, options: dict[str, Any]) -> None:
    net = build(name, **options).double()
    x, weights = images(net, 2), draw(net.hyper_shapes_learned, SETS)
    expected = net.batched_forward(x, weights, share_input=True)
    none = [weight[:0].requires_grad_() for weight in weights]
    for got in (net.batched_forward(x, none, share_input=True), net.batched_forward(x.expand(0, *x.shape), none)):
        assert got.shape == (0, *expected.shape[1:])
    got.sum().backward()


@pytest.mark.parametrize("name", SMALL)
def test_wrong_input(name: str) -> None:
    net = build(name)
    with pytest.raises(ValueError, match="x: expected rows of"):
        net(torch.zeros(3, 7))
    with pytest.raises(TypeError, match="x: expected a tensor"):
        net([0.0])


@pytest.mark.parametrize("name", SMALL)
def test_initial_weights(name: str) -> None:
    values = [w.float() for w in draw(build(name).param_shapes)]
    net = build(name, init_weights=values)
    assert all(torch.equal(param, value) for param, value in zip(net.internal_params, values, strict=True))
    assert all(param is not value for param, value in zip(net.internal_params, values, strict=True))
    with pytest.raises(ValueError, match="init_weights: expected"):
        build(name, init_weights=values[:-1])
    with pytest.raises(ValueError, match=r"init_weights\[0\]: expected shape"):
        build(name, init_weights=[torch.zeros(7), *values[1:]])
    with pytest.raises(ValueError, match="init_weights: expected None"):
        build(name, init_weights=values, no_weights=True)


@pytest.mark.parametrize("name", ["LeNet", "ResNet", "WRN", "ResNetIN"])
def test_arguments_that_never_had_an_effect(name: str) -> None:
    """Arguments of an MLP were always tolerated; others are errors."""
    plain = build(name)
    with pytest.warns(UserWarning, match=f"{name}: arguments without effect: n_in, out_fn") as caught:
        net = build(name, n_in=5, out_fn=torch.tanh)
    assert len(caught) == 1
    assert caught[0].filename == build.__code__.co_filename
    assert net.param_shapes == plain.param_shapes
    with pytest.raises(TypeError, match=f"{name}: unexpected keyword argument 'n_inn'"):
        build(name, n_inn=5)
    with pytest.raises(TypeError, match="use_context_mod: expected bool, got str"):
        build(name, use_context_mod="yes")
    with pytest.raises(ValueError, match="context_mod_gain_softplus: expected False"):
        build(name, context_mod_gain_softplus=True, context_mod_gain_offset=True)


def test_options_of_other_networks_do_not_slip_through() -> None:
    """``LeNet`` has no batch norm and always biases; it does not take the options of residual networks."""
    with pytest.warns(UserWarning, match="LeNet: arguments without effect: use_batch_norm, use_bias"):
        net = build("LeNet", use_batch_norm=True, use_bias=False)
    assert net.batchnorm_layers is None
    assert net.has_bias
    for option in ("activation", "use_fc_bias", "chw_input_format"):
        with pytest.raises(TypeError, match=f"LeNet: unexpected keyword argument '{option}'"):
            build("LeNet", **{option: True})


@pytest.mark.parametrize("name", SMALL)
def test_wrong_arguments(name: str) -> None:
    with pytest.raises(ValueError, match="num_classes: expected"):
        build(name, num_classes=0)
    with pytest.raises(ValueError, match="in_shape: expected 3 entries"):
        build(name, in_shape=(8, 8))
    with pytest.raises(TypeError, match="no_weights: expected bool"):
        build(name, no_weights=1)


@pytest.mark.parametrize("name", WITH_NORM)
def test_options_of_batch_norm(name: str) -> None:
    with pytest.raises(ValueError, match="distill_bn_stats: expected bn_track_stats=True"):
        build(name, distill_bn_stats=True, bn_track_stats=False)
    assert build(name, distill_bn_stats=True, use_batch_norm=False).hyper_shapes_distilled is None
    net = build(name, distill_bn_stats=True)
    assert len(net.hyper_shapes_distilled) == 2 * len(net.batchnorm_layers)


@pytest.mark.parametrize("name", ["LeNet", "ResNet", "WRN", "ResNetIN"])
def test_spectral_norm_needs_no_state(name: str) -> None:
    """Weights times 7 give the same network, apart from biases and the norm of the input."""
    net = build(name, use_spectral_norm=True).double().eval()
    x = images(net, 2)
    scaled = [p * 7 if p.dim() > 1 else p for p in net.internal_params]
    torch.testing.assert_close(net(x, weights=scaled), net(x))
    assert net.state_dict().keys() == build(name).state_dict().keys()


@pytest.mark.parametrize("name", SMALL)
def test_copies(name: str) -> None:
    net = build(name).eval()
    x = images(net, 2).float()
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        torch.testing.assert_close(other(x), net(x))
        assert {id(m) for m in other.modules()}.isdisjoint({id(m) for m in net.modules()})


@pytest.mark.parametrize("name", SMALL)
def test_layers_are_numbered_in_order_of_use(name: str) -> None:
    """Weight and bias of a layer share a number that nothing else has; norm and modulation have their own."""
    options = {**(MODULATED if name in WITH_MODULATION else {})}
    net = build(name, **options)
    numbers: dict[int, set[str]] = {}
    for meta in net.param_shapes_meta:
        if meta["layer"] >= 0:
            numbers.setdefault(meta["layer"], set()).add(meta["name"])
    kinds = [{"weight", "bias"}, {"weight"}, {"bn_scale", "bn_shift"}, {"cm_scale", "cm_shift"}]
    assert all(found in kinds for found in numbers.values())
    assert sorted(numbers) == list(range(len(numbers)))
    weights = [m["layer"] for m in net.param_shapes_meta if m["name"] == "weight" and m["layer"] >= 0]
    assert weights == sorted(weights)


def test_dropout_is_of_the_network() -> None:
    """Modules for dropout follow ``train`` and ``eval``; the seed decides; one pass has a mask for each set."""
    x = torch.randn(2, 784)
    net = build("LeNet", dropout_rate=0.5)
    assert sorted(type(m).__name__ for m in net.modules() if isinstance(m, (nn.Dropout, nn.Dropout2d))) == [
        "Dropout",
        "Dropout2d",
        "Dropout2d",
    ]
    assert not torch.equal(net(x), net(x))
    net.eval()
    torch.testing.assert_close(net(x), net(x))
    net = build("LeNet", dropout_rate=0.5, no_weights=True)
    weights = [w.float().expand(SETS, *w.shape) for w in draw(net.hyper_shapes_learned)]
    outputs = net.batched_forward(x, weights, share_input=True)
    assert not torch.allclose(outputs[0], outputs[1])


@pytest.mark.parametrize(
    ("cls", "options"),
    [(LeNet, {}), (ResNet, {"n": 1}), (WRN, {"n": 1, "k": 1}), (ResNetIN, {"num_feature_maps": (4, 4, 8, 8, 8)})],
)
def test_verbose_prints_one_line(cls: Any, options: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    net = cls(**options)
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert str(net.num_params) in out
    cls(**options, verbose=False)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["WRN", "ResNetIN"])
def test_bias_of_convolutions_and_output(name: str) -> None:
    """Biases may differ between convolutions and output layer; ``has_bias`` then cannot say."""
    mixed = build(name, use_bias=False, use_fc_bias=True)
    with pytest.raises(RuntimeError, match="has_bias"):
        _ = mixed.has_bias
    with pytest.raises(StateError):
        _ = mixed.has_bias
    biases = list(mixed.layer_bias_vectors)
    assert len(biases) == len(mixed.layer_weight_tensors)
    assert [bias is None for bias in biases] == [True] * (len(biases) - 1) + [False]
    mixed.custom_init()
    assert not mixed.layer_bias_vectors[-1].any()
    masks = mixed.get_output_weight_mask(out_inds=[1])
    assert [mask is None for mask in masks[-3:]] == [True, False, False]
    assert masks[-1].tolist() == [False, True, False]

    no_output_bias = build(name, use_bias=True, use_fc_bias=False)
    masks = no_output_bias.get_output_weight_mask()
    assert [mask is None for mask in masks[-2:]] == [True, False]
    assert not build(name, use_bias=False).has_bias
    assert len(build(name, use_bias=False).layer_bias_vectors) == 0


@pytest.mark.parametrize(("name", "options"), [("WRN", {}), ("ResNetIN", {"projection_shortcut": True})])
def test_projections_have_no_bias(name: str, options: dict[str, Any]) -> None:
    net = build(name, **options)
    with pytest.warns(UserWarning, match="has_bias: convolutions in shortcuts have no biases"):
        assert net.has_bias
    assert None in list(net.layer_bias_vectors)
    kernels = [tuple(weight.shape[2:]) == (1, 1) for weight in net.layer_weight_tensors]
    assert [bias is None for bias in net.layer_bias_vectors] == kernels
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net.custom_init()
        copy.deepcopy(net).get_output_weight_mask()
