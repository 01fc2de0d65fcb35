"""Main networks: networks whose weights may come from outside."""

from hypnettorch.mnets.bi_rnn import BiRNN
from hypnettorch.mnets.bio_conv_net import BioConvNet
from hypnettorch.mnets.chunk_squeezer import ChunkSqueezer
from hypnettorch.mnets.classifier_interface import Classifier
from hypnettorch.mnets.lenet import LeNet
from hypnettorch.mnets.mlp import MLP
from hypnettorch.mnets.mnet_interface import MainNetInterface
from hypnettorch.mnets.module_net import ModuleNet
from hypnettorch.mnets.multi_net import MultiNet
from hypnettorch.mnets.network import Network
from hypnettorch.mnets.resnet import ResNet
from hypnettorch.mnets.resnet_imgnet import ResNetIN
from hypnettorch.mnets.simple_rnn import SimpleRNN
from hypnettorch.mnets.siren import Siren
from hypnettorch.mnets.wide_resnet import WRN
from hypnettorch.mnets.zenkenet import ZenkeNet

__all__ = [
    "MLP",
    "WRN",
    "BiRNN",
    "BioConvNet",
    "ChunkSqueezer",
    "Classifier",
    "LeNet",
    "MainNetInterface",
    "ModuleNet",
    "MultiNet",
    "Network",
    "ResNet",
    "ResNetIN",
    "SimpleRNN",
    "Siren",
    "ZenkeNet",
]
