"""Convolutional networks: their options, their stages, and the words in which one declares them.

Stages are lists, and a sum of lists is a composition from left to right::

    d.conv(16, 3) + d.settled() + d.activated() + d.average() + d.head()

is ``W · average(σ(norm(K ∗ x)))``, with modulation where the options ask for it. Images are ``[N, C, H, W]``, of many
weight sets ``[B, N, C, H, W]``. Many sets lie in memory as one image batch ``[N, H, W, B·C]``: a convolution of all of
them is one grouped convolution, and nothing is moved from one stage to the next.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from hypnettorch.core import checks, functional
from hypnettorch.core.values import Values
from hypnettorch.layers.local_conv2d_layer import LocalConv2dLayer
from hypnettorch.layers.stages import Affine, Elementwise, Stage, chain
from hypnettorch.mnets.classifier_interface import Classifier
from hypnettorch.mnets.mlp import ContextModOptions

SHORTCUTS, LAYERS = 0, 1
"""Blocks of the parameter table: kernels of shortcuts (with modulation and batch norm), then all other layers."""


class ConvNet(Classifier):
    """A classifier of images.

    The constructor of a subclass begins a :class:`ConvDeclaration`, composes stages in order of use, and ends with
    :meth:`_finish`.

    Args:
        in_shape: Height, width and number of channels.
        num_classes: Number of classes.
        verbose: Whether to print a line about the network.
        chw_input_format: Whether inputs are ``[N, C, H, W]``, instead of rows with ``[H, W, C]`` flattened.

    Raises:
        ValueError: If a number is too small.
    """

    def __init__(
        self, in_shape: Sequence[int], num_classes: int, verbose: bool, chw_input_format: bool = False
    ) -> None:
        super().__init__(num_classes, verbose)
        self._in_shape = checks.integers("in_shape", in_shape, 1)
        checks.length("in_shape", self._in_shape, 3)
        self._chw_input_format = chw_input_format
        self._has_fc_out = self._mask_fc_out = self._has_linear_out = True

    def _finish(
        self, d: ConvDeclaration, stages: Sequence[Stage], init_weights: Sequence[Tensor] | None = None
    ) -> None:
        """Keep what was declared; the last call of a constructor."""
        self._use_bias, self._use_fc_bias = d.use_bias, d.use_fc_bias
        self._has_bias = d.use_bias or d.use_fc_bias
        self._no_weights, self._context_mod = d.no_weights, d.modulation
        self._dropouts: nn.ModuleList = d.dropouts
        self._stages = list(stages)
        self.load_init_weights(init_weights)
        if self._verbose:
            name = type(self).__name__
            print(f"Created a {name} with {self.num_params} weights for {self.num_classes} classes.")

    @property
    def has_bias(self) -> bool:
        """Whether the layers have bias vectors; a warning says that convolutions in shortcuts have none.

        Raises:
            RuntimeError: If convolutions and fully connected layers differ (the class is a ``ValueError`` as well).
        """
        if self._use_bias != self._use_fc_bias:
            raise checks.StateError("has_bias: convolutions and fully connected layers differ, see layer_bias_vectors")
        roles = [row.role for row in self.table.rows]
        if self._use_bias and roles.count("bias") < roles.count("weight"):
            warnings.warn("has_bias: convolutions in shortcuts have no biases", stacklevel=2)
        return self._use_bias

    def prepare(self, x: Tensor, sets: int | None) -> Tensor:
        """Images ``[N, C, H, W]``; of many sets ``[B, N, C, H, W]`` in the memory order of this module."""
        checks.tensor("x", x)
        height, width, channels = self._in_shape
        lead = [] if sets is None else [sets]
        if self._chw_input_format:
            if x.dim() != len(lead) + 4 or tuple(x.shape[-3:]) != (channels, height, width):
                checks.fail("x", f"shape ({'B, ' * len(lead)}N, {channels}, {height}, {width})", tuple(x.shape))
            return x
        size = height * width * channels
        if x.dim() == len(lead) or math.prod(x.shape[len(lead) :]) % size != 0:
            checks.fail("x", f"rows of {height}·{width}·{channels} = {size} entries", f"shape {tuple(x.shape)}")
        count = math.prod(x.shape[len(lead) :]) // size
        images = x.reshape(*lead, count, height, width, channels)
        if sets is None:
            return images.permute(0, 3, 1, 2)
        return images.permute(1, 2, 3, 0, 4).contiguous().permute(3, 0, 4, 1, 2)

    def compute(self, x: Tensor, values: Values) -> Any:
        """One stage after the other."""
        return chain(self._stages, x, values)


class ConvDeclaration:
    """Declares the stages of a network in order of use, following the shape of the activations.

    Args:
        net: The network that holds the parameters.
        kwargs: ``use_spectral_norm``, ``context_mod_apply_pixel_wise`` (a gain and a shift for each pixel) and the
            options of :class:`~hypnettorch.mnets.mlp.ContextModOptions`.
        no_weights: Whether the weights of layers and batch norm are external.
        use_bias: Whether convolutions have biases.
        use_fc_bias: Whether fully connected layers have biases (default: as ``use_bias``).
        use_batch_norm: Whether activations are batch-normalised.
        bn_track_stats: Whether batch norm keeps running statistics.
        distill_bn_stats: Whether the running statistics are to be distilled.
        activation: The nonlinearity.

    Attributes:
        shape: Shape of the activations after the stages declared so far, ``(C, H, W)`` or ``(C,)``.
        dropouts: The dropout modules, which the network must register.
    """

    def __init__(
        self,
        net: ConvNet,
        kwargs: Mapping[str, Any],
        no_weights: bool,
        use_bias: bool = True,
        use_fc_bias: bool | None = None,
        use_batch_norm: bool = False,
        bn_track_stats: bool = True,
        distill_bn_stats: bool = False,
        activation: Callable[[Tensor], Tensor] = F.relu,
    ) -> None:
        rest = dict(kwargs)
        self.use_bias = checks.flag("use_bias", use_bias)
        self.use_fc_bias = checks.flag("use_fc_bias", use_bias if use_fc_bias is None else use_fc_bias)
        self.no_weights = checks.flag("no_weights", no_weights)
        self._use_batch_norm = checks.flag("use_batch_norm", use_batch_norm)
        self._statistics = {
            "track": checks.flag("bn_track_stats", bn_track_stats),
            "distill": checks.flag("distill_bn_stats", distill_bn_stats),
        }
        self._spectral_norm = checks.flag("use_spectral_norm", rest.pop("use_spectral_norm", False))
        per_pixel = "context_mod_apply_pixel_wise"
        self._pixel_wise = checks.flag(per_pixel, rest.pop(per_pixel, False))
        self.modulation = ContextModOptions.parse(type(net).__name__, rest)
        height, width, channels = net._in_shape
        self.shape: tuple[int, ...] = (channels, height, width)
        self.dropouts = nn.ModuleList()
        self._net = net
        self._activation = activation
        self._counts = {"layers": 0, "shortcuts": 0, "norms": 0}

    def modulated_input(self) -> list[Stage]:
        """Modulation of the input, if it is modulated."""
        return self._modulated(self.modulation.context_mod_inputs)

    def conv(
        self,
        channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        bias: bool | None = None,
        **affine: Any,
    ) -> list[Stage]:
        """Convolution to some number of channels.

        Args:
            channels: Number of output channels.
            kernel_size: Height and width of a kernel.
            stride: Distance of two patches.
            padding: Zeros at each side.
            bias: Whether there is a bias (default: as the options say).
            **affine: Options of :meth:`~hypnettorch.mnets.network.Network.affine`, where they differ from those of
                the network.
        """
        options = {"external": self.no_weights, "block": LAYERS, **affine}
        name = self._next("shortcuts" if options["block"] == SHORTCUTS else "layers")
        bias_shape = [channels] if (self.use_bias if bias is None else bias) else None
        kernel = [channels, self.shape[0], kernel_size, kernel_size]
        convolve = partial(functional.conv2d, stride=stride, padding=padding)
        self._slide(kernel_size, stride, padding, channels)
        return [self._net.affine(Conv(name, kernel, bias_shape, convolve, self._spectral_norm), **options)]

    def local_conv(self, channels: int, kernel_size: int, stride: int = 1, padding: int = 0) -> list[Stage]:
        """Convolution without weight sharing."""
        fans = {"fan_in": self.shape[0] * kernel_size**2, "fan_out": channels * kernel_size**2}
        fan_in, height, width = self.shape
        layer = LocalConv2dLayer(fan_in, channels, height, width, kernel_size, stride, padding, no_weights=True)
        self.shape = (channels, layer.out_height, layer.out_width)
        convolve = partial(_local_conv, geometry=(kernel_size, stride, padding), size=self.shape[1:])
        filters, bias = layer.param_shapes
        stage = Conv(self._next("layers"), filters, bias, convolve, self._spectral_norm)
        return [self._net.affine(stage, self.no_weights, LAYERS, of_weight=fans)]

    def linear(self, size: int) -> list[Stage]:
        """Linear map of vectors."""
        (fan_in,) = self.shape
        self.shape = (size,)
        options = {"external": self.no_weights, "spectral_norm": self._spectral_norm, "block": LAYERS}
        return [self._net.linear(self._next("layers"), fan_in, size, self.use_fc_bias, **options)]

    def settled(self) -> list[Stage]:
        """What comes between a layer and the nonlinearity: modulation, batch norm."""
        return self._modulated(not self.modulation.context_mod_post_activation) + self.norm()

    def activated(self) -> list[Stage]:
        """The nonlinearity, and modulation if it comes after it."""
        return [Elementwise(self._activation), *self._modulated(self.modulation.context_mod_post_activation)]

    def norm(self) -> list[Stage]:
        """Batch norm, if the network has it."""
        if not self._use_batch_norm:
            return []
        return [self._net.norm(self._next("norms"), self.shape[0], self.no_weights, **self._statistics)]

    def max_pool(self, kernel_size: int, stride: int | None = None, padding: int = 0) -> list[Stage]:
        """Maximum over patches."""
        self._slide(kernel_size, stride or kernel_size, padding)
        return [_on_images(nn.MaxPool2d(kernel_size, stride, padding))]

    def dropout(self, rate: float, channels: bool = False) -> list[Stage]:
        """Dropout of single activations or of whole channels, unless the rate is -1."""
        if rate <= 0:
            return []
        module = nn.Dropout2d(rate) if channels else nn.Dropout(rate)
        self.dropouts.append(module)
        return [_on_images(module) if channels else Elementwise(module)]

    def average(self) -> list[Stage]:
        """Average over all pixels."""
        self.shape = self.shape[:1]
        return [Elementwise(_average)]

    def flatten(self) -> list[Stage]:
        """Images as vectors."""
        self.shape = (math.prod(self.shape),)
        return [Elementwise(_flatten)]

    def head(self) -> list[Stage]:
        """The output layer, and its modulation."""
        return self.linear(self._net.num_classes) + self._modulated(not self.modulation.no_last_layer_context_mod)

    def block(self, channels: int, stride: int) -> Residual:
        """A residual block of two convolutions of size 3."""
        entry = self.shape
        body = self.conv(channels, 3, stride, padding=1) + self.settled() + self.activated()
        body += self.conv(channels, 3, padding=1) + self.settled()
        return Residual(body, self.activated(), entry, self.shape, stride)

    def bridge(self, block: Residual, **affine: Any) -> list[Stage]:
        """1×1 convolution without bias from the entry of a block to its end, as its shortcut."""
        self.shape = block.entry
        return self.conv(block.end[0], 1, block.stride, bias=False, block=SHORTCUTS, **affine)

    def _modulated(self, wanted: bool) -> list[Stage]:
        per_channel = len(self.shape) > 1 and not self._pixel_wise
        return [*self.modulation.declare(self._net, (self.shape[0], 1, 1) if per_channel else self.shape, wanted)]

    def _next(self, group: str) -> str:
        """The name of the next member of a group of layers."""
        self._counts[group] += 1
        return f"{group}.{self._counts[group] - 1}"

    def _slide(self, kernel_size: int, stride: int, padding: int, channels: int | None = None) -> None:
        """Follow the shape through an operation on patches."""
        before, *size = self.shape
        height, width = ((n + 2 * padding - kernel_size) // stride + 1 for n in size)
        if min(height, width) < 1:
            checks.fail("in_shape", "larger images", f"{size} pixels for patches of size {kernel_size}")
        self.shape = (before if channels is None else channels, height, width)


def groups(block: Callable[[int, int], Residual], widths: Sequence[int], depths: Sequence[int]) -> list[Residual]:
    """Groups of residual blocks; all but the first begin with stride 2.

    Args:
        block: Declares a block of some number of channels and a stride.
        widths: Number of channels of each group.
        depths: Number of blocks of each group.
    """
    return [
        block(channels, 2 if group > 0 and i == 0 else 1)
        for group, (channels, depth) in enumerate(zip(widths, depths, strict=True))
        for i in range(depth)
    ]


def group_widths(num_feature_maps: Sequence[int], k: int) -> list[int]:
    """Channels of the first convolution and, times ``k``, of three groups of blocks."""
    checks.length("num_feature_maps", num_feature_maps, 4)
    stem, *widths = checks.integers("num_feature_maps", num_feature_maps, 1)
    factor = checks.integer("k", k, 1)
    return [stem, *(factor * width for width in widths)]


class Conv(Affine):
    """Convolution of ``x [N, in, H, W]`` to ``[N, out, H', W']``.

    Args:
        name: Name of the layer.
        weight_shape: Shape ``[out, ...]`` of the kernels.
        bias_shape: Shape of the bias, or ``None`` for none.
        convolve: Function of images, kernels and bias.
        spectral_norm: Whether the kernels are divided by their largest singular value.
    """

    def __init__(
        self,
        name: str,
        weight_shape: Sequence[int],
        bias_shape: Sequence[int] | None,
        convolve: Callable[[Tensor, Tensor, Tensor | None], Tensor],
        spectral_norm: bool,
    ) -> None:
        super().__init__(name, weight_shape, bias_shape, spectral_norm=spectral_norm)
        self._convolve = convolve

    def forward(self, x: Tensor, values: Values) -> Tensor:
        """``x [N, in, H, W]`` to ``[N, out, H', W']``."""
        return self._convolve(x, *self.tensors(values))


def _local_conv(
    x: Tensor, filters: Tensor, bias: Tensor | None, geometry: tuple[int, int, int], size: tuple[int, int]
) -> Tensor:
    """Convolution with filters ``[out, in·k·k, P]`` and bias ``[out, P]`` to images of some size."""
    return functional.local_conv2d(x, filters, bias, *geometry).unflatten(-1, size)


def _on_images(function: Callable[[Tensor], Tensor]) -> Elementwise:
    """A function of images without weights that treats all channels alike: pooling, dropout of channels."""
    return Elementwise(partial(functional.map_images, function))


def _flatten(x: Tensor) -> Tensor:
    """Images ``[..., C, H, W]`` as vectors ``[..., C·H·W]``."""
    return x.flatten(-3)


def _average(x: Tensor) -> Tensor:
    """Channels ``[..., C, H, W]`` averaged over pixels, ``[..., C]``."""
    return x.mean((-2, -1))


class Residual:
    """``y = after(body(x) + shortcut(x))``.

    Args:
        body: The residual function.
        after: What follows the sum.
        entry: Shape ``(C, H, W)`` of ``x``.
        end: Shape of ``body(x)``.
        stride: How much the body subsamples.

    Attributes:
        shortcut: Stages from ``entry`` to ``end``; the identity or, where shapes differ, a :class:`PaddedShortcut`
            until it is set.

    References:
        He et al., "Deep Residual Learning for Image Recognition", 2016, eq. 1 and 2, https://arxiv.org/abs/1512.03385.
    """

    def __init__(
        self, body: Sequence[Stage], after: Sequence[Stage], entry: Sequence[int], end: Sequence[int], stride: int
    ) -> None:
        self.entry = tuple(entry)
        self.end = tuple(end)
        self.stride = stride
        self._body = body
        self._after = after
        self.shortcut: Sequence[Stage] = [PaddedShortcut(self)] if self.changes_shape else []

    @property
    def changes_shape(self) -> bool:
        """Whether the identity cannot be the shortcut."""
        return self.stride != 1 or self.entry[0] != self.end[0]

    def __call__(self, x: Tensor, values: Values) -> Tensor:
        """``x [N, *entry]`` to ``[N, *end]``."""
        return chain(self._after, chain(self._body, x, values) + chain(self.shortcut, x, values), values)


class PaddedShortcut:
    """Every ``stride``-th pixel, with channels of zeros added on both sides (or cut off, if there are too many).

    Args:
        block: The block to bridge.
    """

    def __init__(self, block: Residual) -> None:
        missing = block.end[0] - block.entry[0]
        self._stride = block.stride
        self._padding = (missing // 2, missing - missing // 2)

    def __call__(self, x: Tensor, values: Values) -> Tensor:
        """``x [N, C, H, W]`` to ``[N, C', H', W']``."""
        x = x[..., :: self._stride, :: self._stride]
        if x.dim() == 4:
            return F.pad(x, (0, 0, 0, 0, *self._padding))
        # Padded as [N, H, W, B, C], the order in which many sets lie in memory.
        return F.pad(x.permute(1, 3, 4, 0, 2), self._padding).permute(3, 0, 4, 1, 2)
