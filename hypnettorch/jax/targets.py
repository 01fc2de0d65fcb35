"""Target networks: any ``flax.nnx`` or ``flax.linen`` module, or any pytree of arrays, with weights from outside.

A target is a function of its weights and its arguments, ``target(weights, x)``. With many weight sets it is mapped:
``jax.vmap(target, (0, None))(weights, x)``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import jax
import jax.numpy as jnp

from hypnettorch.common import checks
from hypnettorch.common.suggestions import did_you_mean
from hypnettorch.jax.starts import roles_of
from hypnettorch.jax.tensors import Shapes


@dataclass(frozen=True, eq=False)
class Target:
    """A network of which some arrays come from outside.

    Attributes:
        names: Paths of these arrays, joined by dots, in the order of the leaves of the tree.
        tree: All arrays.
        apply: Called with a tree of all arrays and the arguments of the network.
    """

    names: tuple[str, ...]
    tree: Any
    apply: Callable[..., Any]

    @property
    def shapes(self) -> Shapes:
        """Shapes of the weights: the ``target_shapes`` of a hypernetwork."""
        return tuple(tuple(jnp.shape(weight)) for weight in self.weights)

    @property
    def weights(self) -> list[Any]:
        """The weights that the network has itself."""
        return [leaf for name, leaf in _leaves(self.tree) if name in self.names]

    @property
    def roles(self) -> list[Any]:
        """What the weights are, for the starts (:func:`hypnettorch.jax.starts.roles_of`)."""
        return roles_of(self.names, self.weights)

    def fill(self, weights: Sequence[Any]) -> Any:
        """The tree with other weights.

        Args:
            weights: An array per name.

        Raises:
            ValueError: If number or shapes do not fit.
        """
        checks.length("weights", weights, len(self.names))
        chosen = dict(zip(self.names, weights, strict=True))
        leaves = []
        for name, leaf in _leaves(self.tree):
            new = chosen.get(name, leaf)
            if jnp.shape(new) != jnp.shape(leaf):
                checks.fail(f"weights ('{name}')", f"shape {jnp.shape(leaf)}", jnp.shape(new))
            leaves.append(new)
        return jax.tree_util.tree_unflatten(jax.tree_util.tree_structure(self.tree), leaves)

    def __call__(self, weights: Sequence[Any], *args: Any, **kwargs: Any) -> Any:
        """What the network computes with these weights."""
        return self.apply(self.fill(weights), *args, **kwargs)


def tree_target(tree: Any, apply: Callable[..., Any], include: str | Sequence[str] = "*") -> Target:
    """A function of a pytree of arrays.

    Args:
        tree: The arrays.
        apply: The function: called with such a tree and its arguments.
        include: Patterns of the paths of arrays that come from outside, as ``'*.kernel'``. Leaves that are no arrays of
            floating point numbers stay as they are.

    Raises:
        ValueError: If a pattern fits no path.

    Example:
        >>> target = tree_target({"w": jnp.ones((2, 3)), "b": jnp.zeros(3)}, lambda tree, x: x @ tree["w"] + tree["b"])
        >>> target.names, target.shapes
        (('b', 'w'), ((3,), (2, 3)))
        >>> target([jnp.ones(3), jnp.ones((2, 3))], jnp.ones(2)).tolist()
        [3.0, 3.0, 3.0]
    """
    patterns = [include] if isinstance(include, str) else list(include)
    names = [name for name, leaf in _leaves(tree) if _is_weight(leaf)]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            checks.fail("include", f"patterns of {names}", repr(pattern) + did_you_mean(pattern, names))
    return Target(tuple(n for n in names if any(fnmatchcase(n, pattern) for pattern in patterns)), tree, apply)


def linen_target(module: Any, variables: Any, include: str | Sequence[str] = "params.*") -> Target:
    """A module of ``flax.linen``.

    Args:
        module: The module.
        variables: What ``module.init`` returned. What is not selected, such as ``batch_stats``, stays as it is.
        include: Patterns of paths, as ``'params.Dense_0.*'``.

    Raises:
        ValueError: If a pattern fits no path.

    Example:
        >>> from flax import linen
        >>> module = linen.Dense(3)
        >>> target = linen_target(module, module.init(jax.random.key(0), jnp.ones(2)))
        >>> target.names
        ('params.bias', 'params.kernel')
    """
    return tree_target(variables, module.apply, include)


def nnx_target(module: Any, include: str | Sequence[str] = "*") -> Target:
    """A module of ``flax.nnx``.

    Args:
        module: The module. It is not changed: what it updates in a call (statistics, random states) is lost.
        include: Patterns of the paths of its ``nnx.Param``, as ``'layers.*.kernel'``.

    Raises:
        ValueError: If a pattern fits no path.

    Example:
        >>> from flax import nnx
        >>> target = nnx_target(nnx.Linear(2, 3, rngs=nnx.Rngs(0)))
        >>> target.names, target.shapes
        (('bias', 'kernel'), ((3,), (2, 3)))
        >>> target([jnp.ones(3), jnp.ones((2, 3))], jnp.ones(2)).tolist()
        [3.0, 3.0, 3.0]
    """
    from flax import nnx

    parts: Any = nnx.split(module, nnx.Param, ...)
    graph, params, rest = parts

    def apply(tree: Any, *args: Any, **kwargs: Any) -> Any:
        filled, others = jax.tree_util.tree_map(lambda leaf: leaf, (params, rest))  # variables of their own
        nnx.replace_by_pure_dict(filled, tree)
        return nnx.merge(graph, filled, others)(*args, **kwargs)

    return tree_target(nnx.to_pure_dict(params), apply, include)


def _is_weight(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and bool(jnp.issubdtype(leaf.dtype, jnp.floating))


def _leaves(tree: Any) -> list[tuple[str, Any]]:
    """The leaves of a tree, each with its path."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return [(jax.tree_util.keystr(path, simple=True, separator="."), leaf) for path, leaf in leaves]
