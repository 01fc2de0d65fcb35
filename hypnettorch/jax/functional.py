"""Hypernetworks as pure functions of a spec and its tensors.

All functions can be composed with ``jax.jit`` (the spec is static), ``jax.grad``, ``jax.vmap`` and ``jax.lax.scan``.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hypnettorch.common import checks
from hypnettorch.jax.hypernetworks import Condition, HLowRank, HResidual, Inputs, Spec
from hypnettorch.jax.tensors import Params, part
from hypnettorch.jax.tensors import flatten as flatten
from hypnettorch.jax.tensors import unflatten as unflatten


def init(spec: Spec, key: Any, dtype: Any = jnp.float32) -> dict[str, jax.Array]:
    """Draw the tensors of a hypernetwork as the constructor of its class in PyTorch does.

    Args:
        spec: What it is.
        key: A key of ``jax.random``.
        dtype: Their type.

    Returns:
        The tensors by name.

    Example:
        >>> from hypnettorch.jax import HMLP
        >>> params = init(HMLP([[3]], cond_in_size=2, layers=()), jax.random.key(0))
        >>> {name: tensor.shape for name, tensor in params.items()}
        {'embeddings.0': (2,), 'head.weight': (3, 2), 'head.bias': (3,)}
    """
    declared = spec.declare()
    keys = jax.random.split(key, len(declared))
    return {name: row.draw(own, row.shape, dtype) for own, (name, row) in zip(keys, declared.items(), strict=True)}


def split(spec: Spec, params: Params) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tensors that an optimiser may change, and constants.

    Args:
        spec: What the hypernetwork is.
        params: Its tensors.

    Returns:
        Two dictionaries; ``trained | constants`` is what :func:`generate` takes.
    """
    declared = spec.declare()
    trained = {name: tensor for name, tensor in params.items() if name in declared and declared[name].trainable}
    return trained, {name: tensor for name, tensor in params.items() if name not in trained}


def look_up(spec: Spec, params: Params, ids: Any) -> Condition:
    """What belongs to conditions.

    Args:
        spec: What the hypernetwork is.
        params: Its tensors.
        ids: An id, or an array of ids ``[...]``. Ids that are traced are not checked; outside of the range they give
            NaN.

    Raises:
        ValueError: If there is no such condition.
    """
    check_params(spec, params)
    return spec.look_up(params, _checked_ids(spec, ids))


def generate(spec: Spec, params: Params, cond: Any = None, uncond: Any = None, key: Any = None) -> list[jax.Array]:
    """Produce the weights of a target network.

    Args:
        spec: What the hypernetwork is.
        params: Its tensors by name.
        cond: The id of a condition or an integer array of ids ``[...]``; or conditional inputs
            ``[..., cond_in_size]``, or a :class:`Condition`.
        uncond: Unconditional input ``[..., uncond_in_size]``.
        key: With a key of ``jax.random`` hidden units are dropped, if the spec says how many.

    Returns:
        A tensor ``[..., *shape]`` per target, with the leading dimensions of the inputs: none for a single id.

    Raises:
        ValueError: If inputs or tensors are missing, superfluous or of the wrong shape.
    """
    inputs = read(spec, params, cond, uncond, key)
    return spec.as_tensors(spec.evaluate(params, inputs))


def factors(spec: Spec, params: Params, cond: Any = None, uncond: Any = None, key: Any = None) -> dict[Any, Any]:
    """Low-rank updates as pairs.

    Args:
        spec: An :class:`~hypnettorch.jax.hypernetworks.HLowRank`, or an ``HResidual`` around one.
        params: See :func:`generate`, as all that follows.
        cond: Ids or inputs.
        uncond: Unconditional input.
        key: Key for dropout.

    Returns:
        ``{key: (A, B)}`` with ``A [..., r, n]`` and ``B [..., out, r]``; those of an ``HResidual`` without its base.

    Raises:
        NotImplementedError: If the hypernetwork makes no low-rank updates (the class is a ``ValueError`` as well).
    """
    inputs = read(spec, params, cond, uncond, key)
    inner: Any = spec
    while isinstance(inner, HResidual):
        inner, params = inner.hnet, part(params, "hnet")
    if not isinstance(inner, HLowRank):
        raise checks.Unavailable(f"spec: expected an HLowRank, or an HResidual around one, got {type(inner).__name__}")
    return dict(zip(inner.keys, inner.pairs(params, inputs), strict=True))


def read(spec: Spec, params: Params, cond: Any, uncond: Any, key: Any) -> Inputs:
    """The arguments of :func:`generate`, checked and looked up."""
    checks.instance("spec", spec, Spec)
    check_params(spec, params)
    if not (cond is None or isinstance(cond, Condition)):
        kind = jnp.result_type(cond)
        if jnp.issubdtype(kind, jnp.integer):
            cond = spec.look_up(params, _checked_ids(spec, cond))
        elif jnp.issubdtype(kind, jnp.floating):
            cond = Condition(jnp.asarray(cond))
        else:
            raise TypeError(f"cond: expected ids (integers) or conditional inputs (floating), got {kind}")
    cond = Condition() if cond is None else cond
    uncond = None if uncond is None else jnp.asarray(uncond)
    for name, x, size in zip(("uncond", "cond"), (uncond, cond.embedding), spec.sizes, strict=True):
        if x is None and size:
            checks.fail(name, f"an input of {size} entries", None)
        if x is not None and (x.ndim == 0 or x.shape[-1] != size):
            wanted = f"{size} entries in the last dimension" if size else "None, since the spec has no such input"
            checks.fail(name, wanted, f"shape {x.shape}")
    if getattr(spec, "cond_chunk_embs", False) and cond.chunk_embs is None:
        checks.fail("cond", "ids, or a Condition with chunk_embs", "conditional inputs only")
    return Inputs(cond, uncond, key)


def check_params(spec: Spec, params: Params) -> None:
    """Raise unless the tensors are those that a spec has."""
    declared = spec.declare()
    wanted = {*declared, *spec.constants}
    if wanted != params.keys():
        missing, superfluous = sorted(wanted - params.keys()), sorted(params.keys() - wanted)
        checks.fail("params", "the tensors of the spec", f"none for {missing}, and besides {superfluous}")
    for name, row in declared.items():
        if jnp.shape(params[name]) != row.shape:
            checks.fail(f"params['{name}']", f"shape {row.shape}", jnp.shape(params[name]))


def _checked_ids(spec: Spec, ids: Any) -> Any:
    """An int, or an array of ids, in range as far as they can be read."""
    if isinstance(ids, bool) or not jnp.issubdtype(jnp.result_type(ids), jnp.integer):
        raise TypeError(f"cond: expected ids, got {jnp.result_type(ids)}")
    if not spec.num_conditions:
        checks.fail("cond", "inputs, since the spec knows no conditions", "ids")
    if isinstance(ids, jax.core.Tracer):
        return ids
    for number in np.asarray(ids).flat:
        checks.integer("cond", number, 0, spec.num_conditions - 1)
    return int(ids) if np.ndim(ids) == 0 else jnp.asarray(ids)
