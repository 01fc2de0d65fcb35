r"""Hyperfan initialisation: produced weights with the variance of an ordinary initialisation.

A target tensor is produced by its own rows of the output layer, ``w = H a`` with the last hidden activations ``a``
(``d`` units of second moment ``q``). With rows of variance ``Var(H)`` it has the variance ``Var(H) · d · q``. So, with
``c = 2`` (Kaiming) or 1 (Xavier) and ``k = 2`` if the layer of the target has a generated bias (it takes its share of
the variance) and 1 otherwise:

=======  ==================================  =====================================
target   ``'in'``                            ``'out'``
=======  ==================================  =====================================
weight   ``c / (k · fan_in · d · q)``        ``c / (fan_out · d · q)``
bias     ``c / (2 · d · q)``                 ``max(0, c · (1 - fan_in / fan_out) / (d · q))``
=======  ==================================  =====================================

``'harmonic'`` is the harmonic mean of the two. The second moment of the inputs is
``v = (n_c · cond_var + n_u · uncond_var) / (n_c + n_u)``; each hidden layer turns ``q`` into ``E[σ(z)²]`` with
``z ~ N(0, c q)`` (N(0, 1) after batch norm), starting from ``q = v``. With rectified units and Kaiming initialisation,
or no nonlinearity and Xavier, ``q`` stays ``v``.

References:
    Chang, Flokas, Lipson, "Principled Weight Initialization for Hypernetworks", ICLR 2020,
    https://openreview.net/forum?id=H1lma24tPB, sections 4.1 and 4.2.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hypnettorch.core import checks
from hypnettorch.core.table import NAMES
from hypnettorch.mnets.mnet_interface import MainNetInterface
from hypnettorch.utils.init_utils import calc_fan_in_and_out

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
            for main networks that state the fans of their layers (:class:`~hypnettorch.mnets.module_net.ModuleNet`).
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
class Inputs:
    """Sizes and variances of the inputs of a hypernetwork."""

    uncond_size: int
    uncond_var: float
    cond_size: int
    cond_var: float

    @property
    def variance(self) -> float:
        """The variance of an input, averaged over its entries; 0 without input."""
        size = self.uncond_size + self.cond_size
        if size == 0:
            return 0.0
        return (self.cond_size * self.cond_var + self.uncond_size * self.uncond_var) / size


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


@dataclass(frozen=True)
class Given:
    """Means and variances that a user prescribes, each a list, a dictionary or ``None``."""

    w_val: Any
    w_var: Any
    b_val: Any
    b_var: Any


def describe_targets(target_shapes: Sequence[Sequence[int]], mnet: MainNetInterface | None) -> list[Target]:
    """What each produced tensor is for the main network.

    Args:
        target_shapes: Shapes of the produced tensors.
        mnet: The main network. Without it, or if its shapes do not fit (a warning says so), tensors with more than one
            dimension count as weights, and vectors as the bias of the weight directly before them.

    Returns:
        One description per target.
    """
    shapes = [tuple(shape) for shape in target_shapes]
    metas = _meta_of(shapes, mnet) or _guess_meta(shapes)
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
        targets.append(Target(shape, name, fan_in, fan_out, partner, "fan_in" in meta, meta.get("neutral")))
    return targets


def _meta_of(shapes: list[tuple[int, ...]], mnet: MainNetInterface | None) -> list[Mapping[str, Any]] | None:
    if mnet is None:
        return None
    checks.instance("mnet", mnet, MainNetInterface)
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
        "mnet: its param_shapes and hyper_shapes_learned do not fit the target shapes, so it is not used", stacklevel=4
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


def second_moment(activation: Callable[[Tensor], Tensor] | None, variance: float, like: Tensor) -> float:
    """``E[σ(z)²]`` for ``z ~ N(0, variance)``."""
    return gaussian_moments(activation, variance, like)[1]


def initialize(
    hnet: Any,
    activation: Callable[[Tensor], Tensor] | None,
    inputs: Inputs,
    method: str,
    use_xavier: bool,
    mnet: MainNetInterface | None,
    given: Given,
) -> None:
    """Initialise a full hypernetwork in place (see :meth:`hypnettorch.hnets.mlp_hnet.HMLP.apply_hyperfan_init`)."""
    check_arguments(hnet, method, inputs)
    plan = Plan(method, use_xavier, inputs.uncond_var, inputs.cond_var)
    targets = describe_targets(hnet.target_shapes, mnet)
    starts = [start_of(target, plan) for target in targets]
    initialize_full(hnet, activation, inputs, plan, starts, [target.name for target in targets], given)


def initialize_full(
    hnet: Any,
    activation: Callable[[Tensor], Tensor] | None,
    inputs: Inputs,
    plan: Plan,
    starts: Sequence[Start],
    names: Sequence[str] = (),
    given: Given | None = None,
) -> None:
    """Initialise a full hypernetwork such that the tensors that it produces start as they should.

    Args:
        hnet: An ``HMLP``.
        activation: Its nonlinearity.
        inputs: Its inputs.
        plan: Which initialisation is wanted.
        starts: How each produced tensor should start.
        names: Their names, by which ``given`` may refer to them.
        given: What a user prescribes instead.
    """
    pieces = hnet._output_pieces
    output = hnet.layer_weight_tensors[-pieces:]
    moment = initialize_hidden_part(hnet, activation, inputs.variance, plan.gain)
    sizes = [math.prod(shape) for shape in hnet.target_shapes]
    weights = _by_target(output, sizes)
    biases = _by_target(hnet.layer_bias_vectors[-pieces:], sizes) if hnet.has_bias else [None] * len(sizes)
    _initialize_output(weights, biases, starts, moment, names, given)


def initialize_hidden_part(
    hnet: Any, activation: Callable[[Tensor], Tensor] | None, variance: float, gain: float
) -> float:
    """Initialise all layers of an ``HMLP`` but the output layer.

    Args:
        hnet: The hypernetwork.
        activation: Its nonlinearity.
        variance: Second moment of its inputs.
        gain: ``c``.

    Returns:
        The second moment of the last hidden activations.
    """
    pieces = hnet._output_pieces
    hidden = hnet.layer_weight_tensors[:-pieces]
    initialize_hidden(hidden, hnet.layer_bias_vectors[:-pieces], gain)
    for layer in hnet.batchnorm_layers or ():
        nn.init.ones_(layer.scale)
        nn.init.zeros_(layer.bias)
    moment, like = variance, hnet.layer_weight_tensors[-1]
    for _ in hidden:
        moment = second_moment(activation, 1.0 if hnet.batchnorm_layers else gain * moment, like)
    return moment


def check_arguments(hnet: Any, method: str, inputs: Inputs) -> None:
    """Checks that both initialisations share."""
    checks.one_of("method", method, METHODS)
    checks.number("uncond_var", inputs.uncond_var, 0)
    checks.number("cond_var", inputs.cond_var, 0)
    if not hnet.unconditional_params:
        raise ValueError("hyperfan: expected internal unconditional parameters, got external ones only")


def initialize_hidden(weights: Sequence[Tensor], biases: Sequence[Tensor | None], gain: float) -> None:
    """Fan-in uniform weights of variance ``gain / fan_in``, biases 0."""
    for weight in weights:
        bound = math.sqrt(3 * gain / weight.shape[1])
        nn.init.uniform_(weight, -bound, bound)
    for bias in biases:
        if bias is not None:
            nn.init.zeros_(bias)


def _by_target(pieces: Sequence[Tensor], sizes: Sequence[int]) -> Sequence[Tensor]:
    """The rows of the output layer that belong to each target, as views."""
    return pieces[0].detach().split(list(sizes)) if len(pieces) == 1 else pieces


def _initialize_output(
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


def per_target(argument: str, value: Any, names: Sequence[str]) -> list[float | None]:
    """A prescribed list or dictionary as one number per target, ``None`` where nothing is prescribed."""
    if value is None:
        return [None] * len(names)
    if isinstance(value, Mapping):
        for key in value:
            checks.one_of(f"{argument} (key)", key, NAMES)
        entries = [value.get(name) for name in names]
    else:
        checks.instance(argument, value, (list, tuple), "a list or a dictionary")
        checks.length(argument, value, len(names))
        entries = list(value)
    low = 0.0 if "var" in argument else None
    return [None if entry is None else checks.number((argument, i), entry, low) for i, entry in enumerate(entries)]


def _first(value: float | None, default: float) -> float:
    return default if value is None else value


def fill_uniform(tensor: Tensor, mean: float, variance: float) -> None:
    """Fill a tensor with U(mean ± √(3 · variance))."""
    bound = math.sqrt(3 * variance)
    with torch.no_grad():
        tensor.uniform_(mean - bound, mean + bound) if bound > 0 else tensor.fill_(mean)
