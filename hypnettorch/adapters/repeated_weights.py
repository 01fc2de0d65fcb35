"""Which weights of a model are the same thing in another layer, by their names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hypnettorch.core.low_rank import Key, matrix_shape

_NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")


@dataclass(frozen=True)
class RepeatedWeight:
    """A weight that several layers have, all in one shape.

    Attributes:
        pattern: The name, with ``*`` for the number of the layer.
        rows: Rows of the weight as a matrix, ``out``.
        columns: Its columns, ``n``.
        keys: Its name in each of the layers.
        layers: The numbers of the layers.
    """

    pattern: str
    rows: int
    columns: int
    keys: list[Key]
    layers: list[int]


def repeated_weights(shapes: Mapping[Key, Sequence[int]]) -> list[RepeatedWeight]:
    """Sort weights by what they are; the first number in a name is that of a layer.

    Args:
        shapes: Shapes by name, as :attr:`ModuleNet.selected_shapes <hypnettorch.mnets.module_net.ModuleNet>`, or by
            position, each of which counts as a layer.

    Example:
        >>> shapes = {'layers.0.q.weight': [8, 4], 'layers.1.q.weight': [8, 4], 'layers.1.v.weight': [2, 4]}
        >>> [(weight.pattern, weight.layers) for weight in repeated_weights(shapes)]
        [('layers.*.q.weight', [0, 1]), ('layers.*.v.weight', [1])]
    """
    found: dict[tuple[str, int, int], RepeatedWeight] = {}
    for key, shape in shapes.items():
        number = _NUMBER.search(str(key))
        pattern = _NUMBER.sub("*", str(key), count=1)
        rows, columns = matrix_shape(shape)
        weight = found.setdefault((pattern, rows, columns), RepeatedWeight(pattern, rows, columns, [], []))
        weight.keys.append(key)
        weight.layers.append(int(number[0]) if number else 0)
    return list(found.values())
