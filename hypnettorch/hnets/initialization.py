r"""How hypernetworks start: what they produce has the moments that an initialisation of the main network asks for.

There are two starts.

**Hyperfan** (``apply_hyperfan_init``, ``apply_chunked_hyperfan_init``; Chang, Flokas, Lipson, "Principled Weight
Initialization for Hypernetworks", ICLR 2020, https://openreview.net/forum?id=H1lma24tPB). Variances follow from fans.
A produced tensor has the variance below, with ``c = 2`` (Kaiming) or 1 (Xavier) and ``k = 2`` if the layer of the
tensor has a produced bias (it takes its share of the variance) and 1 otherwise:

=======  ====================  ====================================
target   ``'in'``              ``'out'``
=======  ====================  ====================================
weight   ``c / (k · fan_in)``  ``c / fan_out``
bias     ``c / 2``             ``max(0, c · (1 - fan_in / fan_out))``
=======  ====================  ====================================

``'harmonic'`` is the harmonic mean of the two. Scales start at 1 and shifts at 0, without variance. How large the
inputs are is told by variances (mean squares of an entry), from which the second moment ``q`` of the last hidden
activations is computed: each layer turns ``q`` into ``E[σ(z)²]`` with ``z ~ N(0, c q)`` (N(0, 1) after batch norm). Or
it is told by samples, for which ``q`` is measured.

**Calibrated** (``apply_calibrated_init``). What is produced has, target by target, mean and second moment of the main
network as it starts by itself: the ``start`` of the rows of its table. Nothing is derived: hidden layers are drawn with
fan-in, the output is measured for samples of conditions, and brought to scale.

Either way a network with rows of its own for each target (:class:`~hypnettorch.hnets.mlp_hnet.HMLP`) has the scale in
these rows, ``Var(rows) = Var(target) / (d · q)`` for ``d`` units, and the neutral value in their bias. Where targets
share the weights that produce them, constants scale and shift them (:mod:`hypnettorch.hnets.output_constants`). In the
calibrated start the shared output layer has the scale of the targets on average, and constants only what differs: so an
optimiser whose steps have a size of their own (Adam) changes weights as fast as those of a full network.

What a chunk generator produces with one row of its output layer, in different chunks, is correlated, as rectified
activations have a mean. Through the layers of a main network that adds up. So the calibrated start sets the bias of a
shared output layer to ``-W · mean(h)`` over all chunks and conditions (or, without biases, makes its rows orthogonal to
``mean(h)``), and pixels that a deconvolution draws have random signs.

What one hypernetwork produces another may arrange into targets. So every produced tensor has *destinations*, the
targets in which its elements end up. Where there are several, it starts at the average of what they ask for.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hypnettorch.core import checks, formats, trees
from hypnettorch.core.initialisation import calc_fan_in_and_out
from hypnettorch.core.table import ROLES, Row
from hypnettorch.core.values import Values
from hypnettorch.hnets import output_constants
from hypnettorch.layers.batchnorm_layer import BatchNormLayer
from hypnettorch.mnets.network import check_network, is_network

METHODS = ("in", "out", "harmonic")

SAMPLES = 64
"""For how many conditions outputs are measured at most."""

ROWS = 8192
"""For how many chunks of them activations are measured at most."""

ELEMENTS = 2**25
"""How many produced numbers are looked at at once."""

ENOUGH = 100
"""A tensor of so many elements is measured by itself; that of a smaller one is partly that of all others."""

_NEUTRAL = {"bn_scale": 1.0, "cm_scale": 1.0}
_BIAS_VARIANCE = {"embedding": 1.0}


# ---------------------------------------------------------------------------------------------- targets


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
        start: Mean and variance at which it starts, whatever its name and fans.
    """

    shape: tuple[int, ...]
    name: str
    fan_in: int
    fan_out: int
    partner: int | None
    exact: bool = False
    start: tuple[float, float] | None = None

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


class Samples(NamedTuple):
    """What a network is asked for to measure it, and the evaluation as it sees it."""

    request: Any
    values: Values


