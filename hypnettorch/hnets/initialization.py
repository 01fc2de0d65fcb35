r"""How hypernetworks start: what they produce has the moments that an initialisation of the main network asks for.

There are two starts, of which :mod:`hypnettorch.core.starts` says what each target gets.

**Hyperfan** (``apply_hyperfan_init``, ``apply_chunked_hyperfan_init``): variances that follow from fans.

**Calibrated** (``apply_calibrated_init``): mean and variance of the main network as it starts by itself, the ``start``
of the rows of its table.

Nothing is derived from the architecture. Hidden layers are drawn with fan-in, and what enters the output layer is
measured: for samples that a user gives, for the conditions that the network holds (calibrated), or for draws from
N(0, ``uncond_var``) and N(0, ``cond_var``) (hyperfan). The draws have a random state of their own. With the second
moment ``q`` of the ``d`` units that enter it, rows of the output layer of variance ``Var(target) / (d · q)`` produce
the variance that a target should have. So a network with rows of its own for each target
(:class:`~hypnettorch.hnets.mlp_hnet.HMLP`) has the scale in them, and neutral values in their bias. Where targets share
the weights that produce them, constants scale and shift them (:mod:`hypnettorch.hnets.output_constants`).

The calibrated start measures the output as well, target by target, and corrects the scale. A shared output layer has
the scale of the targets on average, and constants only what differs: so an optimiser whose steps have a size of their
own (Adam) changes weights as fast as those of a full network.

What a chunk generator produces with one row of its output layer, in different chunks, is correlated, as rectified
activations have a mean. Through the layers of a main network that adds up. So the calibrated start sets the bias of a
shared output layer to ``-W · mean(h)`` over all chunks and conditions (or, without biases, makes its rows orthogonal to
``mean(h)``), and pixels that a deconvolution draws have random signs.

What one hypernetwork produces another may arrange into targets. A tensor whose elements end up in several of them
starts at the average of what they ask for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from hypnettorch.core import checks, formats, starts, trees
from hypnettorch.core.starts import Start, Target
from hypnettorch.core.table import ROLES
from hypnettorch.core.values import Values
from hypnettorch.hnets import output_constants
from hypnettorch.layers.batchnorm_layer import BatchNormLayer
from hypnettorch.mnets.network import check_network, is_network

SAMPLES = 64
"""For how many conditions that a network holds it is measured at most."""

DRAWS = 256
"""For how many inputs it is measured if nothing is known but their variance."""

ROWS = 8192
"""For how many chunks of them activations are measured at most."""

ELEMENTS = 2**25
"""How many produced numbers are looked at at once."""

ENOUGH = 100
"""A tensor of so many elements is measured by itself; that of a smaller one is partly that of all others."""


# ---------------------------------------------------------------------------------------------- targets


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
    positions = None if mnet is None else _positions_in(mnet, shapes)
    if positions is None:
        return starts.describe(shapes, None, [None] * len(shapes), [None] * len(shapes))
    rows, metas = [mnet.table.rows[i] for i in positions], mnet.param_shapes_meta
    names, ordinary = [row.name for row in rows], [row.start for row in rows]
    return starts.describe(shapes, [metas[i] for i in positions], names, ordinary)


def _positions_in(mnet: Any, shapes: list[tuple[int, ...]]) -> Sequence[int] | None:
    """Where the targets stand in the table of the main network, if it says what its tensors are."""
    check_network("mnet", mnet)
    try:
        refs = mnet.hyper_shapes_learned_ref if mnet.param_shapes_meta else None
    except NotImplementedError:
        return None
    if [tuple(shape) for shape in mnet.param_shapes] == shapes:
        return range(len(shapes))
    if refs and [tuple(shape) for shape in mnet.hyper_shapes_learned or ()] == shapes and -1 not in refs:
        return list(refs)
    expected = f"a network with hyper_shapes_learned or param_shapes {[list(shape) for shape in shapes]}"
    return checks.fail("mnet", expected, f"one with {mnet.hyper_shapes_learned or mnet.param_shapes}")


def prescribed(argument: str, value: Any, targets: Sequence[Target]) -> list[float | None]:
    """A list, or a dictionary by role or name of the tensor, as one number per target; ``None`` for the default."""
    if value is None:
        return [None] * len(targets)
    if isinstance(value, Mapping):
        known = [*ROLES, *(target.name for target in targets if target.name is not None)]
        for key in value:
            checks.one_of(f"{argument} (key)", key, known)
        value = [value.get(target.name, value.get(target.role)) for target in targets]
    checks.instance(argument, value, (list, tuple), "a list or a dictionary")
    checks.length(argument, value, len(targets))
    low = 0.0 if "var" in argument else None
    return [None if entry is None else checks.number((argument, i), entry, low) for i, entry in enumerate(value)]


# ---------------------------------------------------------------------------------------------- the two starts


@dataclass(frozen=True)
class Plan:
    """How a network is to be initialised, whatever the variances of its targets.

    Attributes:
        method: ``'in'``, ``'out'`` or ``'harmonic'``.
        gain: ``c``: the variance of hidden layers is ``c / fan_in``.
        calibrated: Whether outputs are measured, too, and brought to scale.
        exact: Whether targets start as they should also where they share the weights that produce them with others. So
            it is for a :class:`~hypnettorch.mnets.module_net.ModuleNet`, and in a calibrated start.
        uncond_var: Mean square of an entry of the unconditional input, where it is drawn.
        cond_var: Mean square of an entry of the conditional input, where it is drawn.
        samples: For what to measure: what the network is asked for, and the evaluation as it sees it.
    """

    method: str = "in"
    gain: float = 2.0
    calibrated: bool = False
    exact: bool = False
    uncond_var: float = 1.0
    cond_var: float = 1.0
    samples: Any = None

    def within(self, request: Any, values: Values, most: int = DRAWS) -> Plan:
        """The plan for another network, with what that one is asked for, at most so many times."""
        return replace(self, samples=(_some_rows(request, most), values))

    def at(self, hnet: Any) -> Plan:
        """The plan with samples for a network that has looked up conditions; they are drawn if there are none.

        Raises:
            ValueError: If the network does not hold the parameters that are to be initialised.
        """
        check_internal(hnet)
        request, values = self.samples or _drawn(hnet, self)
        return self.within(hnet.select(request, values), values, SAMPLES if self.calibrated else DRAWS)


def apply_hyperfan_init(
    hnet: Any, plan: Plan, mnet: Any, cond_input: Any, uncond_input: Any, target_var: Any, **given: Any
) -> None:
    """Initialise a hypernetwork in place (see :meth:`hypnettorch.hnets.hypernetwork.HyperNetwork.apply_hyperfan_init`).

    Its method ``start_at`` initialises it for the starts of what it produces; ``given`` are moments of the output layer
    that a user prescribes.
    """
    targets = describe_targets(hnet.target_shapes, mnet)
    options = {name: prescribed(name, value, targets) for name, value in given.items()}
    wanted = [starts.hyperfan(target, plan.method, plan.gain) for target in targets]
    plan = replace(plan, exact=plan.exact or target_var is not None)
    with measuring(hnet, plan, cond_input, uncond_input) as measured:
        hnet.start_at(_with_variances(wanted, target_var, targets), measured, **options)


def checked_plan(method: str, use_xavier: bool, uncond_var: float, cond_var: float, mnet: Any) -> Plan:
    """A plan for hyperfan, of checked arguments."""
    checks.one_of("method", method, starts.METHODS)
    checks.number("uncond_var", uncond_var, 0)
    checks.number("cond_var", cond_var, 0)
    exact = bool(getattr(mnet, "starts_exactly", False))
    return Plan(method, 1.0 if use_xavier else 2.0, False, exact, uncond_var, cond_var)


def apply_calibrated_init(hnet: Any, mnet: Any, cond_input: Any, uncond_input: Any, target_var: Any) -> None:
    """Initialise a hypernetwork (see :meth:`hypnettorch.hnets.hypernetwork.HyperNetwork.apply_calibrated_init`)."""
    targets = describe_targets(hnet.target_shapes, mnet)
    wanted = [starts.ordinary(target) for target in targets]
    with measuring(hnet, Plan(calibrated=True, exact=True), cond_input, uncond_input) as plan:
        hnet.start_at(_with_variances(wanted, target_var, targets), plan)


def _with_variances(wanted: Sequence[Start], target_var: Any, targets: Sequence[Target]) -> list[Start]:
    """Starts with the variances that a user prescribes: one number for all that vary, or one per target."""
    if target_var is not None and not isinstance(target_var, (Mapping, list, tuple)):
        number = checks.number("target_var", target_var, 0)
        target_var = [number if start.variance > 0 else None for start in wanted]
    variances = prescribed("target_var", target_var, targets)
    return [start.with_variance(variance) for start, variance in zip(wanted, variances, strict=True)]


def check_internal(hnet: Any) -> None:
    """Raise unless a network holds the parameters that are to be initialised."""
    if not hnet.unconditional_params:
        raise ValueError("initialisation: expected internal unconditional parameters, got external ones only")


# ---------------------------------------------------------------------------------------------- measuring


@contextmanager
def measuring(hnet: Any, plan: Plan, cond_input: Any, uncond_input: Any) -> Iterator[Plan]:
    """A plan with samples, and modes in which to measure: without gradient and dropout.

    The batch norm of hypernetworks has batch statistics, as in training, if there is more than one condition. Modes and
    running statistics of all parts are afterwards what they were before. Dropout in modules of users stays as it is if
    no samples are given.

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
    try:
        with torch.no_grad():
            many = True
            if plan.calibrated or cond_input is not None or uncond_input is not None:
                check_internal(hnet)
                plan = replace(plan, samples=_samples(hnet, cond_input, uncond_input))
                many = _count(plan.samples[0]) > 1 or getattr(hnet, "num_chunks", 1) > 1
            own = [child for part in parts if is_network(part) for child in part.children()]
            for part in own if plan.samples is None else parts:
                if isinstance(part, nn.modules.dropout._DropoutNd):
                    part.training = False
            for part in parts:
                if isinstance(part, BatchNormLayer):
                    part.training = many
            yield plan
            for buffer, before in kept:
                buffer.copy_(before)
    finally:
        for part, mode in zip(parts, modes, strict=True):
            part.training = mode


