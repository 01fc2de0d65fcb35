"""What a convolutional network declares, in words that read as its equation.

Stages are lists, and a sum of lists is a composition from left to right::

    d.conv(16, 3) + d.settled() + d.activated() + d.average() + d.head()

is ``W · average(σ(norm(K ∗ x)))``, with modulation where the options ask for it. The declaration follows the shape of
the activations, so that a stage is told only what is new.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor, nn

from hypnettorch.core import checks
from hypnettorch.layers.stages import Elementwise, Stage
from hypnettorch.mnets.classifier_interface import Classifier
from hypnettorch.mnets.context_mod_options import ContextModOptions
from hypnettorch.mnets.conv_stages import Conv, LocalConv, OnImages, average, flatten
from hypnettorch.mnets.residual import Residual

SHORTCUTS, LAYERS = 0, 1
"""Blocks of the parameter table: kernels of shortcuts (with modulation and batch norm), then all other layers."""


@dataclass(frozen=True)
class ConvOptions:
    """Options that convolutional networks have in common.

    Attributes:
        use_bias: Whether convolutions have biases.
        use_fc_bias: Whether fully connected layers have biases.
        no_weights: Whether the weights of layers and batch norm are external.
        use_batch_norm: Whether activations are batch-normalised.
        bn_track_stats: Whether batch norm keeps running statistics.
        distill_bn_stats: Whether the running statistics are to be distilled.
        use_spectral_norm: Whether weights are divided by their largest singular value.
        pixel_wise: Whether each pixel of an image has its own gain and shift.
        activation: The nonlinearity.
        modulation: Where and how the network is modulated.
    """

    use_bias: bool
    use_fc_bias: bool
    no_weights: bool
    use_batch_norm: bool
    bn_track_stats: bool
    distill_bn_stats: bool
    use_spectral_norm: bool
    pixel_wise: bool
    activation: Callable[[Tensor], Tensor]
    modulation: ContextModOptions

    def __post_init__(self) -> None:
        for option in fields(self):
            if option.type == "bool":
                checks.flag(option.name, getattr(self, option.name))
        if self.use_batch_norm and self.distill_bn_stats and not self.bn_track_stats:
            checks.fail("distill_bn_stats", "bn_track_stats=True to distil running statistics", "bn_track_stats=False")


class ConvDeclaration:
    """Declares the stages of a network in order of use.

    Args:
        net: The network that holds the parameters.
        options: Its options.
        shape: Shape ``(C, H, W)`` of the input.

    Attributes:
        shape: Shape of the activations after the stages declared so far, ``(C, H, W)`` or ``(C,)``.
        dropouts: The dropout modules, which the network must register.
    """

    def __init__(self, net: Classifier, options: ConvOptions, shape: Sequence[int]) -> None:
        self.shape = tuple(shape)
        self.dropouts = nn.ModuleList()
        self._net = net
        self._options = options
        self._counts = {"layers": 0, "shortcuts": 0, "norms": 0, "modulations": 0}

    def modulated_input(self) -> list[Stage]:
        """Modulation of the input, if it is modulated."""
        return self._modulation(self._options.modulation.context_mod_inputs)

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
        bias = self._options.use_bias if bias is None else bias
        spectral_norm = affine.pop("spectral_norm", self._options.use_spectral_norm)
        options = {"external": self._options.no_weights, "block": LAYERS, **affine}
        name = self._next("shortcuts" if options["block"] == SHORTCUTS else "layers")
        geometry = (kernel_size, stride, padding)
        stage = Conv(name, self.shape[0], channels, *geometry, bias, spectral_norm=spectral_norm)
        self._slide(kernel_size, stride, padding, channels)
        return [self._net.affine(stage, **options)]

    def local_conv(self, channels: int, kernel_size: int, stride: int = 1, padding: int = 0) -> list[Stage]:
        """Convolution without weight sharing."""
        spectral_norm = self._options.use_spectral_norm
        stage = LocalConv(
            self._next("layers"), self.shape, channels, kernel_size, stride, padding, spectral_norm=spectral_norm
        )
        fan_in, fan_out = self.shape[0] * kernel_size**2, channels * kernel_size**2
        self.shape = stage.out_shape
        return [self._net.affine(stage, self._options.no_weights, LAYERS, fan_in=fan_in, fan_out=fan_out)]

    def linear(self, size: int) -> list[Stage]:
        """Linear map of vectors."""
        (fan_in,) = self.shape
        self.shape = (size,)
        options = {"external": self._options.no_weights, "spectral_norm": self._options.use_spectral_norm}
        bias = self._options.use_fc_bias
        return [self._net.linear(self._next("layers"), fan_in, size, bias, block=LAYERS, **options)]

    def settled(self) -> list[Stage]:
        """What comes between a layer and the nonlinearity: modulation, batch norm."""
        return self._modulation(not self._options.modulation.context_mod_post_activation) + self.norm()

    def activated(self) -> list[Stage]:
        """The nonlinearity, and modulation if it comes after it."""
        nonlinearity: list[Stage] = [Elementwise(self._options.activation)]
        return nonlinearity + self._modulation(self._options.modulation.context_mod_post_activation)

    def norm(self) -> list[Stage]:
        """Batch norm, if the network has it."""
        options = self._options
        if not options.use_batch_norm:
            return []
        size, external = self.shape[0], options.no_weights
        return [self._net.norm(self._next("norms"), size, external, options.bn_track_stats, options.distill_bn_stats)]

    def max_pool(self, kernel_size: int, stride: int | None = None, padding: int = 0) -> list[Stage]:
        """Maximum over patches."""
        self._slide(kernel_size, stride or kernel_size, padding)
        return [OnImages(nn.MaxPool2d(kernel_size, stride, padding))]

    def dropout(self, rate: float, channels: bool = False) -> list[Stage]:
        """Dropout of single activations or of whole channels, unless the rate is -1."""
        if rate <= 0:
            return []
        module = nn.Dropout2d(rate) if channels else nn.Dropout(rate)
        self.dropouts.append(module)
        return [OnImages(module) if channels else Elementwise(module)]

    def average(self) -> list[Stage]:
        """Average over all pixels."""
        self.shape = self.shape[:1]
        return [Elementwise(average)]

    def flatten(self) -> list[Stage]:
        """Images as vectors."""
        self.shape = (math.prod(self.shape),)
        return [Elementwise(flatten)]

    def head(self) -> list[Stage]:
        """The output layer, and its modulation."""
        layer = self.linear(self._net.num_classes)
        return layer + self._modulation(not self._options.modulation.no_last_layer_context_mod)

    def bridge(self, block: Residual, **affine: Any) -> list[Stage]:
        """1×1 convolution without bias from the entry of a block to its end, as its shortcut."""
        self.shape = block.entry
        return self.conv(block.end[0], 1, block.stride, bias=False, block=SHORTCUTS, **affine)

    def _modulation(self, wanted: bool) -> list[Stage]:
        options = self._options.modulation
        if not (wanted and options.use_context_mod):
            return []
        per_channel = len(self.shape) > 1 and not self._options.pixel_wise
        return [
            self._net.modulation(
                self._next("modulations"),
                (self.shape[0], 1, 1) if per_channel else self.shape,
                options.context_mod_no_weights,
                options.context_mod_gain_offset,
                options.context_mod_gain_softplus,
            )
        ]

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
