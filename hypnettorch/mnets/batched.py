"""Many weight sets at once for any ``forward``, by ``torch.func.vmap``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from hypnettorch.core import checks
from hypnettorch.mnets.many_sets import count_sets, map_sets, mappable_attention

__all__ = [
    "batched_by_vmap",
    "count_sets",
    "map_sets",
    "mappable_attention",
    "needs_loop",
    "set_conditions",
    "writes_statistics",
]


def set_conditions(condition: Any, sets: int) -> list[Any]:
    """One condition per weight set.

    Args:
        condition: ``None``, one condition (an int or a dictionary), or ``sets`` ints.
        sets: Number ``B`` of weight sets.

    Raises:
        ValueError: If the number of conditions is not ``B``.
    """
    if isinstance(condition, Tensor) and condition.dim() == 1:
        condition = condition.tolist()
    if condition is None or isinstance(condition, Mapping) or not isinstance(condition, Sequence):
        return [condition] * sets
    checks.length("condition", condition, sets)
    return checks.integers("condition", condition, 0)


def batched_by_vmap(
    net: nn.Module,
    x: Tensor,
    weights: Any,
    share_input: bool = False,
    condition: Any = None,
    distilled_params: Any = None,
    **kwargs: Any,
) -> Any:
    """``net.forward`` over ``B`` weight sets (see ``MainNetInterface.batched_forward``)."""
    sets = count_sets(weights)
    if not share_input and (x.dim() == 0 or x.shape[0] != sets):
        checks.fail("x", f"a leading dimension of {sets} weight sets", f"shape {tuple(x.shape)}")

    def one_set(x: Tensor, weights: Any, distilled_params: Any, condition: Any) -> Any:
        # ``net(...)`` would run hooks of nn.Module on mapped tensors.
        return net.forward(x, weights=weights, distilled_params=distilled_params, condition=condition, **kwargs)

    mapped = {"x": not share_input, "weights": True, "distilled_params": distilled_params is not None}
    arguments = {"x": x, "weights": weights, "distilled_params": distilled_params}
    return map_sets(one_set, arguments, mapped, set_conditions(condition, sets), loop=writes_statistics(net))


def writes_statistics(net: Any) -> bool:
    """Whether evaluating ``net`` updates running statistics."""
    layers = getattr(net, "batchnorm_layers", None) or ()
    return bool(getattr(net, "training", False)) and any(layer.num_stats > 0 for layer in layers)


def needs_loop(function: Any) -> bool:
    """Whether ``torch.func.vmap`` has no rule for a module, or the module updates buffers."""
    modules = function.modules() if isinstance(function, nn.Module) else ()
    return any(isinstance(module, (nn.RNNBase, nn.RNNCellBase)) or _updates_buffers(module) for module in modules)


def _updates_buffers(module: nn.Module) -> bool:
    """Whether a module updates running statistics, or the singular vectors of a spectral norm, when it is called."""
    if not module.training:
        return False
    normalizers = (module, *module._forward_pre_hooks.values())  # a parametrisation, or the hook of older versions
    return getattr(module, "running_mean", None) is not None or any(
        hasattr(normalizer, "n_power_iterations") for normalizer in normalizers
    )
