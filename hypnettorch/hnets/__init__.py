"""Hypernetworks: networks that produce the weights of another network."""

from hypnettorch.hnets.chunked_deconv_hnet import ChunkedHDeconv
from hypnettorch.hnets.chunked_mlp_hnet import ChunkedHMLP
from hypnettorch.hnets.deconv_hnet import HDeconv
from hypnettorch.hnets.hnet_container import HContainer
from hypnettorch.hnets.hnet_interface import HyperNetInterface
from hypnettorch.hnets.hnet_perturbation_wrapper import HPerturbWrapper
from hypnettorch.hnets.hypernetwork import HyperNetwork
from hypnettorch.hnets.input_encoding import HEncodedInput
from hypnettorch.hnets.low_rank_hnet import HLowRank
from hypnettorch.hnets.mlp_hnet import HMLP
from hypnettorch.hnets.module_hnet import ModuleHNet
from hypnettorch.hnets.recurrent_hnet import HRecurrent
from hypnettorch.hnets.residual_hnet import HResidual
from hypnettorch.hnets.scaling_hnet import HScaling
from hypnettorch.hnets.set_hnet import HSetInput
from hypnettorch.hnets.structured_mlp_hnet import StructuredHMLP

__all__ = [
    "HMLP",
    "ChunkedHDeconv",
    "ChunkedHMLP",
    "HContainer",
    "HDeconv",
    "HEncodedInput",
    "HLowRank",
    "HPerturbWrapper",
    "HRecurrent",
    "HResidual",
    "HScaling",
    "HSetInput",
    "HyperNetInterface",
    "HyperNetwork",
    "ModuleHNet",
    "StructuredHMLP",
]
