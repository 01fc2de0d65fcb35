"""Residual networks for small images."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor

from hypnettorch.core import checks
from hypnettorch.mnets.conv_net import ConvDeclaration, ConvNet, group_widths, groups


class ResNet(ConvNet):
    """``x ← σ(F(x) + x)``, 3n times, between one convolution and a linear layer on averages over pixels.

    ``F`` is twice a convolution of size 3 with batch norm, and a ReLU in between: a network of 6n + 2 layers. The
    second and third of the three groups of ``n`` blocks begin with stride 2; where shapes differ, the shortcut takes
    every second pixel and adds channels of zeros. Modulation comes before batch norm or, with
    ``context_mod_post_activation``, after the nonlinearity.

    Args:
        in_shape: Height, width and number of channels.
        num_classes: Number of classes.
        use_bias: Whether the layers have bias vectors.
        num_feature_maps: Channels of the first convolution and of the three groups.
        verbose: Whether to print a line about the network.
        n: Number of blocks of a group.
        k: Factor of the channels of the groups.
        no_weights: Whether the weights of layers and batch norm are external.
        init_weights: Initial values, parallel to ``internal_params``.
        use_batch_norm: Whether activations are batch-normalised.
        bn_track_stats: Whether batch norm keeps running statistics.
        distill_bn_stats: Whether the running statistics are to be distilled (``hyper_shapes_distilled``).
        context_mod_apply_pixel_wise: Whether each pixel has its own gain and shift.
        **kwargs: ``use_spectral_norm`` (expensive: a singular value decomposition of each weight in each step) and the
            options of :class:`~hypnettorch.mnets.mlp.ContextModOptions`.

    Raises:
        ValueError: If an argument is out of range, or ``num_feature_maps`` decreases.
        TypeError: If an argument has the wrong type or is unknown.

    Example:
        >>> net = ResNet(n=1, num_feature_maps=(4, 4, 8, 16), no_weights=True, verbose=False)
        >>> len(net.hyper_shapes_learned), net.num_params
        (30, 5066)

    References:
        He et al., "Deep Residual Learning for Image Recognition", 2016, section 4.2, https://arxiv.org/abs/1512.03385.
    """

    def __init__(
        self,
        in_shape: Sequence[int] = (32, 32, 3),
        num_classes: int = 10,
        use_bias: bool = True,
        num_feature_maps: Sequence[int] = (16, 16, 32, 64),
        verbose: bool = True,
        n: int = 5,
        k: int = 1,
        no_weights: bool = False,
        init_weights: Sequence[Tensor] | None = None,
        use_batch_norm: bool = True,
        bn_track_stats: bool = True,
        distill_bn_stats: bool = False,
        context_mod_apply_pixel_wise: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(in_shape, num_classes, verbose)
        stem, *widths = group_widths(num_feature_maps, k)
        if any(first > second for first, second in pairwise(num_feature_maps)):
            checks.fail("num_feature_maps", "numbers that do not decrease", list(num_feature_maps))
        checks.integer("n", n, 1)

        kwargs["context_mod_apply_pixel_wise"] = context_mod_apply_pixel_wise
        d = ConvDeclaration(self, kwargs, no_weights, use_bias, None, use_batch_norm, bn_track_stats, distill_bn_stats)
        first = d.modulated_input() + d.conv(stem, 3, padding=1) + d.settled() + d.activated()
        self._finish(d, [*first, *groups(d.block, widths, 3 * [n]), *d.average(), *d.head()], init_weights)
