"""Wide residual networks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import Tensor

from hypnettorch.core import checks
from hypnettorch.mnets.conv_net import ConvDeclaration, ConvNet, Residual, group_widths, groups


class WRN(ConvNet):
    """``x ← F(x) + S x``, 3n times, between one convolution and a linear layer on averages over pixels.

    ``F`` is twice batch norm, ReLU and a convolution of size 3, with dropout in between; a further batch norm and ReLU
    follow the last block. The second and third of the three groups of ``n`` blocks begin with stride 2; where shapes
    differ, ``S`` is a 1×1 convolution without bias, otherwise the identity. Modulation comes before batch norm or, with
    ``context_mod_post_activation``, after the nonlinearity.

    Args:
        in_shape: Height, width and number of channels.
        num_classes: Number of classes.
        n: Number of blocks of a group.
        k: Factor of the channels of the groups.
        num_feature_maps: Channels of the first convolution and (without the factor) of the three groups.
        use_bias: Whether convolutions have biases.
        use_fc_bias: Whether the output layer has one (default: as ``use_bias``).
        no_weights: Whether the weights of layers and batch norm are external.
        use_batch_norm: Whether activations are batch-normalised.
        bn_track_stats: Whether batch norm keeps running statistics.
        distill_bn_stats: Whether the running statistics are to be distilled (``hyper_shapes_distilled``).
        dropout_rate: Probability of dropping an activation between the two convolutions of a block; -1 for no dropout.
        chw_input_format: Whether inputs are ``[N, C, H, W]``, instead of rows with ``[H, W, C]`` flattened.
        verbose: Whether to print a line about the network.
        init_weights: Initial values, parallel to ``internal_params``.
        **kwargs: ``use_spectral_norm`` (expensive: a singular value decomposition of each weight in each step),
            ``context_mod_apply_pixel_wise`` (a gain and a shift for each pixel) and the options of
            :class:`~hypnettorch.mnets.mlp.ContextModOptions`.

    Raises:
        ValueError: If an argument is out of range.
        TypeError: If an argument has the wrong type or is unknown.

    Example:
        >>> print(WRN(n=4, k=2, no_weights=True, verbose=False))
        WRN-28-2-B(3,3)

    References:
        Zagoruyko & Komodakis, "Wide Residual Networks", 2016, table 1, https://arxiv.org/abs/1605.07146.
    """

    def __init__(
        self,
        in_shape: Sequence[int] = (32, 32, 3),
        num_classes: int = 10,
        n: int = 4,
        k: int = 10,
        num_feature_maps: Sequence[int] = (16, 16, 32, 64),
        use_bias: bool = True,
        use_fc_bias: bool | None = None,
        no_weights: bool = False,
        use_batch_norm: bool = True,
        bn_track_stats: bool = True,
        distill_bn_stats: bool = False,
        dropout_rate: float = -1,
        chw_input_format: bool = False,
        verbose: bool = True,
        init_weights: Sequence[Tensor] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(in_shape, num_classes, verbose, chw_input_format)
        stem, *widths = group_widths(num_feature_maps, k)
        checks.integer("n", n, 1)
        rate = checks.dropout_rate("dropout_rate", dropout_rate)

        d = ConvDeclaration(
            self, kwargs, no_weights, use_bias, use_fc_bias, use_batch_norm, bn_track_stats, distill_bn_stats
        )
        first = d.modulated_input() + d.conv(stem, 3, padding=1)
        blocks = groups(partial(_block, d, rate), widths, 3 * [n])
        last = d.settled() + d.activated() + d.average() + d.head()
        bridged = [block for block in blocks if block.changes_shape]
        for block in bridged:
            block.shortcut = d.bridge(block, layer=-1)
        self._name = f"WRN-{1 + 6 * n + len(bridged)}-{k}-B(3,3)"
        self._finish(d, [*first, *blocks, *last], init_weights)

    def __str__(self) -> str:
        return self._name


def _block(d: ConvDeclaration, dropout_rate: float, channels: int, stride: int) -> Residual:
    entry = d.shape
    body = d.settled() + d.activated() + d.conv(channels, 3, stride, padding=1) + d.dropout(dropout_rate)
    body += d.settled() + d.activated() + d.conv(channels, 3, padding=1)
    return Residual(body, [], entry, d.shape, stride)
