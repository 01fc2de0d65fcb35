"""Every network that is held to the contract: one line each.

A network added here inherits all laws of ``test_contract.py``. What it cannot keep stands in ``limits`` with the
reason; a test makes sure that this is still so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from hypnettorch.hnets import (
    HMLP,
    ChunkedHDeconv,
    ChunkedHMLP,
    HContainer,
    HDeconv,
    HEncodedInput,
    HLowRank,
    HPerturbWrapper,
    HRecurrent,
    HResidual,
    HScaling,
    HSetInput,
    ModuleHNet,
    StructuredHMLP,
)
from hypnettorch.hnets.assembly import GluedChunks, Piece
from hypnettorch.mnets import MLP, BiRNN, ChunkSqueezer, SimpleRNN, Siren
from hypnettorch.utils.weight_masks import HMask
from tests.hnets import trunks
from tests.hnets.assemblies import FirstColumns, HandWritten, NegatedHMLP, hnets_around_plain
from tests.mnets import conv_networks, recurrent_networks


@dataclass(frozen=True)
class Entry:
    """A network and what it takes to call it.

    Attributes:
        name: Name of the tests.
        build: Makes the network.
        x: Makes an input (main networks).
        limits: Laws that the network does not keep, ``{name: reason}``.
    """

    name: str
    build: Callable[[], Any]
    x: Callable[[], Tensor] | None = None
    limits: Mapping[str, str] = field(default_factory=dict)


def main(
    name: str, cls: type, x: Callable[[], Tensor], limits: Mapping[str, str] | None = None, **options: Any
) -> Entry:
    """A main network of class ``cls`` with constructor arguments ``options``."""
    return Entry(name, lambda: cls(verbose=False, **options), x, limits or {})


def mlp(name: str, hidden: tuple[int, ...] = (4, 5), **options: Any) -> Entry:
    """An MLP with 3 inputs and 2 outputs."""
    return main(f"MLP-{name}", MLP, lambda: torch.randn(5, 3), n_in=3, n_out=2, hidden_layers=hidden, **options)


def siren(name: str, **options: Any) -> Entry:
    """A Siren with 2 inputs and 1 output."""
    sizes: dict[str, Any] = {"n_in": 2, "n_out": 1, "hidden_layers": [4, 3], "omega": 3.0}
    return main(f"Siren-{name}", Siren, lambda: torch.rand(5, 2), **sizes, **options)


def convolutional(name: str, **options: Any) -> Entry:
    """A small convolutional network: the one before the hyphen in the name."""
    kind = name.partition("-")[0]
    return Entry(
        name,
        lambda: conv_networks.build(kind, **options),
        lambda: conv_networks.images(conv_networks.build(kind), 3),
    )


def recurrent(variant: str, use_lstm: bool = False, **options: Any) -> Entry:
    """A SimpleRNN with 3 inputs."""
    settings = {"n_in": 3, "rnn_layers": [4], "fc_layers": [2], **recurrent_networks.VARIANTS[variant], **options}
    name = "-".join(["LSTM" if use_lstm else "RNN", variant, *(["external"] if options.get("no_weights") else [])])
    return main(name, SimpleRNN, lambda: torch.randn(3, 2, 3), use_lstm=use_lstm, **settings)


def bidirectional(name: str, mlp_args: Mapping[str, Any], **options: Any) -> Entry:
    """A BiRNN with 3 inputs and a perceptron on 4 hidden units in each direction."""
    rnn_args = {"n_in": 3, "rnn_layers": [4], "fc_layers": [], **options.pop("rnn_args", {})}
    mlp_args = {"n_in": 8, "n_out": 2, "hidden_layers": [3], **mlp_args}
    return main(f"BiRNN-{name}", BiRNN, lambda: torch.randn(3, 2, 3), rnn_args=rnn_args, mlp_args=mlp_args, **options)


def squeezer(name: str, **options: Any) -> Entry:
    """A ChunkSqueezer with three chunks, the last of which is filled up."""
    sizes = {"n_in": 7, "n_out": 2, "inp_chunk_dim": 3, "out_chunk_dim": 4, "cemb_size": 2}
    return main(f"ChunkSqueezer-{name}", ChunkSqueezer, lambda: torch.randn(5, 7), **sizes, **options)


TARGETS = [[4, 3], [4], [2, 4], [2]]
"""What the hypernetworks produce: the weights of an MLP 3-4-2."""


def target_network(shapes: list[list[int]] = TARGETS) -> MLP:
    """The main network that has ``TARGETS``, or the matrices among them."""
    with_bias = len(shapes) == len(TARGETS)
    return MLP(n_in=3, n_out=2, hidden_layers=[4], use_bias=with_bias, no_weights=True, verbose=False)


def hmlp(name: str, limits: Mapping[str, str] | None = None, **options: Any) -> Entry:
    """An HMLP that knows three conditions."""
    settings = {"cond_in_size": 3, "layers": (5, 4), "num_cond_embs": 3, "verbose": False, **options}
    return Entry(f"HMLP-{name}", lambda: HMLP(TARGETS, **settings), None, limits or {})


def factors() -> Entry:
    """An HMLP that makes a factor for each row of ``TARGETS``."""
    shapes = [shape[:1] for shape in TARGETS]
    return Entry("HMLP", lambda: HMLP(shapes, cond_in_size=3, layers=(5,), num_cond_embs=3, verbose=False))


def recomputed() -> Entry:
    """A ChunkedHMLP that computes chunks again in the backward pass."""

    def build() -> ChunkedHMLP:
        hnet = chunked("plain", dropout_rate=0.3).build()
        hnet.recompute_chunks = True
        return hnet

    return Entry("ChunkedHMLP-recomputed", build)


def chunked(name: str, limits: Mapping[str, str] | None = None, **options: Any) -> Entry:
    """A ChunkedHMLP that knows three conditions and makes four chunks with two superfluous weights."""
    settings = {
        "chunk_size": 7,
        "chunk_emb_size": 2,
        "cond_in_size": 3,
        "layers": (5,),
        "num_cond_embs": 3,
        "verbose": False,
        **options,
    }
    return Entry(f"ChunkedHMLP-{name}", lambda: ChunkedHMLP(TARGETS, **settings), None, limits or {})


def deconv(name: str, limits: Mapping[str, str] | None = None, **options: Any) -> Entry:
    """An HDeconv that knows three conditions and draws an image with two superfluous pixels."""
    settings = {
        "hyper_img_shape": (7, 4),
        "cond_in_size": 3,
        "num_layers": 3,
        "num_filters": (3, 2),
        "kernel_size": 3,
        "sa_units": (),
        "num_cond_embs": 3,
        "verbose": False,
        **options,
    }
    return Entry(f"HDeconv-{name}", lambda: HDeconv(TARGETS, **settings), None, limits or {})


def chunked_deconv(name: str, limits: Mapping[str, str] | None = None, **options: Any) -> Entry:
    """A ChunkedHDeconv that knows three conditions and draws three images with four superfluous pixels."""
    settings = {
        "hyper_img_shape": (5, 2),
        "chunk_emb_size": 2,
        "cond_in_size": 3,
        "num_layers": 2,
        "num_filters": (3,),
        "kernel_size": 3,
        "sa_units": (),
        "num_cond_embs": 3,
        "verbose": False,
        **options,
    }
    return Entry(f"ChunkedHDeconv-{name}", lambda: ChunkedHDeconv(TARGETS, **settings), None, limits or {})


def around(name: str, wrapper: Callable[..., Any], inner: Entry, *args: Any, **options: Any) -> Entry:
    """A wrapper around the hypernetwork of another entry; a function among ``args`` builds the argument."""

    def build() -> Any:
        given = [arg() if callable(arg) else arg for arg in args]
        return wrapper(inner.build(), *given, verbose=False, **options)

    return Entry(f"{name}-{inner.name}", build)


def around_module(
    name: str, trunk: Callable[[], nn.Module], limits: Mapping[str, str] | None = None, **options: Any
) -> Entry:
    """A ModuleHNet that knows three conditions."""
    settings = {"cond_in_size": 3, "num_cond_embs": 3, "verbose": False, **options}
    return Entry(f"ModuleHNet-{name}", lambda: ModuleHNet(trunk(), TARGETS, **settings), None, limits or {})


def calibrated(entry: Entry) -> Entry:
    """The network of an entry, with the constants that the hyperfan initialisation sets."""

    def build() -> Any:
        net = entry.build()
        if not net.internal_params[0].is_meta:
            net.apply_hyperfan_init()
        return net

    return replace(entry, name=f"{entry.name}-calibrated", build=build)


def low_rank(inner: Callable[[list[list[int]]], Any], kind: str, rank: int | list[int]) -> Entry:
    """An HLowRank for the matrices of ``TARGETS`` with open gates."""

    def build() -> HLowRank:
        made = HLowRank(inner, TARGETS[::2], rank, alpha=3.0, verbose=False)
        nn.init.normal_(made.gates)
        return made

    return Entry(f"HLowRank-{kind}", build)


GLUE = GluedChunks((Piece((0,), 0), Piece((0,), 1), Piece((1, 2), 0, dim=1), Piece((3,), 0)))


def structured(name: str, limits: Mapping[str, str] | None = None, **options: Any) -> Entry:
    """A StructuredHMLP that knows three conditions: a layer, two halves of a kernel, a bias."""
    settings = {
        "chunk_shapes": [TARGETS[:2], [[2, 2]], TARGETS[3:]],
        "num_per_chunk": [1, 2, 1],
        "chunk_emb_sizes": [2, 3, 2],
        "hmlp_kwargs": {"layers": (5,)},
        "assembly_fct": GLUE,
        "cond_in_size": 3,
        "num_cond_embs": 3,
        "verbose": False,
        **options,
    }
    return Entry(f"StructuredHMLP-{name}", lambda: StructuredHMLP(TARGETS, **settings), None, limits or {})


def container(name: str, *members: Callable[[], Any], limits: Mapping[str, str] | None = None, **options: Any) -> Entry:
    """An HContainer that knows three conditions: what members produce, around parameters of its own."""
    settings = {"num_cond_embs": 3, "verbose": False, **options}

    def build() -> HContainer:
        return HContainer(TARGETS, hnets_around_plain, [member() for member in members], **settings)

    return Entry(f"HContainer-{name}", build, None, limits or {})


def member(cls: type, shapes: list[list[int]], *arguments: Any, **options: Any) -> Callable[[], Any]:
    """A hypernetwork that produces some of the targets."""
    settings = {"cond_in_size": 3, "layers": (5,), "num_cond_embs": 3, "verbose": False, **options}
    return lambda: cls(shapes, *arguments, **settings)


def perturbed(inner: Entry, hnet_uncond_in_size: int, limits: Mapping[str, str] | None = None, **options: Any) -> Entry:
    """An HPerturbWrapper around a hypernetwork."""
    build = inner.build
    return Entry(
        f"HPerturbWrapper-{'-'.join(['handler' for _ in options] + [inner.name])}",
        lambda: HPerturbWrapper(build(), hnet_uncond_in_size, verbose=False, **options),
        None,
        limits or {},
    )


STRIDES = (
    "In torch 2.13 the compiled backward pass of ELU, SELU, CELU, Softplus and Hardtanh fails on inputs that are not "
    "contiguous, which those after batch norm of many weight sets are."
)

RECURRENT = {"compilation_changes_nothing": "torch.compile does not trace recurrent layers of torch."}

ATTENTION = {"derivatives_are_exact": "The fused attention of torch has no second derivative on the CPU."}

MODULATED: dict[str, Any] = {"use_context_mod": True}
NORMED: dict[str, Any] = {"use_batch_norm": True}
EXTERNAL: dict[str, Any] = {"no_weights": True}

MAIN_NETWORKS = [
    mlp("plain"),
    mlp("external", **EXTERNAL),
    mlp("linear", hidden=(), **EXTERNAL),
    mlp("linear-modulated", hidden=(), **MODULATED, context_mod_inputs=True),
    mlp("no-bias", use_bias=False),
    mlp("external-no-bias", use_bias=False, **EXTERNAL),
    mlp("no-activation", activation_fn=None, **EXTERNAL),
    mlp("tanh", activation_fn=nn.Tanh(), **EXTERNAL),
    mlp("prelu", activation_fn=nn.PReLU(), **EXTERNAL),
    mlp("out-fn", out_fn=torch.sigmoid, **EXTERNAL),
    mlp("dropout", dropout_rate=0.5),
    mlp("dropout-0", dropout_rate=0, **EXTERNAL),
    mlp("spectral-norm", use_spectral_norm=True, **EXTERNAL),
    mlp("norm", **NORMED),
    mlp("norm-external", **NORMED, **EXTERNAL),
    mlp("norm-no-bias", use_bias=False, **NORMED, **EXTERNAL),
    mlp("norm-untracked", bn_track_stats=False, **NORMED, **EXTERNAL),
    mlp("norm-distilled", distill_bn_stats=True, **NORMED),
    mlp("norm-distilled-external", distill_bn_stats=True, **NORMED, **EXTERNAL),
    mlp("modulated", **MODULATED),
    mlp("modulated-external", **MODULATED, **EXTERNAL, context_mod_no_weights=True),
    mlp("modulation-external", **MODULATED, context_mod_no_weights=True),
    mlp("layers-external", **MODULATED, **EXTERNAL),
    mlp("modulated-inputs", **MODULATED, context_mod_inputs=True, context_mod_no_weights=True),
    mlp("modulated-not-last", **MODULATED, no_last_layer_context_mod=True),
    mlp("modulated-late", **MODULATED, context_mod_post_activation=True, context_mod_no_weights=True),
    mlp("modulated-offset", **MODULATED, context_mod_gain_offset=True, **EXTERNAL),
    mlp("modulated-softplus", **MODULATED, context_mod_gain_softplus=True, context_mod_no_weights=True),
    mlp("modulation-unused", context_mod_no_weights=True),
    mlp("modulated-norm", **MODULATED, **NORMED, **EXTERNAL, context_mod_no_weights=True),
    mlp("modulated-late-norm", **MODULATED, **NORMED, context_mod_post_activation=True, distill_bn_stats=True),
    mlp(
        "everything",
        **MODULATED,
        **NORMED,
        context_mod_inputs=True,
        context_mod_no_weights=True,
        dropout_rate=0.3,
        use_spectral_norm=True,
        out_fn=torch.tanh,
        activation_fn=nn.SiLU(),
    ),
    mlp("norm-elu", **NORMED, **EXTERNAL, activation_fn=nn.ELU(), limits={"compilation_changes_nothing": STRIDES}),
    siren("plain"),
    siren("external", **EXTERNAL),
    convolutional("LeNet"),
    convolutional("LeNet-external", **EXTERNAL, **MODULATED, context_mod_no_weights=True, context_mod_inputs=True),
    convolutional("ResNet-distilled", distill_bn_stats=True, **MODULATED, context_mod_no_weights=True),
    convolutional("ResNet-plain", use_batch_norm=False, use_bias=False, use_spectral_norm=True, **EXTERNAL),
    convolutional("WRN-external", **EXTERNAL),
    convolutional(
        "WRN-pixel-wise", **MODULATED, context_mod_apply_pixel_wise=True, dropout_rate=0.3, use_fc_bias=False
    ),
    convolutional("ResNetIN-external", use_batch_norm=False, **EXTERNAL),
    convolutional("ResNetIN-bottleneck", bottleneck_blocks=True, projection_shortcut=True, bn_track_stats=False),
    convolutional("ZenkeNet"),
    convolutional("ZenkeNet-external", dropout_rate=-1, **EXTERNAL),
    convolutional("BioConvNet", **MODULATED, context_mod_post_activation=True),
    convolutional("BioConvNet-external", **EXTERNAL, **MODULATED, context_mod_no_weights=True),
    recurrent("plain"),
    recurrent("relu", **EXTERNAL),
    recurrent("recurrent-output", use_lstm=True, **EXTERNAL),
    recurrent("no-bias", use_lstm=True),
    recurrent("modulated", use_lstm=True),
    recurrent("modulated-late", **EXTERNAL, context_mod_no_weights=True),
    recurrent("modulated-last-step"),
    recurrent("modulated-per-step", use_lstm=True),
    recurrent("modulated-by-separate-layers", context_mod_num_ts=3, **EXTERNAL),
    bidirectional("external", {}, **EXTERNAL),
    bidirectional(
        "everything",
        {**MODULATED, **NORMED, "distill_bn_stats": True, "context_mod_no_weights": True, "out_fn": torch.tanh},
        rnn_args={**MODULATED, "context_mod_no_weights": True, "use_lstm": True},
    ),
    squeezer("plain"),
    squeezer("external", **EXTERNAL, **NORMED, distill_bn_stats=True),
    squeezer("dynamic", dynamic_biases=[0, 1, 2], dropout_rate=0.3, use_spectral_norm=True),
]

UNCONDITIONAL: dict[str, Any] = {"cond_in_size": 0, "uncond_in_size": 3, "num_cond_embs": 0}

WITHOUT_CONDITIONS: dict[str, Any] = {"cond_in_size": 4, "num_cond_embs": 0, "no_cond_weights": True}

HYPERNETWORKS = [
    hmlp("plain"),
    hmlp("linear", layers=()),
    hmlp("one-condition", num_cond_embs=1),
    hmlp("unconditional", **UNCONDITIONAL),
    hmlp("uncond-input", uncond_in_size=2),
    hmlp("unknown-conditions", num_cond_embs=0, no_cond_weights=True),
    hmlp("cond-external", no_cond_weights=True),
    hmlp("uncond-external", no_uncond_weights=True),
    hmlp("external", no_uncond_weights=True, no_cond_weights=True, uncond_in_size=2),
    hmlp("unconditional-external", no_uncond_weights=True, **UNCONDITIONAL),
    hmlp("no-bias", use_bias=False),
    hmlp("no-activation", activation_fn=None),
    hmlp("prelu", activation_fn=nn.PReLU()),
    hmlp("tanh", activation_fn=nn.Tanh()),
    hmlp("dropout", dropout_rate=0.3),
    hmlp("spectral-norm", use_spectral_norm=True),
    hmlp("split-head", split_head=True),
    hmlp("split-head-no-bias-external", split_head=True, use_bias=False, no_uncond_weights=True),
    hmlp("norm", use_batch_norm=True),
    hmlp("norm-external", use_batch_norm=True, no_uncond_weights=True),
    hmlp("everything", use_batch_norm=True, use_spectral_norm=True, dropout_rate=0.3, uncond_in_size=2),
    hmlp("table", embedding_table=True),
    hmlp("table-one-condition", num_cond_embs=1, embedding_table=True),
    hmlp("table-cond-external", no_cond_weights=True, embedding_table=True),
    hmlp("table-unknown-conditions", num_cond_embs=0, no_cond_weights=True, embedding_table=True),
    recomputed(),
    chunked("plain"),
    chunked("linear", layers=()),
    chunked("one-chunk", chunk_size=50),
    chunked("exact", chunk_size=13),
    chunked("unconditional", **UNCONDITIONAL),
    chunked("uncond-input", uncond_in_size=2),
    chunked("unknown-conditions", num_cond_embs=0, no_cond_weights=True),
    chunked("cond-external", no_cond_weights=True),
    chunked("uncond-external", no_uncond_weights=True),
    chunked("external", no_uncond_weights=True, no_cond_weights=True, uncond_in_size=2),
    chunked("cond-chunks", cond_chunk_embs=True),
    chunked("cond-chunks-only", cond_chunk_embs=True, cond_in_size=0),
    chunked("cond-chunks-uncond-input", cond_chunk_embs=True, cond_in_size=0, uncond_in_size=2),
    chunked("cond-chunks-cond-external", cond_chunk_embs=True, no_cond_weights=True),
    chunked("cond-chunks-uncond-external", cond_chunk_embs=True, no_uncond_weights=True),
    chunked("cond-chunks-external", cond_chunk_embs=True, no_uncond_weights=True, no_cond_weights=True),
    chunked("table", embedding_table=True),
    chunked("table-cond-chunks", cond_chunk_embs=True, embedding_table=True),
    chunked("table-cond-chunks-only", cond_chunk_embs=True, cond_in_size=0, embedding_table=True),
    chunked("table-cond-chunks-external", cond_chunk_embs=True, no_cond_weights=True, embedding_table=True),
    chunked("no-bias", use_bias=False),
    chunked("dropout", dropout_rate=0.3),
    chunked("spectral-norm", use_spectral_norm=True),
    chunked("norm", use_batch_norm=True),
    calibrated(chunked("exact-tensors")),
    chunked(
        "everything",
        cond_chunk_embs=True,
        use_batch_norm=True,
        use_spectral_norm=True,
        dropout_rate=0.3,
        uncond_in_size=2,
    ),
    deconv("plain"),
    deconv("no-surplus", hyper_img_shape=(13, 2)),
    deconv("channels", hyper_img_shape=(3, 4, 3), kernel_size=[(2, 3), 4]),
    deconv("attention", sa_units=(0, 1)),
    deconv("one-condition", num_cond_embs=1),
    deconv("unconditional", **UNCONDITIONAL),
    deconv("uncond-input", uncond_in_size=2),
    deconv("unknown-conditions", num_cond_embs=0, no_cond_weights=True),
    deconv("cond-external", no_cond_weights=True),
    deconv("uncond-external", no_uncond_weights=True, sa_units=(1,)),
    deconv("external", no_uncond_weights=True, no_cond_weights=True, uncond_in_size=2),
    deconv("no-bias", use_bias=False, sa_units=(0,)),
    deconv("no-activation", activation_fn=None),
    deconv("prelu", activation_fn=nn.PReLU()),
    deconv("spectral-norm", use_spectral_norm=True, sa_units=(0,)),
    deconv("norm", use_batch_norm=True),
    deconv("norm-external", use_batch_norm=True, no_uncond_weights=True),
    calibrated(deconv("everything", use_batch_norm=True, use_spectral_norm=True, sa_units=(1,), uncond_in_size=2)),
    chunked_deconv("plain"),
    chunked_deconv("attention", sa_units=(0,)),
    chunked_deconv("unconditional", **UNCONDITIONAL),
    chunked_deconv("external", no_uncond_weights=True, no_cond_weights=True, uncond_in_size=2),
    chunked_deconv("cond-chunks", cond_chunk_embs=True),
    chunked_deconv("cond-chunks-only", cond_chunk_embs=True, cond_in_size=0),
    chunked_deconv("cond-chunks-external", cond_chunk_embs=True, no_uncond_weights=True, no_cond_weights=True),
    chunked_deconv("norm", use_batch_norm=True),
    calibrated(chunked_deconv("everything", use_batch_norm=True, use_spectral_norm=True, uncond_in_size=2)),
    around("HEncodedInput-own-conditions", HEncodedInput, hmlp("encoded", **WITHOUT_CONDITIONS), num_cond_embs=3),
    around("HResidual-trained", HResidual, hmlp("uncond-external", no_uncond_weights=True)),
    around("HResidual-constant", HResidual, chunked("plain"), lambda: [torch.randn(*s) for s in TARGETS], False),
    around("HMask", HMask, hmlp("plain"), 0.3),
    around("HMask-constant", HMask, chunked("plain"), 0.0, lambda: [torch.randn(*s) for s in TARGETS], False),
    around("HScaling", HScaling, factors(), lambda: [torch.randn(*shape) for shape in TARGETS]),
    low_rank(lambda shapes: HMLP(shapes, 2, 3, (5,), num_cond_embs=3, verbose=False), "HMLP", [2, 1]),
    low_rank(lambda shapes: ChunkedHMLP(shapes, 7, no_uncond_weights=True, verbose=False), "ChunkedHMLP-external", 2),
    replace(
        around("HSetInput", HSetInput, hmlp("plain"), lambda: nn.Linear(2, 3)),
        limits={"gradients_reach_passed_weights": "with cond_id there is no set to encode"},
    ),
    around("HRecurrent-gru", HRecurrent, hmlp("external", **WITHOUT_CONDITIONS, uncond_in_size=2), 2),
    around("HRecurrent-lstm", HRecurrent, chunked("plain", **WITHOUT_CONDITIONS), 2, "lstm"),
    around("HEncodedInput-uncond", HEncodedInput, chunked("noise", uncond_in_size=4), "z|1-z", "uncond"),
    around_module("layer-norm", trunks.perceptron),
    around_module("chunked", trunks.perceptron, chunk_size=7, chunk_emb_size=2, layers=(5,)),
    around_module("uncond-input", lambda: trunks.perceptron(5), uncond_in_size=2),
    around_module("external", trunks.perceptron, no_uncond_weights=True, no_cond_weights=True),
    around_module("images", trunks.reads_images, cond_in_size=(1, 4, 4)),
    around_module("sequences", trunks.reads_sequences, RECURRENT, cond_in_size=(4, 2)),
    around_module("attention", trunks.attends, ATTENTION, cond_in_size=(3, 4)),
    around_module("batch-norm", trunks.normalises),
    calibrated(around_module("chunked-calibrated", trunks.perceptron, chunk_size=7, layers=(5,))),
    structured("plain"),
    structured("some-without-embeddings", chunk_emb_sizes=[0, 3, 0]),
    structured("unconditional", **UNCONDITIONAL),
    structured("external", no_uncond_weights=True, no_cond_weights=True, uncond_in_size=2),
    structured("cond-chunks", cond_chunk_embs=True),
    structured("cond-chunks-external", cond_chunk_embs=True, no_uncond_weights=True, no_cond_weights=True),
    structured("table", embedding_table=True),
    structured("table-cond-chunks", cond_chunk_embs=True, embedding_table=True),
    structured("table-cond-chunks-external", cond_chunk_embs=True, no_cond_weights=True, embedding_table=True),
    structured("split-head", hmlp_kwargs={"layers": (5,), "split_head": True}),
    structured("norm", hmlp_kwargs={"layers": (5,), "use_batch_norm": True}),
    structured(
        "everything",
        cond_chunk_embs=True,
        uncond_in_size=2,
        hmlp_kwargs={"layers": (5,), "use_batch_norm": True, "use_spectral_norm": True, "dropout_rate": 0.3},
    ),
    container("one-member", member(HMLP, TARGETS[:2]), uncond_param_shapes=TARGETS[2:3], cond_param_shapes=TARGETS[3:]),
    container("two-members", member(HMLP, TARGETS[:2]), member(ChunkedHMLP, TARGETS[2:], 7, cond_chunk_embs=True)),
    container("no-member", uncond_param_shapes=TARGETS[:2], cond_param_shapes=TARGETS[2:]),
    container(
        "shared-only", limits={"inputs_that_do_not_fit_are_refused": "it takes no input"}, uncond_param_shapes=TARGETS
    ),
    container(
        "external",
        member(HMLP, TARGETS[:2], no_uncond_weights=True),
        uncond_param_shapes=TARGETS[2:3],
        cond_param_shapes=TARGETS[3:],
        no_uncond_weights=True,
        no_cond_weights=True,
        limits=dict.fromkeys(
            ("conditions_may_be_looked_up", "conditions_may_be_added", "smaller_checkpoints_load"),
            "some of what belongs to a condition is external",
        ),
    ),
    container("table", member(HMLP, TARGETS[:2], embedding_table=True), cond_param_shapes=TARGETS[2:]),
    container("nested", container("inner", member(HMLP, TARGETS[:2]), cond_param_shapes=TARGETS[2:]).build),
    container("wrapper", perturbed(hmlp("member", uncond_in_size=2), 2).build),
    container(
        "classes-of-users",
        lambda: HandWritten(TARGETS[:2]),
        member(NegatedHMLP, TARGETS[2:]),
    ),
    perturbed(hmlp("noise", uncond_in_size=2), 2),
    perturbed(chunked("noise", cond_chunk_embs=True, uncond_in_size=2), 2),
    perturbed(structured("noise", cond_chunk_embs=True, uncond_in_size=2), 2),
    perturbed(container("mixed", member(HMLP, TARGETS[:2], uncond_in_size=2), cond_param_shapes=TARGETS[2:]), 2),
    perturbed(hmlp("table", uncond_in_size=2, embedding_table=True), 2),
    perturbed(perturbed(hmlp("inner", uncond_in_size=2), 2), 26),
    perturbed(
        hmlp("noise", uncond_in_size=2),
        2,
        limits={
            "inputs_that_do_not_fit_are_refused": "the handler of the user takes what it gets",
            "conditions_may_be_looked_up": "the handler of the user decides which ids there are",
        },
        input_handler=FirstColumns(2),
    ),
]
