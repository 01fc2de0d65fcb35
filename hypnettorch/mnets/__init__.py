"""Main networks: networks whose weights may come from outside."""

from importlib import import_module as _import
from typing import Any

_PLACES = {
    "BiRNN": "hypnettorch.mnets.bi_rnn",
    "BioConvNet": "hypnettorch.mnets.bio_conv_net",
    "ChunkSqueezer": "hypnettorch.mnets.chunk_squeezer",
    "Classifier": "hypnettorch.mnets.classifier_interface",
    "LeNet": "hypnettorch.mnets.lenet",
    "MLP": "hypnettorch.mnets.mlp",
    "MainNetInterface": "hypnettorch.mnets.mnet_interface",
    "ModuleNet": "hypnettorch.mnets.module_net",
    "MultiNet": "hypnettorch.mnets.multi_net",
    "ResNet": "hypnettorch.mnets.resnet",
    "ResNetIN": "hypnettorch.mnets.resnet_imgnet",
    "SimpleRNN": "hypnettorch.mnets.simple_rnn",
    "WRN": "hypnettorch.mnets.wide_resnet",
    "ZenkeNet": "hypnettorch.mnets.zenkenet",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(name)
    return getattr(_import(_PLACES[name]), name)


__all__ = list(_PLACES)
