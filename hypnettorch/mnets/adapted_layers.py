"""A name under which programs register terms of updates: see :func:`hypnettorch.mnets.layer_types.register_layer`."""

from __future__ import annotations

from hypnettorch.mnets.layer_types import Term, register_layer


def register_adapted_layer(layer_type: type | str, term: Term) -> None:
    """Say what an update of the parameter ``weight`` adds to the output of a type of layer.

    Args:
        layer_type: The class, or its full name (``'package.module.Class'``) where importing it would cost.
        term: Called as ``term(layer, x, update=update)``; returns ``f(x; B A)``.
    """
    register_layer(layer_type, term=term)
