"""Losses of generative adversarial networks."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from hypnettorch.utils.gan_helpers import accuracy, concat_mean_stats, dis_loss, gen_loss


def cross_entropy(logit: float, label: float) -> float:
    probability = 1 / (1 + math.exp(-logit))
    return -label * math.log(probability) - (1 - label) * math.log(1 - probability)


REAL, FAKE = [0.7, 2.0], [0.2, -1.0]

DISCRIMINATOR = {
    0: lambda r, f: cross_entropy(r, 0.9) + cross_entropy(f, 0),
    1: lambda r, f: (r - 1) ** 2 + f**2,
    2: lambda r, f: (r - 1) ** 2 + (f + 1) ** 2,
    3: lambda r, f: f - r,
    -7: lambda r, f: f - r,
}
GENERATOR = {
    0: lambda f: cross_entropy(f, 1),
    1: lambda f: (f - 1) ** 2,
    2: lambda f: f**2,
    3: lambda f: -f,
    -7: lambda f: -f,
}


@pytest.mark.parametrize("choice", DISCRIMINATOR)
def test_losses(choice: int) -> None:
    real, fake = torch.tensor(REAL).unsqueeze(1), torch.tensor(FAKE).unsqueeze(1)
    expected = sum(DISCRIMINATOR[choice](r, f) for r, f in zip(REAL, FAKE, strict=True)) / 2
    assert dis_loss(real, fake, choice).item() == pytest.approx(expected, rel=1e-5)
    expected = sum(GENERATOR[choice](f) for f in FAKE) / 2
    assert gen_loss(fake, choice).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("choice", [0, 1, 2, 3])
def test_losses_pull_in_opposite_directions(choice: int) -> None:
    fake = torch.zeros(3, 1, requires_grad=True)
    (of_discriminator,) = torch.autograd.grad(dis_loss(torch.zeros(3, 1), fake, choice), fake)
    (of_generator,) = torch.autograd.grad(gen_loss(fake + 0.5 - choice % 2, choice), fake)
    assert choice == 1 or bool((of_discriminator > 0).all())
    assert choice == 2 or bool((of_generator < 0).all())


def test_losses_of_large_logits_are_finite() -> None:
    assert dis_loss(torch.tensor([200.0]), torch.tensor([200.0]), 0).isfinite()
    assert gen_loss(torch.tensor([-200.0]), 0).item() == pytest.approx(200)


@pytest.mark.parametrize(("choice", "expected"), [(0, 5 / 6), (1, 4 / 6), (2, 5 / 6), (3, 5 / 6)])
def test_accuracy(choice: int, expected: float) -> None:
    real, fake = torch.tensor([0.4, 2.0]), torch.tensor([0.0, -1.0, 0.6, -3.0])
    assert accuracy(real, fake, choice).item() == pytest.approx(expected)


def test_concat_mean_stats() -> None:
    inputs = torch.randn(4, 3, requires_grad=True)
    outputs = concat_mean_stats(inputs)
    assert outputs.shape == (4, 6)
    torch.testing.assert_close(outputs[:, 3:], inputs)
    torch.testing.assert_close(outputs[:, :3], inputs.mean(0).expand(4, 3))
    assert concat_mean_stats(torch.randn(4, 2, 5, 5)).shape == (4, 4, 5, 5)


@pytest.mark.parametrize(
    ("error", "call", "message"),
    [
        (TypeError, lambda: dis_loss(torch.ones(1), [1.0], 0), "logit_fake: expected a tensor, got list"),
        (TypeError, lambda: gen_loss(torch.ones(1), "0"), "loss_choice: expected an integer, got str"),
        (TypeError, lambda: accuracy(None, torch.ones(1), 0), "logit_real: expected a tensor, got NoneType"),
        (ValueError, lambda: concat_mean_stats(torch.ones(3)), r"inputs: expected shape \[N, F, ...\], got \(3,\)"),
    ],
)
def test_errors(error: type[Exception], call: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        call()
