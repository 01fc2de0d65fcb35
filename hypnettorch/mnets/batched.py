"""Many weight sets at once for any ``forward``, by ``torch.func.vmap``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from hypnettorch.core import checks, trees


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


def count_sets(weights: Any) -> int:
    """The leading dimension ``B`` that all tensors in a list or dictionary share."""
    if weights is None:
        checks.fail("weights", "stacked tensors [B, *shape]", None)
    if not isinstance(weights, Tensor) and not hasattr(weights, "__len__"):
        raise TypeError(f"weights: expected stacked tensors [B, *shape], got {type(weights).__name__}")
    sizes = {tensor.shape[0] if tensor.dim() else 0 for tensor in trees.tensors(weights)}
    if len(sizes) != 1:
        checks.fail("weights", "stacked tensors [B, *shape] with one and the same B", f"leading sizes {sorted(sizes)}")
    return int(sizes.pop())


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


def map_sets(
    function: Callable[..., Any],
    arguments: Mapping[str, Any],
    mapped: Mapping[str, bool],
    conditions: Sequence[Any],
    loop: bool = False,
) -> Any:
    """Map a function over weight sets, one ``vmap`` for every different condition; a loop where ``vmap`` refuses.

    Args:
        function: Called with ``arguments`` and ``condition`` as keywords.
        arguments: Tensors, or lists and dictionaries of them.
        mapped: Which arguments carry the leading dimension of sets.
        conditions: One condition per set.
        loop: Call the function for each set instead (needed where it writes statistics).

    Returns:
        The outputs with a leading dimension of sets on every tensor.
    """
    if not loop:
        if torch.compiler.is_compiling():
            return _map_groups(function, arguments, mapped, conditions)
        try:
            return _map_groups(function, arguments, mapped, conditions)
        except ValueError:
            raise
        except RuntimeError:  # vmap refuses; if something else is wrong, the loop raises it again
            pass
    outputs = [
        function(**_members(arguments, mapped, b), condition=condition) for b, condition in enumerate(conditions)
    ]
    return _merge(lambda parts: torch.stack(parts), outputs)


def _map_groups(
    function: Callable[..., Any], arguments: Mapping[str, Any], mapped: Mapping[str, bool], conditions: Sequence[Any]
) -> Any:
    """One ``vmap`` for the sets of each condition."""
    groups: dict[Any, list[int]] = {}
    for b, condition in enumerate(conditions):
        key = tuple(sorted(condition.items())) if isinstance(condition, Mapping) else condition
        groups.setdefault(key, []).append(b)
    in_dims = tuple(0 if mapped[name] else None for name in arguments)
    results = []
    for group in groups.values():
        values = (arguments if len(groups) == 1 else _members(arguments, mapped, group)).values()
        mappable = _Positional(function, list(arguments), conditions[group[0]])
        tensors = torch.func.vmap(mappable, in_dims=in_dims, randomness="different")(*values)
        results.append(mappable.restore(tensors))
    if len(results) == 1:
        return results[0]
    order = torch.tensor([b for group in groups.values() for b in group]).argsort()
    return _merge(lambda parts: torch.cat(parts)[order.to(parts[0].device)], results)


def _members(arguments: Mapping[str, Any], mapped: Mapping[str, bool], index: Any) -> dict[str, Any]:
    """The share of one weight set, or of several, in the arguments."""
    return {
        name: trees.map_tensors(lambda t: t[index], value) if mapped[name] else value
        for name, value in arguments.items()
    }


def _merge(join: Callable[[list[Tensor]], Tensor], outputs: Sequence[Any]) -> Any:
    """Join the tensors of several outputs; what is no tensor is taken from the first."""
    return trees.map_leaves(lambda *parts: join(list(parts)) if isinstance(parts[0], Tensor) else parts[0], *outputs)


@contextmanager
def mappable_attention() -> Iterator[None]:
    """Keep attention off the fused kernels for which ``vmap`` has no rule."""
    from torch.nn.attention import SDPBackend, sdpa_kernel  # not loaded with torch

    switch = torch.backends.mha
    enabled = switch._is_fastpath_enabled
    switch._is_fastpath_enabled = False  # as set_fastpath_enabled does, which torch.compile refuses to trace
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        switch._is_fastpath_enabled = enabled


class _Positional:
    """A function of keywords as the positional function of tensors alone that ``vmap`` wants."""

    def __init__(self, function: Callable[..., Any], names: Sequence[str], condition: Any) -> None:
        self._function = function
        self._names = names
        self._condition = condition

    def __call__(self, *values: Any) -> Any:
        output = self._function(**dict(zip(self._names, values, strict=True)), condition=self._condition)
        self._leaves, self._structure = trees.flatten(output)
        return [leaf for leaf in self._leaves if isinstance(leaf, Tensor)]

    def restore(self, tensors: Sequence[Tensor]) -> Any:
        """The output of the last call with other tensors in it."""
        rest = iter(tensors)
        leaves = [next(rest) if isinstance(leaf, Tensor) else leaf for leaf in self._leaves]
        return trees.unflatten(leaves, self._structure)
