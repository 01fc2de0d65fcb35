"""Single attributes of this package's objects under the names that they had in hypnettorch 0.0.4."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any

from hypnettorch.layers.batchnorm_layer import BatchNormLayer
from hypnettorch.layers.context_mod_layer import ContextModLayer
from hypnettorch.mnets.classifier_interface import Classifier
from hypnettorch.mnets.conv_net import ConvNet
from hypnettorch.mnets.mlp import MLP
from hypnettorch.mnets.network import Network
from hypnettorch.mnets.simple_rnn import SimpleRNN

OPTIONS = ("use_context_mod", "context_mod_no_weights", "context_mod_gain_offset", "context_mod_gain_softplus")
"""Options of context modulation that a subclass reads, each as an attribute with an underscore in front."""


class Name:
    """An attribute that is computed whenever it is read; what a subclass puts there counts instead."""

    def __init__(self, read: Callable[[Any], Any]) -> None:
        self.read = read

    def __get__(self, owner: Any, _: type | None = None) -> Any:
        """What it stands for."""
        return self if owner is None else self.read(owner)


def install(cls: type, names: Mapping[str, Callable[[Any], Any]]) -> None:
    """Give a class further names."""
    for name, read in names.items():
        setattr(cls, name, Name(read))


install(
    ContextModLayer,
    {
        "_num_features": lambda layer: layer.param_shapes[0],
        "_no_gains": lambda layer: not layer.has_gains,
        "_no_shifts": lambda layer: not layer.has_shifts,
    },
)

for network in (MLP, ConvNet, SimpleRNN):
    install(network, {f"_{option}": attrgetter(f"_context_mod.{option}") for option in OPTIONS})


def weights(network: Any) -> Any:
    """Deprecated name of ``internal_params``."""
    warnings.warn("'weights' is deprecated, use 'internal_params'", DeprecationWarning, stacklevel=3)
    return network.internal_params


def _num_hyper_weights(dims: Sequence[Sequence[int]]) -> int:
    """Deprecated name of ``shapes_to_num_weights``."""
    warnings.warn("'num_hyper_weights' is deprecated, use 'shapes_to_num_weights'", DeprecationWarning, stacklevel=2)
    return Network.shapes_to_num_weights(dims)


def _hyper_shapes(layer: BatchNormLayer) -> Any:
    raise NotImplementedError("hyper_shapes is not available, see param_shapes")


install(Network, {"weights": weights})
install(BatchNormLayer, {"hyper_shapes": _hyper_shapes})
Classifier.num_hyper_weights = staticmethod(_num_hyper_weights)  # type: ignore[attr-defined]
