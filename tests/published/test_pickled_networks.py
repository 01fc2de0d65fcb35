"""Programs that keep whole networks: pickles, copies, whole objects in files, and other processes."""

from __future__ import annotations

import copy
import io
import pickle
from multiprocessing import get_context

import numpy as np
import pytest
import torch
from torch import nn

from hypnettorch.hnets import HMLP, ChunkedHDeconv, ChunkedHMLP, HContainer, HDeconv, StructuredHMLP
from hypnettorch.hnets.hnet_perturbation_wrapper import HPerturbWrapper
from hypnettorch.hnets.structured_hmlp_examples import resnet_chunking
from hypnettorch.mnets import MLP, WRN, BiRNN, LeNet, ResNet, SimpleRNN, ZenkeNet

SHAPES = [[4, 3], [4], [2, 4], [2]]
OPTIONS = {"num_cond_embs": 3, "cond_in_size": 5, "verbose": False}
DECONV = {"num_filters": [4, 4], "kernel_size": 3, "num_layers": 3, "sa_units": (1,), **OPTIONS}


def structured():
    shapes, num_per_chunk, assembly = resnet_chunking(make_resnet())
    return StructuredHMLP(make_resnet().param_shapes, shapes, num_per_chunk, 4, {"layers": [5]}, assembly, **OPTIONS)


def make_resnet():
    return ResNet(n=1, num_feature_maps=(4, 4, 4, 4), no_weights=True, use_batch_norm=False, verbose=False)


HNETS = {
    "HMLP": lambda: HMLP(SHAPES, layers=[6], use_batch_norm=True, **OPTIONS),
    "ChunkedHMLP": lambda: ChunkedHMLP(SHAPES, 10, layers=[6], cond_chunk_embs=True, **OPTIONS),
    "StructuredHMLP": structured,
    "HDeconv": lambda: HDeconv(SHAPES, [8, 8, 1], **DECONV),
    "ChunkedHDeconv": lambda: ChunkedHDeconv(SHAPES, [4, 4, 1], **DECONV),
    "HPerturbWrapper": lambda: HPerturbWrapper(HMLP(SHAPES, uncond_in_size=2, **OPTIONS), hnet_uncond_in_size=2,
                                               verbose=False),
    "HContainer": lambda: HContainer(SHAPES, take_targets, hnets=[HMLP(SHAPES[:2], **OPTIONS),
                                                                  HMLP(SHAPES[2:], **OPTIONS)], verbose=False),
}  # fmt: skip

IMAGES = torch.rand(2, 32 * 32 * 3)
MNETS = {
    "MLP": (lambda: MLP(3, 2, use_batch_norm=True, use_context_mod=True, verbose=False), torch.randn(4, 3)),
    "LeNet": (lambda: LeNet(in_shape=(32, 32, 3), arch="cifar", verbose=False), IMAGES),
    "ResNet": (lambda: ResNet(n=1, num_feature_maps=(4, 4, 8, 8), verbose=False), IMAGES),
    "WRN": (lambda: WRN(n=1, k=1, num_feature_maps=(4, 4, 4, 4), verbose=False), IMAGES),
    "ZenkeNet": (lambda: ZenkeNet(verbose=False), IMAGES),
    "SimpleRNN": (lambda: SimpleRNN(3, use_lstm=True, verbose=False), torch.randn(5, 2, 3)),
    "BiRNN": (lambda: BiRNN({"n_in": 3, "rnn_layers": [4], "fc_layers": []}, verbose=False), torch.randn(5, 2, 3)),
}


def take_targets(list_of_hypernet_tensors, uncond_tensors, cond_tensors):
    return [tensor for tensors in list_of_hypernet_tensors for tensor in tensors]


def whole_file(net):
    file = io.BytesIO()
    torch.save(net, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


KEEP = {
    "pickle": lambda net: pickle.loads(pickle.dumps(net)),
    "deepcopy": copy.deepcopy,
    "torch.save": whole_file,
}


def flat(hnet, **inputs):
    return hnet.forward(cond_id=1, ret_format="flattened", **inputs)


@pytest.mark.parametrize("way", KEEP)
@pytest.mark.parametrize("name", HNETS)
def test_hypernetworks(name, way):
    hnet = HNETS[name]().eval()
    other = KEEP[way](hnet)
    inputs = {"uncond_input": torch.randn(1, 26)} if name == "HPerturbWrapper" else {}
    y = flat(hnet, **inputs)
    assert torch.equal(flat(other, **inputs), y)
    assert other.target_shapes == hnet.target_shapes
    assert other.param_shapes_meta == hnet.param_shapes_meta

    optimizer = torch.optim.SGD(other.parameters(), lr=0.1)
    flat(other, **inputs).sum().backward()
    optimizer.step()
    assert not torch.equal(flat(other, **inputs), y)
    assert torch.equal(flat(hnet, **inputs), y)


@pytest.mark.parametrize("way", KEEP)
@pytest.mark.parametrize("name", MNETS)
def test_main_networks(name, way):
    make, x = MNETS[name]
    net = make()
    net.eval()
    other = KEEP[way](net)
    inputs = {"seq_lengths": np.array([5, 3])} if name == "BiRNN" else {}
    assert torch.equal(other.forward(x, **inputs), net.forward(x, **inputs))
    assert other.internal_params_ref == net.internal_params_ref
    weights = [torch.randn(*shape) for shape in net.param_shapes]
    torch.testing.assert_close(
        other.forward(x, weights=weights, **inputs), net.forward(x, weights=weights, **inputs), equal_nan=True
    )
    net.load_state_dict(other.state_dict())


def evaluate(mnet, hnet, x, cond_id):
    with torch.no_grad():
        return mnet.forward(x, weights=hnet.forward(cond_id=cond_id)).numpy()


def test_other_processes():
    """A worker evaluates the tasks."""
    mnet = MLP(3, 2, [4], no_weights=True, verbose=False)
    hnet = HMLP(mnet.param_shapes, **OPTIONS)
    x = torch.randn(6, 3)
    with get_context("spawn").Pool(1) as pool:
        results = pool.starmap(evaluate, [(mnet, hnet, x, t) for t in range(3)])
    for t, result in enumerate(results):
        assert (result == evaluate(mnet, hnet, x, t)).all()


class Learner:
    """An object of a program that holds networks, an optimiser and results."""

    def __init__(self):
        self.mnet = MLP(3, 2, [4], no_weights=True, activation_fn=nn.ELU(), verbose=False)
        self.hnet = HMLP(self.mnet.param_shapes, layers=[6], **OPTIONS)
        self.optimizer = torch.optim.Adam(self.hnet.internal_params, lr=0.01)
        self.losses = []

    def step(self, x):
        self.optimizer.zero_grad()
        loss = self.mnet.forward(x, weights=self.hnet.forward(cond_id=0)).square().mean()
        loss.backward()
        self.optimizer.step()
        self.losses.append(loss.item())


@pytest.mark.parametrize("way", KEEP)
def test_going_on_from_a_kept_object(way):
    """Training goes on with the same numbers, so the optimiser of the copy holds the parameters of the copy."""
    x, learner = torch.randn(5, 3), Learner()
    for _ in range(3):
        learner.step(x)
    other = KEEP[way](learner)
    for _ in range(3):
        learner.step(x)
        other.step(x)
    assert other.losses == learner.losses
    assert learner.losses[-1] < learner.losses[0]
