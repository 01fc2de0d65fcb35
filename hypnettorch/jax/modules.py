"""Hypernetworks as modules of ``flax.nnx``: thin shells around the pure functions."""

from __future__ import annotations

from typing import Any

import jax
from flax import nnx

from hypnettorch.common import checks
from hypnettorch.common.files import FilePath
from hypnettorch.jax import files, functional
from hypnettorch.jax.hypernetworks import Spec
from hypnettorch.jax.targets import Target


class Constant(nnx.Variable):
    """A tensor that no optimiser changes."""


class HyperNetwork(nnx.Module):
    """A hypernetwork that holds its tensors: each is an ``nnx.Param`` (or a :class:`Constant`) under its name.

    Args:
        spec: What it is.
        params: Its tensors by name; drawn if they are not given.
        rngs: Where random numbers come from, for drawing and for dropout.

    Raises:
        ValueError: If the tensors are not those of the spec.

    Example:
        >>> from hypnettorch.jax import HMLP
        >>> hnet = HyperNetwork(HMLP([[10, 5], [10]], num_cond_embs=3), rngs=nnx.Rngs(0))
        >>> [weight.shape for weight in hnet(0)]
        [(10, 5), (10,)]
        >>> gradients = nnx.grad(lambda hnet: hnet(0)[0].sum())(hnet)
    """

    def __init__(self, spec: Spec, params: Any = None, *, rngs: nnx.Rngs | None = None) -> None:
        checks.instance("spec", spec, Spec)
        if params is None:
            if rngs is None:
                checks.fail("rngs", "an nnx.Rngs, to draw the tensors with, or params", None)
            if spec.constants:
                checks.fail("params", f"the tensors that came with the constants {list(spec.constants)}", None)
            params = functional.init(spec, rngs.params())
        functional.check_params(spec, params)
        self.spec = spec
        self.rngs = rngs
        trained, constants = functional.split(spec, params)
        for kind, tensors in ((nnx.Param, trained), (Constant, constants)):
            for name, tensor in tensors.items():
                setattr(self, name, kind(tensor))

    @property
    def params(self) -> dict[str, jax.Array]:
        """The tensors by name."""
        names = [*self.spec.declare(), *self.spec.constants]
        return {name: getattr(self, name)[...] for name in names}

    def __call__(self, cond: Any = None, uncond: Any = None, dropout: bool = False) -> list[jax.Array]:
        """Produce weights (:func:`hypnettorch.jax.functional.generate`).

        Args:
            cond: Ids of conditions, or conditional inputs.
            uncond: Unconditional input.
            dropout: Whether hidden units are dropped.
        """
        key = None
        if dropout:
            if self.rngs is None:
                checks.fail("dropout", "False, since the module was made without rngs", True)
            key = self.rngs.dropout()
        return functional.generate(self.spec, self.params, cond, uncond, key)

    def save(self, folder: FilePath) -> None:
        """Write it (:func:`hypnettorch.jax.files.save`)."""
        files.save(folder, self.spec, self.params)

    @classmethod
    def load(cls, folder: FilePath, **options: Any) -> HyperNetwork:
        """Read one; options are those of :func:`hypnettorch.jax.files.load`."""
        return cls(*files.load(folder, **options))


class HyperModel(nnx.Module):
    """A target network whose weights a hypernetwork produces.

    Args:
        hnet: The hypernetwork.
        target: The target network.

    Raises:
        ValueError: If the hypernetwork produces weights of other shapes.

    Example:
        >>> import jax.numpy as jnp
        >>> from hypnettorch.jax import HMLP
        >>> from hypnettorch.jax.targets import nnx_target
        >>> target = nnx_target(nnx.Linear(4, 2, rngs=nnx.Rngs(0)))
        >>> model = HyperModel(HyperNetwork(HMLP(target.shapes, num_cond_embs=3), rngs=nnx.Rngs(0)), target)
        >>> model(jnp.ones((5, 4)), 0).shape, model(jnp.ones((5, 4)), jnp.array([0, 2])).shape
        ((5, 2), (2, 5, 2))
    """

    def __init__(self, hnet: HyperNetwork, target: Target) -> None:
        if hnet.spec.shapes != target.shapes:
            checks.fail("hnet", f"target shapes {target.shapes}", hnet.spec.shapes)
        self.hnet = hnet
        self.target = target

    def __call__(self, x: Any, cond: Any = None, uncond: Any = None) -> Any:
        """What the target network computes for ``x``; with many conditions ``[N]`` for each of them, ``[N, ...]``."""
        weights = self.hnet(cond, uncond)
        evaluate = self.target
        for _ in range(weights[0].ndim - len(self.target.shapes[0])):
            evaluate = jax.vmap(evaluate, (0, None))
        return evaluate(weights, x)
