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

from hypnettorch.core import checks, trees
from hypnettorch.core.lending import Block, groups_of
from hypnettorch.core.results import tensors_within

_REFUSALS = re.compile(
    r"vmap|functorch|[Bb]atching rule|BatchedTensor|doesn't have storage|doesn't match the broadcast shape"
)
"""What is in the messages of errors by which ``vmap`` says that it has no rule for something."""

_looping: weakref.WeakKeyDictionary[nn.Module, set[bool]] = weakref.WeakKeyDictionary()
"""Modules that were evaluated set by set, and whether they were in training mode."""


class NeedsLoop(Exception):
    """Raised within ``vmap`` by what knows that a loop computes something else."""


def map_sets(
    function: Callable[..., Any],
    arguments: Mapping[str, Any],
    mapped: Mapping[str, bool],
    conditions: Sequence[Any] | None = None,
    loop: bool = False,
    module: nn.Module | None = None,
    chunk_size: int | None = None,
    sets: int | None = None,
) -> Any:
    """Map a function over weight sets, one ``vmap`` for every different condition; a loop where ``vmap`` refuses.

    Args:
        function: Called with ``arguments`` and ``condition`` as keywords.
        arguments: Tensors, or lists and dictionaries of them.
        mapped: Which arguments carry the leading dimension of sets.
        conditions: One condition per set; ``None`` if there are none.
        loop: Call the function for each set instead.
        module: The module whose state the function may change.
        chunk_size: How many sets are evaluated at once, at most. Default: all.
        sets: Number of sets, if it is known.

    Returns:
        The outputs with a leading dimension of sets on every tensor.

    Raises:
        TypeError: If a result has tensors in it that ``torch.utils._pytree`` does not find, or differs between sets and
            is no tensor.
    """
    if sets is None:
        sets = next(leaf.shape[0] for name in arguments if mapped[name] for leaf in trees.tensors(arguments[name]))
    if torch.compiler.is_compiling() and not loop:
        with mappable_attention():
            return _map_groups(function, arguments, mapped, conditions, chunk_size)
    if sets == 0:
        return _no_sets(function, arguments, mapped, module)
    if not loop and not _is_known_to_loop(module):
        state = _State(module)
        try:
            with state.lent(), _padding_is_seen(module), _no_recomputation(), mappable_attention():
                result = _map_groups(function, arguments, mapped, conditions, chunk_size)
        except (NeedsLoop, RuntimeError) as problem:
            state.put_back()
            if not isinstance(problem, NeedsLoop) and not _REFUSALS.search(str(problem)):
                raise
            _note_loop(module, f"torch.func.vmap has no rule for it ({str(problem).splitlines()[0][:200]})")
        else:
            if not state.put_back():
                return result
            _note_loop(module, "it changes its state when it is called")
    outputs = [
        function(**_members(arguments, mapped, b), condition=None if conditions is None else conditions[b])
        for b in range(sets)
    ]
    return _merge(torch.stack, outputs)


def _is_known_to_loop(module: nn.Module | None) -> bool:
    return module is not None and module.training in _looping.get(module, ())


def _note_loop(module: nn.Module | None, reason: str) -> None:
    """Warn once for a module; functions that are none are tried again each time."""
    if module is None:
        return
    _looping.setdefault(module, set()).add(module.training)
    warnings.warn(f"{type(module).__name__} is evaluated weight set by weight set: {reason}", stacklevel=4)


def _map_groups(
    function: Callable[..., Any],
    arguments: Mapping[str, Any],
    mapped: Mapping[str, bool],
    conditions: Sequence[Any] | None,
    chunk_size: int | None,
) -> Any:
    """One ``vmap`` for the sets of each condition."""
    in_dims = tuple(0 if mapped[name] else None for name in arguments)

    def evaluate(values: Mapping[str, Any], condition: Any) -> Any:
        mappable = _Positional(function, list(values), condition)
        run = torch.func.vmap(mappable, in_dims=in_dims, randomness="different", chunk_size=chunk_size)
        with _AutocastLayers() if torch._C._is_any_autocast_enabled() else nullcontext():
            return mappable.restore(run(*values.values()))

    if conditions is None:
        return evaluate(arguments, None)
    groups: dict[Any, list[int]] = {}
    for b, condition in enumerate(conditions):
        key = tuple(sorted(condition.items())) if isinstance(condition, Mapping) else condition
        groups.setdefault(key, []).append(b)
    if len(groups) == 1:
        return evaluate(arguments, conditions[0])
    results = [evaluate(_members(arguments, mapped, group), conditions[group[0]]) for group in groups.values()]
    order = torch.tensor([b for group in groups.values() for b in group]).argsort()
    return _merge(lambda parts: torch.cat(parts)[order.to(parts[0].device)], results)


