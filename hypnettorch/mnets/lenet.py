"""LeNet: two convolutions with pooling, two fully connected layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from hypnettorch.core import checks
from hypnettorch.mnets.conv_net import ConvDeclaration, ConvNet

ARCHITECTURES = {
    "mnist_small": ((28, 28, 1), (10, 20), 50),
    "mnist_large": ((28, 28, 1), (20, 50), 500),
    "cifar": ((32, 32, 3), (192, 192), 1000),
}
"""Input shape, widths of the convolutions and of the hidden layer."""


class LeNet(ConvNet):
    """``y = W₂ σ(W₁ x₂)`` with ``x_l = σ(pool(K_l ∗ x_{l-1}))``, kernels of size 5 and pooling of size 2.

    With ``dropout_rate``, channels are dropped between convolution and pooling, and hidden units behind the
    nonlinearity. Modulation comes before the nonlinearity or, with ``context_mod_post_activation``, after it.

    Args:
        in_shape: Height, width and number of channels, as ``arch`` wants them.
        num_classes: Number of classes.
        verbose: Whether to print a line about the network.
        arch: ``'mnist_small'``, ``'mnist_large'`` or ``'cifar'``, see :data:`ARCHITECTURES`.
        no_weights: Whether the weights of the layers are external.
        init_weights: Initial values, parallel to ``internal_params``.
        dropout_rate: Probability of dropping; -1 for no dropout.
        **kwargs: ``use_spectral_norm`` (expensive: a singular value decomposition of each weight in each step),
            ``context_mod_apply_pixel_wise`` (a gain and a shift for each pixel) and the options of
            :class:`~hypnettorch.mnets.mlp.ContextModOptions`.

    Raises:
        ValueError: If ``arch`` is unknown, ``in_shape`` does not fit it, or another argument is out of range.
        TypeError: If an argument has the wrong type or is unknown.

    Example:
        >>> net = LeNet(arch='mnist_small', verbose=False)
        >>> net.param_shapes[:2], net(torch.randn(5, 784)).shape
        ([[10, 1, 5, 5], [10]], torch.Size([5, 10]))

    References:
        LeCun et al., "Gradient-based learning applied to document recognition", 1998.
    """

    def __init__(
        self,
        in_shape: Sequence[int] = (28, 28, 1),
        num_classes: int = 10,
        verbose: bool = True,
        arch: str = "mnist_large",
        no_weights: bool = False,
        init_weights: Sequence[Tensor] | None = None,
        dropout_rate: float = -1,
        **kwargs: Any,
    ) -> None:
        super().__init__(in_shape, num_classes, verbose)
        checks.one_of("arch", arch, ARCHITECTURES)
        wanted, widths, hidden = ARCHITECTURES[arch]
        if tuple(self._in_shape) != wanted:
            checks.fail("in_shape", f"{wanted} for arch='{arch}'", tuple(self._in_shape))
        rate = checks.dropout_rate("dropout_rate", dropout_rate)

        d = ConvDeclaration(self, kwargs, no_weights)
        stages = d.modulated_input()
        for channels in widths:
            stages += d.conv(channels, 5) + d.dropout(rate, channels=True) + d.max_pool(2) + d.settled() + d.activated()
        stages += d.flatten() + d.linear(hidden) + d.settled() + d.activated() + d.dropout(rate) + d.head()
        self._finish(d, stages, init_weights)
