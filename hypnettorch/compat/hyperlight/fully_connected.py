"""The hidden layers of a hypernetwork, by the options that HyperLight has for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

from torch import nn

from hypnettorch.compat.hyperlight.initialization import initializer
from hypnettorch.core import checks


@dataclass(frozen=True)
class LayerOptions:
    """What the fully connected layers are like: the entries of ``fc_kws``.

    Attributes:
        dropout_prob: Probability of dropping a hidden unit.
        nonlinearity: Name of the nonlinearity in ``torch.nn``; ``None`` for none.
        out_bias: Whether the output layer has a bias.
        init_distribution: ``'kaiming_normal'``, ``'kaiming_uniform'``, both also with ``'_fanout'``,
            ``'glorot_normal'``, ``'glorot_uniform'``, ``'orthogonal'``, ``'zeros'``, or ``None`` for torch's own.
        init_bias: What biases start at; ``None`` for torch's own distribution.
        norm: Name of the normalisation of hidden layers in ``torch.nn``, as ``'LayerNorm'``; ``None`` for none.
    """

    dropout_prob: float = 0.0
    nonlinearity: str | None = "LeakyReLU"
    out_bias: bool = True
    init_distribution: str | None = "kaiming_normal_fanout"
    init_bias: float | None = 0.0
    norm: str | None = None

    def __post_init__(self) -> None:
        checks.number("dropout_prob", self.dropout_prob, 0, 1)
        checks.flag("out_bias", self.out_bias)
        initializer(self.init_distribution)
        for name in ("nonlinearity", "norm"):
            value = getattr(self, name)
            if value is not None and not isinstance(getattr(nn, value, None), type):
                checks.fail(name, "the name of a module of torch.nn", repr(value))

    @classmethod
    def from_keywords(cls, fc_kws: Mapping[str, Any] | None) -> LayerOptions:
        """The options in a dictionary.

        Raises:
            ValueError: If there is one that does not exist, or a value is out of range.
        """
        keywords = {} if fc_kws is None else dict(fc_kws)
        for key in keywords:
            checks.one_of("fc_kws (key)", key, [field.name for field in fields(cls)])
        return cls(**keywords)


def hidden_layers(sizes: Sequence[int], options: LayerOptions) -> nn.Sequential:
    """Linear map, normalisation, nonlinearity and dropout for each pair of neighbouring sizes.

    Example:
        >>> [type(layer).__name__ for layer in hidden_layers([4, 8], LayerOptions(norm='LayerNorm', dropout_prob=0.1))]
        ['Linear', 'LayerNorm', 'LeakyReLU', 'Dropout']
    """
    layers: list[nn.Module] = []
    for fan_in, size in pairwise(sizes):
        linear = nn.Linear(fan_in, size)
        initializer(options.init_distribution)(linear.weight)
        if options.init_bias is not None:
            nn.init.constant_(linear.bias, options.init_bias)
        layers.append(linear)
        if options.norm is not None:
            layers.append(getattr(nn, options.norm)(size))
        if options.nonlinearity is not None:
            layers.append(getattr(nn, options.nonlinearity)())
        if options.dropout_prob > 0:
            layers.append(nn.Dropout(options.dropout_prob))
    return nn.Sequential(*layers)
