"""Main networks and hypernetworks that options describe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hypnettorch.core import checks
from hypnettorch.examples.hypercl.labelling_rnn import LabellingRNN
from hypnettorch.examples.hypercl.model import TaskModel
from hypnettorch.examples.hypercl.options import Options
from hypnettorch.hnets.hnet_container import HContainer
from hypnettorch.hnets.hnet_helpers import init_chunk_embeddings
from hypnettorch.layers.batchnorm_layer import share_statistics
from hypnettorch.utils.command_line.main_networks import MAIN_NETWORKS
from hypnettorch.utils.sim_utils import get_hypernet, get_mnet_model

ONE_LABEL = (1,)

LATER_TASKS = 32
"""For how many embeddings like those of later tasks the start is measured."""


def make_model(options: Options, in_shape: Sequence[int], label_shape: Sequence[int] = ONE_LABEL) -> TaskModel:
    """A main network and its hypernetwork, which knows one task.

    Raises:
        ValueError: If the main network cannot take inputs or give labels of these shapes.
    """
    mnet = make_main_network(options, in_shape, options.num_classes_per_task, label_shape, no_weights=True)
    hnet = make_hypernetwork(options, mnet.hyper_shapes_learned)
    if options.calibrated:
        hnet.apply_calibrated_init(mnet, cond_input=typical_tasks(options))
    return TaskModel(hnet, mnet, separate_statistics=not options.bn_no_stats_checkpointing)


def make_own_weights(options: Options, in_shape: Sequence[int], label_shape: Sequence[int] = ONE_LABEL) -> TaskModel:
    """A main network with weights for one task, which nothing generates."""
    start, mnet = (
        make_main_network(options, in_shape, options.num_classes_per_task, label_shape, no_weights=external)
        for external in (False, True)
    )
    shapes = mnet.hyper_shapes_learned
    holder = HContainer(shapes, lambda made, shared, own: own, cond_param_shapes=shapes, verbose=False)
    for held, value in zip(holder.parameters(), start.internal_params, strict=True):
        held.data.copy_(value.detach())
    return TaskModel(holder, mnet, separate_statistics=not options.bn_no_stats_checkpointing)


def make_hypernetwork(options: Options, target_shapes: Sequence[Sequence[int]]) -> Any:
    """A hypernetwork for tensors of these shapes, which knows one task."""
    hnet = get_hypernet(options, "cpu", options.hnet_type, target_shapes, 1, verbose=False)
    if options.std_normal_emb != 1:
        init_chunk_embeddings(hnet, normal_std=options.std_normal_emb)
    return hnet


def typical_tasks(options: Options) -> Tensor | None:
    """Embeddings like those of later tasks, for which a start is calibrated; ``None`` for those that there are."""
    return None if options.use_cond_chunk_embs else torch.randn(LATER_TASKS, options.cond_emb_size)


def make_main_network(
    options: Options,
    in_shape: Sequence[int],
    num_outputs: int,
    label_shape: Sequence[int] = ONE_LABEL,
    no_weights: bool = False,
    **kwargs: Any,
) -> Any:
    """A main network with weights of its own, unless these come from outside.

    Args:
        options: Its kind and size.
        in_shape: Shape of an input.
        num_outputs: Number of outputs for each label.
        label_shape: Shape of the labels of a sample.
        no_weights: Whether weights come from outside.
        **kwargs: Further arguments of the network.

    Raises:
        ValueError: If it cannot take inputs or give labels of these shapes.
    """
    look: dict[str, Any] = {"no_weights": no_weights, "verbose": False, **kwargs}
    if options.net_type == "simple_rnn":
        sizes = MAIN_NETWORKS["simple_rnn"].read(options)
        return LabellingRNN(in_shape, label_shape, num_outputs, **sizes, **look)
    if tuple(label_shape) != ONE_LABEL:
        checks.fail("--net_type", "simple_rnn, since a sample has several labels", options.net_type)
    mnet = get_mnet_model(options, options.net_type, in_shape, [num_outputs], "cpu", **look)
    share_statistics(mnet)
    return mnet
