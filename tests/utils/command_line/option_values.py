"""Values of the options of networks, and what tells whether they have an effect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

CHANGED: dict[str, Any] = {
    "mlp_arch": "5",
    "lenet_type": "mnist_large",
    "siren_arch": "5",
    "siren_omega": 3.0,
    "cmlp_arch": "5",
    "cmlp_chunk_arch": "6",
    "cmlp_in_cdim": 7,
    "cmlp_out_cdim": 3,
    "cmlp_cemb_dim": 2,
    "resnet_block_depth": 2,
    "resnet_channel_sizes": "2,3,3,4",
    "resnet_widening_factor": 2,
    "wrn_block_depth": 2,
    "wrn_widening_factor": 2,
    "wrn_channel_sizes": "3,2,2,3",
    "wrn_use_fc_bias": True,
    "iresnet_use_fc_bias": True,
    "iresnet_channel_sizes": "2,2,2,2,4",
    "iresnet_blocks_per_group": "1,2,1,1",
    "iresnet_bottleneck_blocks": True,
    "iresnet_projection_shortcut": True,
    "iresnet_cutout_mod": True,
    "srnn_rec_layers": "4,3",
    "srnn_pre_fc_layers": "5",
    "srnn_post_fc_layers": "6",
    "srnn_no_fc_out": True,
    "srnn_rec_type": "elman",
    "net_act": "tanh",
    "no_bias": True,
    "dropout_rate": 0.3,
    "specnorm": True,
    "batchnorm": True,
    "no_batchnorm": True,
    "bn_no_running_stats": True,
    "bn_distill_stats": True,
    "module": "torch.nn.Linear(6, 2, bias=False)",
    "module_include": "weight",
    "module_exclude": "bias",
    "module_output": "1",
    "module_weight_dtype": "generated",
    "module_save_base": True,
    "module_stats_per_condition": True,
    "multi_nets": "a",
    "multi_share": "none",
    "hmlp_arch": "7",
    "hmlp_split_head": True,
    "cond_emb_size": 6,
    "chmlp_chunk_size": 20,
    "chunk_emb_size": "3",
    "use_cond_chunk_embs": True,
    "shmlp_gcd_chunking": True,
    "hdeconv_shape": "16,8,1",
    "hdeconv_num_layers": 4,
    "hdeconv_filters": "3,3",
    "hdeconv_kernels": "3,5",
    "hdeconv_attention_layers": "1",
    "mhnet_trunk": "torch.nn.Linear(4, 3)",
    "mhnet_cond_shape": "2,4",
    "mhnet_feature_size": 8,
    "mhnet_chunk_size": 5,
    "container_parts": "shared=bias; body=*",
    "hnet_encoding": "z|1-z",
    "hnet_cell": "lstm",
    "hnet_cell_in_size": 3,
    "hnet_rank": 2,
    "hnet_noise_std": 1.0,
    "hnet_set_encoder": "torch.nn.Linear(2, 4, bias=False)",
    "hnet_set_pool": "max",
    "hnet_set_element_dims": 2,
}
"""Another value than the default for each option; a flag that is missing here is set."""

NORMED = "torch.nn.Sequential(torch.nn.BatchNorm1d(6), torch.nn.Linear(6, 2), torch.nn.ReLU())"

NEEDED: dict[str, dict[str, Any]] = {
    "wrn_use_fc_bias": {"no_bias": True},
    "iresnet_use_fc_bias": {"no_bias": True},
    "bn_no_running_stats": {"batchnorm": True},
    "bn_distill_stats": {"batchnorm": True},
    "module_output": {"module": NORMED},
    "module_stats_per_condition": {"module": NORMED},
    "hdeconv_num_layers": {"hdeconv_filters": "", "hdeconv_kernels": "3", "hdeconv_attention_layers": ""},
}
"""What an option needs for an effect, or to fit."""


def flags(options: Mapping[str, Any]) -> list[str]:
    """Options as a command line."""
    return [f"--{name}" if value is True else f"--{name}={value}" for name, value in options.items()]


def changed(option: str) -> dict[str, Any]:
    return {option: CHANGED.get(option, CHANGED.get(option.removeprefix("hnet_"), True))}


def randomized(net: nn.Module) -> nn.Module:
    """The network with values that depend on the shapes of its parameters only, none of them neutral."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.uniform_()
    return net


def outputs(net: nn.Module, call: Any) -> list[Tensor]:
    """What the network computes in training and, after it, in evaluation."""
    torch.manual_seed(2)
    with torch.no_grad():
        return [call(net.train()), call(net.eval())]


def differ(first: Any, second: Any, call: Any) -> bool:
    """Whether two networks have different parameters or, with the same values of them, different outputs."""
    shapes = [
        (net.param_shapes, net.hyper_shapes_learned, net.hyper_shapes_distilled, [p.shape for p in net.parameters()])
        for net in (first, second)
    ]
    if shapes[0] != shapes[1]:
        return True
    results = [outputs(randomized(net), call) for net in (first, second)]
    return any(not torch.equal(a, b) for a, b in zip(*results, strict=True))
