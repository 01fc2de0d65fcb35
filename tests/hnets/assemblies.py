"""Functions of users that put weights together, and a hypernetwork that a user wrote by hand."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypnettorch.hnets import HMLP, HyperNetInterface


def in_order(list_of_chunks: list[list[Tensor]]) -> list[Tensor]:
    """Every tensor of every chunk is a target."""
    return [tensor for chunk in list_of_chunks for tensor in chunk]


def last_two_glued(list_of_chunks: list[list[Tensor]]) -> list[Tensor]:
    """As above, but the last two chunks together make the last targets."""
    *first, a, b = list_of_chunks
    return in_order(first) + [torch.cat(pair) for pair in zip(a, b, strict=True)]


def hnets_around_plain(
    list_of_hnet_tensors: list[list[Tensor]], uncond_tensors: list[Tensor], cond_tensors: list[Tensor]
) -> list[Tensor]:
    """The first hypernetwork, plain parameters, further hypernetworks."""
    first, *others = list_of_hnet_tensors or [[]]
    return [*first, *uncond_tensors, *cond_tensors, *in_order(others)]


class FirstColumns:
    """An input handler."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, uncond_input: Any = None, cond_input: Any = None, cond_id: Any = None) -> tuple[Any, Any, Any]:
        return uncond_input[:, : self.size], cond_input, cond_id


class AddOtherColumns:
    """An output handler."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, hnet_out_int: Any, uncond_input: Any = None, cond_input: Any = None, cond_id: Any = None) -> Any:
        return hnet_out_int + uncond_input[:, self.size :]


class HandWritten(nn.Module, HyperNetInterface):
    """``h(e) = tanh(W e)``, written by filling the lists of the interface."""

    def __init__(self, target_shapes: list[list[int]], size: int = 3, num_conds: int = 3) -> None:
        nn.Module.__init__(self)
        HyperNetInterface.__init__(self)
        self._target_shapes, self._num_known_conds = target_shapes, num_conds
        self._param_shapes = [[self.num_outputs, size], *([size] for _ in range(num_conds))]
        self._internal_params = nn.ParameterList([nn.Parameter(torch.randn(shape)) for shape in self._param_shapes])
        self._param_shapes_meta = [
            {"name": "weight" if i == 0 else "embedding", "index": i, "layer": int(i == 0)}
            for i in range(num_conds + 1)
        ]
        self._unconditional_param_shapes_ref = [0]
        self._has_bias, self._has_fc_out, self._mask_fc_out, self._has_linear_out = False, True, True, False
        self._layer_weight_tensors = nn.ParameterList([self._internal_params[0]])
        self._layer_bias_vectors = nn.ParameterList()
        self._is_properly_setup()

    def forward(
        self,
        uncond_input: Any = None,
        cond_input: Any = None,
        cond_id: Any = None,
        weights: Any = None,
        distilled_params: Any = None,
        condition: Any = None,
        ret_format: str = "squeezed",
    ) -> Any:
        _, cond, (weight,), _ = self._preprocess_forward_args(
            uncond_input=uncond_input,
            cond_input=cond_input,
            cond_id=cond_id,
            weights=weights,
            distilled_params=distilled_params,
            condition=condition,
            ret_format=ret_format,
        )
        return self._flat_to_ret_format(torch.tanh(F.linear(cond, weight)), ret_format)

    def distillation_targets(self) -> None:
        return None


class NegatedHMLP(HMLP):
    """A subclass that overrides ``forward``."""

    def forward(self, *args: Any, ret_format: str = "squeezed", **kwargs: Any) -> Any:
        return self._flat_to_ret_format(-super().forward(*args, ret_format="flattened", **kwargs), ret_format)
