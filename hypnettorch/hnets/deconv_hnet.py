"""The deconvolutional hypernetwork: transpose convolutions draw all weights as one image.

With the default filters, four transpose convolutions and ``hyper_img_shape=(512, 256)``::

                layer 0             1                 2                  3                  4
    [u, e] ──▶ 1024 × 16 × 32 ──▶ 512 × 32 × 64 ──▶ 256 × 64 × 128 ──▶ 128 × 128 × 256 ──▶ 1 × 256 × 512
        linear               ×2   attention     ×2                 ×2    attention      ×2        │
                                                                                                  ▼
                        │ w₁ w₁ w₁ w₁ w₁ w₁ w₁ w₁ b₁ b₁ w₂ w₂ w₂ w₂ … │  row by row, the surplus dropped

The pixels of the last image are the elements of the targets, one after the other: a target begins wherever the one
before ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from hypnettorch.core import checks, functional
from hypnettorch.core.starts import Start
from hypnettorch.core.values import Values
from hypnettorch.hnets import initialization, output_constants
from hypnettorch.hnets.hypernetwork import HyperNetwork, Request, concat
from hypnettorch.hnets.initialization import Plan
from hypnettorch.hnets.output_constants import DOUBLE
from hypnettorch.layers.self_attention_layer import AttentionWeights, attention_shapes, self_attention
from hypnettorch.layers.stages import Affine, Elementwise, Stage, chain
from hypnettorch.mnets.network import Network

LAST_FILTERS = 128
"""Default number of filters in the last hidden layer."""

SMALLEST_SIDE = 4
"""No side of an image is made shorter than this to have it doubled again."""

Size = tuple[int, int]
"""Something vertical and something horizontal: height and width of an image."""


@dataclass(frozen=True)
class Upsampling:
    """Transpose convolution from an image of size ``before`` to one of size ``after``, each side doubled or kept.

    A side of the output is ``(before - 1) · stride + kernel`` pixels long; what is too much is cut off evenly at both
    ends. A side of odd length comes from half of the next even one.

    Attributes:
        before: Height and width of the input.
        after: Height and width of the output.
        kernel: Height and width of the kernels.
    """

    before: Size
    after: Size
    kernel: Size

    @property
    def stride(self) -> Size:
        """2 where a side is doubled, else 1."""
        vertical, horizontal = (1 if old == new else 2 for old, new in zip(self.before, self.after, strict=True))
        return vertical, horizontal

    @property
    def taps(self) -> float:
        """From how many pixels of the input a pixel of the output comes, on average and far from the border."""
        return math.prod(self.kernel) / math.prod(self.stride)

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """``x [..., C, *before]`` to ``[..., O, *after]`` with kernels ``[C, O, *kernel]`` and bias ``[O]``."""
        padding, missing = zip(*(self._cut(side) for side in (0, 1)), strict=True)
        y = functional.conv_transpose2d(x, weight, bias, self.stride, padding, missing)
        return y[..., : self.after[0], : self.after[1]]

    def _cut(self, side: int) -> Size:
        """How many pixels to cut off at each end of a side, and how many of them are to be appended again."""
        surplus = (self.before[side] - 1) * self.stride[side] + self.kernel[side] - self.after[side]
        if self.stride[side] == 1:
            return surplus // 2, 0
        return (surplus + 1) // 2, surplus % 2


def plan_upsamplings(size: Size, kernels: Sequence[Size]) -> list[Upsampling]:
    """The transpose convolutions that lead to an image of this size, found backwards from the last.

    Each doubles the image, but where that would take an input of less than 4 pixels, a side keeps its length.

    Args:
        size: Height and width of the final image.
        kernels: Height and width of the kernels per transpose convolution.

    Raises:
        ValueError: If a kernel is too small to reach every pixel of a side that it doubles.

    Example:
        >>> [step.before for step in plan_upsamplings((64, 11), [(5, 5)] * 3)]
        [(8, 6), (16, 6), (32, 6)]
    """
    steps: list[Upsampling] = []
    for i in reversed(range(len(kernels))):
        height, width = (side if (half := (side + 1) // 2) < SMALLEST_SIDE else half for side in size)
        step = Upsampling((height, width), size, kernels[i])
        if any(stride > kernel for stride, kernel in zip(step.stride, step.kernel, strict=True)):
            checks.fail(("kernel_size", i), "at least 2 where the image is doubled", step.kernel[::-1])
        steps.append(step)
        size = step.before
    return steps[::-1]


class TransposeConv(Affine):
    """Transpose convolution with kernels ``[in, out, k_h, k_w]`` and bias ``[out]``.

    Both start in ``U(-a, a)`` with ``a = 1 / √fan_in``, where the fan-in counts the inputs of one pixel: ``in`` times
    the taps of :class:`Upsampling`.

    Args:
        name: Name of the layer.
        fan_in: Number of input channels.
        fan_out: Number of output channels.
        step: The geometry.
        bias: Whether there is a bias.
        spectral_norm: Whether the kernels, read as ``[out, in·k_h·k_w]``, are divided by their largest singular value.
    """

    def __init__(
        self, name: str, fan_in: int, fan_out: int, step: Upsampling, bias: bool = True, spectral_norm: bool = False
    ) -> None:
        shape = [fan_in, fan_out, *step.kernel]
        super().__init__(name, shape, [fan_out] if bias else None, fan_in * step.taps, spectral_norm)
        self.step = step

    def forward(self, x: Tensor, values: Values) -> Tensor:
        """``x [..., in, H, W]`` to ``[..., out, H', W']``."""
        return self.step(x, *self.tensors(values))

    def _normalized(self, weight: Tensor) -> Tensor:
        return functional.spectral_normalize(weight.transpose(-4, -3), 4).transpose(-4, -3)


class SelfAttention:
    """Self-attention unit (:func:`hypnettorch.layers.self_attention_layer.self_attention`), at first the identity.

    Args:
        network: Where its tensors are declared: kernel and bias of query, key and value, and ``gamma``.
        name: Name of the unit.
        channels: Number of channels.
        bias: Whether the convolutions have biases.
        external: Whether its tensors must be passed to ``forward``.
        spectral_norm: Whether kernels are divided by their largest singular value.

    Attributes:
        projections: Names of kernel and, if there is one, bias of query, key and value.
        gamma: Name of the weight of the unit.
    """

    def __init__(
        self, network: Network, name: str, channels: int, bias: bool, external: bool, spectral_norm: bool
    ) -> None:
        *shapes, gamma = attention_shapes(channels)
        bound = channels**-0.5
        options: dict[str, Any] = {"init": partial(nn.init.uniform_, a=-bound, b=bound), "external": external}
        self.projections: list[tuple[str, str | None]] = []
        for part, kernel, size in zip(("query", "key", "value"), shapes[::2], shapes[1::2], strict=True):
            layer = network.table.next_layer()
            weight = network.declare(f"{name}.{part}", kernel, "weight", layer, **options)
            shift = network.declare(f"{name}.{part}_bias", size, "bias", layer, **options) if bias else None
            self.projections.append((weight, shift))
        self.gamma = network.declare(f"{name}.gamma", gamma, None, network.table.next_layer(), external=external)
        self._spectral_norm = spectral_norm

    def __call__(self, x: Tensor, values: Values) -> Tensor:
        """``x [..., C, H, W]`` to the same shape."""
        tensors: list[Any] = [
            None if name is None else values[name] for projection in self.projections for name in projection
        ]
        weights = AttentionWeights(*[*tensors, values[self.gamma]])
        return self_attention(x, weights.normalized() if self._spectral_norm else weights)


class HDeconv(HyperNetwork):
    """A linear map and transpose convolutions turn ``[u, e]`` into an image, whose pixels are the weights.

    ``u`` is the unconditional input, ``e`` the conditional one, by default an embedding of the condition that the
    network keeps itself. Layer 0 is fully connected and gives a small image of ``num_filters[0]`` channels. Each of the
    ``num_layers - 1`` transpose convolutions that follow doubles height and width, backwards from ``hyper_img_shape``;
    a side that would have to come from less than 4 pixels keeps its length. A hidden layer is its linear map, batch
    norm, the nonlinearity and, for layers in ``sa_units``, self-attention; the last layer is linear. The weights are
    read row by row, pixel by pixel, channel by channel; what the image has too much is dropped.

    Parameters are published in the order embeddings ``[cond_in_size]``, batch norm, layers. A layer has weight and
    bias, followed by those of its self-attention (query, key, value, and ``gamma [1]``, which starts at 0).

    Self-attention compares all pixels of a layer with each other: the last hidden layer of a 512 × 512 image has 65536
    pixels, so ``4·10⁹`` pairs per sample.

    Args:
        target_shapes: Shapes of the tensors to produce.
        hyper_img_shape: ``(width, height)`` or ``(width, height, channels)`` of the image, one channel by default. It
            has at least as many entries as there are weights to produce.
        uncond_in_size: Size of the unconditional input.
        cond_in_size: Size of the conditional input.
        num_layers: Number of layers, including the fully connected one.
        num_filters: Number of channels of each hidden layer, ``num_layers - 1`` of them. By default 128 in the last
            hidden layer and twice as many in each layer before.
        kernel_size: One number, one pair ``(k_x, k_y)``, or a list with a number or pair for each of the
            ``num_layers - 1`` transpose convolutions.
        sa_units: After which hidden layers to apply self-attention; 0 is the fully connected one.
        verbose: Whether to print a line about the network.
        activation_fn: Nonlinearity of the hidden layers; ``None`` for none.
        use_bias: Whether the layers (those of self-attention, too) have bias vectors.
        no_uncond_weights: Whether all parameters but the embeddings are external.
        no_cond_weights: Whether the embeddings are external.
        num_cond_embs: Number of embeddings, drawn from N(0, 1).
        use_spectral_norm: Divide each weight, read as a matrix with a row per output channel, by its largest singular
            value. That is a singular value decomposition per layer in every step.
        use_batch_norm: Whether the channels of hidden layers are batch-normalised.
        embedding_table: Whether the embeddings of all conditions are one parameter ``[num_cond_embs, cond_in_size]``,
            read by index: what many conditions (users, images) need. Without it each is a parameter of its own, which
            can be optimised, frozen and saved by itself.

    Raises:
        ValueError: If an argument is out of range or of the wrong length, or the image is too small.
        TypeError: If an argument has the wrong type.

    Example:
        >>> hnet = HDeconv([[10, 5], [10]], (8, 8), num_layers=2, num_filters=[16], sa_units=[0], verbose=False)
        >>> [tuple(shape) for shape in hnet.param_shapes[:3]], tuple(hnet.param_shapes[-2])
        ([(8,), (256, 8), (256,)], (16, 1, 5, 5))
        >>> [tuple(w.shape) for w in hnet(cond_id=0)]
        [(10, 5), (10,)]

    References:
        Radford, Metz, Chintala, "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial
        Networks", 2016, https://arxiv.org/abs/1511.06434 (figure 1: the generator); Zhang, Goodfellow, Metaxas, Odena,
        "Self-Attention Generative Adversarial Networks", 2019, https://arxiv.org/abs/1805.08318.
    """

    layers: Any
    first_children = ("norms",)

    def __init__(
        self,
        target_shapes: Sequence[Sequence[int]],
        hyper_img_shape: Sequence[int],
        uncond_in_size: int = 0,
        cond_in_size: int = 8,
        num_layers: int = 5,
        num_filters: Sequence[int] | None = None,
        kernel_size: int | tuple[int, int] | list[Any] = 5,
        sa_units: Sequence[int] = (1, 3),
        verbose: bool = True,
        activation_fn: Callable[[Tensor], Tensor] | None = nn.ReLU(),
        use_bias: bool = True,
        no_uncond_weights: bool = False,
        no_cond_weights: bool = False,
        num_cond_embs: int = 1,
        use_spectral_norm: bool = False,
        use_batch_norm: bool = False,
        embedding_table: bool = False,
    ) -> None:
        super().__init__(target_shapes, uncond_in_size, cond_in_size)
        self.set_options(no_uncond_weights, no_cond_weights, num_cond_embs, embedding_table)
        self.set_layer_options(activation_fn, use_bias, use_spectral_norm, use_batch_norm)
        self._has_fc_out, self._mask_fc_out, self._has_linear_out = False, False, True
        width, height, channels = parse_image_shape(hyper_img_shape)
        if width * height * channels < self.num_outputs:
            checks.fail("hyper_img_shape", f"at least {self.num_outputs} entries", f"{width * height * channels}")
        num_layers = checks.integer("num_layers", num_layers, 2)
        filters = _parse_filters(num_filters, num_layers - 1)
        kernels = _parse_kernels(kernel_size, num_layers - 1)
        attended = _parse_units(sa_units, num_layers)
        self._num_channels = channels
        self.attentions: list[SelfAttention] = []
        steps = plan_upsamplings((height, width), kernels)
        first_shape = (filters[0], *steps[0].before)
        first = self.full_layer("layers.0", self._uncond_in_size + self._cond_in_size, math.prod(first_shape))
        self._stages: list[Stage] = [first, Elementwise(nn.Unflatten(-1, first_shape))]
        for layer, step in enumerate(steps):
            if use_batch_norm:
                self._stages.append(self.norm(f"norms.{layer}", filters[layer], no_uncond_weights))
            if activation_fn is not None:
                self._stages.append(Elementwise(activation_fn))
            if layer in attended:
                name, external = f"layers.{layer}.attention", no_uncond_weights
                attention = SelfAttention(self, name, filters[layer], use_bias, external, use_spectral_norm)
                self.attentions.append(attention)
                self._stages.append(attention)
            conv = TransposeConv(
                f"layers.{layer + 1}",
                filters[layer],
                [*filters, channels][layer + 1],
                step,
                use_bias,
                use_spectral_norm,
            )
            fans: dict[str, Any] = {"fan_in": max(round(conv.fan_in), 1), "fan_out": math.prod(conv.weight_shape[1:])}
            self._stages.append(self.affine(conv, no_uncond_weights, of_weight=fans))
        self._output_layers = [self._stages[-1]]
        if verbose:
            print(self)

    def generate(self, request: Request, values: Values) -> Tensor:
        """The equation."""
        return chain(self._stages, concat(request), values).movedim(-3, -1).flatten(-3)

    @property
    def num_channels(self) -> int:
        """Number of channels of the image."""
        return self._num_channels

    def start_at(self, wanted: Sequence[Start], plan: Plan) -> None:
        """Initialise for the targets: constants per pixel give each its variance."""
        plan = plan.at(self)
        initialization.settle(self, wanted, plan, self.draw(plan))

    def draw(self, plan: Plan) -> Tensor:
        """Draw all parameters but the embeddings.

        Args:
            plan: How, with samples that are looked up.

        Returns:
            The second moments ``[num_outputs]`` of the image. A pixel is a sum over the channels and the pixels that
            reach it, one per tap of the kernel, of independent weights of mean 0 times last hidden activations. How
            many reach it depends on the pixel: with 5 × 5 kernels and stride 2 there are 9, 6, 6 or 4, and less at the
            border. The sum is itself a transpose convolution, of mean squares with ones.
        """
        request, values = plan.samples
        x = concat(request)
        if not x.any():
            checks.fail("cond_var", "inputs of positive variance", f"{plan.cond_var} (uncond_var: {plan.uncond_var})")
        output_constants.keep(self, None, None)
        initialization.draw_norms(self)
        *_, last = self.layers
        for layer in self.layers:
            gain = 1.0 if layer is last else plan.gain
            initialization.draw_layer(layer.weight, layer.bias, gain / layer.fan_in)
        for attention in self.attentions:
            for weight, bias in attention.projections:
                initialization.draw_layer(
                    values[weight], None if bias is None else values[bias], 1 / values[weight].shape[1]
                )
            nn.init.zeros_(values[attention.gamma])
        size = last.step.before
        activations = chain(
            self._stages[:-1], x[: max(4, initialization.ELEMENTS // (last.weight_shape[0] * math.prod(size)))], values
        )
        squares = activations.double().square().mean((0, 1), keepdim=True).cpu()
        kernels, _ = last.tensors(values)
        reached = last.step(squares, torch.ones(1, 1, *last.step.kernel, **DOUBLE))
        moments = reached * (kernels.shape[0] * kernels.double().square().mean().item())
        return moments.flatten().repeat_interleave(self.num_channels)[: self.num_outputs]


def parse_image_shape(hyper_img_shape: Any) -> tuple[int, int, int]:
    """Width, height and number of channels."""
    sizes = checks.integers("hyper_img_shape", hyper_img_shape, 1)
    if len(sizes) not in (2, 3):
        checks.fail("hyper_img_shape", "(width, height) or (width, height, channels)", f"{len(sizes)} entries")
    width, height, channels = [*sizes, 1][:3]
    return width, height, channels


def _parse_filters(num_filters: Any, number: int) -> list[int]:
    """Channels of each hidden layer."""
    if num_filters is None:
        return [LAST_FILTERS * 2**i for i in reversed(range(number))]
    filters = checks.integers("num_filters", num_filters, 1)
    checks.length("num_filters", filters, number)
    return filters


def _parse_kernels(kernel_size: Any, number: int) -> list[Size]:
    """Height and width of the kernels of each transpose convolution."""
    if isinstance(kernel_size, list):
        checks.length("kernel_size", kernel_size, number)
        return [_parse_kernel(f"kernel_size[{i}]", size) for i, size in enumerate(kernel_size)]
    return [_parse_kernel("kernel_size", kernel_size)] * number


def _parse_kernel(name: str, size: Any) -> Size:
    if not isinstance(size, (tuple, list)):
        side = checks.integer(name, size, 1)
        return side, side
    pair = checks.integers(name, size, 1)
    checks.length(name, pair, 2)
    return pair[1], pair[0]


def _parse_units(sa_units: Any, num_layers: int) -> set[int]:
    """The hidden layers that are followed by self-attention."""
    units = checks.integers("sa_units", sa_units)
    for i, unit in enumerate(units):
        if not 0 <= unit < num_layers - 1:
            checks.fail(("sa_units", i), f"a layer before the last, between 0 and {num_layers - 2}", unit)
    if len(set(units)) != len(units):
        checks.fail("sa_units", "different layers", units)
    return set(units)
