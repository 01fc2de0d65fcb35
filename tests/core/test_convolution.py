"""Convolutions of one or many weight sets."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypnettorch.core.functional import conv2d, join_sets, local_conv2d, map_images, split_sets

SETS = 3


def pick(value: Tensor | None, dims: int, b: int) -> Tensor | None:
    return value if value is None or value.dim() == dims else value[b]


@pytest.mark.parametrize("bias", [None, (5,), (SETS, 5)])
@pytest.mark.parametrize("kernel", [(5, 2, 3, 3), (SETS, 5, 2, 3, 3)])
@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (2, 1)])
def test_convolution(kernel: tuple[int, ...], bias: tuple[int, ...] | None, stride: int, padding: int) -> None:
    torch.set_default_dtype(torch.float64)
    try:
        x = torch.randn(SETS, 4, 2, 7, 6, requires_grad=True)
        w = torch.randn(kernel, requires_grad=True)
        b = None if bias is None else torch.randn(bias, requires_grad=True)
    finally:
        torch.set_default_dtype(torch.float32)
    got = conv2d(x, w, b, stride, padding)
    expected = torch.stack([F.conv2d(x[i], pick(w, 4, i), pick(b, 1, i), stride, padding) for i in range(SETS)])
    torch.testing.assert_close(got, expected)
    leaves = [t for t in (x, w, b) if t is not None]
    torch.testing.assert_close(
        torch.autograd.grad(got.square().sum(), leaves), torch.autograd.grad(expected.square().sum(), leaves)
    )
    torch.autograd.gradgradcheck(lambda *t: conv2d(t[0], t[1], t[2] if b is not None else None), leaves, fast_mode=True)


@pytest.mark.parametrize("bias", [None, (5, 6), (SETS, 5, 6)])
@pytest.mark.parametrize("filters", [(5, 18, 6), (SETS, 5, 18, 6)])
def test_local_convolution(filters: tuple[int, ...], bias: tuple[int, ...] | None) -> None:
    x = torch.randn(SETS, 4, 2, 5, 4)
    f = torch.randn(filters)
    b = None if bias is None else torch.randn(bias)
    got = local_conv2d(x, f, b, 3)
    for i in range(SETS):
        patches = F.unfold(x[i], 3)
        expected = torch.einsum("nip,oip->nop", patches, pick(f, 3, i))
        own = pick(b, 2, i)
        torch.testing.assert_close(got[i], expected if own is None else expected + own)
        if f.dim() == 3:
            torch.testing.assert_close(local_conv2d(x[i], f, own, 3), got[i])


def test_sets_are_joined_and_split() -> None:
    x = torch.randn(SETS, 4, 2, 5, 4)
    joined = join_sets(x)
    assert joined.shape == (4, 2 * SETS, 5, 4)
    torch.testing.assert_close(joined[:, 2:4], x[1])
    torch.testing.assert_close(split_sets(joined, SETS), x)
    assert split_sets(joined, SETS).data_ptr() == joined.data_ptr()
    pooled = map_images(nn.MaxPool2d(2), x)
    torch.testing.assert_close(pooled, torch.stack([F.max_pool2d(one, 2) for one in x]))
