r"""The regulariser that keeps what a hypernetwork produces for earlier tasks.

    ``R = 1/K Σ_{j < t} s_j Σ_i F_ji (h_i(e_j*, θ*) - h_i(e_j + Δe_j, θ + Δθ))²``

for the ``K = t`` tasks before task ``t``, as :mod:`hypnettorch.utils.hnet_regularizer`, with the outputs
``h(e_j*, θ*)`` from before the task as targets.

References:
    von Oswald, Henning, Sacramento, Grewe, "Continual learning with hypernetworks", ICLR 2020,
    https://arxiv.org/abs/1906.00695, eq. 2.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from hypnettorch.common import checks
from hypnettorch.jax.functional import generate
from hypnettorch.jax.hypernetworks import Spec
from hypnettorch.jax.tensors import Params


def get_current_targets(spec: Spec, params: Params) -> jax.Array:
    """What a hypernetwork produces now for all tasks that it knows, without gradient.

    Args:
        spec: What it is.
        params: Its tensors.

    Returns:
        ``[num_conditions, n]``: the flat weights of each task.
    """
    return jax.lax.stop_gradient(_flat(spec, params))


def calc_fix_target_reg(
    spec: Spec,
    params: Params,
    task_id: Any,
    targets: jax.Array,
    delta: Params | None = None,
    fisher: jax.Array | None = None,
    scaling: jax.Array | None = None,
) -> jax.Array:
    """The regulariser ``R`` (top of this module).

    Args:
        spec: What the hypernetwork is.
        params: Its tensors.
        task_id: The current task ``t``: an int, or a traced one (in ``jax.lax.scan`` over tasks), for which all tasks
            are computed and later ones left out.
        targets: What :func:`get_current_targets` returned before this task, ``[num_conditions, n]``.
        delta: Look-ahead ``Δ`` by name, for some of the tensors.
        fisher: ``F``, ``[num_conditions, n]``.
        scaling: ``s``, ``[num_conditions]``.

    Returns:
        A scalar; 0 for the first task.

    Raises:
        ValueError: If a shape does not fit, or there is no such task.

    Example:
        >>> from hypnettorch.jax import HMLP, init
        >>> spec = HMLP([[4, 3]], num_cond_embs=3)
        >>> params = init(spec, jax.random.key(0))
        >>> float(calc_fix_target_reg(spec, params, 2, get_current_targets(spec, params)))
        0.0
    """
    count = spec.num_conditions
    if not isinstance(task_id, jax.core.Tracer):
        checks.integer("task_id", task_id, 0, count)
    for name, value, shape in (
        ("targets", targets, (count, spec.num_outputs)),
        ("fisher", fisher, (count, spec.num_outputs)),
        ("scaling", scaling, (count,)),
    ):
        if value is not None and jnp.shape(value) != shape:
            checks.fail(name, f"shape {shape}", jnp.shape(value))
    changed = dict(params)
    for name, change in (delta or {}).items():
        checks.one_of("delta (name)", name, params)
        changed[name] = changed[name] + change
    squares = jnp.square(_flat(spec, changed) - targets)
    if fisher is not None:
        squares = squares * fisher
    per_task = squares.sum(axis=1)
    if scaling is not None:
        per_task = per_task * scaling
    return jnp.where(jnp.arange(count) < task_id, per_task, 0).sum() / jnp.maximum(task_id, 1)


def _flat(spec: Spec, params: Params) -> jax.Array:
    return spec.as_flat(generate(spec, params, jnp.arange(spec.num_conditions)))
