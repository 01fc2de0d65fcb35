"""Many weight sets at once for any function of tensors: ``torch.func.vmap``, or a loop that does the same.

The result is that of a loop over the sets. ``vmap`` is one pass, so it is tried first; where it has no rule, or where
the function changes the state of a module (which a loop would do for each set), the loop is what is done, the module
being put back to what it was before. Errors of the function are errors.
"""

from __future__ import annotations

import re
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from hypnettorch.core import checks, recomputation, trees
from hypnettorch.core.values import TENSORS, check_sets, count_sets, has_sets

_REFUSALS = re.compile(
    r"vmap|functorch|[Bb]atching rule|BatchedTensor|doesn't have storage|doesn't match the broadcast shape"
    r"|does not require grad and does not have a grad_fn|not have been used in the graph"
)
"""What is in the messages of errors by which ``vmap`` says that it has no rule for something."""

_looping: weakref.WeakKeyDictionary[nn.Module, dict[bool, int]] = weakref.WeakKeyDictionary()
"""How often modules had to be evaluated set by set, by whether they were in training mode."""


class NeedsLoop(Exception):
    """Raised within ``vmap`` by what knows that a loop computes something else."""


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
    if not share_input:
        check_sets("x", x, sets)

    def one_set(condition: Any, x: Tensor = x, **given: Any) -> Any:
        # ``net(...)`` would run hooks of nn.Module on mapped tensors.
        return net.forward(x, **given, condition=condition, **kwargs)

    arguments = {"weights": weights, "distilled_params": distilled_params} | ({} if share_input else {"x": x})
    return map_sets(one_set, arguments, net, set_conditions(condition, sets))


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


def map_sets(
    function: Callable[..., Any],
    arguments: Mapping[str, Any],
    module: nn.Module | None,
    conditions: Sequence[Any] | None = None,
    chunk_size: int | None = None,
) -> Any:
    """Map a function over weight sets, one ``vmap`` for every different condition; a loop where ``vmap`` refuses.

    Args:
        function: Called with ``arguments`` and ``condition`` as keywords.
        arguments: Tensors with a leading dimension of sets, or lists and dictionaries of them.
        module: The module whose state the function may change; ``None`` if there is none.
        conditions: One condition per set; ``None`` if there are none.
        chunk_size: How many sets are evaluated at once, at most.

    Returns:
        The outputs with a leading dimension of sets on every tensor.

    Raises:
        TypeError: If a result has tensors in it that ``torch.utils._pytree`` does not find, or differs between sets and
            is no tensor.
    """
    parts = {name: trees.flatten(value) for name, value in arguments.items()}
    tensors = [leaf for leaves, _ in parts.values() for leaf in leaves if has_sets(leaf)]

    def one_set(*tensors: Tensor, condition: Any) -> Any:
        its = iter(tensors)
        given = {
            name: trees.unflatten([next(its) if has_sets(leaf) else leaf for leaf in leaves], structure)
            for name, (leaves, structure) in parts.items()
        }
        return function(**given, condition=condition)

    return _map_tensors(one_set, tensors, module, conditions, chunk_size)


def _map_tensors(
    function: Callable[..., Any],
    tensors: Sequence[Tensor],
    module: nn.Module | None,
    conditions: Sequence[Any] | None,
    chunk_size: int | None,
) -> Any:
    parts = [] if module is None else list(module.modules())
    special = [part for part in parts if _is_special(part)]
    loop = any(_has_no_rule(part) for part in special)
    if torch.compiler.is_compiling() and not loop:
        with mappable_attention():
            return _by_vmap(function, tensors, conditions, chunk_size)
    sets = tensors[0].shape[0]
    if sets == 0:
        return _no_sets(function, tensors, parts)
    if not loop and (module is None or _looping.get(module, {}).get(module.training, 0) < 2):
        state = _State(parts, special)
        alike = module is not None and not special and not torch._C._is_any_autocast_enabled()
        try:
            with nullcontext() if alike else _as_in_a_loop(special):
                result = _by_vmap(function, tensors, conditions, chunk_size)
        except (NeedsLoop, RuntimeError) as problem:
            state.put_back()
            refuses = isinstance(problem, NeedsLoop) or torch._C._is_any_autocast_enabled()
            if not refuses and not _REFUSALS.search(str(problem)):
                raise
            _note_loop(module, f"torch.func.vmap has no rule for it ({str(problem).splitlines()[0][:200]})")
        else:
            if not state.put_back():
                return result
            _note_loop(module, "it changes its state when it is called")
    outputs = [
        function(*(tensor[b] for tensor in tensors), condition=None if conditions is None else conditions[b])
        for b in range(sets)
    ]
    return _merge(torch.stack, outputs)


