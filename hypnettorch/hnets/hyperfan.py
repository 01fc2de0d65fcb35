r"""Hyperfan initialisation: produced weights with the variance of an ordinary initialisation.

A target tensor is produced by its own rows of the output layer, ``w = H a`` with the last hidden activations ``a``
(``d`` units of second moment ``q``). With rows of variance ``Var(H)`` it has the variance ``Var(H) · d · q``, so
``Var(H)`` is the variance that the target should have (:mod:`hypnettorch.hnets.targets`), divided by ``d · q``.

The second moment of the inputs is
``v = (n_c · cond_var + n_u · uncond_var) / (n_c + n_u)``; each hidden layer turns ``q`` into ``E[σ(z)²]`` with
``z ~ N(0, c q)`` (N(0, 1) after batch norm), starting from ``q = v``. With rectified units and Kaiming initialisation,
or no nonlinearity and Xavier, ``q`` stays ``v``.

References:
    Chang, Flokas, Lipson, "Principled Weight Initialization for Hypernetworks", ICLR 2020,
    https://openreview.net/forum?id=H1lma24tPB, sections 4.1 and 4.2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hypnettorch.core import checks
from hypnettorch.core.table import ROLES
from hypnettorch.hnets import output_constants
from hypnettorch.hnets.targets import METHODS, Plan, Start, describe_targets, start_of


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
class Given:
    """Means and variances that a user prescribes, each a list, a dictionary or ``None``."""

    w_val: Any
    w_var: Any
    b_val: Any
    b_var: Any


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
    mnet: Any,
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
    pieces = hnet.output_layers
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
    pieces = hnet.output_layers
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
            checks.one_of(f"{argument} (key)", key, ROLES)
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
