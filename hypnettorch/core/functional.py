"""Operations that take one weight set, or ``B`` of them at once.

With ``B`` sets inputs are ``[B, N, ...]``; a weight is ``[B, *shape]``, or ``*shape`` if all sets share it. Each
function is one (batched) product.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

Size = int | tuple[int, int]

HALF = (torch.float16, torch.bfloat16)
"""The dtypes of half precision."""


def lift_under_autocast(value: Tensor) -> Tensor:
    """A half precision tensor in float32 if autocast is on; any other tensor as it is.

    Normalisation and modulation take their scales from outside, where autocast makes them half precision, which the
    kernels of batch, layer and group norm refuse.

    Example:
        >>> with torch.autocast("cpu", dtype=torch.bfloat16):
        ...     lift_under_autocast(torch.ones(1, dtype=torch.bfloat16)).dtype
        torch.float32
    """
    return value.float() if value.dtype in HALF and autocast_is_on(value.device) else value


def autocast_is_on(device: torch.device) -> bool:
    """Whether operations on a device choose their precision themselves."""
    return device.type != "meta" and torch.is_autocast_enabled(device.type)


def any_value(condition: Tensor) -> bool:
    """Whether a value is true, as far as it can be read: compilation, ``vmap`` and meta tensors hide values.

    Example:
        >>> any_value(torch.tensor([False, True])), any_value(torch.ones(1, device="meta"))
        (True, False)
    """
    if torch.compiler.is_compiling() or condition.is_meta:
        return False
    try:
        return bool(condition.any())
    except RuntimeError:  # vmap
        return False


def per_set(value: Tensor, x: Tensor, dims: int) -> Tensor:
    """Give a stacked tensor ``[B, *shape]`` the dimensions to broadcast against ``x`` ``[B, ..., *shape]``.

    Args:
        value: ``[B, *shape]``, or ``shape`` (returned as it is).
        x: The tensor that ``value`` meets.
        dims: Number of dimensions of ``shape``.
    """
    if value.dim() <= dims:
        return value
    return value.view(value.shape[0], *[1] * (x.dim() - 1 - dims), *value.shape[1:])


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x Wᵀ + b`` for one or many weight sets.

    Args:
        x: ``[..., in]``; with stacked weights ``[B, ..., in]``.
        weight: ``[out, in]`` or ``[B, out, in]``.
        bias: ``[out]`` or ``[B, out]``.

    Example:
        >>> linear(torch.ones(3, 5, 4), torch.ones(3, 2, 4), torch.zeros(3, 2)).shape
        torch.Size([3, 5, 2])
    """
    if weight.dim() == 2:
        shared = bias is None or bias.dim() == 1
        y = F.linear(x, weight, bias if shared else None)
        return y if shared else y + per_set(bias, y, 1)  # type: ignore[arg-type]
    dims = x.dim()
    rows = x if dims == 3 else x.unsqueeze(1) if dims == 2 else x.flatten(1, -2)
    row = bias if bias is None or bias.dim() == 1 else bias.unsqueeze(1)
    if row is None:
        y = torch.bmm(rows, weight.mT)
    elif torch._C._is_any_autocast_enabled():  # baddbmm would want three tensors of one dtype
        y = torch.bmm(rows, weight.mT) + row
    else:
        y = torch.baddbmm(row, rows, weight.mT)
    return y if dims == 3 else y.view(*x.shape[:-1], y.shape[-1])


def add_product(a: Tensor, x: Tensor, matrix: Tensor) -> Tensor:
    """``a + x M`` in one operation, if there is one for these dimensions.

    Args:
        a: ``[N, out]`` or ``[B, N, out]``.
        x: ``[N, in]`` or ``[B, N, in]``.
        matrix: ``[in, out]`` or ``[B, in, out]``.
    """
    if a.dim() == 2:
        return torch.addmm(a, x, matrix)
    if matrix.dim() == 3 and not torch.is_autocast_enabled(x.device.type):
        return torch.baddbmm(a, x, matrix)
    return a + x @ matrix


def join_sets(x: Tensor) -> Tensor:
    """The channels of all sets side by side: ``[B, N, C, *]`` to ``[N, B·C, *]``.

    What follows a grouped convolution keeps this order in memory, so that joining is a view from there on.
    """
    return x.transpose(0, 1).flatten(1, 2)


def split_sets(x: Tensor, sets: int) -> Tensor:
    """The inverse of :func:`join_sets`: a view ``[B, N, C, *]`` of ``[N, B·C, *]``."""
    return x.unflatten(1, (sets, -1)).transpose(0, 1)


