r"""Hyperfan initialisation for chunked hypernetworks: the variance of a chunk comes from its embedding.

All chunks share one output layer. With fan-in initialisation (rectified hidden layers: variance ``2 / fan_in``; the
linear output layer: ``1 / fan_in``) a produced weight has the average variance of the inputs,

    ``V_j = (n v + e Vc_j) / (n + e)``,

where ``n`` inputs of average variance ``v`` are the same for all chunks, and ``e`` entries of the embedding of chunk
``j`` have the variance ``Vc_j``. So a chunk that should have the variance ``V_j`` gets embeddings of variance

    ``Vc_j = ((n + e) V_j - n v) / e``,

clipped from below. ``V_j`` is the average of the variances that an ordinary initialisation gives the weights in the
chunk: ``c / fan_in`` or ``c / fan_out`` (``c = 2``, or 1 for Xavier) for weights, ``1 / (3 fan_in)`` for biases as in
``torch.nn.Linear``, and 1 for everything else.

A chunk that holds parts of several tensors gives all of them the same variance, and normalisation scales no other start
than the weights beside them. For main networks that state what their tensors are
(:class:`~hypnettorch.mnets.module_net.ModuleNet`) every tensor gets its own variance, and every normalisation scale 1:
all chunk embeddings have variance 1, and constants per target (:mod:`hypnettorch.hnets.output_constants`) do the rest.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from hypnettorch.core import checks
from hypnettorch.hnets import output_constants
from hypnettorch.hnets.hyperfan import Inputs, check_arguments, initialize_hidden, initialize_hidden_part, per_target
from hypnettorch.hnets.targets import Plan, Start, Target, describe_targets, harmonic_mean, start_of


def initialize(
    hnet: Any,
    method: str,
    use_xavier: bool,
    uncond_var: float,
    cond_var: float | None,
    eps: float,
    normal: bool,
    mnet: Any,
    target_vars: Any,
) -> None:
    """Initialise a ``ChunkedHMLP`` in place (see its method ``apply_chunked_hyperfan_init``)."""
    inner = hnet.hnet
    inputs = Inputs(hnet._uncond_in_size, uncond_var, hnet._cond_in_size, 0.0 if cond_var is None else cond_var)
    check_arguments(hnet, method, inputs)
    checks.number("eps", eps, 0)
    if inner.batchnorm_layers:
        raise checks.StateError("apply_chunked_hyperfan_init: expected a network without batch norm, got one with")
    if len(inner.layer_weight_tensors) > 1 and not isinstance(inner._act_fn, nn.ReLU):
        warnings.warn("the chunked hyperfan initialisation is exact for ReLU activations only", stacklevel=3)

    targets = describe_targets(hnet.target_shapes, mnet)
    prescribed = per_target("target_vars", target_vars, [target.name for target in targets])
    plan = Plan(method, use_xavier, uncond_var, inputs.cond_var)
    gain = plan.gain
    if targets[0].exact:
        starts = [ordinary_start(target, plan, variance) for target, variance in zip(targets, prescribed, strict=True)]
        if cond_var is None and inputs.cond_size > 0:
            plan = replace(plan, cond_var=_rescale_embeddings(hnet, 1.0))
        initialize_exactly(hnet, plan, starts, normal)
        return
    output_constants.keep(hnet, None, None)
    wanted = [
        target_variance(target, method, gain) if variance is None else variance
        for target, variance in zip(targets, prescribed, strict=True)
    ]
    chunks = chunk_variances([target.size for target in targets], wanted, hnet._chunk_size, hnet.num_chunks)
    embedding = hnet.chunk_emb_size
    limit = largest_input_variance(inputs, embedding, float(chunks.min()))
    if cond_var is None and inputs.cond_size > 0:
        inputs = _choose_cond_var(hnet, inputs, limit)
    if limit is not None and inputs.variance >= limit:
        warnings.warn(
            f"input variance {inputs.variance:.3g}: expected less than {limit:.3g}, or chunk embeddings are clipped "
            "to variance eps and some weights start too large",
            stacklevel=3,
        )

    *hidden, output = inner.layer_weight_tensors
    biases = inner.layer_bias_vectors
    initialize_hidden(hidden, biases[:-1], gain)
    initialize_hidden([output], biases[-1:], 1.0)
    size = inputs.uncond_size + inputs.cond_size
    variances = ((size + embedding) * chunks - size * inputs.variance) / embedding
    clipped = int((variances < eps).sum())
    if clipped:
        warnings.warn(f"{clipped} of {len(chunks)} chunk embeddings are clipped to variance {eps:g}", stacklevel=3)
    _draw_chunk_embeddings(hnet, variances.clamp_min(eps), normal)


def initialize_exactly(hnet: Any, plan: Plan, starts: Sequence[Start], normal: bool = True) -> None:
    """Initialise a ``ChunkedHMLP`` in place such that each target starts by itself as it should.

    Args:
        hnet: The hypernetwork.
        plan: Which initialisation is wanted.
        starts: How each target should start.
        normal: Whether to draw chunk embeddings from N(0, 1), otherwise from the uniform distribution of variance 1.
    """
    inner, inputs = hnet.hnet, hnet.inner_inputs(plan)
    check_arguments(hnet, plan.method, inputs)
    moment = initialize_hidden_part(inner, inner._act_fn, inputs.variance, plan.gain)
    initialize_hidden(inner.layer_weight_tensors[-1:], inner.layer_bias_vectors[-1:], 1.0)
    hnet.draw_chunk_embeddings(normal)
    means, variances = [start.mean for start in starts], [start.variance for start in starts]
    output_constants.start(hnet, means, variances, torch.full([len(starts)], moment, **output_constants.DOUBLE))


def ordinary_start(target: Target, plan: Plan, variance: float | None = None) -> Start:
    """How a tensor of the main network starts by itself.

    Args:
        target: The tensor.
        plan: Which initialisation is wanted.
        variance: Its variance, if a user prescribes one.
    """
    start = start_of(target, plan)
    if variance is None and target.neutral is None and target.name in ("weight", "bias"):
        variance = target_variance(target, plan.method, plan.gain)
    return start if variance is None else replace(start, constant=0.0, generated=variance)


def target_variance(target: Target, method: str, gain: float) -> float:
    """The variance that an ordinary initialisation gives a tensor of the main network."""
    if target.name == "bias":
        return 1 / (3 * target.fan_in)
    if target.name != "weight":
        return 1.0
    both = {"in": gain / target.fan_in, "out": gain / target.fan_out}
    return both[method] if method in both else harmonic_mean(both["in"], both["out"])


def chunk_variances(sizes: Sequence[int], variances: Sequence[float], chunk_size: int, num_chunks: int) -> Tensor:
    """The average variance in each chunk ``[num_chunks]``; surplus weights of the last chunk count for the last target.

    Example:
        >>> chunk_variances([3, 2], [1.0, 4.0], chunk_size=4, num_chunks=2).tolist()
        [1.75, 4.0]
    """
    surplus = num_chunks * chunk_size - sum(sizes)
    repeats = torch.tensor([*sizes[:-1], sizes[-1] + surplus])
    per_weight = torch.tensor(variances, dtype=torch.float64).repeat_interleave(repeats)
    return per_weight.view(num_chunks, chunk_size).mean(dim=1)


def largest_input_variance(inputs: Inputs, embedding: int, smallest: float) -> float | None:
    """The input variance at which the chunk of smallest variance leaves nothing for its embedding."""
    size = inputs.uncond_size + inputs.cond_size
    return (size + embedding) / size * smallest if size else None


def _choose_cond_var(hnet: Any, inputs: Inputs, limit: float | None) -> Inputs:
    """Half of the largest variance of conditional inputs, to which internal embeddings are rescaled."""
    size = inputs.uncond_size + inputs.cond_size
    largest = (size * (limit or 0.0) - inputs.uncond_size * inputs.uncond_var) / inputs.cond_size
    if largest <= 0:
        checks.fail("uncond_var", "a variance that leaves some for conditional inputs", inputs.uncond_var)
    return replace(inputs, cond_var=_rescale_embeddings(hnet, 0.5 * largest))


def _rescale_embeddings(hnet: Any, variance: float) -> float:
    """Scale the internal embeddings to a second moment, and return it."""
    embeddings = hnet.hnet.conditional_params
    if not embeddings:
        checks.fail("cond_var", f"a number (as {variance:.3g}), since no embedding is internal", None)
    with torch.no_grad():
        moment = torch.stack(embeddings).square().mean()
        for param in embeddings:
            param.mul_((variance / moment).sqrt())
    return variance


def _draw_chunk_embeddings(hnet: Any, variances: Tensor, normal: bool) -> None:
    conditions = range(hnet.num_known_conds) if hnet.cond_chunk_embs else [None]
    for condition in conditions:
        embeddings = hnet.get_chunk_emb(cond_id=condition)
        std = variances.sqrt().unsqueeze(1).to(embeddings)
        with torch.no_grad():
            if normal:
                embeddings.normal_().mul_(std)
            else:
                embeddings.uniform_(-math.sqrt(3), math.sqrt(3)).mul_(std)
