"""Residual networks for large images."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import Tensor

from hypnettorch.core import checks
from hypnettorch.mnets.conv_net import ConvDeclaration, ConvNet, Residual, groups

EXPANSION = 4
"""How many times wider a bottleneck block is outside than inside."""


class ResNetIN(ConvNet):
    """``x ← σ(F(x) + S x)`` between a convolution with pooling and a linear layer on averages over pixels.

    ``F`` is twice a convolution of size 3 with batch norm and a ReLU in between, or (bottleneck) convolutions of size
    1, 3 and 1, of which the last has four times as many channels. All groups but the first begin with stride 2, on
    the first convolution of the block. Where shapes differ, ``S`` takes every second pixel and adds channels of zeros,
    or is a 1×1 convolution without bias and a batch norm. Modulation comes before batch norm or, with
    ``context_mod_post_activation``, after the nonlinearity; shortcuts are not modulated.

    Args:
        in_shape: Height, width and number of channels.
        num_classes: Number of classes.
        use_bias: Whether convolutions have biases.
        use_fc_bias: Whether the output layer has one (default: as ``use_bias``).
        num_feature_maps: Channels of the first convolution and of the four groups (within a bottleneck).
        blocks_per_group: Number of blocks of the four groups.
        projection_shortcut: Whether shortcuts that change the shape are convolutions.
        bottleneck_blocks: Whether blocks have a bottleneck.
        cutout_mod: Whether the first convolution has size 3 and stride 1, without pooling, instead of 7 and 2: for
            small images.
        no_weights: Whether the weights of layers and batch norm are external.
        use_batch_norm: Whether activations are batch-normalised.
        bn_track_stats: Whether batch norm keeps running statistics.
        distill_bn_stats: Whether the running statistics are to be distilled (``hyper_shapes_distilled``).
        chw_input_format: Whether inputs are ``[N, C, H, W]``, instead of rows with ``[H, W, C]`` flattened.
        verbose: Whether to print a line about the network.
        init_weights: Initial values, parallel to ``internal_params``.
        **kwargs: ``use_spectral_norm`` (expensive: a singular value decomposition of each weight in each step),
            ``context_mod_apply_pixel_wise`` (a gain and a shift for each pixel) and the options of
            :class:`~hypnettorch.mnets.mlp.ContextModOptions`.

    Raises:
        ValueError: If an argument is out of range or has the wrong length.
        TypeError: If an argument has the wrong type or is unknown.

    Example:
        >>> print(ResNetIN(blocks_per_group=(3, 4, 6, 3), bottleneck_blocks=True, no_weights=True, verbose=False))
        ResNet-50

    References:
        He et al., "Deep Residual Learning for Image Recognition", 2016, table 1, https://arxiv.org/abs/1512.03385.
        DeVries & Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout", 2017,
        https://arxiv.org/abs/1708.04552 (``cutout_mod``).
    """

    def __init__(
        self,
        in_shape: Sequence[int] = (224, 224, 3),
        num_classes: int = 1000,
        use_bias: bool = True,
        use_fc_bias: bool | None = None,
        num_feature_maps: Sequence[int] = (64, 64, 128, 256, 512),
        blocks_per_group: Sequence[int] = (2, 2, 2, 2),
        projection_shortcut: bool = False,
        bottleneck_blocks: bool = False,
        cutout_mod: bool = False,
        no_weights: bool = False,
        use_batch_norm: bool = True,
        bn_track_stats: bool = True,
        distill_bn_stats: bool = False,
        chw_input_format: bool = False,
        verbose: bool = True,
        init_weights: Sequence[Tensor] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(in_shape, num_classes, verbose, chw_input_format)
        checks.length("num_feature_maps", num_feature_maps, 5)
        checks.length("blocks_per_group", blocks_per_group, 4)
        stem, *widths = checks.integers("num_feature_maps", num_feature_maps, 1)
        depths = checks.integers("blocks_per_group", blocks_per_group, 1)

        d = ConvDeclaration(
            self, kwargs, no_weights, use_bias, use_fc_bias, use_batch_norm, bn_track_stats, distill_bn_stats
        )
        first = d.modulated_input()
        first += d.conv(stem, 3, padding=1) if cutout_mod else d.conv(stem, 7, stride=2, padding=3)
        first += d.settled() + d.activated() + ([] if cutout_mod else d.max_pool(3, stride=2, padding=1))
        blocks = groups(partial(_bottleneck, d) if bottleneck_blocks else d.block, widths, depths)
        last = d.average() + d.head()
        for block in blocks:
            if block.changes_shape and projection_shortcut:
                block.shortcut = d.bridge(block) + d.norm()
        self._name = f"ResNet-{2 + sum(depths) * (3 if bottleneck_blocks else 2)}"
        self._finish(d, [*first, *blocks, *last], init_weights)

    def __str__(self) -> str:
        return self._name


def _bottleneck(d: ConvDeclaration, channels: int, stride: int) -> Residual:
    entry = d.shape
    body = d.conv(channels, 1, stride) + d.settled() + d.activated()
    body += d.conv(channels, 3, padding=1) + d.settled() + d.activated()
    body += d.conv(EXPANSION * channels, 1) + d.settled()
    return Residual(body, d.activated(), entry, d.shape, stride)
