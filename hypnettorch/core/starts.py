"""How the tensors of a main network start: means and variances, which follow from fans. No framework is needed.

``hyperfan`` gives produced tensors the variances of Chang, Flokas, Lipson, "Principled Weight Initialization for
Hypernetworks", ICLR 2020, https://openreview.net/forum?id=H1lma24tPB, with ``c = 2`` (Kaiming) or 1 (Xavier) and
``k = 2`` if the layer of the tensor has a produced bias (it takes its share of the variance) and 1 otherwise:

=======  ====================  ====================================
target   ``'in'``              ``'out'``
=======  ====================  ====================================
weight   ``c / (k · fan_in)``  ``c / fan_out``
bias     ``c / 2``             ``max(0, c · (1 - fan_in / fan_out))``
=======  ====================  ====================================

``'harmonic'`` is the harmonic mean of the two. Scales start at 1 and shifts at 0, without variance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

METHODS = ("in", "out", "harmonic")

_NEUTRAL = {"bn_scale": 1.0, "cm_scale": 1.0}
_SPREAD = {"embedding": 1.0}


@dataclass(frozen=True)
class Start:
    """How a produced tensor starts: constant entries of some mean and variance, and what depends on the input.

    Attributes:
        mean: Mean of the constant.
        constant: Variance of the constant.
        generated: Variance of what depends on the input; its mean is 0.
    """

    mean: float = 0.0
    constant: float = 0.0
    generated: float = 0.0

    @property
    def variance(self) -> float:
        """Variance of its entries."""
        return self.constant + self.generated

    def with_variance(self, variance: float | None) -> Start:
        """The same mean with a variance that a user prescribes, if it is no ``None``."""
        return self if variance is None else Start(self.mean, generated=variance)


UNUSED = Start()
"""The start of a tensor that is produced for nothing."""


@dataclass(frozen=True)
class Target:
    """A tensor that a hypernetwork produces.

    Attributes:
        shape: Its shape.
        role: Its ``name`` in ``param_shapes_meta``.
        fan_in: Fan-in of its layer; for tensors without layer their size.
        fan_out: Fan-out of its layer.
        paired: Whether it is a weight with a produced bias, or such a bias.
        neutral: The value at which it starts whatever its role and fans.
        name: Its name in the main network.
        ordinary: Mean and variance at which the main network starts it.
    """

    shape: tuple[int, ...]
    role: str
    fan_in: int
    fan_out: int
    paired: bool = False
    neutral: float | None = None
    name: str | None = None
    ordinary: tuple[float, float] | None = None


def describe(
    shapes: Sequence[tuple[int, ...]],
    metas: Sequence[Mapping[str, Any]] | None,
    names: Sequence[str | None],
    ordinary: Sequence[tuple[float, float] | None],
) -> list[Target]:
    """What produced tensors are for a main network.

    Args:
        shapes: Their shapes.
        metas: What ``param_shapes_meta`` says of them. Without it tensors with more than one dimension count as
            weights, and vectors as the bias of the weight directly before them.
        names: Their names.
        ordinary: Mean and variance at which the main network starts them.
    """
    metas = _guessed(shapes) if metas is None else metas
    roles = [
        meta["name"] or ("weight" if len(shape) > 1 else "bias") for meta, shape in zip(metas, shapes, strict=True)
    ]
    pairs = _pairs(shapes, roles, [meta["layer"] for meta in metas])
    targets = []
    for i, (shape, role, meta) in enumerate(zip(shapes, roles, metas, strict=True)):
        owner = pairs.get(i, i) if role == "bias" else i
        fan_in, fan_out = _fans(shapes[owner], {**metas[owner], **meta})
        targets.append(Target(shape, role, fan_in, fan_out, i in pairs, meta.get("neutral"), names[i], ordinary[i]))
    return targets


def _guessed(shapes: Sequence[tuple[int, ...]]) -> list[dict[str, Any]]:
    """Role and layer of tensors of which nothing is known."""
    metas, layer, after_weight = [], -1, False
    for shape in shapes:
        weight = len(shape) > 1
        layer += weight
        metas.append({"name": "weight" if weight else "bias", "layer": layer if weight or after_weight else -1})
        after_weight = weight
    return metas


def _pairs(shapes: Sequence[tuple[int, ...]], roles: Sequence[str], layers: Sequence[int]) -> dict[int, int]:
    """Positions of weights and biases that belong together, in both directions."""
    pairs: dict[int, int] = {}
    for i in [i for i, role in enumerate(roles) if role == "bias"]:
        weights = [j for j, role in enumerate(roles) if role == "weight" and layers[j] == layers[i] != -1]
        fits = i > 0 and roles[i - 1] == "weight" and shapes[i - 1][:1] == shapes[i][:1] and i - 1 not in pairs
        if layers[i] == -1 and fits:
            weights = [i - 1]
        if weights:
            weight = min(weights, key=lambda j: abs(i - j))
            pairs |= {i: weight, weight: i}
    return pairs


def _fans(shape: tuple[int, ...], meta: Mapping[str, Any]) -> tuple[int, int]:
    """Fan-in and fan-out that a layer says of itself, or by the shape ``[out, in, *kernel]``."""
    rows, columns = (shape[0], shape[1]) if len(shape) > 1 else (1, 1)
    field = max(math.prod(shape[2:] if len(shape) > 1 else shape), 1)
    return meta.get("fan_in") or columns * field, meta.get("fan_out") or rows * field


def hyperfan(target: Target, method: str = "in", gain: float = 2.0) -> Start:
    """How hyperfan starts a tensor: the table above.

    Args:
        target: The tensor.
        method: ``'in'``, ``'out'`` or ``'harmonic'``.
        gain: ``c``.
    """
    if target.neutral is not None:
        return Start(target.neutral)
    if target.role not in ("weight", "bias"):
        return Start(_NEUTRAL.get(target.role, 0.0), _SPREAD.get(target.role, 0.0))
    bias = _by_method(method, gain / 2, max(0.0, gain * (1 - target.fan_in / target.fan_out)))
    share = 2 if target.paired and bias > 0 else 1
    weight = _by_method(method, gain / (share * target.fan_in), gain / target.fan_out)
    return Start(generated=bias if target.role == "bias" else weight)


def chunked(target: Target, method: str = "in", gain: float = 2.0, exact: bool = True) -> Start:
    """How a tensor starts that is made of chunks: weights and biases as by an ordinary initialisation.

    Args:
        target: The tensor.
        method: See :func:`hyperfan`.
        gain: See :func:`hyperfan`.
        exact: Whether other tensors start as hyperfan has it; otherwise they have variance 1.
    """
    if target.role == "weight" and target.neutral is None:
        return Start(generated=_by_method(method, gain / target.fan_in, gain / target.fan_out))
    if target.role == "bias" and target.neutral is None:
        return Start(generated=1 / (3 * target.fan_in))
    return hyperfan(target) if exact else Start(generated=1.0)


def ordinary(target: Target) -> Start:
    """How the main network starts a tensor; ``1 / (3 fan_in)`` for weights and biases of which it says nothing."""
    if target.neutral is not None:
        return Start(target.neutral)
    if target.ordinary is not None:
        mean, variance = target.ordinary
        return Start(mean, generated=variance)
    if target.role in ("weight", "bias"):
        return Start(generated=1 / (3 * target.fan_in))
    return Start(_NEUTRAL.get(target.role, 0.0), generated=_SPREAD.get(target.role, 0.0))


def _by_method(method: str, fan_in: float, fan_out: float) -> float:
    """One of two variances, or their harmonic mean, which is 0 if one of them is."""
    if method == "harmonic":
        return 2 / (1 / fan_in + 1 / fan_out) if fan_in and fan_out else 0.0
    return {"in": fan_in, "out": fan_out}[method]


def average(starts: Sequence[Start], counts: Mapping[int, float]) -> Start:
    """How a tensor starts whose elements end up in several others.

    Args:
        starts: The start of each of those.
        counts: How many elements are in them, by position.
    """
    used = {i: count for i, count in counts.items() if starts[i] is not UNUSED}
    total = sum(used.values())
    if not total:
        return UNUSED
    mean, constant, generated = (
        sum(count * getattr(starts[i], name) for i, count in used.items()) / total
        for name in ("mean", "constant", "generated")
    )
    return Start(mean, constant, generated)
