"""Samples of activations in place of samples of weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from hypnettorch.core import checks

LAYERS = (functional.linear, torch.conv1d, torch.conv2d, torch.conv3d)


class LocalReparametrization(TorchFunctionMode):
    """Inside, a layer with the mean ``M`` of normally distributed weights draws its outputs anew for each sample.

    ``a = M x + b + √(S² x² + s²) ε`` for weights ``N(M, S²)`` and a bias ``N(b, s²)``: each sample sees other weights,
    which makes the variance of gradients smaller than one weight set for all. It is exact for linear layers. Outputs of
    a convolution are drawn independently though they share weights, as is usual.

    Args:
        means: The means of the weights, which are what the network is called with.
        stds: Their standard deviations, parallel to ``means``.

    Raises:
        ValueError: At the end, if no layer was called with one of the means itself (but with what was computed from it,
            as by spectral normalisation), so that its deviation had no effect.

    References:
        D. P. Kingma, T. Salimans, M. Welling, "Variational dropout and the local reparameterization trick", NeurIPS
        2015, https://arxiv.org/abs/1506.02557, eq. 6.

    Example:
        >>> from hypnettorch.mnets import MLP
        >>> net = MLP(n_in=2, n_out=1, no_weights=True, verbose=False)
        >>> means = [torch.zeros(*shape) for shape in net.hyper_shapes_learned]
        >>> stds = [torch.ones(*shape) for shape in net.hyper_shapes_learned]
        >>> with LocalReparametrization(means, stds):
        ...     outputs = net(torch.ones(3, 2), weights=means)
        >>> len(outputs.unique())
        3
    """

    def __init__(self, means: Sequence[Tensor], stds: Sequence[Tensor]) -> None:
        super().__init__()
        checks.length("stds", stds, len(means))
        self._means = list(means)  # so that no other tensor gets the number of one of them
        self._variances = {id(mean): std.square() for mean, std in zip(means, stds, strict=True)}
        self._used: set[int] = set()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Draw the output of a layer whose weight is one of the means; compute everything else as usual."""
        kwargs = kwargs or {}
        mean = func(*args, **kwargs)
        if func not in LAYERS or len(args) < 2 or id(args[1]) not in self._variances:
            return mean
        x, weight, *rest = args
        bias = rest[0] if rest else kwargs.get("bias")
        bias_variance = None if bias is None else self._variances[id(bias)]
        self._used |= {id(weight), id(bias)}
        without_bias = {name: value for name, value in kwargs.items() if name != "bias"}
        variance = func(x.square(), self._variances[id(weight)], bias_variance, *rest[1:], **without_bias)
        return mean + variance.clamp(min=torch.finfo(variance.dtype).tiny).sqrt() * torch.randn_like(mean)

    def __exit__(self, error: Any, *details: Any) -> None:
        """Make sure that all weights were random."""
        super().__exit__(error, *details)
        unused = [i for i, mean in enumerate(self._means) if id(mean) not in self._used]
        if error is None and unused:
            checks.fail(("means", unused[0]), "the weight or bias of a layer that was called", "another tensor")
