"""Hypernetworks in PyTorch: networks that generate the weights of other networks.

Some names are here, ``from hypnettorch import HMLP, MLP, ModuleNet, HyperModel``; they and the subpackages are loaded
when they are asked for, so ``import hypnettorch`` costs nothing:

- :mod:`hypnettorch.mnets`: main networks, whose weights can come from outside.
- :mod:`hypnettorch.hnets`: hypernetworks, which generate these weights.
- :mod:`hypnettorch.layers`: layers that take their weights from outside.
- :mod:`hypnettorch.utils`: regularisers and other algorithms for both.
- :mod:`hypnettorch.examples`: experiments with a command line each.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hypnettorch.hnets import HMLP, ChunkedHMLP, HLowRank, HResidual, HSetInput
    from hypnettorch.hyper_model import HyperModel
    from hypnettorch.mnets import MLP, ModuleNet, Siren
else:

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


__version__ = "1.0.0.dev0"
__all__ = [
    "HMLP",
    "MLP",
    "ChunkedHMLP",
    "HLowRank",
    "HResidual",
    "HSetInput",
    "HyperModel",
    "ModuleNet",
    "Siren",
]

_MODULES = {
    **dict.fromkeys(("HMLP", "ChunkedHMLP", "HLowRank", "HResidual", "HSetInput"), "hnets"),
    **dict.fromkeys(("MLP", "ModuleNet", "Siren"), "mnets"),
    "HyperModel": "hyper_model",
}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
