"""A hypernetwork of which a subclass says how it produces weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from flax import linen as nn
from flax import serialization

from hypnettorch.common import checks
from hypnettorch.common.files import FilePath, write_atomically
from hypnettorch.compat.hypernn.base import HyperNetwork
from hypnettorch.compat.hypernn.jax.utils import count_jax_params


def create_param_tree(
    generated_params: jax.Array, target_weight_shapes: Sequence[Sequence[int]], target_treedef: Any
) -> Any:
    """Flat weights ``[n]``, of which a surplus is dropped, as a tree of arrays."""
    leaves, start = [], 0
    for shape in target_weight_shapes:
        size = math.prod(shape)
        leaves.append(generated_params[start : start + size].reshape(tuple(shape)))
        start += size
    return jax.tree_util.tree_unflatten(target_treedef, leaves)


class JaxHyperNetwork(nn.Module, HyperNetwork):
    """``f(x; ω)`` with weights ``ω`` that a subclass produces by :meth:`generate_params`.

    What the target network has besides parameters, as statistics of batch norm, are variables of the hypernetwork:
    ``init`` returns them, and ``apply`` takes ``mutable``.

    Attributes:
        target_network: The target network.
        num_target_parameters: Number of its weights.
        target_treedef: The tree ``{'params': ...}`` that they form.
        target_weight_shapes: Shapes of its leaves.

    Example:
        >>> from jax import numpy as jnp
        >>> class Constant(JaxHyperNetwork):
        ...     @nn.compact
        ...     def generate_params(self):
        ...         return self.param("weights", nn.initializers.ones, (self.num_target_parameters,)), {}
        >>> hypernetwork = Constant.from_target(nn.Dense(2), inputs=jnp.ones((1, 3)))
        >>> variables = hypernetwork.init(jax.random.PRNGKey(0), jnp.ones((1, 3)))
        >>> hypernetwork.apply(variables, jnp.ones((1, 3))).tolist()
        [[4.0, 4.0]]
    """

    target_network: nn.Module
    num_target_parameters: int
    target_treedef: Any
    target_weight_shapes: Sequence[Sequence[int]] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "target_weight_shapes", tuple(tuple(shape) for shape in self.target_weight_shapes))
        super().__post_init__()

    @classmethod
    def count_params(
        cls, target: nn.Module, target_input_shape: Any = None, inputs: Any = None, return_variables: bool = False
    ) -> Any:
        """See :func:`hypnettorch.compat.hypernn.jax.utils.count_jax_params`."""
        return count_jax_params(target, target_input_shape, inputs, return_variables)

    @classmethod
    def from_target(
        cls,
        target_network: nn.Module,
        target_input_shape: Any = None,
        num_target_parameters: int | None = None,
        inputs: Any = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """A hypernetwork for a target network.

        Args:
            target_network: The target network.
            target_input_shape: The shape of each of its inputs, with the batch, if there are no ``inputs``.
            num_target_parameters: Number of its weights, which is counted and therefore only checked.
            inputs: An input, or a list of them.
            *args: Further fields of the class.
            **kwargs: Likewise.

        Raises:
            ValueError: If neither inputs nor their shapes are given, or the number is wrong.
        """
        count, variables = cls.count_params(target_network, target_input_shape, inputs, return_variables=True)
        if num_target_parameters not in (None, count):
            checks.fail("num_target_parameters", f"{count} or None", num_target_parameters)
        leaves, treedef = jax.tree_util.tree_flatten({"params": variables["params"]})
        return cls(target_network, count, treedef, tuple(leaf.shape for leaf in leaves), *args, **kwargs)

    def assert_parameter_shapes(self, generated_params: jax.Array) -> None:
        """Raise ``ValueError`` if there are too few weights."""
        if generated_params.shape[-1] < self.num_target_parameters:
            wanted = f"shape (n,) or (B, n) with n at least {self.num_target_parameters}"
            checks.fail("generated_params", wanted, generated_params.shape)

    @nn.nowrap
    def _rest(self, args: Any, kwargs: Any) -> dict[str, Any]:
        """What the target network has besides parameters, as variables of this module."""
        if self.is_initializing():
            variables = self.target_network.init(jax.random.PRNGKey(0), *args, **kwargs)
            for kind in variables.keys() - {"params"}:
                self.put_variable(kind, "target_network", variables[kind])
        found = {} if self.scope is None else self.variables
        return {kind: found[kind]["target_network"] for kind in found if kind != "params"}

    def target_forward(
        self, *args: Any, generated_params: Any, assert_parameter_shapes: bool = True, **kwargs: Any
    ) -> Any:
        """Evaluate the target network.

        Args:
            *args: Arguments of the target network.
            generated_params: Flat weights ``[n]``; with ``B`` sets ``[B, n]`` arrays among the arguments carry a
                leading ``B``, and so does the output.
            assert_parameter_shapes: Whether to check their number.
            **kwargs: Keyword arguments of the target network.

        Returns:
            What the target network returns.

        Raises:
            ValueError: If there are too few weights.
        """
        if assert_parameter_shapes:
            self.assert_parameter_shapes(generated_params)
        several = generated_params.ndim == 2
        state = self._rest(jax.tree_util.tree_map(lambda x: x[0], args) if several else args, kwargs)
        changing = [kind for kind in state if self.is_mutable_collection(kind) and not self.is_initializing()]

        def evaluate(flat: jax.Array, *args: Any) -> Any:
            tree = create_param_tree(flat, self.target_weight_shapes, self.target_treedef)
            return self.target_network.apply({**tree, **state}, *args, **{"mutable": changing or False, **kwargs})

        if several:
            if changing:
                checks.fail("generated_params", f"one set of weights, since {changing} changes", generated_params.shape)
            return jax.vmap(evaluate)(generated_params, *args)
        output = evaluate(generated_params, *args)
        if not changing:
            return output
        output, updates = output
        for kind in changing:
            self.put_variable(kind, "target_network", updates[kind])
        return output

    def forward(
        self,
        *args: Any,
        generated_params: Any = None,
        has_aux: bool = False,
        assert_parameter_shapes: bool = True,
        generate_params_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Produce weights and evaluate the target network with them.

        Args:
            *args: Arguments of the target network.
            generated_params: Weights to use instead of new ones (:meth:`target_forward`).
            has_aux: Whether to return more than the output.
            assert_parameter_shapes: See :meth:`target_forward`.
            generate_params_kwargs: Arguments of :meth:`generate_params`.
            **kwargs: Keyword arguments of the target network.

        Returns:
            The output; with ``has_aux`` the output, the weights and the dictionary that came with them (empty for given
            weights).
        """
        aux: dict[str, Any] = {}
        if generated_params is None:
            generated_params, aux = self.generate_params(**(generate_params_kwargs or {}))
        output = self.target_forward(
            *args, generated_params=generated_params, assert_parameter_shapes=assert_parameter_shapes, **kwargs
        )
        return (output, generated_params, aux) if has_aux else output

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """:meth:`forward`."""
        return self.forward(*args, **kwargs)

    @staticmethod
    def save(params: Any, path: FilePath) -> None:
        """Write variables to a file of ``flax.serialization``."""
        write_atomically(path, lambda file: file.write(serialization.to_bytes(params)))

    @staticmethod
    def load(params: Any, path: FilePath) -> Any:
        """Read variables from a file.

        Args:
            params: Variables of the same structure.
            path: The file.
        """
        return serialization.from_bytes(params, Path(path).read_bytes())