def _note_loop(module: nn.Module | None, reason: str) -> None:
    """Warn once for a module; one that needed a loop twice gets it at once, since a first call may only set it up."""
    if module is not None:
        counts = _looping.setdefault(module, {})
        counts[module.training] = counts.get(module.training, 0) + 1
        if counts[module.training] == 1:
            warnings.warn(f"{type(module).__name__} is evaluated weight set by weight set: {reason}", stacklevel=4)


def _by_vmap(
    function: Callable[..., Any], tensors: Sequence[Tensor], conditions: Sequence[Any] | None, chunk_size: int | None
) -> Any:
    """One ``vmap`` for the sets of each condition."""

    def evaluate(tensors: Sequence[Tensor], condition: Any) -> Any:
        result: Any = None

        def mappable(*tensors: Tensor) -> Any:
            nonlocal result
            output = function(*tensors, condition=condition)
            if isinstance(output, Tensor):
                return output
            leaves, structure = trees.flatten(output)
            slots = [slot for leaf in leaves for slot in _slots(leaf)]
            _check_leaves(leaves)
            result = leaves, structure, slots
            return [leaf for leaf in leaves if isinstance(leaf, Tensor)] + [store[key] for store, key in slots]

        mapped = torch.func.vmap(mappable, randomness="different", chunk_size=chunk_size)(*tensors)
        if result is None:
            return mapped
        its, (leaves, structure, slots) = iter(mapped), result
        filled = [next(its) if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        for store, key in slots:
            store[key] = next(its)
        return trees.unflatten(filled, structure)

    if conditions is None:
        return evaluate(tensors, None)
    groups: dict[Any, list[int]] = {}
    for b, condition in enumerate(conditions):
        key = tuple(sorted(condition.items())) if isinstance(condition, Mapping) else condition
        groups.setdefault(key, []).append(b)
    if len(groups) == 1:
        return evaluate(tensors, conditions[0])
    results = [evaluate([tensor[group] for tensor in tensors], conditions[group[0]]) for group in groups.values()]
    order = torch.tensor([b for group in groups.values() for b in group]).argsort()
    return _merge(lambda parts: torch.cat(parts)[order.to(parts[0].device)], results)


def _no_sets(function: Callable[..., Any], tensors: Sequence[Tensor], parts: Sequence[nn.Module]) -> Any:
    """The result for no set: what one of zeros gives, without its entries."""
    state = _State(parts, parts)
    with torch.no_grad():
        output = function(*(tensor.new_zeros(tensor.shape[1:]) for tensor in tensors), condition=None)
    state.put_back()
    return _merge(lambda alike: alike[0].new_zeros((0, *alike[0].shape)), [output])


def _merge(join: Callable[[list[Tensor]], Tensor], outputs: Sequence[Any]) -> Any:
    """Join the tensors of several outputs; what is no tensor has to be equal in all of them."""

    def merge(*parts: Any) -> Any:
        if isinstance(parts[0], Tensor):
            return join(list(parts))
        for slots in zip(*(_slots(part) for part in parts), strict=True):
            store, key = slots[0]
            store[key] = join([other[name] for other, name in slots])
        _check_leaves(parts[:1])
        if isinstance(parts[0], (int, float, str)) and any(part != parts[0] for part in parts):
            raise TypeError(
                f"module: expected a result of tensors, got {parts[0]!r} and others in different weight sets"
            )
        return parts[0]

    return trees.map_leaves(merge, *outputs)


def _check_leaves(leaves: Sequence[Any]) -> None:
    """Raise if a leaf that is no tensor has tensors in it."""
    for leaf in leaves:
        if not isinstance(leaf, Tensor) and not _slots(leaf) and trees.tensors_within(leaf):
            raise TypeError(
                f"module: expected a result of tensors, lists, dictionaries or types that are registered with "
                f"torch.utils._pytree.register_pytree_node, got {type(leaf).__name__} with tensors in it"
            )


_FILLED = ("transformers.cache_utils.Cache",)
"""Types of objects that a model makes and fills with tensors, among others for whoever generates text."""


def _slots(leaf: Any) -> list[tuple[Any, Any]]:
    """Dictionaries and lists in an object of such a type, with the keys under which they have tensors."""
    names = {f"{cls.__module__}.{cls.__qualname__}" for cls in type(leaf).__mro__}
    return _slots_within(vars(leaf)) if names.intersection(_FILLED) else []


def _slots_within(store: Any, depth: int = 4) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    for key, value in list(store.items() if isinstance(store, dict) else enumerate(store)):
        if isinstance(value, Tensor):
            found.append((store, key))
        elif depth and not isinstance(value, (type, nn.Module)):
            found += _slots_within(
                value if isinstance(value, (dict, list)) else getattr(value, "__dict__", ()), depth - 1
            )
    return found


# What vmap does not see: state, padded positions, what is evaluated again, layers that it takes apart.


_TAKEN_APART = (nn.RNNBase, nn.RNNCellBase, nn.TransformerEncoder, nn.TransformerEncoderLayer, nn.MultiheadAttention)
_KNOWN = ("torch.", "hypnettorch.")


_ACTIVATIONS = (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.ELU, nn.LeakyReLU, nn.Softplus, nn.Identity)
_IN_A_ROW = {nn.Linear, *_ACTIVATIONS}


def _is_special(part: nn.Module) -> bool:
    """Whether a module is another one to ``vmap`` than in a loop, or may have state, or somebody looks into it."""
    own = vars(part)
    watched = any(
        own[hooks] for hooks in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    )
    return bool(part._buffers) or watched or "forward" in own or not _of_torch(part) or isinstance(part, _TAKEN_APART)


def layers_in_a_row(module: nn.Module, args: Sequence[Any], values: Sequence[Any], lead: int) -> list[Any]:
    """The layers of a ``Sequential`` of linear layers and activations that gets one tensor; of others none.

    Args:
        module: Any module.
        args: Its positional arguments.
        values: Its weights.
        lead: How many dimensions of an argument are in front of those that the module sees.
    """
    row: list[Any] = [*module._modules.values()]
    known = type(module) is nn.Sequential and row and type(row[0]) is nn.Linear and _IN_A_ROW.issuperset(map(type, row))
    one = known and len(args) == 1 and TENSORS.issuperset(map(type, [*args, *values]))
    fits = one and args[0].dim() > lead and args[0].shape[-1] == row[0].in_features
    plain = fits and not (torch._C._is_any_autocast_enabled() or nn.modules.module._has_any_global_hook())
    return row if plain and not any(map(_is_special, (module, *row))) else []


def _has_no_rule(part: nn.Module) -> bool:
    """Whether ``vmap`` has no rule for a module, or something happens when it is called that a loop would do often.

    That is an update of buffers, or what hooks of users do: they may store what they are given.
    """
    hooks = (*part._forward_hooks.values(), *part._forward_pre_hooks.values())
    if isinstance(part, (nn.RNNBase, nn.RNNCellBase)) or not all(
        str(hook.__module__).startswith(_KNOWN) for hook in hooks
    ):
        return True
    if not part.training:  # encoders have a kernel of their own, which casts in another way
        return isinstance(part, nn.TransformerEncoderLayer) and torch.is_autocast_enabled("cpu")
    if part._buffers.get("running_mean") is not None or getattr(type(part), "num_stats", None) is not None:
        return getattr(part, "num_stats", 1) > 0
    # a parametrisation, or the hook of older versions
    return any("n_power_iterations" in getattr(normalizer, "__dict__", ()) for normalizer in (part, *hooks))


def _of_torch(part: nn.Module) -> bool:
    """Whether a module is a layer or container of torch."""
    return type(part).__module__.startswith("torch.nn.modules.")


_ABSENT = object()
_CONTAINERS = (list, dict, set, deque)
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_forward_hooks_with_kwargs", "_forward_pre_hooks_with_kwargs")
_NOT_STATE = frozenset(nn.Module().__dict__) | {"_flat_weights", "_flat_weight_refs", "_views"}
"""Attributes that are no state of a module: those of torch, and views that networks make when they are asked."""


class _State:
    """Attributes and buffers of modules as they are, those included that are changed in place."""

    def __init__(self, parts: Sequence[nn.Module], special: Sequence[nn.Module]) -> None:
        active = [part for part in special if not _of_torch(part) or part._forward_pre_hooks]
        self._stores: list[Any] = [(part, part._buffers, dict(part._buffers)) for part in special if part._buffers]
        self._stores += [(part, part.__dict__, _without_torch(part.__dict__)) for part in active]
        values = [value for _, _, before in self._stores for value in before.values()]
        values += [part.__dict__[hooks] for part in parts for hooks in _HOOKS] if active else []
        self._contents = [(v, _content(v)) for v in values if isinstance(v, (*_CONTAINERS, Tensor))]
        buffers = [buffer for part in special for buffer in part._buffers.values() if isinstance(buffer, Tensor)]
        self._copies = [(buffer, buffer.clone()) for buffer in buffers]

    def put_back(self) -> bool:
        """Undo what was changed; say whether there was anything that a loop would have done for each set."""
        changed = False
        for part, store, before in self._stores:
            now = _without_torch(store)
            for key in {*before, *now}:
                value = before.get(key, _ABSENT)
                if value is not now.get(key, _ABSENT):
                    changed |= key not in _left_by_hooks(part)
                    if value is _ABSENT:
                        del store[key]
                    else:
                        store[key] = value
        written = set()
        for value, (content, held) in self._contents:
            if _content(value)[0] != content:
                written.add(id(value))
                if not isinstance(value, Tensor):
                    value.clear()
                    value.update(held) if isinstance(value, (dict, set)) else value.extend(held)
        for buffer, copy in self._copies:
            if id(buffer) in written:
                buffer.copy_(copy)
        return changed or bool(written)


def _without_torch(attributes: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in attributes.items() if key not in _NOT_STATE}


def _content(value: Any) -> tuple[Any, list[Any]]:
    """What tells whether an attribute was changed in place, and a copy of what a container holds."""
    if not isinstance(value, _CONTAINERS):
        return 0 if value.is_inference() else value._version, []
    held = list(value.items()) if isinstance(value, dict) else list(value)
    return [(id(entry[0]), id(entry[1])) if isinstance(value, dict) else id(entry) for entry in held], held


def _left_by_hooks(module: nn.Module) -> set[str]:
    """Attributes that hooks (weight norm, spectral norm, pruning) compute anew at each call."""
    hooks = module._forward_pre_hooks.values()
    return {getattr(hook, name) for hook in hooks for name in ("name", "_tensor_name") if hasattr(hook, name)}


@contextmanager
def _as_in_a_loop(parts: Sequence[nn.Module]) -> Iterator[None]:
    """Let modules do within ``vmap`` what they do in a loop, or ask for the loop."""
    foreign = not all(map(_of_torch, parts))
    with ExitStack() as stack:
        for part in parts:
            if isinstance(part, nn.TransformerEncoder) and not part.training:
                stack.callback(part.register_forward_pre_hook(_refuse_padding, with_kwargs=True).remove)
        if torch.is_grad_enabled():
            with suppress(RuntimeError):  # somebody else's hooks are in use
                stack.enter_context(torch.autograd.graph.disable_saved_tensors_hooks("vmap: no checkpoints within it"))
        if foreign or torch._C._is_any_autocast_enabled():
            stack.enter_context(_AsInALoop())
        if foreign or any(isinstance(part, nn.MultiheadAttention) for part in parts):
            stack.enter_context(mappable_attention())
        yield


def _refuse_padding(encoder: nn.TransformerEncoder, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """An encoder leaves out padded positions, but not within ``vmap``."""
    mask = kwargs.get("src_key_padding_mask", args[2] if len(args) > 2 else None)
    if mask is not None and getattr(encoder, "use_nested_tensor", True) and not torch.is_grad_enabled():
        raise NeedsLoop("padded positions")


class _AsInALoop(TorchFunctionMode):
    """Let tensors say that they require gradients, which ``vmap`` hides, and layers compute as under autocast.

    ``vmap`` takes layers apart before autocast sees them. Where graphs are worked with, a loop is asked for.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _OF_GRAPHS and _requires_grad(args[0]):
            if func == Tensor.requires_grad.__get__:  # type: ignore[attr-defined]
                return True
            raise NeedsLoop(f"{func.__name__} of a tensor with gradients")
        if torch._C._is_any_autocast_enabled():
            return _autocast(func, args, kwargs or {})
        return func(*args, **(kwargs or {}))


_OF_GRAPHS = {getattr(Tensor, name) for name in ("register_hook", "requires_grad_", "retain_grad")}
_OF_GRAPHS |= {getattr(Tensor, name).__get__ for name in ("grad_fn", "is_leaf", "requires_grad")}


def _requires_grad(tensor: Tensor) -> bool:
    """Whether a tensor requires gradients, or what ``vmap`` has wrapped."""
    while not tensor.requires_grad and recomputation.is_mapped(tensor):
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return tensor.requires_grad


_LOWERED = {f"conv{transpose}{n}d" for transpose in ("", "_transpose") for n in (1, 2, 3)} | {"linear", "prelu"}
_LOWERED |= {"addmm", "addbmm", "baddbmm", "multi_head_attention_forward"}
_LOWERED |= {"linalg_vecdot", "scaled_dot_product_attention"}
_OF_VECTORS = {"mv", "addmv", "addr", "dot", "vdot"}


def _autocast(func: Any, args: Any, kwargs: Any) -> Any:
    """What a function gives if all that it gets is cast as autocast does."""
    name = func.__name__
    is_loss = name.endswith("_loss") or name in ("cross_entropy", "binary_cross_entropy_with_logits")
    if name in _LOWERED or name in _OF_VECTORS or is_loss:
        device = next(arg.device.type for arg in (*args, *kwargs.values()) if isinstance(arg, Tensor))
        if name in _OF_VECTORS and (device != "cuda" or name.endswith("dot")):  # a GPU lowers the others
            # vmap makes them products of matrices, which autocast would lower
            return torch.autocast(device, enabled=False)(func)(*args, **kwargs)
        if torch.is_autocast_enabled(device):
            dtype = torch.float32 if is_loss else torch.get_autocast_dtype(device)
            args = [_cast(arg, dtype) for arg in args]
            kwargs = {key: _cast(arg, dtype) for key, arg in kwargs.items()}
    elif name in ("layer_norm", "group_norm", "rms_norm"):
        return func(*args, **kwargs).to(F.layer_norm(args[0].new_zeros(1), (1,)).dtype)
    elif name in ("batch_norm", "instance_norm") and args[0].dtype in (torch.bfloat16, torch.float16):
        return func(args[0].float(), *args[1:], **kwargs).to(args[0].dtype)  # there are no kernels of two dtypes
    return func(*args, **kwargs)


def _cast(value: Any, dtype: torch.dtype) -> Any:
    eligible = isinstance(value, Tensor) and value.is_floating_point() and value.dtype is not torch.float64
    return value.to(dtype) if eligible else value


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
