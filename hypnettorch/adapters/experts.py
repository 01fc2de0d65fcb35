"""Experts that a model keeps fused, as one stack of matrices, as weights of their own."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from hypnettorch.core import checks
from hypnettorch.core.low_rank import LowRank
from hypnettorch.mnets.layer_types import is_described, register_layer


class ExpertWeight(nn.Module):
    """The weight of one expert, which is read, never called.

    Args:
        weight: The matrix; it keeps its memory.
    """

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)


def _never_called(layer: nn.Module, x: Tensor, update: LowRank) -> Tensor:
    """That there is a term lets the sum ``W + B A`` be formed where the weight is read, for the experts in use only."""
    raise checks.StateError(f"{type(layer).__name__}: expected a reader of its weight, got a call")


register_layer(ExpertWeight, term=_never_called)


class ExpertWeights(nn.Module):
    """What stands in the place of a stack ``[E, out, in]``: ``weights[e]`` is the matrix of an expert.

    Args:
        stack: The matrices of all experts; each keeps its memory.
    """

    def __init__(self, stack: Tensor) -> None:
        super().__init__()
        for e, weight in enumerate(stack.detach()):
            self.add_module(str(e), ExpertWeight(weight))

    def __getitem__(self, e: int | Tensor) -> Tensor:
        expert: Any = self._modules[str(int(e))]
        weight: Tensor = expert.weight
        return weight


def separate_experts(module: nn.Module) -> list[str]:
    """Let each expert of a mixture have a weight of its own, so that it gets a thin pair ``(A, B)`` of its own.

    The models of transformers keep all experts of a layer in one parameter ``[E, out, in]``. Afterwards
    ``...experts.down_proj`` has parameters ``0.weight``, ``1.weight``, … in the same memory, frozen, which
    :class:`~hypnettorch.mnets.module_net.ModuleNet` selects as others. The sum ``W + B A`` of an expert is formed when
    its tokens are computed, and not kept. All rows of a batch have the same adapter of their experts.

    Args:
        module: The model; it is changed, and computes what it did. One of transformers takes its experts one after the
            other from now on.

    Returns:
        The names of the parameters that were taken apart.

    Raises:
        ValueError: If there is none.

    Example:
        >>> import torch
        >>> class Experts(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.up = nn.Parameter(torch.randn(3, 4, 2))
        ...     def forward(self, x, which):
        ...         return torch.stack([self.up[e] @ row for row, e in zip(x, which)])
        >>> experts = Experts()
        >>> separate_experts(experts), [name for name, _ in experts.named_parameters()]
        (['up'], ['up.0.weight', 'up.1.weight', 'up.2.weight'])
    """
    found = [name for name, own in module.named_parameters() if own.dim() == 3 and not is_described(module, name)]
    if not found:
        checks.fail("module", "parameters [E, out, in] with the weights of experts", "none")
    choose: Any = getattr(module, "set_experts_implementation", None)
    if choose is not None:
        choose("eager")
    for name in found:
        owner, _, key = name.rpartition(".")
        layer = module.get_submodule(owner)
        separate = ExpertWeights(layer.get_parameter(key))
        delattr(layer, key)
        layer.add_module(key, separate)
    return found
