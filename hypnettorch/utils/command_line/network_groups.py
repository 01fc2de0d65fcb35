"""Option groups of networks."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from hypnettorch.core import checks
from hypnettorch.utils.command_line.hypernetworks import HYPERNETWORKS
from hypnettorch.utils.command_line.kinds import Kind
from hypnettorch.utils.command_line.main_networks import MAIN_NETWORKS
from hypnettorch.utils.command_line.options import OptionGroup, option_group

Group = argparse._ArgumentGroup


def main_net_args(
    parser: argparse.ArgumentParser,
    allowed_nets: Sequence[str] = ("mlp",),
    dmlp_arch: str = "100,100",
    dlenet_type: str = "mnist_small",
    dcmlp_arch: str = "10,10",
    dcmlp_chunk_arch: str = "10,10",
    dcmlp_in_cdim: int = 100,
    dcmlp_out_cdim: int = 10,
    dcmlp_cemb_dim: int = 8,
    dresnet_block_depth: int = 5,
    dresnet_channel_sizes: str = "16,16,32,64",
    dwrn_block_depth: int = 4,
    dwrn_widening_factor: int = 10,
    diresnet_channel_sizes: str = "64,64,128,256,512",
    diresnet_blocks_per_group: str = "2,2,2,2",
    dsrnn_rec_layers: str = "10",
    dsrnn_pre_fc_layers: str = "",
    dsrnn_post_fc_layers: str = "",
    dsrnn_rec_type: str = "lstm",
    show_net_act: bool = True,
    dnet_act: str = "relu",
    show_no_bias: bool = False,
    show_dropout_rate: bool = True,
    ddropout_rate: float = -1,
    show_specnorm: bool = True,
    show_batchnorm: bool = True,
    show_no_batchnorm: bool = False,
    show_bn_no_running_stats: bool = False,
    show_bn_distill_stats: bool = False,
    show_bn_no_stats_checkpointing: bool = False,
    prefix: str | None = None,
    pf_name: str | None = None,
) -> Group:
    """Options of the main network, as :func:`hypnettorch.utils.sim_utils.get_mnet_model` reads them.

    Each network has its own options, which are there if it is allowed; help says to which network an option belongs.

    Args:
        parser: The parser.
        allowed_nets: Values of ``net_type``, the first one being the default: names in
            :data:`hypnettorch.utils.command_line.main_networks.MAIN_NETWORKS`.
        dmlp_arch: Default of the option ``mlp_arch``, and so on.
        show_no_bias: Whether there is the option ``no_bias``, and so on.
        show_no_batchnorm: Whether there is ``no_batchnorm``; requires ``show_batchnorm=False``.
        prefix: Begins the name of each option.
        pf_name: Name of the network with this prefix. Required with ``prefix``.

    Returns:
        The group of options.

    Raises:
        ValueError: If there is no such network, or arguments exclude each other.
    """
    _check_nets(allowed_nets, MAIN_NETWORKS)
    group = option_group(parser, "main network", prefix, pf_name)
    group.add("net_type", allowed_nets[0], choices=list(allowed_nets))
    defaults = {
        "mlp_arch": dmlp_arch,
        "lenet_type": dlenet_type,
        "cmlp_arch": dcmlp_arch,
        "cmlp_chunk_arch": dcmlp_chunk_arch,
        "cmlp_in_cdim": dcmlp_in_cdim,
        "cmlp_out_cdim": dcmlp_out_cdim,
        "cmlp_cemb_dim": dcmlp_cemb_dim,
        "resnet_block_depth": dresnet_block_depth,
        "resnet_channel_sizes": dresnet_channel_sizes,
        "resnet_widening_factor": 1,
        "wrn_block_depth": dwrn_block_depth,
        "wrn_widening_factor": dwrn_widening_factor,
        "wrn_channel_sizes": "16,16,32,64",
        "wrn_use_fc_bias": False,
        "iresnet_use_fc_bias": False,
        "iresnet_channel_sizes": diresnet_channel_sizes,
        "iresnet_blocks_per_group": diresnet_blocks_per_group,
        "iresnet_bottleneck_blocks": False,
        "iresnet_projection_shortcut": False,
        "iresnet_cutout_mod": False,
        "srnn_rec_layers": dsrnn_rec_layers,
        "srnn_pre_fc_layers": dsrnn_pre_fc_layers,
        "srnn_post_fc_layers": dsrnn_post_fc_layers,
        "srnn_no_fc_out": False,
        "srnn_rec_type": dsrnn_rec_type,
        "module": "",
        "module_include": "",
        "module_exclude": "",
        "module_output": "",
        "module_weight_dtype": "parameter",
        "module_save_base": False,
        "module_stats_per_condition": False,
        "multi_nets": "",
        "multi_share": "equal",
    }
    _add_specific(group, defaults, allowed_nets, MAIN_NETWORKS)
    _add_trust(parser, group.container, "module" in allowed_nets)
    _add_common(
        group,
        show_net_act,
        dnet_act,
        show_no_bias,
        show_dropout_rate,
        ddropout_rate,
        show_specnorm,
        show_batchnorm,
        show_no_batchnorm,
        show_bn_no_running_stats,
        show_bn_distill_stats,
        show_bn_no_stats_checkpointing,
    )
    return group.container


def hnet_args(
    parser: argparse.ArgumentParser,
    allowed_nets: Sequence[str] = ("hmlp",),
    dhmlp_arch: str = "100,100",
    show_cond_emb_size: bool = True,
    dcond_emb_size: int | str = "8",
    dchmlp_chunk_size: int = 1000,
    dchunk_emb_size: int | str = 8,
    show_use_cond_chunk_embs: bool = True,
    dhdeconv_shape: str = "512,512,3",
    prefix: str | None = None,
    pf_name: str | None = None,
    show_wrappers: bool = False,
    **kwargs: Any,
) -> Group:
    """Options of the hypernetwork, as :func:`hypnettorch.utils.sim_utils.get_hypernet` reads them.

    Args:
        parser: The parser.
        allowed_nets: Values of ``hnet_type``, the first one being the default: names in
            :data:`hypnettorch.utils.command_line.hypernetworks.HYPERNETWORKS`. If there is only one, it is no option,
            but among the parsed arguments all the same.
        dhmlp_arch: Default of the option ``hmlp_arch``, and so on.
        show_cond_emb_size: Whether there is the option ``cond_emb_size``, and so on.
        prefix: Begins the name of each option.
        pf_name: Name of the hypernetwork with this prefix. Required with ``prefix``.
        show_wrappers: Whether there are the options of :data:`hypnettorch.utils.command_line.wrappers.WRAPPERS`.
        **kwargs: As the arguments ``show_net_act`` to ``show_bn_no_stats_checkpointing`` of :func:`main_net_args`; the
            options have the additional prefix ``hnet_``.

    Returns:
        The group of options.

    Raises:
        ValueError: If there is no such hypernetwork, or arguments exclude each other.
    """
    _check_nets(allowed_nets, HYPERNETWORKS)
    group = option_group(parser, "hypernetwork", prefix, pf_name)
    parser.set_defaults(**{f"{prefix or ''}hnet_type": allowed_nets[0]})
    group.add("hnet_type", allowed_nets[0], len(allowed_nets) > 1, choices=list(allowed_nets))
    defaults: dict[str, Any] = {"hmlp_arch": dhmlp_arch, "hmlp_split_head": False}
    if show_cond_emb_size:
        defaults["cond_emb_size"] = dcond_emb_size
    defaults |= {"chmlp_chunk_size": dchmlp_chunk_size, "chunk_emb_size": dchunk_emb_size}
    if show_use_cond_chunk_embs:
        defaults["use_cond_chunk_embs"] = False
    defaults |= {
        "shmlp_gcd_chunking": False,
        "hdeconv_shape": dhdeconv_shape,
        "hdeconv_num_layers": 5,
        "hdeconv_filters": "128,512,256,128",
        "hdeconv_kernels": "5",
        "hdeconv_attention_layers": "1,3",
        "mhnet_trunk": "",
        "mhnet_cond_shape": "",
        "mhnet_feature_size": 0,
        "mhnet_chunk_size": 0,
        "container_parts": "",
    }
    _add_specific(group, defaults, allowed_nets, HYPERNETWORKS)
    _add_trust(parser, group.container, show_wrappers or "module_hnet" in allowed_nets)
    if show_wrappers:
        group.add("hnet_wrappers", "")
        group.add("hnet_encoding", "cos|sin")
        group.add("hnet_cell", "gru")
        group.add("hnet_cell_in_size", 1)
        group.add("hnet_rank", 8)
        group.add("hnet_noise_std", 0.02)
        group.add("hnet_set_encoder", "")
        group.add("hnet_set_pool", "mean")
        group.add("hnet_set_element_dims", 1)
    _add_common(OptionGroup(group.container, f"{prefix or ''}hnet_"), **kwargs)
    return group.container


def _check_nets(allowed_nets: Sequence[str], kinds: Mapping[str, Kind]) -> None:
    checks.instance("allowed_nets", allowed_nets, (list, tuple), "a list of names")
    if not allowed_nets:
        checks.fail("allowed_nets", "at least one name", "none")
    for i, name in enumerate(allowed_nets):
        checks.one_of(("allowed_nets", i), name, kinds)


def _add_specific(
    group: OptionGroup, defaults: Mapping[str, Any], allowed_nets: Sequence[str], kinds: Mapping[str, Kind]
) -> None:
    """Add the options that at least one of the networks takes."""
    taken = {option for net in allowed_nets for option in kinds[net].arguments}
    for option, default in defaults.items():
        group.add(option, default, option in taken)


def _add_trust(parser: argparse.ArgumentParser, container: Group, show: bool) -> None:
    """Add the option that says which expressions may run; all networks of a parser have it together."""
    known = any(action.dest == "trust_module" for action in parser._actions)
    OptionGroup(container).add("trust_module", "", show and not known)


def _add_common(
    group: OptionGroup,
    show_net_act: bool = True,
    dnet_act: str = "relu",
    show_no_bias: bool = False,
    show_dropout_rate: bool = True,
    ddropout_rate: float = -1,
    show_specnorm: bool = True,
    show_batchnorm: bool = True,
    show_no_batchnorm: bool = False,
    show_bn_no_running_stats: bool = False,
    show_bn_distill_stats: bool = False,
    show_bn_no_stats_checkpointing: bool = False,
) -> None:
    """Add the options that most networks take."""
    if show_batchnorm and show_no_batchnorm:
        checks.fail("show_no_batchnorm", "only one of show_batchnorm and show_no_batchnorm", "both")
    group.add("net_act", dnet_act, show_net_act)
    group.add("no_bias", show=show_no_bias)
    group.add("dropout_rate", ddropout_rate, show_dropout_rate)
    group.add("specnorm", show=show_specnorm)
    group.add("batchnorm", show=show_batchnorm)
    group.add("no_batchnorm", show=show_no_batchnorm)
    group.add("bn_no_running_stats", show=show_bn_no_running_stats)
    group.add("bn_distill_stats", show=show_bn_distill_stats)
    group.add("bn_no_stats_checkpointing", show=show_bn_no_stats_checkpointing)


def generator_args(agroup: Group, dlatent_dim: int = 3) -> None:
    """Options of a generator.

    Args:
        agroup: The group to which they are added.
        dlatent_dim: Default of the option ``latent_dim``.
    """
    group = OptionGroup(agroup)
    group.add("latent_dim", dlatent_dim)
    group.add("latent_std", 1.0)


def gan_args(parser: argparse.ArgumentParser) -> tuple[Group, Group]:
    """Options of a generator and of a discriminator; deprecated.

    Args:
        parser: The parser.

    Returns:
        The two groups of options, those of :func:`main_net_args` with the prefixes ``gen_`` and ``dis_``.
    """
    message = "gan_args is deprecated, use main_net_args with the prefixes 'gen_' and 'dis_', and generator_args"
    warnings.warn(message, DeprecationWarning, stacklevel=2)
    generator = main_net_args(parser, prefix="gen_", pf_name="generator")
    return generator, main_net_args(parser, prefix="dis_", pf_name="discriminator")
