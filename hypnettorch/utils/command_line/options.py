"""The options of command lines: names, types and help texts, in one table.

The functions of :mod:`~hypnettorch.utils.cli_args` choose from it, and give the defaults.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hypnettorch.core import checks
from hypnettorch.hnets.input_encoding import ENCODINGS
from hypnettorch.hnets.recurrent_hnet import CELLS
from hypnettorch.hnets.set_hnet import POOLS
from hypnettorch.mnets.lenet import ARCHITECTURES
from hypnettorch.mnets.module_net import WEIGHT_DTYPES
from hypnettorch.mnets.multi_net import SHARING
from hypnettorch.utils.command_line.main_networks import RECURRENT_TYPES
from hypnettorch.utils.misc import ACTIVATIONS


@dataclass(frozen=True)
class Option:
    """An option of a command line.

    Attributes:
        type: Type of its values; an option of type ``bool`` is a flag, off unless given.
        help: What help says about it.
        choices: The values that exist; ``None`` for all of the type.
    """

    type: type
    help: str
    choices: Sequence[Any] | None = None


MAIN_NETWORK = {
    "net_type": Option(str, "Kind of main network."),
    "mlp_arch": Option(str, "mlp: sizes of the hidden layers, e.g. '100,100'; '' for none."),
    "lenet_type": Option(str, "lenet: architecture.", tuple(ARCHITECTURES)),
    "cmlp_arch": Option(str, "chunked_mlp: sizes of the hidden layers of the network behind the reducer."),
    "cmlp_chunk_arch": Option(str, "chunked_mlp: sizes of the hidden layers of the reducer."),
    "cmlp_in_cdim": Option(int, "chunked_mlp: size of a chunk of the input."),
    "cmlp_out_cdim": Option(int, "chunked_mlp: number of outputs of the reducer per chunk."),
    "cmlp_cemb_dim": Option(int, "chunked_mlp: size of a chunk embedding."),
    "resnet_block_depth": Option(int, "resnet: blocks per group; 6n + 2 layers in all."),
    "resnet_channel_sizes": Option(str, "resnet: channels of the first convolution and of the three groups."),
    "resnet_widening_factor": Option(int, "resnet: factor of the channels of the groups."),
    "wrn_block_depth": Option(int, "wrn: blocks per group."),
    "wrn_widening_factor": Option(int, "wrn: factor of the channels of the groups."),
    "wrn_channel_sizes": Option(str, "wrn: channels of the first convolution and, without factor, of the groups."),
    "wrn_use_fc_bias": Option(bool, "wrn: a bias in the output layer even with no_bias."),
    "iresnet_use_fc_bias": Option(bool, "iresnet: a bias in the output layer even with no_bias."),
    "iresnet_channel_sizes": Option(str, "iresnet: channels of the first convolution and of the four groups."),
    "iresnet_blocks_per_group": Option(str, "iresnet: number of blocks of the four groups."),
    "iresnet_bottleneck_blocks": Option(bool, "iresnet: blocks with a bottleneck."),
    "iresnet_projection_shortcut": Option(bool, "iresnet: shortcuts that change the shape are convolutions."),
    "iresnet_cutout_mod": Option(bool, "iresnet: first convolution for small images, without pooling."),
    "srnn_rec_layers": Option(str, "simple_rnn, bi_rnn: sizes of the recurrent layers."),
    "srnn_pre_fc_layers": Option(str, "simple_rnn, bi_rnn: sizes of the fully connected layers before them."),
    "srnn_post_fc_layers": Option(str, "simple_rnn, bi_rnn: sizes of the hidden layers after them."),
    "srnn_no_fc_out": Option(bool, "simple_rnn: the output layer is a recurrent one."),
    "srnn_rec_type": Option(str, "simple_rnn, bi_rnn: kind of recurrent layer.", RECURRENT_TYPES),
    "module": Option(str, "module: how to make it, e.g. 'torch.nn.Linear(4, 2)' or 'mypackage.models.UNet(depth=3)'."),
    "module_include": Option(str, "module: patterns of parameters that come from outside, e.g. 'layer1.*,fc.*'."),
    "module_exclude": Option(str, "module: patterns of parameters that do not."),
    "module_output": Option(str, "module: name of the linear layer that makes the output."),
    "module_weight_dtype": Option(str, "module: dtype of weights from outside.", WEIGHT_DTYPES),
    "module_save_base": Option(bool, "module: files hold its own values of parameters that come from outside."),
    "module_stats_per_condition": Option(bool, "module: each task has its running statistics."),
    "multi_nets": Option(str, "multi: names of its networks; the options of each begin with '<name>_'."),
    "multi_share": Option(str, "multi: which tensors its networks have in common.", SHARING),
}

COMMON = {
    "net_act": Option(str, "Nonlinearity.", tuple(ACTIVATIONS)),
    "no_bias": Option(bool, "No bias vectors."),
    "dropout_rate": Option(float, "Dropout rate; -1: no dropout."),
    "specnorm": Option(bool, "Spectral normalisation."),
    "batchnorm": Option(bool, "Batch normalisation."),
    "no_batchnorm": Option(bool, "No batch normalisation."),
    "bn_no_running_stats": Option(bool, "Batch normalisation always uses the current batch."),
    "bn_distill_stats": Option(bool, "Running statistics are distilled into the hypernetwork."),
    "bn_no_stats_checkpointing": Option(bool, "All tasks share the running statistics."),
}

HYPERNETWORK = {
    "hnet_type": Option(str, "Kind of hypernetwork."),
    "hmlp_arch": Option(
        str, "Sizes of the hidden layers. structured_hmlp: of all inner networks, or of each, separated by ';'."
    ),
    "hmlp_split_head": Option(bool, "hmlp: an output layer per target: the same function, faster if they are large."),
    "cond_emb_size": Option(int, "Size of the embedding of a condition."),
    "chmlp_chunk_size": Option(int, "chunked_hmlp: number of weights of a chunk."),
    "chunk_emb_size": Option(str, "Size of a chunk embedding. structured_hmlp: of all kinds of chunks, or of each."),
    "use_cond_chunk_embs": Option(bool, "Each condition has its own chunk embeddings."),
    "shmlp_gcd_chunking": Option(bool, "structured_hmlp: fewer kinds of chunks, from which all layers are glued."),
    "hdeconv_shape": Option(str, "Width, height and channels of the image of weights."),
    "hdeconv_num_layers": Option(int, "Number of layers, including the fully connected one."),
    "hdeconv_filters": Option(str, "Channels of each hidden layer; '': 128 in the last, twice as many before."),
    "hdeconv_kernels": Option(str, "Kernel size: of all transpose convolutions, or of each."),
    "hdeconv_attention_layers": Option(str, "Hidden layers that are followed by self-attention; 0 is the first."),
    "mhnet_trunk": Option(str, "module_hnet: how to make the trunk, e.g. 'torch.nn.Linear(8, 32)'."),
    "mhnet_cond_shape": Option(str, "module_hnet: shape of a condition, if it is no vector, e.g. '3,32,32'."),
    "mhnet_feature_size": Option(int, "module_hnet: number of features of the trunk; 0: found by a trial."),
    "mhnet_chunk_size": Option(int, "module_hnet: number of weights of a chunk; 0: all at once."),
    "container_parts": Option(
        str,
        "container: parts with their targets, e.g. 'body=0-3; shared=bn_*; own=*': positions, roles or names. 'shared' "
        "and 'own' (to each condition) are plain parameters; others are made by hypernetworks, whose options begin "
        "with '<part>_'.",
    ),
    "hnet_wrappers": Option(
        str,
        "Put around it, the innermost first: encoded, recurrent, residual, scaling, low_rank, perturbed, set.",
    ),
    "hnet_encoding": Option(str, "encoded: how embeddings are encoded.", tuple(ENCODINGS)),
    "hnet_cell": Option(str, "recurrent: kind of cell.", tuple(CELLS)),
    "hnet_cell_in_size": Option(int, "recurrent: size of the input of the cell."),
    "hnet_rank": Option(int, "low_rank: number of columns of the thin matrices."),
    "hnet_noise_std": Option(float, "perturbed: standard deviation of the noise on each weight."),
    "hnet_set_encoder": Option(str, "set: how to make the encoder of elements, e.g. 'torch.nn.Linear(2, 8)'."),
    "hnet_set_pool": Option(str, "set: what is made of the encoded elements.", tuple(POOLS)),
    "hnet_set_element_dims": Option(int, "set: number of dimensions of an element."),
}

GENERATOR = {
    "latent_dim": Option(int, "Size of the latent vector."),
    "latent_std": Option(float, "Standard deviation of latent vectors."),
}

INITIALISATION = {
    "custom_network_init": Option(bool, "Initialise networks as the following options say."),
    "normal_init": Option(bool, "Normal instead of Xavier initialisation."),
    "std_normal_init": Option(float, "normal_init: standard deviation of weights."),
    "std_normal_temb": Option(float, "Standard deviation of the embeddings of conditions."),
    "std_normal_emb": Option(float, "Standard deviation of chunk embeddings."),
    "hyper_fan_init": Option(bool, "Hyperfan initialisation of the hypernetwork."),
}

MISCELLANEOUS = {
    "num_workers": Option(int, "Number of processes that load data."),
    "out_dir": Option(str, "Folder for results."),
    "use_cuda": Option(bool, "Use a GPU."),
    "no_cuda": Option(bool, "Use the CPU even if there is a GPU."),
    "loglevel_info": Option(bool, "Leave debugging messages out of what is shown on the screen."),
    "deterministic_run": Option(bool, "Only algorithms that give the same result again, also on a GPU."),
    "publication_style": Option(bool, "Plots for a publication."),
    "show_plots": Option(bool, "Show plots in windows."),
    "data_random_seed": Option(int, "Seed of the random numbers that make the data."),
    "random_seed": Option(int, "Seed of all other random numbers."),
}

EVALUATION = {
    "val_iter": Option(int, "Training steps from one validation to the next."),
    "val_batch_size": Option(int, "Samples per batch in evaluations."),
    "val_set_size": Option(int, "Validation samples, taken from the training samples."),
    "test_with_val_set": Option(bool, "Test with the validation set."),
}

TRAINING = {
    "batch_size": Option(int, "Samples per training step."),
    "n_iter": Option(int, "Training steps per task."),
    "epochs": Option(int, "Epochs per task; if set, n_iter does not count."),
    "lr": Option(float, "Learning rate."),
    "momentum": Option(float, "Momentum of the optimiser (SGD and RMSprop)."),
    "weight_decay": Option(float, "L2 penalty on the parameters."),
    "use_adam": Option(bool, "Optimise with Adam instead of SGD."),
    "adam_beta1": Option(float, "Decay of Adam's first moment."),
    "use_rmsprop": Option(bool, "Optimise with RMSprop instead of SGD."),
    "use_adadelta": Option(bool, "Optimise with Adadelta instead of SGD."),
    "use_adagrad": Option(bool, "Optimise with Adagrad instead of SGD."),
    "clip_grad_value": Option(float, "Largest absolute value of an entry of a gradient; -1: no limit."),
    "clip_grad_norm": Option(float, "Largest norm of the gradient; -1: no limit."),
}

CONTINUAL_LEARNING = {
    "beta": Option(float, "Strength of the regulariser that protects earlier tasks."),
    "train_from_scratch": Option(bool, "Train on each task anew."),
    "multi_head": Option(bool, "Each task has its own output head."),
    "cl_scenario": Option(
        int, "1: the task is known when testing; 2: it is not, all share a head; 3: it has to be inferred.", (1, 2, 3)
    ),
    "split_head_cl3": Option(bool, "Scenario 3: separate heads instead of one softmax that grows."),
    "num_tasks": Option(int, "Number of tasks."),
    "num_classes_per_task": Option(int, "Number of classes per task."),
    "calc_hnet_reg_targets_online": Option(
        bool, "Recompute the targets of the regulariser in each step instead of keeping them in memory."
    ),
    "hnet_reg_batch_size": Option(int, "Regularise that many random earlier tasks per step; -1: all."),
}

DATA = {
    "disable_data_augmentation": Option(bool, "Use the training samples as they are."),
    "data_dir": Option(str, "Folder with the files of data sets."),
}

TRUST = {
    "trust_module": Option(str, "Packages whose names expressions may use besides torch's, e.g. 'mypackage,other'."),
}

OPTIONS: dict[str, Option] = {
    **MAIN_NETWORK,
    **COMMON,
    **HYPERNETWORK,
    **GENERATOR,
    **INITIALISATION,
    **MISCELLANEOUS,
    **EVALUATION,
    **TRAINING,
    **CONTINUAL_LEARNING,
    **DATA,
    **TRUST,
}


class OptionGroup:
    """A group of options of a parser.

    Args:
        container: The group as ``argparse`` knows it.
        prefix: Begins the name of each option.
    """

    def __init__(self, container: argparse._ArgumentGroup, prefix: str = "") -> None:
        self.container = container
        self._prefix = prefix

    def add(self, name: str, default: Any = False, show: bool = True, choices: Sequence[Any] | None = None) -> None:
        """Add an option of the table.

        Args:
            name: Its name, without prefix.
            default: Its default; flags have none.
            show: Whether to add it at all.
            choices: The values that exist, if these are not the ones in the table.
        """
        if not show:
            return
        option = OPTIONS[name]
        if option.type is bool:
            self.container.add_argument(f"--{self._prefix}{name}", action="store_true", help=option.help)
            return
        default = str(default) if option.type is str else default
        shown = f"{option.help} [{default}]" if default != "" else option.help
        self.container.add_argument(
            f"--{self._prefix}{name}",
            type=option.type,
            default=default,
            choices=choices or option.choices,
            metavar=None if choices or option.choices else option.type.__name__.upper(),
            help=shown.replace("%", "%%"),
        )


def option_group(
    parser: argparse.ArgumentParser, title: str, prefix: str | None = None, pf_name: str | None = None
) -> OptionGroup:
    """A new group of a parser, for options with a prefix.

    Args:
        parser: The parser.
        title: Heading of the group.
        prefix: Begins the name of each option.
        pf_name: Name of the network with this prefix, for the heading.

    Raises:
        ValueError: If there is only one of ``prefix`` and ``pf_name``.
    """
    if (prefix is None) != (pf_name is None):
        checks.fail("prefix", "prefix and pf_name, or neither of them", f"prefix={prefix!r}, pf_name={pf_name!r}")
    heading = title if pf_name is None else f"{title} ({pf_name})"
    return OptionGroup(parser.add_argument_group(heading), prefix or "")
