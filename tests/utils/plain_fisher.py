"""Diagonal Fisher matrices in the plainest terms, and data to compute them for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hypnettorch.data.arrays import from_arrays
from hypnettorch.data.dataset import Dataset

NUM_IN, NUM_OUT = 3, 2


class DoublePrecision(Dataset):
    """A data set whose tensors are float64."""

    def input_to_torch_tensor(self, *args: Any, **kwargs: Any) -> Tensor:
        return super().input_to_torch_tensor(*args, **kwargs).double()

    def output_to_torch_tensor(self, *args: Any, **kwargs: Any) -> Tensor:
        return super().output_to_torch_tensor(*args, **kwargs).double()


def data_set(regression: bool = False, size: int = 7, one_hot: bool = False, seed: int = 0) -> DoublePrecision:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((size, NUM_IN))
    if regression:
        plain = from_arrays(x, rng.standard_normal((size, NUM_OUT)))
    else:
        plain = from_arrays(x, np.arange(size) % NUM_OUT, num_classes=NUM_OUT)
    return DoublePrecision(plain.samples, one_hot)


def rows(data: DoublePrecision) -> tuple[Tensor, Tensor]:
    """All training samples: inputs, and labels (integers) or values."""
    labels = data.outputs("train", use_one_hot=False if data.classification else None)
    return data.input_to_torch_tensor(data.inputs("train")), data.output_to_torch_tensor(labels)


def leaves(tensors: Iterable[Tensor]) -> list[Tensor]:
    """Copies that require gradients."""
    return [tensor.detach().clone().requires_grad_() for tensor in tensors]


def squares(value: Tensor, params: Sequence[Tensor]) -> list[Tensor]:
    """Squared derivatives of a scalar."""
    grads = torch.autograd.grad(value, params, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g.square() for g, p in zip(grads, params, strict=True)]


def add(first: Sequence[Tensor], second: Sequence[Tensor], factor: float = 1.0) -> list[Tensor]:
    return [a + factor * b for a, b in zip(first, second, strict=True)]


def empirical(outputs: Tensor, label: Tensor, params: Sequence[Tensor]) -> list[Tensor]:
    """``(∂ log p_y)²`` for logits ``[1, C]`` and a label ``[1]``."""
    return squares(outputs.log_softmax(1)[0, int(label)], params)


def exact(outputs: Tensor, label: Any, params: Sequence[Tensor]) -> list[Tensor]:
    """``Σ_c p_c (∂ log p_c)²`` for logits ``[1, C]``."""
    total = [torch.zeros_like(param) for param in params]
    for log_p in outputs.log_softmax(1)[0]:
        total = add(total, squares(log_p, params), log_p.exp().item())
    return total


def exact_regression(outputs: Tensor, label: Any, params: Sequence[Tensor], variance: float = 1.0) -> list[Tensor]:
    """``Σ_k (∂ f_k)² / σ²`` for outputs ``[1, K]``."""
    total = [torch.zeros_like(param) for param in params]
    for output in outputs[0]:
        total = add(total, squares(output, params), 1 / variance)
    return total


def empirical_regression(
    outputs: Tensor, label: Tensor, params: Sequence[Tensor], variance: float = 1.0
) -> list[Tensor]:
    """``(∂ 0.5/σ² Σ_k (f_k - y_k)²)²`` for outputs ``[1, K]`` and values ``[K]``."""
    return squares(0.5 / variance * (outputs[0] - label).square().sum(), params)


def mean_over(
    of_sample: Callable[..., list[Tensor]],
    forward: Callable[[Tensor], Tensor],
    data: DoublePrecision,
    params: Sequence[Tensor],
    **options: Any,
) -> list[Tensor]:
    """The mean over all samples, one after the other."""
    total = [torch.zeros_like(param) for param in params]
    inputs, labels = rows(data)
    for x, label in zip(inputs, labels, strict=True):
        total = add(total, of_sample(forward(x[None]), label, params, **options), 1 / len(inputs))
    return total
