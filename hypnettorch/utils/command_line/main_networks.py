"""Main networks that can be built from options."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from hypnettorch import mnets
from hypnettorch.core import checks
from hypnettorch.mnets import MLP, SimpleRNN
from hypnettorch.utils.command_line.kinds import ACTIVATION, BIAS, Kind, Table, merged
from hypnettorch.utils.command_line.options import Option, names, optional


def sample_shapes(kind: Kind, in_shape: Any, out_shape: Any) -> dict[str, Any]:
    """Arguments from the shapes of input and output of a sample, as the network wants them.

    Args:
        kind: A network for images and classes, for steps of a sequence, or for vectors; or one that knows its shapes.
        in_shape: Shape of an input; of an image height, width and channels.
        out_shape: Shape of an output.
    """
    if not {"n_in", "num_classes"} & kind.arguments.keys():
        return {}
    inputs, outputs = checks.integers("in_shape", in_shape, 1), checks.integers("out_shape", out_shape, 1)
    if "num_classes" in kind.arguments:
        checks.length("in_shape", inputs, 3)
        checks.length("out_shape", outputs, 1)
        return {"in_shape": tuple(inputs), "num_classes": outputs[0]}
    if SimpleRNN in kind.of:
        checks.length("in_shape", inputs, 1)
        checks.length("out_shape", outputs, 1)
    return {"n_in": math.prod(inputs), "n_out": math.prod(outputs)}


def simple_rnn(
    n_in: int,
    n_out: int,
    rnn_layers: Sequence[int] = (10,),
    fc_layers: Sequence[int] = (),
    no_fc_out: bool = False,
    **kwargs: Any,
) -> SimpleRNN:
    """A ``SimpleRNN`` with an output layer behind ``fc_layers``, or with a last recurrent layer that is the output.

    Args:
        rnn_layers: Sizes of the recurrent layers.
        fc_layers: Sizes of the hidden layers after them.
        no_fc_out: Whether the output layer is a recurrent one.
    """
    if not no_fc_out:
        return SimpleRNN(n_in, rnn_layers, fc_layers=[*fc_layers, n_out], **kwargs)
    if fc_layers:
        checks.fail("--srnn_no_fc_out", "no --srnn_post_fc_layers with it", list(fc_layers))
    return SimpleRNN(n_in, [*rnn_layers, n_out], fc_layers=[], **kwargs)


def bi_rnn(
    n_in: int,
    n_out: int,
    rnn_layers: Sequence[int] = (10,),
    fc_layers: Sequence[int] = (),
    fc_layers_pre: Sequence[int] = (),
    preprocess_fct: Callable[..., Any] | None = None,
    no_weights: bool = False,
    verbose: bool = True,
    **kwargs: Any,
) -> mnets.BiRNN:
    """A ``BiRNN`` with one layer per entry of ``rnn_layers`` and an ``MLP`` behind them.

    Args:
        rnn_layers: Sizes of the recurrent layers.
        fc_layers: Sizes of the hidden layers after them.
        fc_layers_pre: Sizes of the fully connected layers before; each is followed by the nonlinearity.
    """
    widths = [n_in, *(2 * size for size in rnn_layers)]
    each = zip(widths, rnn_layers, strict=False)
    layers = [{"n_in": width, "rnn_layers": [size], "fc_layers": (), **kwargs} for width, size in each]
    layers[0]["fc_layers_pre"] = fc_layers_pre
    look = {"activation_fn": kwargs.get("activation", nn.Tanh()), "use_bias": kwargs.get("use_bias", True)}
    output = {"n_in": widths[-1], "n_out": n_out, "hidden_layers": fc_layers, **look}
    return mnets.BiRNN(layers, output, preprocess_fct, no_weights, verbose)


_RESIDUAL: Table = {
    "block_depth": "n",
    "widening_factor": "k",
    "channel_sizes": "num_feature_maps",
    "use_fc_bias": Option("use_fc_bias", help="A bias in the output layer even with no_bias."),
}
_CHUNKS = {"arch": "net_layers", "chunk_arch": "red_layers", "in_cdim": "inp_chunk_dim", "out_cdim": "out_chunk_dim"}
_RECURRENT: Table = {
    "rec_layers": "rnn_layers",
    "pre_fc_layers": "fc_layers_pre",
    "post_fc_layers": "fc_layers",
    "rec_type": Option(
        "use_lstm", "lstm", "Kind of recurrent layer.", ("lstm", "elman"), lambda _, value: value == "lstm"
    ),
}
_RECURRENT_COMMON = {"net_act": replace(ACTIVATION, argument="activation"), "no_bias": BIAS}
_MODULE = Option("module", help="How to make it, e.g. 'torch.nn.Linear(4, 2)' or 'mypackage.models.UNet(depth=3)'.")
_PATTERNS = {
    "include": Option("include", "", "Parameters from outside, e.g. 'layer1.*,fc.*'.", read=optional(names)),
    "exclude": Option("exclude", "", "Parameters that are not.", read=optional(names)),
}
_PARTS = Option("nets", "", "Names of its networks; the options of each begin with '<name>_'.", read=names)

MAIN_NETWORKS: dict[str, Kind] = {
    "mlp": Kind(MLP, "mlp_", {"arch": Option("hidden_layers", "100,100")}),
    "lenet": Kind(mnets.LeNet, "lenet_", {"type": Option("arch", "mnist_small", "Architecture.")}),
    "resnet": Kind(mnets.ResNet, "resnet_", _RESIDUAL),
    "wrn": Kind(mnets.WRN, "wrn_", _RESIDUAL),
    "iresnet": Kind(mnets.ResNetIN, "iresnet_", _RESIDUAL),
    "siren": Kind(mnets.Siren, "siren_", {"arch": Option("hidden_layers", "100,100")}),
    "zenke": Kind(mnets.ZenkeNet, "zenke_", skip=("arch",)),
    "bio_conv_net": Kind(mnets.BioConvNet, "bio_conv_net_"),
    "chunked_mlp": Kind(mnets.ChunkSqueezer, "cmlp_", {**_CHUNKS, "cemb_dim": "cemb_size"}),
    "simple_rnn": Kind(simple_rnn, "srnn_", _RECURRENT, _RECURRENT_COMMON, of=(SimpleRNN,)),
    "bi_rnn": Kind(bi_rnn, "srnn_", _RECURRENT, _RECURRENT_COMMON, of=(SimpleRNN,)),
    "module": Kind(mnets.ModuleNet, "module_", _PATTERNS, {"module": _MODULE}),
    "multi": Kind(mnets.MultiNet, "multi_", {"nets": _PARTS}),
}

MAIN_OPTIONS = {"net_type": Option("", "", "Kind of main network."), **merged(MAIN_NETWORKS)}
