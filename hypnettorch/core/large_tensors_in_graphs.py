"""What :mod:`.large_tensors` puts into a compiled graph; imported while one is traced, since it needs the compiler."""

from __future__ import annotations

import torch
from torch import Tensor

from hypnettorch.core import large_tensors


@torch.compiler.allow_in_graph
def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """:func:`.large_tensors.linear` with its own derivatives, which the tracer of Python code would refuse.

    Products of matrices become calls in the graph; the outer product that is the gradient of a weight for one row
    becomes a loop. Each is the faster form, on some processors by a factor of two.
    """
    return large_tensors.linear_with_own_derivatives(x, weight, bias)
