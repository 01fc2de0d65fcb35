"""The interface of HyperLight (https://github.com/JJGO/hyperlight)."""

from hypnettorch.compat.hyperlight.external_parameter import ExternalParameter
from hypnettorch.compat.hyperlight.finding import (
    find_modules_from_patterns,
    find_modules_of_type,
    find_parameters_from_patterns,
)
from hypnettorch.compat.hyperlight.hyper_module import HyperModule, VoidModule
from hypnettorch.compat.hyperlight.hypernet import HyperNet, Hypernet
from hypnettorch.compat.hyperlight.hypernetizing import hypernetize, hypernetize_single, voidify
from hypnettorch.compat.hyperlight.layers import HyperConv1d, HyperConv2d, HyperConv3d, HyperLinear

__all__ = [
    "ExternalParameter",
    "HyperConv1d",
    "HyperConv2d",
    "HyperConv3d",
    "HyperLinear",
    "HyperModule",
    "HyperNet",
    "Hypernet",
    "VoidModule",
    "find_modules_from_patterns",
    "find_modules_of_type",
    "find_parameters_from_patterns",
    "hypernetize",
    "hypernetize_single",
    "voidify",
]
