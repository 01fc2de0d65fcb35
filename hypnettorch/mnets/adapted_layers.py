"""The terms of the registry of layer types, under their first names.

:func:`hypnettorch.mnets.layer_types.register_layer` says all that is to be known of a type of layer.
"""

from __future__ import annotations

from hypnettorch.mnets.layer_types import Term, register_layer, term_of

__all__ = ["Term", "register_adapted_layer", "term_of"]


def register_adapted_layer(layer_type: type | str, term: Term) -> None:
    """Say what an update of the parameter ``weight`` adds to the output of a type of layer.

    Args:
        layer_type: The class, or its full name (``'package.module.Class'``) where importing it would cost.
        term: Called as ``term(layer, x, update=update)``; returns ``f(x; B A)``.

    Example:
        >>> from torch import nn
        >>> class Scaled(nn.Linear):
        ...     def forward(self, x):
        ...         return 2 * super().forward(x)
        >>> term_of(Scaled(2, 3)) is None
        True
        >>> register_adapted_layer(Scaled, lambda layer, x, update: 2 * (x @ update.A.mT @ update.B.mT))
        >>> term_of(Scaled(2, 3)) is None
        False
    """
    register_layer(layer_type, term=term)
