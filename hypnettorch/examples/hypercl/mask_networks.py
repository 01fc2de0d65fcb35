"""Models with masked weights that options describe."""

from __future__ import annotations

from collections.abc import Sequence

from hypnettorch.examples.hypercl.model import TaskModel
from hypnettorch.examples.hypercl.networks import ONE_LABEL, make_hypernetwork, make_main_network, typical_tasks
from hypnettorch.examples.hypercl.options import Options
from hypnettorch.utils.weight_masks import HMask


def make_masked(options: Options, in_shape: Sequence[int], label_shape: Sequence[int] = ONE_LABEL) -> TaskModel:
    """A main network whose weights a hypernetwork masks."""
    mnet = make_main_network(options, in_shape, options.num_classes_per_task, label_shape, no_weights=True)
    inner = make_hypernetwork(options, mnet.hyper_shapes_learned)
    hnet = HMask(inner, options.mask_sparsity, mnet=mnet, verbose=False)
    if options.calibrated:
        hnet.apply_calibrated_init(mnet, cond_input=typical_tasks(options))
    return TaskModel(hnet, mnet, separate_statistics=not options.bn_no_stats_checkpointing)
