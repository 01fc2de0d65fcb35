r"""Hyperfan initialisation of deconvolutional hypernetworks: constants per pixel bring each target to its variance.

All targets share the kernels, so that (other than in :class:`~hypnettorch.hnets.mlp_hnet.HMLP`) no choice of weights
gives each its own variance. But the image may be scaled, pixel by pixel, once it is known how large its pixels are.

**Second moments.** Weights are drawn independently, with mean 0. A pixel ``p`` of a layer then has the same second
moment ``m(p)`` in all of its channels:

- The fully connected layer, of variance ``c / n`` for ``n`` inputs of average variance ``v``, gives ``m(p) = c v``.
- The activation turns ``m(p)`` into ``E[σ(z)²]`` with ``z ~ N(0, m(p))``. Rectified units halve it whatever the
  distribution of ``z``, as this is symmetric.
- Self-attention starts with the weight ``γ = 0`` and changes nothing.
- A transpose convolution sums over the pixels ``r_k(p)`` that reach ``p``, one per tap ``k`` of the kernel:
  ``m'(p) = C E[w²] Σ_k m(r_k(p))`` with ``C`` input channels. How many these are depends on ``p``: with 5 × 5 kernels
  and stride 2 there are 9, 6, 6 or 4, and less at the border. The sum is itself a transpose convolution, of ``m`` with
  ones. Hidden layers have ``E[w²] = c / fan_in`` with the average number of inputs of a pixel, the last one
  ``1 / fan_in``; under spectral norm it is the mean square of the normalised kernel.
- Batch norm (in training) subtracts from each channel its mean over batch and image. Different pixels ``r ≠ s`` of an
  activation have ``E[a(r) a(s)] ≈ μ(r) μ(s)`` with ``μ = E[σ(z)]``, so tap ``k``, whose contribution has the mean
  ``μ_k`` over the image (0 where the tap does not reach), has ``Σ_k m(r_k(p))`` reduced by
  ``Σ_k (2 μ_k μ(r_k(p)) - μ_k²)``. Then it divides, such that the mean of ``m`` over the image is 1.

``c`` is 2 (Kaiming) or 1 (Xavier); biases start at 0.

**Scale and offset.** What turns an image with these moments into targets stands in
:mod:`hypnettorch.hnets.output_constants`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from hypnettorch.core.values import Values
from hypnettorch.hnets.deconv_stages import Upsampling
from hypnettorch.hnets.initialization import draw_norms, fill_uniform, gaussian_moments
from hypnettorch.hnets.output_constants import DOUBLE

if TYPE_CHECKING:
    from hypnettorch.hnets.deconv_hnet import HDeconv

GRID = 17
"""At how many second moments the activation is evaluated; ``E[σ(z)²]`` is interpolated in between."""


def draw(hnet: HDeconv, moment: float, gain: float) -> Tensor:
    """Draw all parameters of a deconvolutional hypernetwork but the embeddings.

    Args:
        hnet: The hypernetwork.
        moment: Mean square of an entry of its inputs.
        gain: ``c``.

    Returns:
        The second moments ``[num_outputs]`` of the image that it draws, on the CPU in double precision.
    """
    values = hnet.evaluation(None, None, None)
    draw_norms(hnet)
    first, *convs = hnet.layers
    _draw(values, first.weight_name, first.bias_name, gain / (hnet._uncond_in_size + hnet._cond_in_size))
    for attention in hnet.attentions:
        for weight, bias in attention.projections:
            _draw(values, weight, bias, 1 / values[weight].shape[1])
        fill_uniform(values[attention.gamma], 0.0, 0.0)
    for conv in convs:
        _draw(values, conv.weight_name, conv.bias_name, (1.0 if conv is convs[-1] else gain) / conv.fan_in)
    return pixel_moments(hnet, moment, values)


def _draw(values: Values, weight: str, bias: str | None, variance: float) -> None:
    """Fill the weight of a layer with this variance, and its bias with 0."""
    fill_uniform(values[weight], 0.0, variance)
    if bias is not None and bias in values.tensors:
        fill_uniform(values[bias], 0.0, 0.0)


@torch.no_grad()
def pixel_moments(hnet: HDeconv, variance: float, values: Values) -> Tensor:
    """Second moments ``[num_outputs]`` of the image that a network draws from inputs of this mean square."""
    first, *convs = hnet.layers
    weight, _ = first.tensors(values)
    size = convs[0].step.before
    moments = torch.full((1, 1, *size), weight.shape[1] * _mean_square(weight) * variance, **DOUBLE)
    for conv in convs:
        if hnet.batchnorm_layers:
            moments /= moments.mean()
        means, squares = _activated(moments, hnet._act_fn, weight)
        moments = conv.step(squares, torch.ones(1, 1, *conv.step.kernel, **DOUBLE))
        if hnet.batchnorm_layers and conv is not convs[-1]:
            moments += _mean_removed(conv.step, means)
        kernels, _ = conv.tensors(values)
        moments *= kernels.shape[0] * _mean_square(kernels)
    return moments.flatten().repeat_interleave(hnet.num_channels)[: hnet.num_outputs]


def _mean_square(tensor: Tensor) -> float:
    return tensor.double().square().mean().item()


def _activated(moments: Tensor, activation: Callable[[Tensor], Tensor] | None, like: Tensor) -> tuple[Tensor, Tensor]:
    """``E[σ(z)]`` and ``E[σ(z)²]`` for ``z ~ N(0, m)``, for each second moment ``m``."""
    grid = np.unique(np.linspace(moments.min().item(), moments.max().item(), GRID))
    table = np.array([gaussian_moments(activation, m, like) for m in grid.tolist()])
    mean, square = (torch.from_numpy(np.interp(moments.numpy(), grid, column)) for column in table.T)
    return mean, square


def _mean_removed(step: Upsampling, means: Tensor) -> Tensor:
    """What subtracting the mean over batch and image adds to the second moments, without the factor ``C E[w²]``."""
    with torch.enable_grad():
        ones = torch.ones(1, 1, *step.kernel, **DOUBLE, requires_grad=True)
        (per_tap,) = torch.autograd.grad(step(means, ones).mean(), ones)
    return per_tap.square().sum() - 2 * step(means, per_tap)
