"""Operations on one or many weight sets equal a loop over the sets."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnettorch.core.functional import linear, per_set, spectral_normalize

SIZE = st.integers(1, 4)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    sets=SIZE,
    rows=st.lists(SIZE, max_size=2),
    fan_in=SIZE,
    fan_out=SIZE,
    own_weight=st.booleans(),
    bias=st.sampled_from(["none", "shared", "own"]),
)
def test_linear_equals_a_loop(
    sets: int, rows: list[int], fan_in: int, fan_out: int, own_weight: bool, bias: str
) -> None:
    double = {"dtype": torch.float64}
    x = torch.randn(sets, *rows, fan_in, **double)
    weight = torch.randn(*[sets] * own_weight, fan_out, fan_in, **double)
    b = None if bias == "none" else torch.randn(*[sets] * (bias == "own"), fan_out, **double)
    got = linear(x, weight, b)
    one = [F.linear(x[k], weight[k] if own_weight else weight, b[k] if bias == "own" else b) for k in range(sets)]
    torch.testing.assert_close(got, torch.stack(one))


def test_linear_of_one_set() -> None:
    x, weight, bias = torch.randn(5, 3), torch.randn(2, 3), torch.randn(2)
    assert torch.equal(linear(x, weight, bias), F.linear(x, weight, bias))
    assert torch.equal(linear(x, weight), F.linear(x, weight))


def test_linear_under_autocast() -> None:
    """The bias may have another precision than the product."""
    x, weight, bias = torch.randn(3, 5, 4), torch.randn(3, 2, 4), torch.randn(3, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = linear(x, weight, bias)
    torch.testing.assert_close(got.float(), linear(x, weight, bias), rtol=0.1, atol=0.1)


def test_per_set_broadcasts() -> None:
    x = torch.zeros(2, 5, 7, 3)
    assert per_set(torch.zeros(3), x, 1).shape == (3,)
    assert per_set(torch.zeros(2, 3), x, 1).shape == (2, 1, 1, 3)
    assert per_set(torch.zeros(2, 7, 3), x, 2).shape == (2, 1, 7, 3)


@pytest.mark.parametrize("shape", [(4, 3), (1, 5), (3, 2, 2, 2)])
def test_spectral_norm_is_one(shape: tuple[int, ...]) -> None:
    weights = torch.randn(3, *shape, dtype=torch.float64)
    normed = spectral_normalize(weights, len(shape))
    for one, before in zip(normed, weights, strict=True):
        torch.testing.assert_close(torch.linalg.svdvals(one.flatten(1))[0].item(), 1.0)
        torch.testing.assert_close(one, spectral_normalize(before, len(shape)))
        torch.testing.assert_close(one * before.flatten()[0] / one.flatten()[0], before)


def test_spectral_norm_has_gradients() -> None:
    weight = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda w: spectral_normalize(w, 2), [weight])
    assert torch.autograd.gradgradcheck(lambda w: spectral_normalize(w, 2), [weight])


def test_spectral_norm_of_nothing() -> None:
    assert not spectral_normalize(torch.zeros(2, 3), 2).any()
    assert spectral_normalize(torch.randn(2, 3).bfloat16(), 2).dtype == torch.bfloat16
