"""The keyword arguments ``**kwargs`` of networks: options of context modulation, and what else is tolerated there."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from hypnettorch.core import checks
from hypnettorch.mnets.mlp import MLP


@dataclass(frozen=True)
class ContextModOptions:
    """Where and how a network is modulated.

    Attributes:
        use_context_mod: Whether the layers are modulated by gains and shifts.
        context_mod_inputs: Whether the input is modulated as well.
        no_last_layer_context_mod: Whether the output stays unmodulated.
        context_mod_no_weights: Whether the modulation tensors are external.
        context_mod_post_activation: Whether hidden layers are modulated after the nonlinearity.
        context_mod_gain_offset: Whether gains are relative to 1.
        context_mod_gain_softplus: Whether gains pass through a softplus.
    """

    use_context_mod: bool = False
    context_mod_inputs: bool = False
    no_last_layer_context_mod: bool = False
    context_mod_no_weights: bool = False
    context_mod_post_activation: bool = False
    context_mod_gain_offset: bool = False
    context_mod_gain_softplus: bool = False

    def __post_init__(self) -> None:
        for name in _names():
            checks.flag(name, getattr(self, name))
        if self.context_mod_gain_offset and self.context_mod_gain_softplus:
            checks.fail("context_mod_gain_softplus", "False if context_mod_gain_offset is True", True)


def _names() -> list[str]:
    return [option.name for option in fields(ContextModOptions)]


def parse_context_mod(owner: str, kwargs: Mapping[str, Any]) -> ContextModOptions:
    """Read the options of context modulation from the ``**kwargs`` of a constructor.

    Other arguments of :class:`~hypnettorch.mnets.mlp.MLP` have always been tolerated in this place; one warning says
    that they have no effect.

    Args:
        owner: Name of the class, for messages.
        kwargs: The keyword arguments that the constructor does not name.

    Raises:
        TypeError: If an argument is unknown or an option is no ``bool``.
        ValueError: If options exclude each other.

    Example:
        >>> parse_context_mod("LeNet", {"use_context_mod": True}).context_mod_inputs
        False
    """
    options = _names()
    rest = [name for name in kwargs if name not in options]
    tolerated = inspect.signature(MLP).parameters
    for name in rest:
        if name not in tolerated:
            raise TypeError(f"{owner}: unexpected keyword argument '{name}'")
    if rest:
        warnings.warn(f"{owner}: arguments without effect: {', '.join(rest)}", stacklevel=4)
    return ContextModOptions(**{name: value for name, value in kwargs.items() if name in options})