def _members(arguments: Mapping[str, Any], mapped: Mapping[str, bool], index: Any) -> dict[str, Any]:
    """The share of one weight set, or of several, in the arguments."""
    return {
        name: trees.map_tensors(lambda t: t[index], value) if mapped[name] else value
        for name, value in arguments.items()
    }


def _no_sets(
    function: Callable[..., Any], arguments: Mapping[str, Any], mapped: Mapping[str, bool], module: nn.Module | None
) -> Any:
    """The result for no set: what one of zeros gives, without its entries."""
    zeros = {
        name: trees.map_tensors(lambda t: t.new_zeros(t.shape[1:]), value) if mapped[name] else value
        for name, value in arguments.items()
    }
    state = _State(module)
    with torch.no_grad(), state.lent():
        output = function(**zeros, condition=None)
    state.put_back()
    _check_leaves(trees.flatten(output)[0])
    return trees.map_tensors(lambda t: t.new_zeros((0, *t.shape)), output)


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
        if not isinstance(leaf, Tensor) and not _slots(leaf) and tensors_within(leaf):
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
        elif depth and isinstance(value, (dict, list)):
            found += _slots_within(value, depth - 1)
        elif depth and hasattr(value, "__dict__") and not isinstance(value, (type, nn.Module)):
            found += _slots_within(vars(value), depth - 1)
    return found


class _Positional:
    """A function of keywords as the positional function of tensors alone that ``vmap`` wants."""

    def __init__(self, function: Callable[..., Any], names: Sequence[str], condition: Any) -> None:
        self._function = function
        self._names = names
        self._condition = condition

    def __call__(self, *values: Any) -> Any:
        output = self._function(**dict(zip(self._names, values, strict=True)), condition=self._condition)
        if isinstance(output, Tensor):
            self._structure = None
            return output
        self._leaves, self._structure = trees.flatten(output)
        self._slots = [slot for leaf in self._leaves for slot in _slots(leaf)]
        _check_leaves(self._leaves)
        return [leaf for leaf in self._leaves if isinstance(leaf, Tensor)] + [store[key] for store, key in self._slots]

    def restore(self, tensors: Any) -> Any:
        """The output of the last call with other tensors in it."""
        if self._structure is None:
            return tensors
        rest = iter(tensors)
        leaves = [next(rest) if isinstance(leaf, Tensor) else leaf for leaf in self._leaves]
        for store, key in self._slots:
            store[key] = next(rest)
        return trees.unflatten(leaves, self._structure)


_OF_TORCH = frozenset(nn.Module().__dict__) | {"_flat_weights", "_flat_weight_refs"}