@dataclass(frozen=True)
class Plan:
    """Which start is wanted, and what the inputs are like.

    Attributes:
        method: ``'in'``, ``'out'`` or ``'harmonic'``.
        use_xavier: Xavier instead of Kaiming initialisation.
        uncond_var: Mean square of an entry of the unconditional input.
        cond_var: Mean square of an entry of the conditional input.
        samples: Inputs for which to measure instead.
        calibrated: Whether outputs are measured, too, and brought to scale.
    """

    method: str = "in"
    use_xavier: bool = False
    uncond_var: float = 1.0
    cond_var: float = 1.0
    samples: Samples | None = None
    calibrated: bool = False

    @property
    def gain(self) -> float:
        """``c``: 1 for Xavier, 2 for Kaiming initialisation."""
        return 1.0 if self.use_xavier else 2.0

    def within(self, request: Any, values: Values) -> Plan:
        """The plan for another network, with what that one is asked for."""
        return replace(self, samples=Samples(request, values))

    def looked_up(self, network: Any) -> Plan:
        """The plan with samples of which a network that has them has looked up the conditions, at most 64 of them."""
        if self.samples is None:
            return self
        request, values = self.samples
        return self.within(rows_of(network.select(request, values), SAMPLES), values)

    def moment(self, uncond_size: int, cond_size: int) -> float:
        """The mean square of an entry of inputs ``[u, e]`` of these sizes; 0 without input."""
        if self.samples is not None:
            inputs = [x for x in (self.samples.request.uncond, self.samples.request.cond) if x is not None]
            return float(torch.cat(inputs, dim=-1).square().mean()) if inputs else 0.0
        size = uncond_size + cond_size
        return (cond_size * self.cond_var + uncond_size * self.uncond_var) / size if size else 0.0


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
        mnet: The main network. Without it tensors with more than one dimension count as weights, and vectors as the
            bias of the weight directly before them.

    Returns:
        One description per target.

    Raises:
        ValueError: If the main network takes tensors of other shapes.
        TypeError: If it is none.
    """
    shapes = [tuple(shape) for shape in target_shapes]
    positions = _positions_in(mnet, shapes)
    metas = _guess_meta(shapes) if positions is None else [mnet.param_shapes_meta[i] for i in positions]
    exact = positions is not None and mnet.starts_exactly
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
        neutral = meta.get("neutral")
        start = None if neutral is None else (neutral, 0.0)
        targets.append(Target(shape, name, fan_in, fan_out, partner, exact, start))
    return targets


def _positions_in(mnet: Any, shapes: list[tuple[int, ...]]) -> list[int] | None:
    """Where the targets stand in the table of the main network, if it says what its tensors are."""
    if mnet is None:
        return None
    check_network("mnet", mnet)
    try:
        metas, refs = mnet.param_shapes_meta, mnet.hyper_shapes_learned_ref
    except NotImplementedError:
        return None
    if [tuple(shape) for shape in mnet.param_shapes] == shapes:
        return list(range(len(metas)))
    if refs and [tuple(shape) for shape in mnet.hyper_shapes_learned or ()] == shapes and -1 not in refs:
        return list(refs)
    expected = f"a network with hyper_shapes_learned or param_shapes {[list(shape) for shape in shapes]}"
    return checks.fail("mnet", expected, f"one with {mnet.hyper_shapes_learned or mnet.param_shapes}")


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
    """The variance that a produced weight or bias should have: the table above."""
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
    if target.start is not None:
        return Start(target.start[0], 0.0, target.start[1])
    generated = target.name in ("weight", "bias")
    return Start(
        mean=_NEUTRAL.get(target.name, 0.0),
        constant=_BIAS_VARIANCE.get(target.name, 0.0),
        generated=generated_variance(target, plan.method, plan.gain) if generated else 0.0,
    )


def ordinary_targets(target_shapes: Sequence[Sequence[int]], mnet: Any, target_var: Any = None) -> list[Target]:
    """The targets, each with mean and variance of the main network as it starts by itself.

    Args:
        target_shapes: Shapes of the produced tensors.
        mnet: The main network. What it does not say follows from shapes: weights and biases have the variance
            ``1 / (3 fan_in)``, scales the value 1, shifts 0.
        target_var: Variances that replace those: a number for all targets that vary, a list (``None`` for the default),
            or a dictionary by name of the tensor or by ``name`` of ``param_shapes_meta``.

    Raises:
        ValueError: If the main network, or a variance, does not fit.
    """
    targets = describe_targets(target_shapes, mnet)
    positions = _positions_in(mnet, [target.shape for target in targets])
    rows = [None] * len(targets) if positions is None else [mnet.table.rows[i] for i in positions]
    given = _given_variances(target_var, targets, rows)
    described = []
    for target, row, variance in zip(targets, rows, given, strict=True):
        mean, own = target.start or (None if row is None else row.start) or _start_by_role(target)
        described.append(replace(target, start=(mean, own if variance is None or variance < 0 else variance)))
    return described


def _start_by_role(target: Target) -> tuple[float, float]:
    """The start of a tensor of which nothing but role and fan-in is known."""
    if target.name in ("weight", "bias"):
        return 0.0, 1 / (3 * target.fan_in)
    return _NEUTRAL.get(target.name, 0.0), _BIAS_VARIANCE.get(target.name, 0.0)


def _given_variances(value: Any, targets: Sequence[Target], rows: Sequence[Row | None]) -> list[float | None]:
    """Variances that a user prescribes."""
    if not isinstance(value, Mapping):
        if value is not None and not isinstance(value, (list, tuple)):
            number = checks.number("target_var", value, 0)
            starts = [
                target.start or (None if row is None else row.start) for target, row in zip(targets, rows, strict=True)
            ]
            varies = [(start or _start_by_role(target))[1] > 0 for target, start in zip(targets, starts, strict=True)]
            return [number if vary else None for vary in varies]
        return per_target("target_var", value, [target.name for target in targets])
    labels = [(row.name if row is not None else None, target.name) for target, row in zip(targets, rows, strict=True)]
    known = {label for pair in labels for label in pair if label is not None}
    for key, entry in value.items():
        checks.one_of("target_var (key)", key, sorted(known))
        checks.number(("target_var", key), entry, 0)
    return [value.get(name, value.get(role)) for name, role in labels]


def per_target(argument: str, value: Any, names: Sequence[str]) -> list[float | None]:
    """A prescribed list or dictionary as one number per target, ``None`` where nothing is prescribed."""
    if value is None:
        return [None] * len(names)
    if isinstance(value, Mapping):
        for key in value:
            checks.one_of(f"{argument} (key)", key, ROLES)
        entries = [value.get(name) for name in names]
    else:
        checks.instance(argument, value, (list, tuple), "a list or a dictionary")
        checks.length(argument, value, len(names))
        entries = list(value)
    low = 0.0 if "var" in argument else None
    return [None if entry is None else checks.number((argument, i), entry, low) for i, entry in enumerate(entries)]


# ---------------------------------------------------------------------------------------------- destinations


@dataclass(frozen=True)
class Destination:
    """A target in which a produced tensor ends up, wholly or in part.

    Attributes:
        target: The target.
        elements: How many elements of the produced tensor are in it.
    """

    target: Target
    elements: float


Destinations = Sequence[Sequence[Destination]]
"""The destinations of each tensor that a hypernetwork produces."""


def average(destinations: Sequence[Destination], value: Callable[[Target], float]) -> float:
    """The mean of a property of the targets in which a tensor ends up; 0 if it is not used at all."""
    elements = sum(destination.elements for destination in destinations)
    return sum(d.elements * value(d.target) for d in destinations) / elements if elements else 0.0


def average_start(destinations: Sequence[Destination], plan: Plan) -> Start:
    """How a produced tensor starts."""
    return Start(
        mean=average(destinations, lambda target: start_of(target, plan).mean),
        constant=average(destinations, lambda target: start_of(target, plan).constant),
        generated=average(destinations, lambda target: start_of(target, plan).generated),
    )


def average_starts(destinations: Destinations, plan: Plan) -> list[Start]:
    """How all tensors start that a network produces."""
    return [average_start(group, plan) for group in destinations]


def want_exactness(destinations: Destinations) -> bool:
    """Whether targets should start as they should also where weights that produce them are shared."""
    return any(destination.target.exact for group in destinations for destination in group)


def trace_back(found: Sequence[Mapping[int, int]], destinations: Destinations) -> list[list[Destination]]:
    """The destinations of tensors from those of the tensors into which they are assembled.

    Args:
        found: How many elements of each tensor are in each assembled one (:func:`hypnettorch.hnets.assembly.trace`).
        destinations: Those of the assembled tensors.
    """
    totals = [sum(destination.elements for destination in group) for group in destinations]
    return [
        [
            Destination(destination.target, count * destination.elements / totals[position])
            for position, count in counts.items()
            for destination in destinations[position]
        ]
        for counts in found
    ]


def destinations_of(shapes: Sequence[Sequence[int]], variance: float) -> list[list[Destination]]:
    """Destinations of tensors that are no weights themselves, and start with a variance of their own."""
    targets = [Target(tuple(shape), "weight", 1, 1, None, start=(0.0, variance)) for shape in shapes]
    return [[Destination(target, target.size)] for target in targets]


# ---------------------------------------------------------------------------------------------- the two starts


def apply_hyperfan_init(
    hnet: Any,
    method: str,
    use_xavier: bool,
    uncond_var: float,
    cond_var: float,
    mnet: Any,
    cond_input: Any,
    uncond_input: Any,
) -> None:
    """Initialise a hypernetwork in place (see :meth:`hypnettorch.hnets.hypernetwork.HyperNetwork.apply_hyperfan_init`).

    Its method ``start_at`` initialises it for the destinations of what it produces.
    """
    plan = checked_plan(method, use_xavier, uncond_var, cond_var)
    destinations = [[Destination(target, target.size)] for target in describe_targets(hnet.target_shapes, mnet)]
    with measuring(hnet, plan, cond_input, uncond_input) as measured:
        hnet.start_at(destinations, measured)


def apply_calibrated_init(hnet: Any, mnet: Any, cond_input: Any, uncond_input: Any, target_var: Any) -> None:
    """Initialise a hypernetwork (see :meth:`hypnettorch.hnets.hypernetwork.HyperNetwork.apply_calibrated_init`)."""
    targets = ordinary_targets(hnet.target_shapes, mnet, target_var)
    destinations = [[Destination(target, target.size)] for target in targets]
    with measuring(hnet, Plan(calibrated=True), cond_input, uncond_input) as plan:
        hnet.start_at(destinations, plan)


def checked_plan(method: str, use_xavier: bool, uncond_var: float, cond_var: float) -> Plan:
    """A plan for hyperfan, of checked arguments."""
    checks.one_of("method", method, METHODS)
    checks.number("uncond_var", uncond_var, 0)
    checks.number("cond_var", cond_var, 0)
    return Plan(method, use_xavier, uncond_var, cond_var)


def check_internal(hnet: Any) -> None:
    """Raise unless a network holds the parameters that are to be initialised."""
    if not hnet.unconditional_params:
        raise ValueError("initialisation: expected internal unconditional parameters, got external ones only")


# ---------------------------------------------------------------------------------------------- measuring


@contextmanager
def measuring(hnet: Any, plan: Plan, cond_input: Any, uncond_input: Any) -> Iterator[Plan]:
    """A plan with samples, and modes in which to measure: without gradient and dropout.

    The batch norm of hypernetworks has batch statistics, as in training, if there is more than one condition. Modes and
    running statistics of all parts are afterwards what they were before.

    Args:
        hnet: The hypernetwork.
        plan: The plan. One that is not calibrated gets samples only if some are given.
        cond_input: Samples of the conditional input, or ``None``.
        uncond_input: Samples of the unconditional input, or ``None``.
    """
    parts = list(hnet.modules())
    modes = [part.training for part in parts]
    buffers = [buffer for part in parts if not is_network(part) for buffer in part._buffers.values()]
    kept = [(buffer, buffer.clone()) for buffer in buffers if buffer is not None]
    wanted = plan.calibrated or cond_input is not None or uncond_input is not None
    try:
        with torch.no_grad():
            if wanted:
                check_internal(hnet)
                plan = replace(plan, samples=_samples(hnet, cond_input, uncond_input))
                many = _count(plan.samples.request) > 1 or getattr(hnet, "num_chunks", 1) > 1  # type: ignore[union-attr]
                for part in parts:
                    if isinstance(part, nn.modules.dropout._DropoutNd):
                        part.training = False
                    elif isinstance(part, BatchNormLayer):
                        part.training = many
            yield plan
            for buffer, before in kept:
                buffer.copy_(before)
    finally:
        for part, mode in zip(parts, modes, strict=True):
            part.training = mode


def _samples(hnet: Any, cond_input: Any, uncond_input: Any) -> Samples:
    """What is given; else the conditions that the network holds, and N(0, 1) inputs."""
    for name, value in (("cond_input", cond_input), ("uncond_input", uncond_input)):
        if value is not None:
            checks.tensor(name, value)
    known = hnet.num_known_conds
    held = known > 0 and all(row.owner is not None for rows in hnet.table.kinds.values() for row in rows)
    ids = None
    if held and cond_input is None:
        ids = list(range(0, known, math.ceil(known / SAMPLES)))
    count = SAMPLES if hnet._uncond_in_size or ids is None else len(ids)
    count = max(4, min(count, ELEMENTS // max(hnet._uncond_in_size, 1))) if ids is None else count
    given = [value for value in (cond_input, uncond_input) if value is not None]
    count = len(given[0]) if given else count
    needs_cond = cond_input is None and ids is None
    needs_uncond = uncond_input is None and hnet._uncond_in_size > 0
    uncond, cond = uncond_input, cond_input
    other: dict[str, Any] = {}
    if needs_cond or needs_uncond:
        drawn = hnet.sample_inputs(count)
        uncond = drawn.uncond if needs_uncond else uncond
        cond, other = (drawn.cond, dict(drawn.given)) if needs_cond else (cond, {})
    if ids is not None and uncond is not None:
        ids = [ids[i % len(ids)] for i in range(len(uncond))]
    return Samples(*hnet.read(uncond, cond, ids, other or None, None, "flattened"))


def _count(request: Any) -> int:
    """How many conditions are asked for."""
    tensors = [t for t in (request.uncond, request.cond, *trees.flatten(dict(request.given))[0]) if t is not None]
    return max([1, *(len(tensor) for tensor in tensors), len(request.ids or ())])


def rows_of(request: Any, most: int) -> Any:
    """A request for ``most`` of the conditions that are asked for, drawn at random if there are more."""
    count = _count(request)
    if count <= most:
        return request
    chosen = torch.randperm(count)[:most]

    def some(tensor: Tensor | None) -> Tensor | None:
        return tensor if tensor is None or len(tensor) != count else tensor[chosen.to(tensor.device)]

    given = trees.map_tensors(some, dict(request.given))
    ids = [request.ids[i] for i in chosen.tolist()] if len(request.ids or ()) == count else request.ids
    return replace(request, uncond=some(request.uncond), cond=some(request.cond), ids=ids, given=given)


def measured_moments(hnet: Any, plan: Plan, expected: Tensor) -> Tensor:
    """Second moments of what a network generates for the samples of a plan.

    Args:
        hnet: The network.
        plan: A plan with samples that are looked up.
        expected: Second moments, ``[1]`` or one per weight ``[num_outputs]``, of which those of a target may be a
            multiple.

    Returns:
        One per target ``[num_targets]``, or one per weight.
    """
    request, values = plan.samples  # type: ignore[misc]
    request = rows_of(request, max(4, ELEMENTS // hnet.num_outputs))
    produced = hnet.generate(request, values)
    tensors = formats.from_padded(produced, hnet.target_shapes, "stacked") if isinstance(produced, Tensor) else produced
    single = len(expected) == 1
    shares = [expected] * len(tensors) if single else formats.unflatten(expected, hnet.target_shapes)
    ratios = [(tensor.double().square().cpu() / share).mean() for tensor, share in zip(tensors, shares, strict=True)]
    factors = _trusted(torch.stack(ratios), hnet.target_shapes)
    return expected * (factors if single else output_constants.per_weight(hnet, factors))


def _trusted(ratios: Tensor, shapes: Sequence[Sequence[int]]) -> Tensor:
    """Measured ratios; those of small tensors, which may be small by chance, partly those of all."""
    sizes = torch.tensor([math.prod(shape) for shape in shapes], dtype=ratios.dtype)
    own = (sizes / ENOUGH).clamp(max=1)
    every = (ratios * sizes).sum() / sizes.sum()
    mixed = own * ratios + (1 - own) * every
    return torch.where(mixed > 0, mixed, 1.0)


# ---------------------------------------------------------------------------------------------- parts of networks


def fill_uniform(tensor: Tensor, mean: float, variance: float) -> None:
    """Fill a tensor with U(mean ± √(3 · variance))."""
    bound = math.sqrt(3 * variance)
    with torch.no_grad():
        tensor.uniform_(mean - bound, mean + bound) if bound > 0 else tensor.fill_(mean)


def gaussian_moments(
    activation: Callable[[Tensor], Tensor] | None, variance: float, like: Tensor
) -> tuple[float, float]:
    """``E[σ(z)]`` and ``E[σ(z)²]`` for ``z ~ N(0, variance)``, by quadrature."""
    if activation is None:
        return 0.0, variance
    grid = torch.linspace(-10, 10, 20001, dtype=like.dtype, device=like.device)
    with torch.no_grad():
        values = activation(grid * math.sqrt(variance)).double()
    density = torch.exp(-0.5 * grid.double() ** 2)
    density = density / density.sum()
    return float((values * density).sum()), float((values**2 * density).sum())


def draw_layers(weights: Sequence[Tensor], biases: Sequence[Tensor | None], gain: float) -> None:
    """Fan-in uniform weights of variance ``gain / fan_in``, biases 0."""
    for weight in weights:
        fill_uniform(weight, 0.0, gain / weight.shape[1])
    for bias in biases:
        if bias is not None:
            nn.init.zeros_(bias)


def draw_norms(hnet: Any) -> None:
    """Scales 1, shifts 0."""
    for layer in hnet.batchnorm_layers or ():
        nn.init.ones_(layer.scale)
        nn.init.zeros_(layer.bias)


def draw_hidden(hnet: Any, plan: Plan) -> float:
    """Draw all layers of a full hypernetwork but the output layer.

    Args:
        hnet: An ``HMLP``.
        plan: Which start is wanted, with samples that are looked up.

    Returns:
        The second moment of the last hidden activations, measured if there are samples.
    """
    check_internal(hnet)
    pieces = hnet.output_layers
    hidden = hnet.layer_weight_tensors[:-pieces]
    draw_layers(hidden, hnet.layer_bias_vectors[:-pieces], plan.gain)
    draw_norms(hnet)
    if plan.samples is not None:
        return float(hnet.last_layer(*plan.samples)[0].double().square().mean())
    moment, like = plan.moment(hnet._uncond_in_size, hnet._cond_in_size), hnet.layer_weight_tensors[-1]
    for _ in hidden:
        variance = 1.0 if hnet.batchnorm_layers else plan.gain * moment
        moment = gaussian_moments(hnet._act_fn, variance, like)[1]
    return moment


def draw_shared(hnet: Any, plan: Plan, centred: bool) -> Tensor:
    """Draw a full hypernetwork whose output layer serves several targets.

    Args:
        hnet: An ``HMLP``.
        plan: Which start is wanted, with samples that are looked up.
        centred: Whether to let the outputs be 0 on average over the samples.

    Returns:
        The second moment ``[1]`` of what it produces.
    """
    moment = draw_hidden(hnet, plan)
    pieces = hnet.output_layers
    draw_layers(hnet.layer_weight_tensors[-pieces:], hnet.layer_bias_vectors[-pieces:], 1.0)
    if centred and plan.samples is not None:
        activations, layers = hnet.last_layer(*plan.samples)
        mean = activations.mean(0)
        for weight, bias in layers:
            if bias is not None:
                bias.copy_(-(weight @ mean))
            elif len(mean) > 1 and mean.any():
                weight.sub_(torch.outer(weight @ mean, mean) / mean.square().sum())
    return torch.full([1], moment or 1.0, **output_constants.DOUBLE)


def scale_layers(layers: Sequence[nn.Module], factor: float) -> None:
    """Multiply all parameters of some layers."""
    with torch.no_grad():
        for layer in layers:
            for tensor in layer.parameters():
                tensor.mul_(factor)


def settle(hnet: Any, destinations: Destinations, plan: Plan, moments: Tensor) -> None:
    """Let constants give each target its start (:func:`hypnettorch.hnets.output_constants.start`).

    Args:
        hnet: The hypernetwork.
        destinations: Where each target ends up.
        plan: Which start is wanted, with samples that are looked up.
        moments: Second moments of the output without constants: ``[1]``, or one per weight if they differ.
    """
    output_constants.keep(hnet, None, None)
    starts = average_starts(destinations, plan)
    if plan.calibrated:
        hnet.scale_output(_typical_scale(hnet, starts, measured_moments(hnet, plan, moments)))
        moments = measured_moments(hnet, plan, moments)
    elif len(moments) == 1:
        moments = moments.expand(len(hnet.target_shapes))
    output_constants.start(hnet, [start.mean for start in starts], [start.variance for start in starts], moments)


def _typical_scale(hnet: Any, starts: Sequence[Start], moments: Tensor) -> float:
    """By what the output has to be multiplied on average: what parameters can do leaves constants near 1 to the rest.

    An optimiser that changes parameters at a rate of its own then changes weights as fast as those of a full network.
    """
    sizes = torch.tensor([math.prod(shape) for shape in hnet.target_shapes], **output_constants.DOUBLE)
    variances = torch.tensor([start.variance for start in starts], **output_constants.DOUBLE)
    own = output_constants.per_target_mean(hnet, moments)
    return float(((variances / own * sizes).sum() / sizes.sum()).sqrt()) or 1.0


def let_produce_zeros(hnet: Any, layers: Sequence[nn.Module]) -> None:
    """Fill the output layer with 0.

    Args:
        hnet: The hypernetwork.
        layers: Its output layer, or the pieces of it.

    Raises:
        ValueError: If it is external, or divided by its spectral norm.
    """
    if hnet._use_spectral_norm:
        raise checks.StateError("start at zero: expected a hypernetwork without spectral norm, got one with it")
    if hnet._no_uncond_weights:
        raise ValueError("start at zero: expected internal unconditional parameters, got external ones only")
    for layer in layers:
        for tensor in layer.parameters():
            nn.init.zeros_(tensor)
    output_constants.keep_scale_only(hnet)


# ---------------------------------------------------------------------------------------------- full networks


@dataclass(frozen=True)
class Given:
    """Means and variances that a user prescribes, each a list, a dictionary or ``None``."""

    w_val: Any = None
    w_var: Any = None
    b_val: Any = None
    b_var: Any = None


def start_full(
    hnet: Any, destinations: Destinations, plan: Plan, names: Sequence[str] = (), given: Given | None = None
) -> None:
    """Initialise a full hypernetwork, in which each target has rows of the output layer of its own.

    Args:
        hnet: An ``HMLP``.
        destinations: Where each target ends up.
        plan: Which start is wanted.
        names: Names of the targets, by which ``given`` may refer to them.
        given: What a user prescribes instead.
    """
    plan = plan.looked_up(hnet)
    if plan.calibrated and not hnet.has_plain_output:
        settle(hnet, destinations, plan, draw_shared(hnet, plan, centred=False))
        return
    moment = draw_hidden(hnet, plan)
    output_constants.keep(hnet, None, None)
    starts, pieces = average_starts(destinations, plan), hnet.output_layers
    sizes = [math.prod(shape) for shape in hnet.target_shapes]
    weights = _by_target(hnet.layer_weight_tensors[-pieces:], sizes)
    biases = _by_target(hnet.layer_bias_vectors[-pieces:], sizes) if hnet.has_bias else [None] * len(sizes)
    if plan.calibrated:
        _fill_output(weights, biases, [replace(start, mean=0.0) for start in starts], moment, names, given)
        _bring_to_scale(hnet, plan, weights, starts)
        for bias, start in zip(biases, starts, strict=True):
            if bias is not None:
                bias.fill_(start.mean)
        if not hnet.has_bias:
            output_constants.keep(hnet, None, torch.tensor([start.mean for start in starts]))
    else:
        _fill_output(weights, biases, starts, moment, names, given)


def _by_target(pieces: Sequence[Tensor], sizes: Sequence[int]) -> Sequence[Tensor]:
    """The rows of the output layer that belong to each target, as views."""
    return pieces[0].detach().split(list(sizes)) if len(pieces) == 1 else pieces


def _fill_output(
    weights: Sequence[Tensor],
    biases: Sequence[Tensor | None],
    starts: Sequence[Start],
    moment: float,
    names: Sequence[str],
    given: Given | None,
) -> None:
    w_val, w_var, b_val, b_var = (
        [None] * len(starts) if given is None else per_target(name, getattr(given, name), names)
        for name in ("w_val", "w_var", "b_val", "b_var")
    )
    for i, (weight, bias, start) in enumerate(zip(weights, biases, starts, strict=True)):
        default_var = start.generated / (weight.shape[1] * moment) if moment > 0 else 0.0
        fill_uniform(weight, _first(w_val[i], 0.0), _first(w_var[i], default_var))
        neutral, spread = _first(b_val[i], start.mean), _first(b_var[i], start.constant)
        if bias is not None:
            fill_uniform(bias, neutral, spread)
        elif neutral != 0 and w_var[i] is None:
            checks.fail(
                "b_val",
                f"a hypernetwork with biases, or w_var for target {i} (it starts at {neutral})",
                "use_bias=False",
            )


def _first(value: float | None, default: float) -> float:
    return default if value is None else value


def _bring_to_scale(hnet: Any, plan: Plan, weights: Sequence[Tensor], starts: Sequence[Start]) -> None:
    """Scale the rows of each target such that what they produce has the variance that it should have."""
    request, values = plan.samples  # type: ignore[misc]
    activations = hnet.last_layer(request, values)[0]
    ratios = []
    for weight, start in zip(weights, starts, strict=True):
        some = activations[: max(4, ELEMENTS // len(weight))]
        expected = start.generated * (some.square().mean() / activations.square().mean())
        found = (some @ weight.detach().T).double().square().mean()
        ratios.append(found / expected if expected > 0 else torch.ones_like(found))
    factors = _trusted(torch.stack(ratios).cpu(), hnet.target_shapes).rsqrt().tolist()
    for weight, factor in zip(weights, factors, strict=True):
        weight.detach().mul_(factor)


# ---------------------------------------------------------------------------------------------- chunked hyperfan


def apply_chunked_hyperfan_init(
    hnet: Any,
    plan: Plan,
    cond_var: float | None,
    eps: float,
    normal: bool,
    mnet: Any,
    target_vars: Any,
) -> None:
    r"""Initialise a ``ChunkedHMLP`` such that the variance of a chunk comes from its embedding.

    All chunks share one output layer. With fan-in initialisation (rectified hidden layers: variance ``2 / fan_in``; the
    linear output layer: ``1 / fan_in``) a produced weight has the average variance of the inputs,

        ``V_j = (n v + e Vc_j) / (n + e)``,

    where ``n`` inputs of average variance ``v`` are the same for all chunks, and ``e`` entries of the embedding of
    chunk ``j`` have the variance ``Vc_j``. So a chunk that should have the variance ``V_j`` gets embeddings of variance

        ``Vc_j = ((n + e) V_j - n v) / e``,

    clipped from below. ``V_j`` is the average of the variances that an ordinary initialisation gives the weights in the
    chunk: ``c / fan_in`` or ``c / fan_out`` (``c = 2``, or 1 for Xavier) for weights, ``1 / (3 fan_in)`` for biases as
    in ``torch.nn.Linear``, and 1 for everything else. A chunk that holds parts of several tensors gives all of them the
    same variance, and normalisation scales no other start than the weights beside them. For a
    :class:`~hypnettorch.mnets.module_net.ModuleNet` all chunk embeddings have variance 1, and constants per target do
    the rest.

    Args:
        hnet: The hypernetwork.
        plan: The plan; variances in it are those of samples, if there are some.
        cond_var: Variance of the conditional input, or ``None`` to choose it.
        eps: See ``ChunkedHMLP.apply_chunked_hyperfan_init``, as all that follows.
        normal: Whether chunk embeddings are drawn from a normal distribution.
        mnet: The main network.
        target_vars: Prescribed variances.
    """
    inner = hnet.hnet
    sizes = hnet._uncond_in_size, hnet._cond_in_size
    check_internal(inner)
    checks.number("eps", eps, 0)
    if inner.batchnorm_layers:
        raise checks.StateError("apply_chunked_hyperfan_init: expected a network without batch norm, got one with")
    if len(inner.layer_weight_tensors) > 1 and not isinstance(inner._act_fn, nn.ReLU):
        warnings.warn("the chunked hyperfan initialisation is exact for ReLU activations only", stacklevel=3)

    targets = describe_targets(hnet.target_shapes, mnet)
    prescribed = per_target("target_vars", target_vars, [target.name for target in targets])
    if targets[0].exact:
        starts = [chunked_start(target, plan, variance) for target, variance in zip(targets, prescribed, strict=True)]
        if cond_var is None and hnet._cond_in_size > 0:
            plan = replace(plan, cond_var=_rescale_embeddings(hnet, 1.0))
        exact = [replace(target, start=start) for target, start in zip(targets, starts, strict=True)]
        hnet.start_chunks([[Destination(target, target.size)] for target in exact], plan, normal)
        return
    output_constants.keep(hnet, None, None)
    wanted = [
        target_variance(target, plan) if variance is None else variance
        for target, variance in zip(targets, prescribed, strict=True)
    ]
    chunks = chunk_variances([target.size for target in targets], wanted, hnet._chunk_size, hnet.num_chunks)
    embedding, size = hnet.chunk_emb_size, sum(sizes)
    limit = (size + embedding) / size * float(chunks.min()) if size else None
    if cond_var is None and hnet._cond_in_size > 0:
        plan = replace(plan, cond_var=_choose_cond_var(hnet, plan, limit))
    moment = plan.moment(*sizes)
    if limit is not None and moment >= limit:
        warnings.warn(
            f"input variance {moment:.3g}: expected less than {limit:.3g}, or chunk embeddings are clipped "
            "to variance eps and some weights start too large",
            stacklevel=3,
        )

    *hidden, output = inner.layer_weight_tensors
    biases = inner.layer_bias_vectors
    draw_layers(hidden, biases[:-1], plan.gain)
    draw_layers([output], biases[-1:], 1.0)
    variances = ((size + embedding) * chunks - size * moment) / embedding
    clipped = int((variances < eps).sum())
    if clipped:
        warnings.warn(f"{clipped} of {len(chunks)} chunk embeddings are clipped to variance {eps:g}", stacklevel=3)
    hnet.draw_chunk_embeddings(normal, variances.clamp_min(eps))


def chunked_start(target: Target, plan: Plan, variance: float | None = None) -> tuple[float, float]:
    """Mean and variance with which a tensor of the main network starts, with a variance that a user prescribes."""
    start = start_of(target, plan)
    if variance is None:
        ordinary = target.start is None and target.name in ("weight", "bias")
        variance = target_variance(target, plan) if ordinary else start.variance
    return start.mean, variance


def target_variance(target: Target, plan: Plan) -> float:
    """The variance that an ordinary initialisation gives a tensor of the main network."""
    if target.name == "bias":
        return 1 / (3 * target.fan_in)
    if target.name != "weight":
        return 1.0
    return _by_method({"in": plan.gain / target.fan_in, "out": plan.gain / target.fan_out}, plan.method)


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


def _choose_cond_var(hnet: Any, plan: Plan, limit: float | None) -> float:
    """Half of the largest variance of conditional inputs, to which internal embeddings are rescaled."""
    size = hnet._uncond_in_size + hnet._cond_in_size
    largest = (size * (limit or 0.0) - hnet._uncond_in_size * plan.uncond_var) / hnet._cond_in_size
    if largest <= 0:
        checks.fail("uncond_var", "a variance that leaves some for conditional inputs", plan.uncond_var)
    return _rescale_embeddings(hnet, 0.5 * largest)


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
