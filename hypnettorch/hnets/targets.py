r"""What the tensors are that a hypernetwork produces, and how they should start.

So that the main network starts as it would by itself, a produced tensor has the variance below, with ``c = 2``
(Kaiming) or 1 (Xavier) and ``k = 2`` if the layer of the tensor has a produced bias (it takes its share of the
variance) and 1 otherwise:

=======  ====================  ====================================
target   ``'in'``              ``'out'``
=======  ====================  ====================================
weight   ``c / (k · fan_in)``  ``c / fan_out``
bias     ``c / 2``             ``max(0, c · (1 - fan_in / fan_out))``
=======  ====================  ====================================

``'harmonic'`` is the harmonic mean of the two. Scales start at 1 and shifts at 0, without variance.

References:
    Chang, Flokas, Lipson, "Principled Weight Initialization for Hypernetworks", ICLR 2020,
    https://openreview.net/forum?id=H1lma24tPB, sections 4.1 and 4.2.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hypnettorch.core.initialisation import calc_fan_in_and_out
from hypnettorch.mnets.network import check_network

METHODS = ("in", "out", "harmonic")
_NEUTRAL = {"bn_scale": 1.0, "cm_scale": 1.0}
_BIAS_VARIANCE = {"embedding": 1.0}


@dataclass(frozen=True)
class Target:
    """A tensor that a hypernetwork produces.

    Attributes:
        shape: Its shape.
        name: Its ``name`` in ``param_shapes_meta``.
        fan_in: Fan-in of its layer; for tensors without layer their size.
        fan_out: Fan-out of its layer.
        partner: For a weight the position of its bias, for a bias that of its weight; ``None`` if there is none.
        exact: Whether it starts as it should also where weights that produce it are shared with other targets. So it is
            for a :class:`~hypnettorch.mnets.module_net.ModuleNet`.
        neutral: The value at which it starts, whatever its name.
    """

    shape: tuple[int, ...]
    name: str
    fan_in: int
    fan_out: int
    partner: int | None
    exact: bool = False
    neutral: float | None = None

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Plan:
    """Which initialisation is wanted, and what the inputs are like (see ``HMLP.apply_hyperfan_init``)."""

    method: str
    use_xavier: bool
    uncond_var: float
    cond_var: float

    @property
    def gain(self) -> float:
        """``c``: 1 for Xavier, 2 for Kaiming initialisation."""
        return 1.0 if self.use_xavier else 2.0


@dataclass(frozen=True)
class Start:
    """How a produced tensor starts: constant entries of some mean and variance, and what depends on the input.

    Attributes:
        mean: Mean of the constant.
        constant: Variance of the constant.
        generated: Variance of what depends on the input; its mean is 0.
    """

    mean: float
    constant: float
    generated: float

    @property
    def variance(self) -> float:
        """Variance of its entries."""
        return self.constant + self.generated


def describe_targets(target_shapes: Sequence[Sequence[int]], mnet: Any) -> list[Target]:
    """What each produced tensor is for the main network.

    Args:
        target_shapes: Shapes of the produced tensors.
        mnet: The main network. Without it, or if its shapes do not fit (a warning says so), tensors with more than one
            dimension count as weights, and vectors as the bias of the weight directly before them.

    Returns:
        One description per target.
    """
    shapes = [tuple(shape) for shape in target_shapes]
    known = _meta_of(shapes, mnet)
    exact = bool(known) and mnet is not None and mnet.starts_exactly
    metas = known or _guess_meta(shapes)
    names = [
        meta["name"] or ("weight" if len(shape) > 1 else "bias") for meta, shape in zip(metas, shapes, strict=True)
    ]
    partners = _pair_biases(shapes, names, [meta["layer"] for meta in metas])
    targets = []
    for i, (shape, name, meta) in enumerate(zip(shapes, names, metas, strict=True)):
        partner = partners.get(i)
        owner = partner if name == "bias" and partner is not None else i
        fan_in, fan_out = _fans(shapes[owner], metas[owner])
        fan_in, fan_out = meta.get("fan_in") or fan_in, meta.get("fan_out") or fan_out
        targets.append(Target(shape, name, fan_in, fan_out, partner, exact, meta.get("neutral")))
    return targets


def _meta_of(shapes: list[tuple[int, ...]], mnet: Any) -> list[Mapping[str, Any]] | None:
    if mnet is None:
        return None
    check_network("mnet", mnet)
    try:
        metas = mnet.param_shapes_meta
        refs = mnet.hyper_shapes_learned_ref
    except NotImplementedError:
        return None
    if [tuple(shape) for shape in mnet.param_shapes] == shapes:
        return list(metas)
    if refs and [tuple(shape) for shape in mnet.hyper_shapes_learned or ()] == shapes and -1 not in refs:
        return [metas[ref] for ref in refs]
    warnings.warn(
        "mnet: its param_shapes and hyper_shapes_learned do not fit the target shapes, so it is not used", stacklevel=5
    )
    return None


def _guess_meta(shapes: list[tuple[int, ...]]) -> list[Mapping[str, Any]]:
    metas: list[Mapping[str, Any]] = []
    layer = -1
    previous_is_weight = False
    for shape in shapes:
        is_weight = len(shape) > 1
        layer += is_weight
        known = is_weight or previous_is_weight
        metas.append({"name": "weight" if is_weight else "bias", "layer": layer if known else -1})
        previous_is_weight = is_weight
    return metas


def _pair_biases(shapes: list[tuple[int, ...]], names: list[str], layers: list[int]) -> dict[int, int]:
    """Positions of weights and biases that belong together, in both directions."""
    pairs: dict[int, int] = {}
    for i, name in enumerate(names):
        if name != "bias":
            continue
        same = [j for j in range(len(names)) if names[j] == "weight" and layers[j] == layers[i] != -1]
        before = i - 1
        fits = before >= 0 and names[before] == "weight" and shapes[before][:1] == shapes[i][:1] and before not in pairs
        nearest = min(same, key=lambda j: abs(i - j), default=None)
        weight = before if nearest is None and fits and layers[i] == -1 else nearest
        if weight is not None:
            pairs[i], pairs[weight] = weight, i
    return pairs


def _fans(shape: tuple[int, ...], meta: Mapping[str, Any]) -> tuple[int, int]:
    if "fan_in" in meta and "fan_out" in meta:
        return meta["fan_in"], meta["fan_out"]
    if len(shape) < 2:
        size = max(math.prod(shape), 1)
        return size, size
    return calc_fan_in_and_out(list(shape))


def harmonic_mean(a: float, b: float) -> float:
    """``2 / (1/a + 1/b)``, and 0 if one of them is 0."""
    return 0.0 if a == 0 or b == 0 else 2 / (1 / a + 1 / b)


def generated_variance(target: Target, method: str, gain: float) -> float:
    """The variance that a produced weight or bias should have: the table above without ``d · q``."""
    bias = {"in": gain / 2, "out": max(0.0, gain * (1 - target.fan_in / target.fan_out))}
    bias_variance = _by_method(bias, method)
    if target.name == "bias":
        return bias_variance
    shared = target.partner is not None and bias_variance > 0
    return _by_method({"in": gain / ((2 if shared else 1) * target.fan_in), "out": gain / target.fan_out}, method)


def _by_method(variances: Mapping[str, float], method: str) -> float:
    return variances[method] if method in variances else harmonic_mean(variances["in"], variances["out"])


def start_of(target: Target, plan: Plan) -> Start:
    """How a tensor starts that is produced for a target."""
    if target.neutral is not None:
        return Start(target.neutral, 0.0, 0.0)
    generated = target.name in ("weight", "bias")
    return Start(
        mean=_NEUTRAL.get(target.name, 0.0),
        constant=_BIAS_VARIANCE.get(target.name, 0.0),
        generated=generated_variance(target, plan.method, plan.gain) if generated else 0.0,
    )
