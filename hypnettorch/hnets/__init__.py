"""Hypernetworks: networks that produce the weights of another network."""

from importlib import import_module as _import
from typing import Any

_PLACES = {
    "ChunkedHDeconv": "hypnettorch.hnets.chunked_deconv_hnet",
    "ChunkedHMLP": "hypnettorch.hnets.chunked_mlp_hnet",
    "HDeconv": "hypnettorch.hnets.deconv_hnet",
    "HContainer": "hypnettorch.hnets.hnet_container",
    "HyperNetInterface": "hypnettorch.hnets.hnet_interface",
    "HPerturbWrapper": "hypnettorch.hnets.hnet_perturbation_wrapper",
    "HEncodedInput": "hypnettorch.hnets.input_encoding",
    "HLowRank": "hypnettorch.hnets.low_rank_hnet",
    "HMLP": "hypnettorch.hnets.mlp_hnet",
    "ModuleHNet": "hypnettorch.hnets.module_hnet",
    "HRecurrent": "hypnettorch.hnets.recurrent_hnet",
    "HResidual": "hypnettorch.hnets.residual_hnet",
    "HScaling": "hypnettorch.hnets.scaling_hnet",
    "HSetInput": "hypnettorch.hnets.set_hnet",
    "StructuredHMLP": "hypnettorch.hnets.structured_mlp_hnet",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(name)
    return getattr(_import(_PLACES[name]), name)


__all__ = list(_PLACES)
