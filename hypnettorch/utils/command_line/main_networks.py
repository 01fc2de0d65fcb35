"""Main networks that can be built from options, and the options that each of them takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import nn

from hypnettorch.core import checks
from hypnettorch.mnets import (
    MLP,
    WRN,
    BioConvNet,
    BiRNN,
    ChunkSqueezer,
    LeNet,
    ModuleNet,
    MultiNet,
    ResNet,
    ResNetIN,
    SimpleRNN,
    ZenkeNet,
)
from hypnettorch.mnets.mnet_interface import MainNetInterface
from hypnettorch.utils.command_line.expressions import module
from hypnettorch.utils.command_line.kinds import (
    ACTIVATION,
    BATCH_NORM,
    BATCH_STATISTICS,
    BIAS,
    DROPOUT,
    SPECTRAL_NORM,
    Argument,
    Kind,
    activation,
    names,
    or_none,
    sizes,
)

Shape = Sequence[int]
Net = TypeVar("Net", ModuleNet, MultiNet)


@dataclass(frozen=True)
class MainKind(Kind):
    """A kind of main network.

    Attributes:
        shapes: Turns shapes of input and output of a sample into arguments; ``None`` if these are given by part.
    """

    shapes: Callable[[Shape, Shape], dict[str, Any]] | None = None

    def read_shapes(self, in_shape: Any, out_shape: Any) -> dict[str, Any]:
        """Arguments from the shapes of input and output of a sample."""
        if self.shapes is None:
            return {}
        return self.shapes(checks.integers("in_shape", in_shape, 1), checks.integers("out_shape", out_shape, 1))


def vectors(in_shape: Shape, out_shape: Shape) -> dict[str, Any]:
    """Samples are vectors, or taken for such."""
    return {"n_in": math.prod(in_shape), "n_out": math.prod(out_shape)}


def images(in_shape: Shape, out_shape: Shape) -> dict[str, Any]:
    """Samples are images of height, width and channels, outputs are classes."""
    checks.length("in_shape", in_shape, 3)
    checks.length("out_shape", out_shape, 1)
    return {"in_shape": tuple(in_shape), "num_classes": out_shape[0]}


def time_steps(in_shape: Shape, out_shape: Shape) -> dict[str, Any]:
    """Shapes are those of one time step."""
    checks.length("in_shape", in_shape, 1)
    checks.length("out_shape", out_shape, 1)
    return {"n_in": in_shape[0], "n_out": out_shape[0]}


def of_its_own(in_shape: Shape, out_shape: Shape) -> dict[str, Any]:
    """The network knows its shapes."""
    return {}


def module_net(module: nn.Module, no_weights: bool = False, verbose: bool = True, **kwargs: Any) -> ModuleNet:
    """A ``ModuleNet``, whose selected weights come from outside."""
    return _with_external_weights(ModuleNet(module, **kwargs), no_weights, verbose)


def multi_net(
    make_part: Callable[[str], MainNetInterface],
    nets: Sequence[str] = (),
    no_weights: bool = False,
    verbose: bool = True,
    **kwargs: Any,
) -> MultiNet:
    """A ``MultiNet`` of networks that are made by their names, whose weights come from outside."""
    return _with_external_weights(MultiNet({name: make_part(name) for name in nets}, **kwargs), no_weights, verbose)


def _with_external_weights(net: Net, no_weights: bool, verbose: bool) -> Net:
    if not no_weights:
        checks.fail("no_weights", f"True for a {type(net).__name__}, which takes weights from outside", no_weights)
    if verbose:
        print(net)
    return net


def simple_rnn(
    n_in: int,
    n_out: int,
    rnn_layers: Sequence[int] = (10,),
    fc_layers: Sequence[int] = (),
    no_fc_out: bool = False,
    **kwargs: Any,
) -> SimpleRNN:
    """A ``SimpleRNN`` with an output layer behind ``fc_layers``, or with a last recurrent layer that is the output."""
    if not no_fc_out:
        return SimpleRNN(n_in, rnn_layers, fc_layers=[*fc_layers, n_out], **kwargs)
    if fc_layers:
        checks.fail("--srnn_no_fc_out", "no --srnn_post_fc_layers with it", list(fc_layers))
    return SimpleRNN(n_in, [*rnn_layers, n_out], fc_layers=[], **kwargs)


def bi_rnn(
    n_in: int,
    n_out: int,
    rnn_layers: Sequence[int] = (10,),
    fc_layers_pre: Sequence[int] = (),
    fc_layers: Sequence[int] = (),
    activation: nn.Module | None = nn.Tanh(),
    use_lstm: bool = False,
    use_bias: bool = True,
    **kwargs: Any,
) -> BiRNN:
    """A ``BiRNN`` with one layer per entry of ``rnn_layers`` and an ``MLP`` behind them."""
    widths = [n_in, *(2 * size for size in rnn_layers)]
    common: dict[str, Any] = {"activation": activation, "use_lstm": use_lstm, "use_bias": use_bias, "fc_layers": ()}
    layers = [{"n_in": width, "rnn_layers": [size], **common} for width, size in zip(widths, rnn_layers, strict=False)]
    layers[0]["fc_layers_pre"] = fc_layers_pre
    output = {"n_in": widths[-1], "n_out": n_out, "hidden_layers": fc_layers}
    return BiRNN(layers, {**output, "activation_fn": activation, "use_bias": use_bias}, **kwargs)


def is_lstm(option: str, value: str) -> bool:
    """Whether a kind of recurrent layer is an LSTM."""
    checks.one_of(option, value, RECURRENT_TYPES)
    return value == "lstm"


def names_or_none(option: str, value: str) -> list[str] | None:
    """Texts; none of them stands for the default of the network."""
    return names(option, value) or None


RECURRENT_TYPES = ("lstm", "elman")

_NORMALISATION = {**SPECTRAL_NORM, **BATCH_NORM, **BATCH_STATISTICS}
_RECURRENT = {
    "srnn_rec_layers": Argument("rnn_layers", sizes),
    "srnn_pre_fc_layers": Argument("fc_layers_pre", sizes),
    "srnn_post_fc_layers": Argument("fc_layers", sizes),
    "srnn_rec_type": Argument("use_lstm", is_lstm),
    "net_act": Argument("activation", activation),
    **BIAS,
}

MAIN_NETWORKS: dict[str, MainKind] = {
    "mlp": MainKind(
        MLP,
        {"mlp_arch": Argument("hidden_layers", sizes), **ACTIVATION, **BIAS, **DROPOUT, **_NORMALISATION},
        vectors,
    ),
    "lenet": MainKind(LeNet, {"lenet_type": Argument("arch"), **DROPOUT, **SPECTRAL_NORM}, images),
    "resnet": MainKind(
        ResNet,
        {
            "resnet_block_depth": Argument("n"),
            "resnet_channel_sizes": Argument("num_feature_maps", sizes),
            "resnet_widening_factor": Argument("k"),
            **BIAS,
            **_NORMALISATION,
        },
        images,
    ),
    "wrn": MainKind(
        WRN,
        {
            "wrn_block_depth": Argument("n"),
            "wrn_widening_factor": Argument("k"),
            "wrn_channel_sizes": Argument("num_feature_maps", sizes),
            "wrn_use_fc_bias": Argument("use_fc_bias", or_none),
            **BIAS,
            **DROPOUT,
            **_NORMALISATION,
        },
        images,
    ),
    "iresnet": MainKind(
        ResNetIN,
        {
            "iresnet_use_fc_bias": Argument("use_fc_bias", or_none),
            "iresnet_channel_sizes": Argument("num_feature_maps", sizes),
            "iresnet_blocks_per_group": Argument("blocks_per_group", sizes),
            "iresnet_bottleneck_blocks": Argument("bottleneck_blocks"),
            "iresnet_projection_shortcut": Argument("projection_shortcut"),
            "iresnet_cutout_mod": Argument("cutout_mod"),
            **BIAS,
            **_NORMALISATION,
        },
        images,
    ),
    "zenke": MainKind(ZenkeNet, DROPOUT, images),
    "bio_conv_net": MainKind(BioConvNet, {}, images),
    "chunked_mlp": MainKind(
        ChunkSqueezer,
        {
            "cmlp_arch": Argument("net_layers", sizes),
            "cmlp_chunk_arch": Argument("red_layers", sizes),
            "cmlp_in_cdim": Argument("inp_chunk_dim"),
            "cmlp_out_cdim": Argument("out_chunk_dim"),
            "cmlp_cemb_dim": Argument("cemb_size"),
            **ACTIVATION,
            **BIAS,
            **DROPOUT,
            **_NORMALISATION,
        },
        vectors,
    ),
    "simple_rnn": MainKind(simple_rnn, {**_RECURRENT, "srnn_no_fc_out": Argument("no_fc_out")}, time_steps),
    "bi_rnn": MainKind(bi_rnn, _RECURRENT, time_steps),
    "module": MainKind(
        module_net,
        {
            "module": Argument("module", module),
            "module_include": Argument("include", names_or_none),
            "module_exclude": Argument("exclude", names_or_none),
            "module_output": Argument("output", or_none),
            "module_weight_dtype": Argument("weight_dtype"),
            "module_save_base": Argument("save_base"),
            "module_stats_per_condition": Argument("stats_per_condition"),
        },
        of_its_own,
    ),
    "multi": MainKind(
        multi_net,
        {"multi_nets": Argument("nets", names), "multi_share": Argument("share")},
        from_program=("make_part",),
    ),
}
