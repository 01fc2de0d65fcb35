"""Main networks and hypernetworks that options describe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypnettorch.examples.hypercl.model import TaskModel
from hypnettorch.examples.hypercl.options import Options
from hypnettorch.utils.batchnorm_layer import share_statistics
from hypnettorch.utils.sim_utils import get_hypernet, get_mnet_model


def make_model(options: Options, in_shape: Sequence[int]) -> TaskModel:
    """A main network and its hypernetwork, which knows one task.

    Raises:
        ValueError: If the main network cannot take inputs of this shape.
    """
    mnet = make_main_network(options, in_shape, options.num_classes_per_task, no_weights=True)
    hnet = get_hypernet(options, "cpu", options.hnet_type, mnet.hyper_shapes_learned, 1, verbose=False)
    return TaskModel(hnet, mnet, separate_statistics=not options.bn_no_stats_checkpointing)


def make_main_network(options: Options, in_shape: Sequence[int], num_outputs: int, no_weights: bool = False) -> Any:
    """A main network with weights of its own, unless these come from outside.

    Raises:
        ValueError: If it cannot take inputs of this shape.
    """
    mnet = get_mnet_model(
        options, options.net_type, in_shape, [num_outputs], "cpu", no_weights=no_weights, verbose=False
    )
    share_statistics(mnet)
    return mnet
