"""The linear layers of a network of this package, shown as modules of torch."""

from __future__ import annotations

from typing import Any

from torch import nn

from hypnettorch.core import checks
from hypnettorch.mnets.network import Network


class LinearLayers(nn.ModuleList):
    """``nn.Linear`` modules that hold the very parameters of a network's layers.

    A program that walks over ``modules()``, to initialise or to read all linear layers, finds them. The network
    computes with the parameters: they may be changed in place, but not replaced. Files hold them once, by the names
    that they have in the network.

    Args:
        net: The network, all of whose layers are linear. It is no part of this module.

    Example:
        >>> from hypnettorch.hnets import HMLP
        >>> hnet = HMLP([[3, 2]], cond_in_size=4, layers=[5], verbose=False)
        >>> layers = LinearLayers(hnet)
        >>> layers
        LinearLayers(
          (0): Linear(in_features=4, out_features=5, bias=True)
          (1): Linear(in_features=5, out_features=6, bias=True)
        )
        >>> layers[1].weight is hnet.layer_weight_tensors[1]
        True
    """

    def __init__(self, net: Network) -> None:
        super().__init__()
        self._net = (net,)  # in a tuple, a module does not become a part of this one
        for weight in net.layer_weight_tensors:
            layer = nn.Linear(1, 1, bias=bool(net.has_bias), device="meta")
            layer.out_features, layer.in_features = weight.shape
            self.append(layer)
        self._tie()
        self.register_load_state_dict_post_hook(_tie_when_loaded)

    def _parameters_of_net(self) -> list[dict[str, nn.Parameter]]:
        (net,) = self._net
        biases = net.layer_bias_vectors if net.has_bias else [None] * len(self)
        pairs = zip(net.layer_weight_tensors, biases, strict=True)
        return [{"weight": weight} | ({} if bias is None else {"bias": bias}) for weight, bias in pairs]

    def _tie(self) -> None:
        for layer, parameters in zip(self, self._parameters_of_net(), strict=True):
            layer._parameters.update(parameters)

    def check_tied(self) -> None:
        """Raise unless the layers have the parameters of the network.

        Raises:
            ValueError: If a parameter was replaced.
        """
        for i, (layer, parameters) in enumerate(zip(self, self._parameters_of_net(), strict=True)):
            for name, parameter in parameters.items():
                if layer._parameters.get(name) is not parameter:
                    checks.fail(
                        f"linear_layers[{i}].{name}", "the parameter of the network, changed in place", "another"
                    )

    def _apply(self, fn: Any, recurse: bool = True) -> LinearLayers:
        self._tie()
        return self

    def state_dict(self, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> Any:
        """Nothing: the network's own state has it."""
        return {} if destination is None else destination

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        state_dict.update({prefix + name: parameter.detach() for name, parameter in self.named_parameters()})
        super()._load_from_state_dict(state_dict, prefix, *args)


def _tie_when_loaded(layers: LinearLayers, _: Any) -> None:
    """Loading may have given the network new parameters."""
    layers._tie()
