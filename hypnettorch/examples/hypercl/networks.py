"""Main networks and hypernetworks that options describe: one function and one entry of a table for each kind."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from hypnettorch.examples.hypercl.model import TaskModel
from hypnettorch.examples.hypercl.options import Options, sizes
from hypnettorch.hnets.chunked_mlp_hnet import ChunkedHMLP
from hypnettorch.hnets.mlp_hnet import HMLP
from hypnettorch.mnets.mlp import MLP

Activation = nn.Module | None


def activation(name: str) -> Activation:
    """The nonlinearity with this name; ``None`` is the identity."""
    kinds = {"sigmoid": nn.Sigmoid, "relu": nn.ReLU, "elu": nn.ELU, "tanh": nn.Tanh}
    return None if name == "linear" else kinds[name]()


def network_class(module: str, name: str) -> Callable[..., Any]:
    """A class of :mod:`hypnettorch.mnets`, imported when it is chosen."""
    return getattr(importlib.import_module(f"hypnettorch.mnets.{module}"), name)


def mlp(options: Options, in_shape: Sequence[int], num_outputs: int, no_weights: bool) -> Any:
    """A fully connected main network."""
    return MLP(
        math.prod(in_shape),
        num_outputs,
        hidden_layers=sizes("--mlp_arch", options.mlp_arch),
        activation_fn=activation(options.net_act),
        use_bias=not options.no_bias,
        no_weights=no_weights,
        dropout_rate=options.dropout_rate,
        use_spectral_norm=options.specnorm,
        verbose=False,
        **batch_norm(options),
    )


def lenet(options: Options, in_shape: Sequence[int], num_outputs: int, no_weights: bool) -> Any:
    """A small convolutional main network."""
    return network_class("lenet", "LeNet")(
        tuple(in_shape),
        num_outputs,
        verbose=False,
        arch=options.lenet_type,
        no_weights=no_weights,
        dropout_rate=options.dropout_rate,
    )


def resnet(options: Options, in_shape: Sequence[int], num_outputs: int, no_weights: bool) -> Any:
    """A residual main network."""
    return network_class("resnet", "ResNet")(
        tuple(in_shape),
        num_outputs,
        use_bias=not options.no_bias,
        num_feature_maps=tuple(sizes("--resnet_channel_sizes", options.resnet_channel_sizes)),
        verbose=False,
        n=options.resnet_block_depth,
        no_weights=no_weights,
        **batch_norm(options),
    )


def wrn(options: Options, in_shape: Sequence[int], num_outputs: int, no_weights: bool) -> Any:
    """A wide residual main network."""
    return network_class("wide_resnet", "WRN")(
        tuple(in_shape),
        num_outputs,
        n=options.wrn_block_depth,
        k=options.wrn_widening_factor,
        use_bias=not options.no_bias,
        use_fc_bias=True if options.wrn_use_fc_bias else None,
        no_weights=no_weights,
        dropout_rate=options.dropout_rate,
        verbose=False,
        **batch_norm(options),
    )


def batch_norm(options: Options) -> dict[str, Any]:
    """Arguments for batch normalisation, which are the same for all main networks that have it."""
    return {"use_batch_norm": options.batchnorm, "bn_track_stats": not options.bn_no_running_stats}


def hmlp(options: Options, target_shapes: Sequence[Sequence[int]], num_conditions: int) -> Any:
    """A fully connected hypernetwork."""
    return HMLP(target_shapes, **hypernetwork_arguments(options, num_conditions))


def chunked_hmlp(options: Options, target_shapes: Sequence[Sequence[int]], num_conditions: int) -> Any:
    """A fully connected hypernetwork that makes the weights piece by piece."""
    return ChunkedHMLP(
        target_shapes,
        options.chmlp_chunk_size,
        chunk_emb_size=options.chunk_emb_size,
        cond_chunk_embs=options.use_cond_chunk_embs,
        **hypernetwork_arguments(options, num_conditions),
    )


def hypernetwork_arguments(options: Options, num_conditions: int) -> dict[str, Any]:
    """Arguments that all hypernetworks take."""
    return {
        "cond_in_size": options.cond_emb_size,
        "layers": sizes("--hmlp_arch", options.hmlp_arch),
        "activation_fn": activation(options.hnet_net_act),
        "use_bias": not options.hnet_no_bias,
        "dropout_rate": options.hnet_dropout_rate,
        "num_cond_embs": num_conditions,
        "verbose": False,
    }


MAIN_NETWORKS: dict[str, Callable[[Options, Sequence[int], int, bool], Any]] = {
    "mlp": mlp,
    "lenet": lenet,
    "resnet": resnet,
    "wrn": wrn,
}

HYPERNETWORKS: dict[str, Callable[[Options, Sequence[Sequence[int]], int], Any]] = {
    "hmlp": hmlp,
    "chunked_hmlp": chunked_hmlp,
}


def make_model(options: Options, in_shape: Sequence[int]) -> TaskModel:
    """A main network and its hypernetwork, which knows one task.

    Raises:
        ValueError: If the main network cannot take inputs of this shape.
    """
    mnet = MAIN_NETWORKS[options.net_type](options, in_shape, options.num_classes_per_task, True)
    hnet = HYPERNETWORKS[options.hnet_type](options, mnet.hyper_shapes_learned, 1)
    return TaskModel(hnet, mnet, separate_statistics=not options.bn_no_stats_checkpointing)


def make_main_network(options: Options, in_shape: Sequence[int], num_outputs: int) -> Any:
    """A main network with weights of its own.

    Raises:
        ValueError: If it cannot take inputs of this shape.
    """
    return MAIN_NETWORKS[options.net_type](options, in_shape, num_outputs, False)
