"""Files as version 0.0.4 wrote them."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def of_version_0_0_4(net: Any) -> dict[str, Tensor]:
    """Parameters, layer tensors and batch norm layers of the outer network only, each by its position in a list."""
    lists = {
        "_internal_params": net.internal_params,
        "_layer_weight_tensors": net.layer_weight_tensors,
        "_layer_bias_vectors": net.layer_bias_vectors,
    }
    tensors = {f"{key}.{i}": tensor for key, found in lists.items() for i, tensor in enumerate(found)}
    for i, layer in enumerate(net.batchnorm_layers or ()):
        tensors |= {f"_batchnorm_layers.{i}.{name}": tensor for name, tensor in layer.state_dict().items()}
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}