class _State:
    """Attributes and buffers of a module and its submodules as they are."""

    def __init__(self, module: nn.Module | None) -> None:
        parts = [] if module is None else list(module.modules())
        self._with_buffers = [part for part in parts if part._buffers]
        self._modules = [part for part in parts if not _only_computes(part)]
        self._attributes = [_attributes(part) for part in self._modules]
        self._contents = [
            [(value, _content(value)) for value in attributes.values() if isinstance(value, _CHANGEABLE)]
            for attributes in self._attributes
        ]
        self._names = [list(part._buffers) for part in self._modules]
        self._buffers = [
            ((part, name), buffer.clone())
            for part in self._with_buffers
            for name, buffer in part._buffers.items()
            if isinstance(buffer, Tensor)
        ]

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Let the modules have copies of their buffers within the block."""
        versions = [_version(copy) for _, copy in self._buffers]
        groups = groups_of(self._buffers)
        with Block(groups) if groups else nullcontext():
            yield
        lent = {(id(part), name): value for part, _, values in groups for name, value in values.items()}
        self._written = versions != [_version(copy) for _, copy in self._buffers] or any(
            lent[id(part), name] is not copy for (part, name), copy in self._buffers
        )

    def put_back(self) -> bool:
        """Undo what was changed; say whether there was anything that a loop would have done for each set."""
        changed = getattr(self, "_written", True)
        for part, before, contents, names in zip(
            self._modules, self._attributes, self._contents, self._names, strict=True
        ):
            now = _attributes(part)
            different = {key for key in {*before, *now} if before.get(key, _ABSENT) is not now.get(key, _ABSENT)}
            for key in different:
                if key in before:
                    part.__dict__[key] = before[key]
                else:
                    del part.__dict__[key]
            changed |= not different <= _left_by_hooks(part)
            for value, content in contents:
                if _content(value)[0] != content[0]:
                    changed = True
                    _set_content(value, content[1])
            for key in [key for key in part._buffers if key not in names]:
                changed = True
                del part._buffers[key]
        return changed


_ABSENT = object()
_CHANGEABLE = (list, dict, set, deque, Tensor)


def _only_computes(module: nn.Module) -> bool:
    """Whether calling a module changes none of its attributes: those of torch without hooks do not."""
    return type(module).__module__.startswith("torch.nn.modules.") and not module._forward_pre_hooks


def _attributes(module: nn.Module) -> dict[str, Any]:
    return {key: value for key, value in module.__dict__.items() if key not in _OF_TORCH}


def _content(value: Any) -> tuple[Any, Any]:
    """What tells whether an attribute was changed in place, and a copy of it."""
    if isinstance(value, Tensor):
        return _version(value), None
    if isinstance(value, dict):
        return [(id(key), id(entry)) for key, entry in value.items()], dict(value)
    return [id(entry) for entry in value], list(value)


def _set_content(value: Any, copy: Any) -> None:
    if copy is not None:
        value.clear()
        value.update(copy) if isinstance(value, (dict, set)) else value.extend(copy)


def _version(tensor: Tensor) -> int:
    """How often a tensor was changed in place, as far as that can be read."""
    return 0 if tensor.is_inference() else tensor._version


def _left_by_hooks(module: nn.Module) -> set[str]:
    """Attributes that hooks (weight norm, spectral norm, pruning) compute anew at each call."""
    hooks = module._forward_pre_hooks.values()
    return {getattr(hook, name) for hook in hooks for name in ("name", "_tensor_name") if hasattr(hook, name)}


@contextmanager
def _padding_is_seen(module: nn.Module | None) -> Iterator[None]:
    """Ask for a loop where an encoder of torch would leave out padded positions, which it does not do in ``vmap``."""
    parts = () if module is None else module.modules()
    encoders = [part for part in parts if isinstance(part, nn.TransformerEncoder) and not part.training]
    hooks = [encoder.register_forward_pre_hook(_refuse_padding, with_kwargs=True) for encoder in encoders]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _refuse_padding(encoder: nn.TransformerEncoder, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    mask = kwargs.get("src_key_padding_mask", args[2] if len(args) > 2 else None)
    if mask is not None and getattr(encoder, "use_nested_tensor", True) and not torch.is_grad_enabled():
        raise NeedsLoop("padded positions")


@contextmanager
def _no_recomputation() -> Iterator[None]:
    """Ask for a loop where checkpointing would evaluate something again when ``vmap`` is over."""
    if not torch.is_grad_enabled() or torch._C._autograd._saved_tensors_hooks_get_disabled_error_message() is not None:
        yield
        return
    with ExitStack() as stack:
        with suppress(RuntimeError):  # somebody else's hooks are in use
            stack.enter_context(torch.autograd.graph.disable_saved_tensors_hooks("vmap: no checkpointing within it"))
        yield


class _AutocastLayers(TorchFunctionMode):
    """Cast what layers of torch get as autocast does.

    ``vmap`` takes them apart: it leaves the bias as it is, and has no kernels of batch norm for two dtypes.
    """

    _layers = frozenset(
        {F.linear, F.bilinear, F.conv1d, F.conv2d, F.conv3d, F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d}
    )

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in self._layers:
            device = next(arg.device.type for arg in (*args, *kwargs.values()) if isinstance(arg, Tensor))
            if torch.is_autocast_enabled(device):
                dtype = torch.get_autocast_dtype(device)
                args = [_lowered(arg, dtype) for arg in args]
                kwargs = {name: _lowered(arg, dtype) for name, arg in kwargs.items()}
        if func in (F.batch_norm, F.instance_norm) and args[0].dtype in (torch.bfloat16, torch.float16):
            return func(args[0].float(), *args[1:], **kwargs).to(args[0].dtype)
        return func(*args, **kwargs)


def _lowered(value: Any, dtype: torch.dtype) -> Any:
    lower = isinstance(value, Tensor) and value.is_floating_point() and value.dtype is not torch.float64
    return value.to(dtype) if lower else value


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


def count_sets(weights: Any) -> int:
    """The leading dimension ``B`` that all tensors in a list or dictionary share."""
    if weights is None:
        checks.fail("weights", "stacked tensors [B, *shape]", None)
    if not isinstance(weights, Tensor) and not hasattr(weights, "__len__"):
        raise TypeError(f"weights: expected stacked tensors [B, *shape], got {type(weights).__name__}")
    leaves = list(weights.values()) if isinstance(weights, dict) else weights
    if not isinstance(leaves, list) or not all(isinstance(leaf, Tensor) for leaf in leaves):
        leaves = trees.tensors(weights)
    sizes = [tensor.shape[0] if tensor.dim() else 0 for tensor in leaves]
    if not sizes or any(size != sizes[0] for size in sizes):  # no set of sizes: torch.compile would fix them
        wanted = "stacked tensors [B, *shape] with one and the same B, as ret_format='stacked' gives them"
        checks.fail("weights", wanted, f"leading sizes {sorted(set(sizes))}")
    return sizes[0]
