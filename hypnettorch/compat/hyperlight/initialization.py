"""Initialisations by the names that HyperLight gives them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn

from hypnettorch.core import checks

_DISTRIBUTIONS: dict[str | None, Callable[..., Any]] = {
    "kaiming_normal": nn.init.kaiming_normal_,
    "kaiming_uniform": nn.init.kaiming_uniform_,
    "kaiming_normal_fanout": partial(nn.init.kaiming_normal_, mode="fan_out"),
    "kaiming_uniform_fanout": partial(nn.init.kaiming_uniform_, mode="fan_out"),
    "glorot_normal": nn.init.xavier_normal_,
    "glorot_uniform": nn.init.xavier_uniform_,
    "orthogonal": nn.init.orthogonal_,
    "zeros": nn.init.zeros_,
    None: lambda tensor: tensor,
}


def initializer(name: str | None) -> Callable[[Tensor], Any]:
    """What fills a tensor of two or more dimensions in place; ``None`` leaves it as it is.

    Raises:
        ValueError: If there is no such distribution.
    """
    checks.one_of("init_distribution", name, _DISTRIBUTIONS)
    return _DISTRIBUTIONS[name]


def is_weight(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a target is a weight proper, which is drawn; biases and the vectors of normalisation layers are not."""
    return len(shape) > 1 and not _is_bias(name)


def neutral_value(name: str) -> float:
    """What a target that is not drawn starts at: a scale of a normalisation layer at 1, everything else at 0.

    Example:
        >>> neutral_value('layer1.0.bn1.weight'), neutral_value('layer1.0.bn1.bias')
        (1.0, 0.0)
    """
    return 1.0 if name.rpartition(".")[2] == "weight" else 0.0


def _is_bias(name: str) -> bool:
    return name.rpartition(".")[2] == "bias"