def _samples(hnet: Any, cond_input: Any, uncond_input: Any) -> tuple[Any, Values]:
    """What is given; else the conditions that the network holds, and N(0, 1) inputs."""
    given = {"cond_input": cond_input, "uncond_input": uncond_input}
    given = {name: value for name, value in given.items() if value is not None}
    for name, value in given.items():
        checks.tensor(name, next(iter(trees.tensors(value)), value))
    known, noise = hnet.num_known_conds, hnet._uncond_in_size > 0
    held = known > 0 and all(row.owner is not None for rows in hnet.table.kinds.values() for row in rows)
    ids = list(range(0, known, math.ceil(known / SAMPLES))) if held and cond_input is None else None
    count = SAMPLES if noise or ids is None else len(ids)
    count = next(map(_num_rows, given.values()), count)
    uncond, cond, other = uncond_input, cond_input, None
    if (cond is None and ids is None) or (uncond is None and noise):
        drawn = hnet.sample_inputs(count)
        uncond = drawn.uncond if uncond is None else uncond
        if cond is None and ids is None:
            cond, other = drawn.cond, dict(drawn.given) or None
            if cond is None and other is None and uncond is None:
                checks.fail("cond_input", f"samples, since {type(hnet).__name__} cannot draw them", None)
    if ids is not None and uncond is not None:
        ids = [ids[i % len(ids)] for i in range(len(uncond))]
    return hnet.read(uncond, cond, ids, other, None, "flattened")


