"""Nested lists, tuples and dictionaries of tensors, and what other libraries register as such.

The functions are those of torch, which has no public name for them; only this module knows where they are. They are
imported when first used: loading them takes a third of the time that loading this package takes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

_NO_CONTAINER = (str, bytes, int, float, complex, type, nn.Module, torch.dtype, torch.device)


def flatten(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> tuple[list[Any], Any]:
    """The leaves of a tree, and the structure from which :func:`unflatten` makes it again.

    Example:
        >>> leaves, structure = flatten({'a': [1, 2], 'b': 3})
        >>> leaves, unflatten([4, 5, 6], structure)
        ([1, 2, 3], {'a': [4, 5], 'b': 6})
    """
    if isinstance(tree, Tensor):
        return [tree], None
    if type(tree) is list and all(isinstance(leaf, Tensor) for leaf in tree):
        return tree, list
    from torch.utils import _pytree

    return _pytree.tree_flatten(tree, is_leaf=is_leaf)


def unflatten(leaves: Sequence[Any], structure: Any) -> Any:
    """A tree of a known structure with other leaves."""
    if structure is None:
        return leaves[0]
    if structure is list:
        return list(leaves)
    from torch.utils import _pytree

    return _pytree.tree_unflatten(leaves, structure)


def map_leaves(function: Callable[..., Any], *trees: Any) -> Any:
    """A tree of what a function makes of the corresponding leaves of trees of one structure.

    Example:
        >>> map_leaves(lambda a, b: a + b, [1, (2,)], [3, (4,)])
        [4, (6,)]
    """
    from torch.utils import _pytree

    return _pytree.tree_map(function, *trees)


def map_tensors(function: Callable[[Tensor], Any], tree: Any) -> Any:
    """A tree with another value for each tensor; other leaves stay."""
    return map_leaves(lambda leaf: function(leaf) if isinstance(leaf, Tensor) else leaf, tree)


def tensors(tree: Any) -> list[Tensor]:
    """The leaves that are tensors."""
    return [leaf for leaf in flatten(tree)[0] if isinstance(leaf, Tensor)]


def tensors_within(value: Any, depth: int = 4) -> list[Tensor]:
    """The tensors in lists, dictionaries and attributes of objects, also where ``torch.utils._pytree`` does not look.

    Args:
        value: Anything.
        depth: How deep to look.

    Example:
        >>> normal = torch.distributions.Normal(torch.zeros(2), torch.ones(2))
        >>> len(tensors_within([normal, {'a': torch.zeros(1)}]))
        3
    """
    if isinstance(value, Tensor):
        return [value]
    if depth == 0 or value is None or isinstance(value, _NO_CONTAINER):
        return []
    parts: list[Any] = []
    if type(value) not in (tuple, list):
        parts += getattr(value, "__dict__", {}).values()
        parts += [getattr(value, name, None) for cls in type(value).__mro__ for name in getattr(cls, "__slots__", ())]
    if isinstance(value, (list, tuple, set, Mapping)):
        parts += value.values() if isinstance(value, Mapping) else value
    return [t for part in parts for t in ((part,) if isinstance(part, Tensor) else tensors_within(part, depth - 1))]