def map_images(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply a function of images ``[N, C, H, W]`` that treats channels alike, also to those of many sets.

    Args:
        function: What to apply, such as pooling.
        x: ``[N, C, H, W]`` or ``[B, N, C, H, W]``.

    Example:
        >>> map_images(torch.nn.MaxPool2d(2), torch.ones(3, 5, 1, 8, 8)).shape
        torch.Size([3, 5, 1, 4, 4])
    """
    if x.dim() == 4:
        return function(x)
    if x.shape[0] == 0:
        return function(x.flatten(0, 1)).unflatten(0, x.shape[:2])
    return split_sets(function(join_sets(x)), x.shape[0])


def conv2d(x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: int = 1, padding: int = 0) -> Tensor:
    """Convolution for one or many weight sets; stacked weights are one grouped convolution.

    Args:
        x: ``[N, C, H, W]``; of many sets ``[B, N, C, H, W]``.
        weight: ``[O, C, k, k]`` or ``[B, O, C, k, k]``.
        bias: ``[O]`` or ``[B, O]``.
        stride: Distance of two patches.
        padding: Zeros at each side of the input.

    Returns:
        ``[N, O, H', W']``; of many sets ``[B, N, O, H', W']``.

    Example:
        >>> conv2d(torch.ones(3, 5, 1, 8, 8), torch.ones(3, 2, 1, 3, 3), torch.zeros(3, 2)).shape
        torch.Size([3, 5, 2, 6, 6])
    """
    if stride > 1 and padding == 0 and weight.shape[-2:] == (1, 1):
        # The same product. For channels_last inputs of few channels, the strided one of torch 2.13 writes out of bounds
        # in its backward pass on processors without AVX-512.
        x, stride = x[..., ::stride, ::stride], 1
    convolve = partial(F.conv2d, stride=stride, padding=padding)
    if x.dim() > 4 and x.shape[0] == 0:  # a convolution has at least one group
        images = convolve(x.flatten(0, 1), weight.sum(0) if weight.dim() == 5 else weight)
        return images.view(*x.shape[:2], *images.shape[1:])
    return _of_sets(convolve, x, weight, bias, weight.shape[-4])


def conv_transpose2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    output_padding: tuple[int, int] = (0, 0),
) -> Tensor:
    """Transpose convolution for one or many weight sets; stacked weights are one grouped transpose convolution.

    Args:
        x: ``[N, C, H, W]``; of many sets ``[B, N, C, H, W]``.
        weight: ``[C, O, k_h, k_w]`` or ``[B, C, O, k_h, k_w]``.
        bias: ``[O]`` or ``[B, O]``.
        stride: Distance of two patches of the output, (vertical, horizontal) as all that follows.
        padding: Pixels cut off at each side of the output.
        output_padding: Pixels appended at the end of the output.

    Returns:
        ``[N, O, H', W']``; of many sets ``[B, N, O, H', W']``.

    Example:
        >>> conv_transpose2d(torch.ones(3, 5, 1, 4, 4), torch.ones(3, 1, 2, 2, 2), stride=(2, 2)).shape
        torch.Size([3, 5, 2, 8, 8])
    """
    convolve = partial(F.conv_transpose2d, stride=stride, padding=padding, output_padding=output_padding)
    return _of_sets(convolve, x, weight, bias, weight.shape[-3])


def _of_sets(convolve: Callable[..., Tensor], x: Tensor, weight: Tensor, bias: Tensor | None, channels: int) -> Tensor:
    """A convolution to some number of channels, of images, or of the images of many sets with one or many weights."""
    if x.dim() == 4:
        return convolve(x, weight, bias)
    sets = x.shape[0]
    if weight.dim() == 5:
        joined_bias = None if bias is None else bias.expand(sets, channels).flatten()
        return split_sets(convolve(join_sets(x), weight.flatten(0, 1), joined_bias, groups=sets), sets)
    own_bias = bias if bias is None or bias.dim() == 1 else None
    y = convolve(x.flatten(0, 1), weight, own_bias).unflatten(0, (sets, -1))
    return y if bias is own_bias else y + bias[:, None, :, None, None]  # type: ignore[index]


def local_conv2d(
    x: Tensor, filters: Tensor, bias: Tensor | None, kernel_size: Size, stride: Size = 1, padding: Size = 0
) -> Tensor:
    """Convolution with a filter of its own for each of the ``P`` output pixels, for one or many weight sets.

    Args:
        x: ``[N, C, H, W]``; of many sets ``[B, N, C, H, W]``.
        filters: ``[O, C·k·k, P]`` or ``[B, O, C·k·k, P]``.
        bias: ``[O, P]`` or ``[B, O, P]``.
        kernel_size: Size of a patch, here as below a number or height and width.
        stride: Distance of two patches.
        padding: Zeros at each side of the input.

    Returns:
        ``[N, O, P]``; of many sets ``[B, N, O, P]``.
    """
    patches = F.unfold(x.flatten(0, -4), kernel_size, padding=padding, stride=stride).unflatten(0, x.shape[:-3])
    # One product per pixel; a product of strided matrices would copy them one by one.
    filters = filters.movedim(-1, -3).contiguous()
    y = torch.matmul(patches.movedim(-1, -3), filters.mT).movedim(-3, -1)
    return y if bias is None else y + per_set(bias, y, 2)


def spectral_normalize(weight: Tensor, dims: int) -> Tensor:
    """A weight divided by its largest singular value, read as a matrix ``[out, -1]`` in float32 or wider.

    No state is kept, and the gradient flows through the singular value, so it works for weights that come from
    outside. It costs a singular value decomposition of every weight in every step.

    Args:
        weight: ``shape`` or ``[B, *shape]``.
        dims: Number of dimensions of ``shape``.

    References:
        Miyato et al., "Spectral Normalization for Generative Adversarial Networks", 2018, eq. 8.
    """
    matrix = weight.flatten(weight.dim() - dims + 1)
    if matrix.dtype in (torch.float16, torch.bfloat16):
        matrix = matrix.float()
    norm = torch.linalg.matrix_norm(matrix, 2).clamp_min(1e-12)
    return (weight / norm.view(*norm.shape, *[1] * dims)).to(weight.dtype)
