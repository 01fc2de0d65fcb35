"""What is special to HDeconv; the contract that it shares with all hypernetworks is in ``tests/conformance``."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypnettorch.core import functional
from hypnettorch.hnets import HMLP, HContainer, HDeconv, HPerturbWrapper
from hypnettorch.hnets.deconv_hnet import Upsampling, plan_upsamplings
from hypnettorch.hnets.hnet_helpers import get_conditional_parameters, init_conditional_embeddings
from hypnettorch.layers.batchnorm_layer import BatchNormLayer
from hypnettorch.layers.self_attention_layer import AttentionWeights, self_attention
from hypnettorch.mnets import MLP

TARGETS = [[10, 5], [10], [3]]


def build(**options: Any) -> HDeconv:
    settings = {
        "target_shapes": TARGETS,
        "hyper_img_shape": (12, 6),
        "num_layers": 3,
        "num_filters": [16, 8],
        "sa_units": (),
        "num_cond_embs": 2,
        "verbose": False,
    }
    return HDeconv(**{**settings, **options})


# Geometry


@pytest.mark.parametrize("kernel", [(5, 5), (4, 4), (3, 2), (2, 3), (6, 7)])
@pytest.mark.parametrize("size", [(8, 8), (9, 16), (7, 13), (64, 4), (3, 2), (1, 30)])
def test_every_size_is_reached(size: tuple[int, int], kernel: tuple[int, int]) -> None:
    steps = plan_upsamplings(size, [kernel] * 4)
    x = torch.ones(2, 1, *steps[0].before)
    for step in steps:
        x = step(x, torch.ones(1, 1, *kernel))
        assert x.shape[-2:] == step.after
        assert x.min() > 0
        assert all(stride == 1 or before >= 4 for stride, before in zip(step.stride, step.before, strict=True))
    assert x.shape[-2:] == size


def test_sizes_double_backwards() -> None:
    sizes = [step.before for step in plan_upsamplings((512, 24), [(5, 5)] * 4)]
    assert sizes == [(32, 6), (64, 6), (128, 6), (256, 12)]
    assert build(hyper_img_shape=(64, 16), num_layers=4, num_filters=[4, 4, 4]).param_shapes[2] == [4 * 4 * 8, 8]


def test_five_by_five_kernels_are_centred() -> None:
    step = Upsampling((4, 4), (8, 8), (5, 5))
    x = torch.zeros(1, 1, 4, 4)
    x[0, 0, 1, 2] = 1
    reached = step(x, torch.ones(1, 1, 5, 5))[0, 0].nonzero()
    assert reached.min(0).values.tolist() == [0, 2]
    assert reached.max(0).values.tolist() == [4, 6]


def test_kernel_of_one_pixel() -> None:
    assert build(hyper_img_shape=(7, 9), num_layers=2, num_filters=[4], kernel_size=(3, 3), target_shapes=[[5]])
    assert build(hyper_img_shape=(6, 5), num_layers=2, num_filters=[4], kernel_size=1, target_shapes=[[30]])
    with pytest.raises(ValueError, match=r"kernel_size\[0\]: expected at least 2"):
        build(hyper_img_shape=(8, 5), num_layers=2, num_filters=[4], kernel_size=1, target_shapes=[[40]])


# The equation


def by_hand(net: HDeconv, e: Tensor, steps: list[dict[str, Any]], **options: Any) -> Tensor:
    """The image ``[N, C, H, W]``, from the published parameters in order."""
    values = list(net.unconditional_params)
    norms = [values.pop(0) for _ in range(4)] if options.get("use_batch_norm") else []
    weight, bias = values.pop(0), values.pop(0)
    x = F.linear(e, weight, bias).view(len(e), steps[0]["channels"], *steps[0]["size"])
    for layer, step in enumerate(steps):
        if norms:
            x = F.batch_norm(x, None, None, norms.pop(0), norms.pop(0), training=True)
        x = torch.relu(x)
        if layer in options.get("sa_units", ()):
            x = self_attention(x, AttentionWeights(*[values.pop(0) for _ in range(7)]))
        kernel, bias = values.pop(0), values.pop(0)
        x = F.conv_transpose2d(x, kernel, bias, **step["arguments"])
    assert not values
    return x


@pytest.mark.parametrize("options", [{}, {"sa_units": (0, 1)}, {"sa_units": [1], "use_batch_norm": True}])
def test_equation(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    net = build(hyper_img_shape=(16, 8), **options).double()
    with torch.no_grad():
        for param in net.internal_params:
            param.normal_(std=0.5)
    steps = [
        {"channels": 16, "size": (4, 4), "arguments": {"stride": (1, 2), "padding": 2, "output_padding": (0, 1)}},
        {"arguments": {"stride": 2, "padding": 2, "output_padding": 1}},
    ]
    e = torch.stack(net.conditional_params)
    image = by_hand(net, e, steps, **options)
    assert image.shape == (2, 1, 8, 16)
    flat = net(cond_id=[0, 1], ret_format="flattened")
    torch.testing.assert_close(flat, image.flatten(1)[:, :63])


def test_image_is_read_row_by_row() -> None:
    net = build(hyper_img_shape=(7, 5, 3), target_shapes=[[5 * 7 * 3]])
    images: list[Tensor] = []
    last = net._stages[-1]
    net._stages[-1] = lambda x, run: images.append(last(x, run)) or images[-1]
    flat = net(cond_id=0, ret_format="flattened")
    assert images[0].shape == (1, 3, 5, 7)
    expected = [images[0][0, channel, y, x] for y in range(5) for x in range(7) for channel in range(3)]
    assert torch.equal(flat[0], torch.stack(expected))


def test_kernel_sizes() -> None:
    def kernels(kernel_size: Any) -> list[list[int]]:
        shapes = build(kernel_size=kernel_size, hyper_img_shape=(16, 16)).param_shapes
        return [shape for shape in shapes if len(shape) == 4]

    assert kernels(3) == [[16, 8, 3, 3], [8, 1, 3, 3]]
    assert kernels((3, 5)) == [[16, 8, 5, 3], [8, 1, 5, 3]]
    assert kernels([3, 5]) == [[16, 8, 3, 3], [8, 1, 5, 5]]
    assert kernels([3, (5, 4)]) == [[16, 8, 3, 3], [8, 1, 4, 5]]


def test_defaults() -> None:
    with torch.device("meta"):
        net = HDeconv([[700, 1000], [1000]], (512, 512, 3), verbose=False)
    weights = [
        shape for shape, meta in zip(net.param_shapes, net.param_shapes_meta, strict=True) if meta["name"] == "weight"
    ]
    assert weights[0] == [1024 * 32 * 32, 8]
    assert [shape for shape in weights[1:] if shape[-1] == 5] == [
        [1024, 512, 5, 5],
        [512, 256, 5, 5],
        [256, 128, 5, 5],
        [128, 3, 5, 5],
    ]
    assert [shape for shape in weights[1:] if shape[-1] == 1] == [
        *[[64, 512, 1, 1], [64, 512, 1, 1], [512, 512, 1, 1]],
        *[[16, 128, 1, 1], [16, 128, 1, 1], [128, 128, 1, 1]],
    ]
    assert net.num_known_conds == 1
    assert net.has_bias
    assert net.has_linear_out
    assert not net.has_fc_out


def test_order_of_parameters() -> None:
    meta = build(use_batch_norm=True, sa_units=[0]).param_shapes_meta
    names = [entry["name"] for entry in meta]
    attention = ["weight", "bias"] * 3 + [None]
    assert (
        names
        == ["embedding"] * 2 + ["bn_scale", "bn_shift"] * 2 + ["weight", "bias"] + attention + ["weight", "bias"] * 2
    )
    layers = [entry["layer"] for entry in meta]
    assert layers == [0, 0, 2, 2, 8, 8, 1, 1, 3, 3, 4, 4, 5, 5, 6, 7, 7, 9, 9]


def test_fans_count_the_inputs_of_a_pixel() -> None:
    meta = build(hyper_img_shape=(16, 16), kernel_size=4).param_shapes_meta
    kernels = [entry for entry in meta if "fan_in" in entry]
    assert [(entry["fan_in"], entry["fan_out"]) for entry in kernels] == [(16 * 16 // 4, 8 * 16), (8 * 16 // 4, 16)]


def test_spectral_norm_of_every_weight() -> None:
    net = build(use_spectral_norm=True, sa_units=[0], hyper_img_shape=(16, 8)).double()
    with torch.no_grad():
        for param in net.internal_params:
            param.normal_()
    plain = build(sa_units=[0], hyper_img_shape=(16, 8)).double()
    plain.load_state_dict(net.state_dict())
    with torch.no_grad():
        for weight in plain.layer_weight_tensors:
            matrix = weight.transpose(0, 1).flatten(1) if weight.shape[-1] == 5 else weight.flatten(1)
            weight.div_(torch.linalg.matrix_norm(matrix, 2))
    torch.testing.assert_close(net(cond_id=0), plain(cond_id=0))


@pytest.mark.parametrize("uncond", [False, True])
@pytest.mark.parametrize("cond", [False, True])
def test_internal_and_external_weights(uncond: bool, cond: bool) -> None:
    full = build(sa_units=[1])
    net = build(sa_units=[1], no_uncond_weights=uncond, no_cond_weights=cond)
    for param, meta in zip(full.internal_params, net.param_shapes_meta, strict=True):
        if meta["index"] >= 0:
            net.internal_params[meta["index"]].data.copy_(param)
    weights: dict[str, Any] = {"uncond_weights": full.unconditional_params} if uncond else {}
    weights |= {"cond_weights": full.conditional_params} if cond else {}
    torch.testing.assert_close(net(cond_id=1, weights=weights or None), full(cond_id=1))
    learned = [full.internal_params[i] for i in net.hyper_shapes_learned_ref]
    torch.testing.assert_close(net(cond_id=1, weights=learned), full(cond_id=1))


@pytest.mark.parametrize("stacked", ["kernel", "bias", "both"])
def test_transpose_convolution_of_many_sets(stacked: str) -> None:
    x, kernel, bias = torch.randn(3, 2, 4, 5, 6), torch.randn(3, 4, 2, 3, 4), torch.randn(3, 2)
    kernels = kernel if stacked != "bias" else kernel[0]
    biases = bias if stacked != "kernel" else bias[0]
    arguments: Any = {"stride": (2, 1), "padding": (1, 2), "output_padding": (1, 0)}
    expected = [
        F.conv_transpose2d(
            x[b], kernels if kernels.dim() == 4 else kernels[b], biases if biases.dim() == 1 else biases[b], **arguments
        )
        for b in range(3)
    ]
    torch.testing.assert_close(functional.conv_transpose2d(x, kernels, biases, **arguments), torch.stack(expected))


def test_batched_forward_is_a_grouped_convolution(monkeypatch: pytest.MonkeyPatch) -> None:
    net = build(no_uncond_weights=True)
    groups: list[int] = []
    original = F.conv_transpose2d

    def counted(*args: Any, **kwargs: Any) -> Tensor:
        groups.append(kwargs.get("groups", 1))
        return original(*args, **kwargs)

    monkeypatch.setattr(F, "conv_transpose2d", counted)
    weights = [torch.randn(5, *shape) for shape in net.hyper_shapes_learned]
    net.batched_forward(cond_id=[0, 1], weights=weights)
    assert groups == [5, 5]


# Arguments


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hyper_img_shape": (7, 8)}, "hyper_img_shape: expected at least 63 entries, got 56"),
        ({"hyper_img_shape": (8,)}, "hyper_img_shape"),
        ({"hyper_img_shape": (8, 8, 1, 1)}, "hyper_img_shape"),
        ({"hyper_img_shape": (0, 100)}, r"hyper_img_shape\[0\]"),
        ({"num_layers": 1, "num_filters": []}, "num_layers"),
        ({"num_filters": [16]}, "num_filters: expected 2 entries, got 1"),
        ({"num_filters": [16, 0]}, r"num_filters\[1\]"),
        ({"kernel_size": 0}, "kernel_size"),
        ({"kernel_size": [3]}, "kernel_size: expected 2 entries"),
        ({"kernel_size": (3, 3, 3)}, "kernel_size: expected 2 entries"),
        ({"kernel_size": [3, (3, 3, 3)]}, r"kernel_size\[1\]: expected 2 entries"),
        ({"kernel_size": [3, (0, 3)]}, r"kernel_size\[1\]\[0\]"),
        ({"sa_units": [2]}, r"sa_units\[0\]: expected a layer before the last"),
        ({"sa_units": [-1]}, r"sa_units\[0\]"),
        ({"sa_units": [0, 0]}, "sa_units: expected different layers"),
        ({"uncond_in_size": 0, "cond_in_size": 0}, "uncond_in_size"),
        ({"target_shapes": []}, "target_shapes"),
        ({"num_cond_embs": -1}, "num_cond_embs"),
    ],
)
def test_wrong_values(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hyper_img_shape": 64}, "hyper_img_shape"),
        ({"hyper_img_shape": (8.0, 8)}, r"hyper_img_shape\[0\]"),
        ({"num_filters": 16}, "num_filters"),
        ({"kernel_size": 2.5}, "kernel_size"),
        ({"kernel_size": "5"}, "kernel_size"),
        ({"sa_units": 1}, "sa_units"),
        ({"num_layers": None}, "num_layers"),
        ({"use_bias": 1}, "use_bias"),
    ],
)
def test_wrong_types(options: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        build(**options)


def test_default_units_need_five_layers() -> None:
    with pytest.raises(ValueError, match=r"sa_units\[1\]: expected a layer before the last, between 0 and 1, got 3"):
        HDeconv([[3]], (4, 4), num_layers=3, verbose=False)


def test_verbose(capsys: pytest.CaptureFixture[str]) -> None:
    build(verbose=True)
    assert capsys.readouterr().out.startswith("HDeconv with ")


# Constants of the output


def calibrated(**options: Any) -> HDeconv:
    net = build(**options)
    net.apply_hyperfan_init()
    net.output_offset = torch.randn(net.num_outputs)
    return net


def test_constants_are_none_at_first() -> None:
    net = build()
    assert torch.equal(net.output_scale, torch.ones(net.num_outputs, dtype=net.output_scale.dtype))
    assert not net.output_offset.any()
    assert not any("output" in name for name in net.state_dict())
    net.apply_hyperfan_init()
    assert net.output_scale.shape == (63,)
    assert not net.output_offset.any()
    assert not any(param is net.output_scale for param in net.parameters())
    assert net.double().output_scale.dtype == torch.float64


def test_constants_are_loaded() -> None:
    net, other = calibrated(), build()
    other.load_state_dict(net.state_dict(), strict=True)
    assert torch.equal(other.output_scale, net.output_scale)
    assert torch.equal(other.output_offset, net.output_offset)
    torch.testing.assert_close(other(cond_id=0), net(cond_id=0))
    for same in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        torch.testing.assert_close(same(cond_id=0), net(cond_id=0))


def test_a_state_without_constants_removes_them() -> None:
    net, other = build(), calibrated()
    other.load_state_dict(net.state_dict(), strict=True)
    assert torch.equal(other.output_scale, torch.ones(other.num_outputs, dtype=other.output_scale.dtype))
    assert not other.output_offset.any()
    torch.testing.assert_close(other(cond_id=0), net(cond_id=0))
    kept = calibrated()
    scale = kept.output_scale.clone()
    kept.load_state_dict({"_internal_params.0": torch.zeros(8)}, strict=False)
    assert torch.equal(kept.output_scale, scale)
    assert not torch.equal(scale, other.output_scale)


def test_a_state_with_fewer_conditions_keeps_constants() -> None:
    net, other = calibrated(), build(num_cond_embs=4)
    other.load_state_dict(net.state_dict(), strict=False)
    torch.testing.assert_close(other(cond_id=1), net(cond_id=1))


@pytest.mark.parametrize("wrap", ["container", "perturbation"])
def test_constants_are_loaded_through_others(wrap: str) -> None:
    def wrapped(net: HDeconv) -> Any:
        if wrap == "container":
            return HContainer(
                [*TARGETS, [2]], _joined, [net], uncond_param_shapes=[[2]], num_cond_embs=2, verbose=False
            )
        return HPerturbWrapper(net, hnet_uncond_in_size=0, verbose=False)

    net, other = wrapped(calibrated()), wrapped(build())
    options = {"cond_id": 1} if wrap == "container" else {"cond_id": 1, "uncond_input": torch.zeros(1, 63)}
    other.load_state_dict(net.state_dict(), strict=True)
    torch.testing.assert_close(other(**options), net(**options))


def _joined(hnet_tensors: Any, uncond: Any, cond: Any) -> Any:
    return [*hnet_tensors[0], *uncond]


# Use


def test_helpers() -> None:
    net = build()
    init_conditional_embeddings(net, init_fct=lambda emb, cond_id: nn.init.constant_(emb, cond_id))
    assert net.get_cond_in_emb(1).tolist() == [1] * 8
    assert get_conditional_parameters(net, 1)[0] is net.get_cond_in_emb(1)
    assert net.distillation_targets() is None
    with pytest.raises(RuntimeError):
        net.get_cond_in_emb(2)


def test_statistics_per_condition() -> None:
    net = build(use_batch_norm=True)
    assert all(isinstance(layer, BatchNormLayer) and layer.num_stats == 1 for layer in net.batchnorm_layers)
    for layer in net.batchnorm_layers:
        layer.checkpoint_stats()
    net(cond_id=[0, 1], condition=1)
    mean, _ = net.batchnorm_layers[0].get_stats(1)
    assert mean.abs().sum() > 0
    assert net.batchnorm_layers[0].get_stats(0)[0].abs().sum() == 0


def test_it_learns() -> None:
    """Two conditions learn two functions, all but the constants being trained."""
    torch.manual_seed(0)
    mnet = MLP(n_in=2, n_out=1, hidden_layers=[8], no_weights=True, verbose=False)
    net = HDeconv(
        mnet.hyper_shapes_learned,
        (8, 8),
        num_layers=3,
        num_filters=[16, 8],
        sa_units=[1],
        num_cond_embs=2,
        verbose=False,
    )
    net.apply_hyperfan_init(mnet=mnet)
    scale = net.output_scale.clone()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    x = torch.rand(32, 2) * 2 - 1
    y = torch.stack([x[:, :1] * x[:, 1:], x[:, :1] - x[:, 1:]])
    losses = []
    for _ in range(60):
        out = mnet.batched_forward(x, net(cond_id=[0, 1], ret_format="stacked"), share_input=True)
        loss = F.mse_loss(out, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
    assert torch.equal(net.output_scale, scale)
    gamma = [p for p, meta in zip(net.internal_params, net.param_shapes_meta, strict=True) if meta["name"] is None]
    assert gamma[0].item() != 0


def test_size_is_far_below_that_of_a_full_network() -> None:
    shapes = [[1000, 500], [1000]]
    with torch.device("meta"):
        deconv = HDeconv(shapes, (720, 720), num_filters=[64, 64, 32, 32], verbose=False)
        full = HMLP(shapes, verbose=False)
    assert math.prod((720, 720)) >= deconv.num_outputs
    assert deconv.num_params < 0.05 * full.num_params
