"""Counting weights, and calling a network with a vector of them."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from hypnettorch.core import checks
from hypnettorch.mnets.module_net import ModuleNet


def count_params(module: nn.Module) -> int:
    """Number of elements of all parameters of a module.

    Example:
        >>> count_params(nn.Linear(3, 2))
        8
    """
    checks.instance("module", module, nn.Module)
    return sum(parameter.numel() for parameter in module.parameters())


def get_weight_chunk_dims(num_target_parameters: int, num_embeddings: int) -> int:
    """How many weights each embedding has to produce, so that all of them together are enough.

    Example:
        >>> get_weight_chunk_dims(10, 4)
        3
    """
    checks.integer("num_target_parameters", num_target_parameters, 1)
    checks.integer("num_embeddings", num_embeddings, 1)
    return -(-num_target_parameters // num_embeddings)


class FunctionalParamVectorWrapper(nn.Module):
    """A copy of a network that takes its parameters as the first argument, one flat vector in a row.

    Args:
        module: The network. It stays as it is.

    Raises:
        TypeError: If ``module`` is no module.

    Example:
        >>> wrapper = FunctionalParamVectorWrapper(nn.Linear(3, 1))
        >>> wrapper.target_weight_shapes
        {'weight': torch.Size([1, 3]), 'bias': torch.Size([1])}
        >>> wrapper(torch.tensor([1., 2., 3., 4.]), torch.ones(1, 3))
        tensor([[10.]])
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        checks.instance("module", module, nn.Module)
        self.network = ModuleNet(copy.deepcopy(module))

    @property
    def target_weight_shapes(self) -> dict[str, torch.Size]:
        """Shapes of the parameters by name, in the order in which the vector holds them."""
        names, shapes = self.network.param_names, self.network.param_shapes
        return {name: torch.Size(shape) for name, shape in zip(names, shapes, strict=True)}

    def forward(self, param_vector: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Call the network.

        Args:
            param_vector: All parameters ``[n]``, or ``B`` sets of them ``[B, n]``: tensors among the arguments carry a
                leading ``B`` then, and so does the output.
            *args: Arguments of the network.
            **kwargs: Likewise.

        Returns:
            What the network returns.

        Raises:
            ValueError: If the vector has another size.
            TypeError: If it is no tensor.
        """
        checks.tensor("param_vector", param_vector)
        if param_vector.dim() not in (1, 2) or param_vector.shape[-1] != self.network.num_params:
            n = self.network.num_params
            checks.fail("param_vector", f"shape ({n},) or ('B', {n})", tuple(param_vector.shape))
        evaluate = self.network.batched_forward if param_vector.dim() == 2 else self.network.forward
        return evaluate(*args, weights=param_vector, **kwargs)