def _drawn(hnet: Any, plan: Plan) -> tuple[Any, Values]:
    """Inputs of the variances of a plan; the global random state stays as it is."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        drawn = hnet.sample_inputs(DRAWS)
    uncond, cond = (
        value if value is None else value * variance**0.5
        for value, variance in ((drawn.uncond, plan.uncond_var), (drawn.cond, plan.cond_var))
    )
    return hnet.read(uncond, cond, None, dict(drawn.given) or None, None, "flattened")


def _count(request: Any) -> int:
    """How many conditions are asked for."""
    rows = [_num_rows(value) for value in (request.uncond, request.cond) if value is not None]
    return max([1, *rows, *map(len, trees.tensors(dict(request.given))), len(request.ids or ())])


def _num_rows(value: Any) -> int:
    """Number of rows of an input: of its tensors, or of a list of sets."""
    return len(value) if isinstance(value, list) else len(trees.tensors(value)[0])


def _some_rows(request: Any, most: int) -> Any:
    """A request for ``most`` of the conditions that are asked for, drawn at random if there are more."""
    count = _count(request)
    if count <= most:
        return request
    chosen = torch.randperm(count, generator=torch.Generator().manual_seed(0))[:most]

    def some(tensor: Tensor) -> Tensor:
        return tensor if len(tensor) != count else tensor[chosen.to(tensor.device)]

    uncond, cond, given = trees.map_tensors(some, [request.uncond, request.cond, dict(request.given)])
    if isinstance(request.cond, list) and len(request.cond) == count:
        cond = [request.cond[i] for i in chosen.tolist()]
    ids = [request.ids[i] for i in chosen.tolist()] if len(request.ids or ()) == count else request.ids
    return replace(request, uncond=uncond, cond=cond, ids=ids, given=given)


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
    request, values = plan.samples
    produced = hnet.generate(_some_rows(request, max(4, ELEMENTS // hnet.num_outputs)), values)
    tensors = formats.from_padded(produced, hnet.target_shapes, "stacked") if isinstance(produced, Tensor) else produced
    single = len(expected) == 1
    shares = [expected] * len(tensors) if single else formats.unflatten(expected, hnet.target_shapes)
    ratios = [(tensor.double().square().cpu() / share).mean() for tensor, share in zip(tensors, shares, strict=True)]
    factors = trusted(torch.stack(ratios), hnet.target_shapes)
    return expected * (factors if single else output_constants.per_weight(hnet, factors))


def trusted(ratios: Tensor, shapes: Sequence[Sequence[int]]) -> Tensor:
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


def draw_layer(weight: Tensor, bias: Tensor | None, variance: float) -> None:
    """Uniform weights of this variance, bias 0."""
    fill_uniform(weight, 0.0, variance)
    if bias is not None:
        nn.init.zeros_(bias)


def draw_norms(hnet: Any) -> None:
    """Scales 1, shifts 0."""
    for layer in hnet.batchnorm_layers or ():
        nn.init.ones_(layer.scale)
        nn.init.zeros_(layer.bias)


def settle(hnet: Any, wanted: Sequence[Start], plan: Plan, moments: Tensor | None = None) -> None:
    """Let constants give each target its start (:func:`hypnettorch.hnets.output_constants.start`).

    Args:
        hnet: The hypernetwork.
        wanted: The start of each target.
        plan: Which start is wanted, with samples that are looked up.
        moments: Second moments of the output without constants: ``[1]``, or one per weight if they differ. By default
            they are measured.
    """
    output_constants.keep(hnet, None, None)
    expected = torch.ones(1, **output_constants.DOUBLE) if moments is None else moments
    if plan.calibrated:
        hnet.scale_output(_typical_scale(hnet, wanted, measured_moments(hnet, plan, expected)))
    if plan.calibrated or moments is None:
        expected = measured_moments(hnet, plan, expected)
    elif len(expected) == 1:
        expected = expected.expand(len(hnet.target_shapes))
    output_constants.start(hnet, [start.mean for start in wanted], [start.variance for start in wanted], expected)


def _typical_scale(hnet: Any, wanted: Sequence[Start], moments: Tensor) -> float:
    """By what the output has to be multiplied on average: what parameters can do leaves constants near 1 to the rest.

    An optimiser that changes parameters at a rate of its own then changes weights as fast as those of a full network.
    """
    sizes = torch.tensor([math.prod(shape) for shape in hnet.target_shapes], **output_constants.DOUBLE)
    variances = torch.tensor([start.variance for start in wanted], **output_constants.DOUBLE)
    own = output_constants.per_target_mean(hnet, moments)
    return float(((variances / own * sizes).sum() / sizes.sum()).sqrt()) or 1.0
