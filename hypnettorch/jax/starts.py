"""How hypernetworks start: what they produce has the moments that an initialisation of the target network asks for.

The variances of targets are those of :mod:`hypnettorch.core.starts`, which both halves share, and what
:mod:`hypnettorch.hnets.initialization` says of the two starts holds here, too: hidden layers are drawn with fan-in, and
what enters the output layer is measured for samples of conditions.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hypnettorch.common import checks
from hypnettorch.core import starts
from hypnettorch.core.starts import Start
from hypnettorch.jax.functional import read
from hypnettorch.jax.hypernetworks import (
    BASE,
    CHUNKS,
    HMLP,
    OFFSET,
    SCALE,
    ChunkedHMLP,
    Condition,
    HLowRank,
    HResidual,
    Inputs,
    Spec,
    StructuredHMLP,
)
from hypnettorch.jax.tensors import Params, flatten, inside, part

SAMPLES = 64
"""For how many of the conditions that it knows a hypernetwork is measured at most."""

DRAWS = 256
"""For how many inputs it is measured if nothing is known but their variance."""

ROWS = 8192
"""For how many chunks of them activations are measured at most."""

ENOUGH = 100
"""A tensor of so many elements is measured by itself; that of a smaller one is partly that of all others."""

NEUTRAL_VARIANCE = 1e-4
"""Variance of what should not vary: small, but an optimiser can move it."""


def apply_hyperfan_init(
    spec: Spec,
    params: Params,
    key: Any,
    roles: Sequence[starts.Target] | None = None,
    method: str = "in",
    use_xavier: bool = False,
    cond: Any = None,
    uncond: Any = None,
) -> tuple[Any, dict[str, Any]]:
    """Initialise such that the produced weights have the variance that their fans ask for.

    Everything is drawn anew but the embeddings of conditions.

    Args:
        spec: What the hypernetwork is.
        params: Its tensors.
        key: A key of ``jax.random``.
        roles: What the targets are: :attr:`Target.roles <hypnettorch.jax.targets.Target.roles>`. Without them shapes
            are those of PyTorch, ``[out, in, *kernel]``, and a vector is the bias of the weight before it.
        method: ``'in'`` (activations keep their variance), ``'out'`` (gradients do), or ``'harmonic'`` (the harmonic
            mean of the two variances).
        use_xavier: Xavier instead of Kaiming initialisation: no factor 2 for rectified units.
        cond: Samples of the condition, as for :func:`~hypnettorch.jax.functional.generate` with one leading dimension
            (default: draws from N(0, 1)).
        uncond: Samples of the unconditional input, likewise.

    Returns:
        The spec, which names the constants that there are, and the tensors.

    Raises:
        ValueError: If an argument is wrong, or a neutral value other than 0 is needed where there are no biases.

    Example:
        >>> from hypnettorch.jax import HMLP, generate, init
        >>> spec = HMLP([[50, 40], [50]], num_cond_embs=5)
        >>> spec, params = apply_hyperfan_init(spec, init(spec, jax.random.key(0)), jax.random.key(1))
        >>> bool(0.5 < generate(spec, params, jnp.arange(5))[0].var() * 40 < 2)
        True
    """
    checks.one_of("method", method, starts.METHODS)
    gain = 1.0 if use_xavier else 2.0
    wanted = [starts.hyperfan(target, method, gain) for target in _targets(spec, roles)]
    return _started(spec, params, wanted, _Plan(key, gain, False, roles is not None, cond, uncond))


def apply_calibrated_init(
    spec: Spec,
    params: Params,
    key: Any,
    roles: Sequence[starts.Target] | None = None,
    cond: Any = None,
    uncond: Any = None,
) -> tuple[Any, dict[str, Any]]:
    """Initialise such that the target network starts as it would by itself, tensor by tensor.

    Embeddings, also those of chunks, stay as they are.

    Args:
        spec: What the hypernetwork is.
        params: Its tensors.
        key: A key of ``jax.random``.
        roles: What the targets are; without them weights and biases have the variance ``1 / (3 fan_in)``.
        cond: Samples of the condition (default: the conditions that are known, otherwise draws from N(0, 1)).
        uncond: Samples of the unconditional input (default: draws from N(0, 1)).

    Returns:
        The spec, which names the constants that there are, and the tensors.

    Raises:
        ValueError: If an argument is wrong.
    """
    known = spec.num_conditions
    if cond is None and known and not spec.sizes[0]:
        cond = jnp.arange(0, known, math.ceil(known / SAMPLES))
    wanted = [starts.ordinary(target) for target in _targets(spec, roles)]
    return _started(spec, params, wanted, _Plan(key, 2.0, True, True, cond, uncond))


def draw_uniform(key: Any, shape: Any, dtype: Any) -> jax.Array:
    """U(-1, 1)."""
    return jax.random.uniform(key, shape, dtype, -1.0, 1.0)


def draw_normal(key: Any, shape: Any, dtype: Any) -> jax.Array:
    """N(0, 1)."""
    return jax.random.normal(key, shape, dtype)


@dataclass
class _Plan:
    """How a hypernetwork is to be initialised.

    Attributes:
        key: Where random numbers come from.
        gain: ``c``: the variance of hidden layers is ``c / fan_in``.
        calibrated: Whether outputs are measured, too, and brought to scale.
        exact: Whether targets start as they should also where they share the weights that produce them with others.
        cond: Samples of the condition, not looked up yet.
        uncond: Samples of the unconditional input.
    """

    key: Any
    gain: float
    calibrated: bool
    exact: bool
    cond: Any
    uncond: Any
    draws: int = field(default=0)

    def next_key(self) -> Any:
        """A key that was not used before."""
        self.draws += 1
        return jax.random.fold_in(self.key, self.draws)

    def uniform(self, like: Any, mean: float, variance: float) -> jax.Array:
        """U(mean ± √(3 · variance)), in the shape and type of a tensor."""
        return mean + math.sqrt(3 * variance) * draw_uniform(self.next_key(), like.shape, like.dtype)

    def normal(self, like: Any) -> jax.Array:
        """N(0, 1), likewise."""
        return draw_normal(self.next_key(), like.shape, like.dtype)

    def inputs(self, spec: Any, params: Params) -> Inputs:
        """The samples as a hypernetwork computes with them."""
        dtype = next(iter(params.values())).dtype
        cond, uncond = self.cond, self.uncond
        count = DRAWS if cond is None and uncond is None else len(jnp.asarray(uncond if cond is None else cond))
        sizes = spec.sizes
        if uncond is None and sizes[0]:
            uncond = draw_normal(self.next_key(), (count, sizes[0]), dtype)
        if cond is None and (sizes[1] or getattr(spec, "cond_chunk_embs", False)):
            cond = self._drawn_condition(spec, count, dtype)
        return read(spec, params, cond, uncond, None)

    def _drawn_condition(self, spec: Any, count: int, dtype: Any) -> Condition:
        embedding = draw_normal(self.next_key(), (count, spec.sizes[1]), dtype) if spec.sizes[1] else None
        if not getattr(spec, "cond_chunk_embs", False):
            return Condition(embedding)
        shapes = spec.chunk_emb_shapes
        chunks = tuple(draw_normal(self.next_key(), (count, *shape), dtype) for shape in shapes)
        return Condition(embedding, chunks if isinstance(spec, StructuredHMLP) else chunks[0])


def _targets(spec: Spec, roles: Sequence[starts.Target] | None) -> list[starts.Target]:
    if roles is None:
        nothing = [None] * len(spec.shapes)
        return starts.describe(spec.shapes, None, nothing, nothing)
    if [target.shape for target in roles] != list(spec.shapes):
        checks.fail("roles", f"targets of shapes {spec.shapes}", [target.shape for target in roles])
    return list(roles)


def _started(spec: Spec, params: Params, wanted: Sequence[Start], plan: _Plan) -> tuple[Any, dict[str, Any]]:
    """The spec and its tensors, of which no constants are left but those that the start sets."""
    plain = replace(spec, constants=())
    declared = plain.declare()
    made = _start(plain, {name: params[name] for name in declared}, wanted, plan)
    return replace(spec, constants=tuple(sorted(made.keys() - declared))), made


def _start(spec: Any, params: Params, wanted: Sequence[Start], plan: _Plan) -> dict[str, Any]:
    """The tensors of a hypernetwork whose targets start like that."""
    if isinstance(spec, HMLP):
        return _start_full(spec, params, wanted, plan.inputs(spec, params), plan)
    if isinstance(spec, ChunkedHMLP):
        return _start_chunked(spec, params, wanted, plan)
    if isinstance(spec, StructuredHMLP):
        return _start_structured(spec, params, wanted, plan)
    if isinstance(spec, HLowRank):
        factors = [
            factor
            for start, rank in zip(wanted, spec.rank, strict=True)
            for factor in (Start(generated=start.variance or 1.0), Start(generated=1 / rank))
        ]
        inner = _start(spec.hnet, part(params, "hnet"), factors, plan)
        return inside("hnet", inner) | {"gate.weight": jnp.zeros_like(params["gate.weight"])}
    inner = _at_zero(spec.hnet, _start(spec.hnet, part(params, "hnet"), wanted, plan))
    base = {name: tensor for name, tensor in params.items() if not name.startswith("hnet.")}
    if spec.base == "init":
        dtype = next(iter(base.values())).dtype
        drawn = [
            plan.uniform(jnp.zeros(shape, dtype), start.mean, start.variance)
            for shape, start in zip(spec.shapes, wanted, strict=True)
        ]
        own = {f"base.{i}": tensor for i, tensor in enumerate(drawn)}
        base = own if spec.trainable else {BASE: flatten(drawn, spec.shapes)}
    return inside("hnet", inner) | base


def _at_zero(spec: Any, params: Params) -> dict[str, Any]:
    """The tensors with as little changed as it takes to produce zeros."""
    if isinstance(spec, HResidual):
        raise checks.Unavailable(
            "hnet: expected a hypernetwork that starts at zero, got an HResidual, which has a base"
        )
    if isinstance(spec, HLowRank):
        return {**params, "gate.weight": jnp.zeros_like(params["gate.weight"])}
    zeroed = set(_output_tensors(spec))
    return {
        name: jnp.zeros_like(tensor) if name in zeroed else tensor
        for name, tensor in params.items()
        if name.rpartition(".")[2] != OFFSET
    }


def _output_tensors(spec: Any) -> list[str]:
    """Names of the tensors of output layers."""
    if isinstance(spec, HMLP):
        keys = ("weight", "bias") if spec.use_bias else ("weight",)
        return [f"{name}.{key}" for name, _ in spec.heads() for key in keys]
    parts = {f"hnets.{i}": inner for i, inner in enumerate(spec.inner)} if isinstance(spec, StructuredHMLP) else {}
    parts = parts or {"hnet": spec.inner}
    return [f"{name}.{own}" for name, whole in parts.items() for own in _output_tensors(whole)]


# ---------------------------------------------------------------------------------------------- full networks


def _draw_hidden(spec: HMLP, params: Params, plan: _Plan) -> dict[str, Any]:
    """The tensors with hidden layers of variance ``c / fan_in``, biases 0."""
    made = dict(params)
    for i in range(len(spec.layers)):
        weight = params[f"layers.{i}.weight"]
        made[f"layers.{i}.weight"] = plan.uniform(weight, 0.0, plan.gain / weight.shape[1])
        if spec.use_bias:
            made[f"layers.{i}.bias"] = jnp.zeros_like(params[f"layers.{i}.bias"])
    return made


def _start_full(spec: HMLP, params: Params, wanted: Sequence[Start], inputs: Inputs, plan: _Plan) -> dict[str, Any]:
    """A full hypernetwork, in which each target has rows of the output layer of its own."""
    if plan.calibrated and spec.use_spectral_norm:
        made, moment = _draw_shared(spec, params, inputs, plan)
        return _settle(spec, made, wanted, inputs, plan, moment)
    made = _draw_hidden(spec, params, plan)
    activations = spec.hidden(made, inputs)
    activations = activations.reshape(-1, activations.shape[-1])
    moment = _mean_square(activations)
    rows, biases = [], []
    for i, (start, shape) in enumerate(zip(wanted, spec.shapes, strict=True)):
        size, fan_in = math.prod(shape), activations.shape[1]
        variance = start.generated / (fan_in * moment) if moment > 0 else 0.0
        rows.append(plan.uniform(jnp.zeros((size, fan_in), activations.dtype), 0.0, variance))
        if spec.use_bias:
            biases.append(plan.uniform(jnp.zeros(size, activations.dtype), start.mean, start.constant))
        elif start.mean != 0 and not plan.calibrated:
            checks.fail("use_bias", f"True, since target {i} starts at {start.mean}", False)
    if plan.calibrated:
        ratios = [
            _mean_square(activations @ own.T) / start.generated if start.generated else 1.0
            for own, start in zip(rows, wanted, strict=True)
        ]
        factors = 1 / np.sqrt(_trusted(np.array(ratios), spec))
        rows = [own * float(factor) for own, factor in zip(rows, factors, strict=True)]
        if not spec.use_bias:
            made |= _constants(spec, made, None, np.array([start.mean for start in wanted]))
    return made | _as_heads(spec, rows, "weight") | (_as_heads(spec, biases, "bias") if spec.use_bias else {})


def _as_heads(spec: HMLP, rows: Sequence[jax.Array], key: str) -> dict[str, Any]:
    """The rows of all targets as one output layer, or a piece of it for each."""
    if spec.split_head:
        return {f"{name}.{key}": own for (name, _), own in zip(spec.heads(), rows, strict=True)}
    return {f"head.{key}": jnp.concatenate(rows)}


def _draw_shared(spec: HMLP, params: Params, inputs: Inputs, plan: _Plan) -> tuple[dict[str, Any], float]:
    """A full hypernetwork whose output layer serves several targets, and the second moment of what it produces.

    In a calibrated start it produces 0 on average over the samples.
    """
    made = _draw_hidden(spec, params, plan)
    activations = spec.hidden(made, inputs)
    activations = activations.reshape(-1, activations.shape[-1])
    mean = activations.mean(axis=0)
    for name, _ in spec.heads():
        weight = plan.uniform(made[f"{name}.weight"], 0.0, 1 / len(mean))
        if plan.calibrated and not spec.use_bias and len(mean) > 1 and bool(mean.any()):
            weight = weight - jnp.outer(weight @ mean, mean) / jnp.square(mean).sum()
        made[f"{name}.weight"] = weight
        if spec.use_bias:
            made[f"{name}.bias"] = jnp.zeros_like(made[f"{name}.bias"])
            if plan.calibrated:
                made[f"{name}.bias"] = -spec.apply_layer(made, name, mean)
    return made, _mean_square(activations) or 1.0


# ---------------------------------------------------------------------------------------------- chunks


def _start_chunked(spec: ChunkedHMLP, params: Params, wanted: Sequence[Start], plan: _Plan) -> dict[str, Any]:
    """Constants give each target its variance."""
    made = dict(params)
    if not plan.calibrated:
        made |= {name: plan.normal(tensor) for name, tensor in params.items() if name.startswith(f"{CHUNKS}.")}
    inputs = plan.inputs(spec, made)
    rows = _some_rows(spec.chunk_inputs(made, inputs), plan)
    inner, moment = _draw_shared(spec.inner, part(made, "hnet"), rows, plan)
    return _settle(spec, made | inside("hnet", inner), wanted, inputs, plan, moment)


def _start_structured(spec: StructuredHMLP, params: Params, wanted: Sequence[Start], plan: _Plan) -> dict[str, Any]:
    """Each inner network starts for the targets in which its chunks end up, or constants give each its variance."""
    made, inputs = dict(params), plan.inputs(spec, params)
    found = iter([] if plan.exact else _trace(spec))
    for i, (inner, count) in enumerate(zip(spec.inner, spec.num_per_chunk, strict=True)):
        name, own = f"hnets.{i}", part(params, f"hnets.{i}")
        rows = _some_rows(spec.kind_inputs(i, params, inputs), plan)
        if plan.exact:
            drawn, _ = _draw_shared(inner, own, rows, plan)
        else:
            chunks = [[next(found) for _ in inner.shapes] for _ in range(count)]
            ends = [starts.average(wanted, sum(tensors, Counter())) for tensors in zip(*chunks, strict=True)]
            drawn = _start_full(inner, own, ends, rows, plan)
        made |= inside(name, drawn)
    return _settle(spec, made, wanted, inputs, plan, None) if plan.exact else made


def _some_rows(inputs: Inputs, plan: _Plan) -> Inputs:
    """The inputs of all chunks ``[N, number, size]`` as rows, at most so many, drawn at random."""
    rows = inputs.cond.embedding.reshape(-1, inputs.cond.embedding.shape[-1])
    if len(rows) > ROWS:
        rows = jax.random.choice(plan.next_key(), rows, (ROWS,), replace=False)
    return Inputs(Condition(rows))


def _trace(spec: StructuredHMLP) -> list[Counter[int]]:
    """For each tensor of each chunk how many of its elements end up in which target."""
    shapes = [[inner.shapes for _ in range(count)] for inner, count in zip(spec.inner, spec.num_per_chunk, strict=True)]
    structure = [list(chunk) for kind in shapes for chunk in kind]
    number = sum(map(len, structure))

    def labelled(labels: Sequence[int]) -> list[np.ndarray[Any, Any]]:
        left = iter(labels)
        chunks = [[jnp.full(shape, next(left), jnp.float32) for shape in chunk] for chunk in structure]
        return [np.asarray(tensor) for tensor in spec.assemble(chunks, 0)]

    plain, reverse = labelled(range(1, number + 1)), labelled(range(number, 0, -1))
    for one, other in zip(plain, reverse, strict=True):
        if not np.array_equal(one, number + 1 - other) or not np.isin(one, np.arange(1, number + 1)).all():
            checks.fail("assembly_fct", "a function that only arranges what it is given", "one that computes with it")
    counts: list[Counter[int]] = [Counter() for _ in range(number)]
    for i, tensor in enumerate(plain):
        for label, count in zip(*np.unique(tensor, return_counts=True), strict=True):
            counts[int(label) - 1][i] += int(count)
    return counts


# ---------------------------------------------------------------------------------------------- scale


def _settle(
    spec: Any, params: Params, wanted: Sequence[Start], inputs: Inputs, plan: _Plan, moment: float | None
) -> dict[str, Any]:
    """Let constants give each target its start.

    Args:
        spec: The hypernetwork.
        params: Its tensors, without constants of its own.
        wanted: The start of each target.
        inputs: Samples.
        plan: How.
        moment: The second moment of what is produced; measured if it is not known.
    """
    made, moments = dict(params), np.full(len(spec.shapes), 1.0 if moment is None else moment)
    variances = np.array([start.variance for start in wanted])
    sizes = np.array([math.prod(shape) for shape in spec.shapes])
    if plan.calibrated:
        own = _measured(spec, made, inputs, moments)
        factor = math.sqrt((variances / own * sizes).sum() / sizes.sum()) or 1.0
        made |= {name: made[name] * factor for name in _output_tensors(spec)}
    if plan.calibrated or moment is None:
        moments = _measured(spec, made, inputs, moments)
    scale = np.sqrt(np.where(variances > 0, variances, NEUTRAL_VARIANCE) / moments)
    return made | _constants(spec, made, scale, np.array([start.mean for start in wanted]))


def _constants(spec: Spec, params: Params, scale: Any, offset: Any) -> dict[str, Any]:
    """The constants, each one per target, unless they would change nothing."""
    dtype = next(iter(params.values())).dtype
    found = ((SCALE, scale, 1.0), (OFFSET, offset, 0.0))
    return {n: jnp.asarray(v, dtype) for n, v, neutral in found if v is not None and not (v == neutral).all()}


def _measured(spec: Any, params: Params, inputs: Inputs, moments: Any) -> Any:
    """Second moments of what is produced for each target, of which those that are expected may be multiples."""
    produced = spec.as_tensors(spec.produce(params, inputs))
    ratios = np.array([_mean_square(tensor) for tensor in produced]) / moments
    return moments * _trusted(ratios, spec)


def _trusted(ratios: Any, spec: Spec) -> Any:
    """Measured ratios; those of small tensors, which may be small by chance, partly those of all."""
    sizes = np.array([math.prod(shape) for shape in spec.shapes])
    own = np.minimum(sizes / ENOUGH, 1)
    mixed = own * ratios + (1 - own) * (ratios * sizes).sum() / sizes.sum()
    return np.where(mixed > 0, mixed, 1.0)


def _mean_square(x: Any) -> float:
    return float(np.square(np.asarray(x, np.float64)).mean())


def roles_of(names: Sequence[str], weights: Sequence[Any]) -> list[starts.Target]:
    """What the arrays of a target network are, by their names and values.

    Kernels are ``[*kernel, in, out]`` as in ``flax``; a tensor called ``scale`` starts at 1.

    Args:
        names: Their paths, joined by dots.
        weights: The values at which the network starts them.
    """
    places = [name.rpartition(".")[0] for name in names]
    shapes = [tuple(jnp.shape(weight)) for weight in weights]
    kernels = {place: shape for place, shape in zip(places, shapes, strict=True) if len(shape) > 1}
    biased = {place for place, name in zip(places, names, strict=True) if name.rpartition(".")[2] == "bias"}
    found = []
    for name, place, shape, weight in zip(names, places, shapes, weights, strict=True):
        key = name.rpartition(".")[2]
        role = {"scale": "bn_scale", "embedding": "embedding"}.get(key, "weight" if len(shape) > 1 else "bias")
        normed = role == "bias" and place not in kernels and len(shape) < 2
        role = "bn_shift" if normed else role
        *field, fan_in, fan_out = kernels.get(place, (1, math.prod(shape)))
        own = np.asarray(weight, np.float64)
        mean = 0.0 if role == "weight" else float(own.mean())
        paired = role in ("weight", "bias") and place in kernels and place in biased
        size = math.prod(field)
        found.append(
            starts.Target(
                shape,
                role,
                size * fan_in,
                size * fan_out,
                paired,
                None,
                name,
                (mean, float(np.square(own - mean).mean())),
            )
        )
    return found
