"""The convolutional network of the synaptic intelligence experiments on CIFAR."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from hypnettorch.core import checks
from hypnettorch.mnets.conv_net import ConvDeclaration, ConvNet

IN_SHAPES = {"cifar": (32, 32, 3)}
"""Input shape of each architecture."""


class ZenkeNet(ConvNet):
    """Twice two convolutions of size 3 (the first of them padded), pooling and dropout; then two linear layers.

    All layers but the last are followed by a ReLU. Channels are dropped with ``dropout_rate`` behind the pooling,
    hidden units of the linear layer with twice that rate.

    Args:
        in_shape: Height, width and number of channels: 32, 32, 3.
        num_classes: Number of classes.
        verbose: Whether to print a line about the network.
        arch: ``'cifar'``.
        no_weights: Whether the weights are external.
        init_weights: Initial values, parallel to ``internal_params``.
        dropout_rate: Probability of dropping a channel, at most 0.5; -1 for no dropout.

    Raises:
        ValueError: If ``arch`` is unknown, ``in_shape`` does not fit it, or another argument is out of range.

    Example:
        >>> net = ZenkeNet(num_classes=4, no_weights=True, verbose=False)
        >>> net.hyper_shapes_learned[-2:]
        [[4, 512], [4]]

    References:
        Zenke et al., "Continual Learning Through Synaptic Intelligence", 2017, https://arxiv.org/abs/1703.04200.
    """

    _widths = (32, 64)
    _hidden = 512

    def __init__(
        self,
        in_shape: Sequence[int] = (32, 32, 3),
        num_classes: int = 10,
        verbose: bool = True,
        arch: str = "cifar",
        no_weights: bool = False,
        init_weights: Sequence[Tensor] | None = None,
        dropout_rate: float = 0.25,
    ) -> None:
        super().__init__(in_shape, num_classes, verbose)
        checks.one_of("arch", arch, IN_SHAPES)
        if tuple(self._in_shape) != IN_SHAPES[arch]:
            checks.fail("in_shape", f"{IN_SHAPES[arch]} for arch='{arch}'", tuple(self._in_shape))
        rate = checks.dropout_rate("dropout_rate", dropout_rate)
        if rate > 0.5:
            checks.fail("dropout_rate", "at most 0.5, since hidden units are dropped with twice that rate", rate)

        d = ConvDeclaration(self, {}, no_weights)
        stages = []
        for channels in self._widths:
            for padding in (1, 0):
                stages += d.conv(channels, 3, padding=padding) + d.activated()
            stages += d.max_pool(2) + d.dropout(rate, channels=True)
        stages += d.flatten() + d.linear(self._hidden) + d.activated() + d.dropout(2 * rate) + d.head()
        self._finish(d, stages, init_weights)
