"""Networks of which there are files, built by the public interface alone, and the calls that are recorded.

A file is loaded by this table whatever the names of the tensors are by then: nothing here is private to the package.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
from hypnettorch.hyper_model import HyperModel
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

Build = Callable[[], Any]
Call = dict[str, Any]
"""``{'args': [...], 'kwargs': {...}}``, arguments of the network or, with ``'on'``, of its submodule of that name."""

LARGE = 300
"""Tensors with more entries than this are not trained, so that files stay small (:func:`frozen`)."""


@dataclass(frozen=True)
class Case:
    """A network of which there is a file.

    Attributes:
        build: Makes the network that wrote the file.
        calls: Random arguments for it; its file holds those that were drawn.
        others: Makers of other networks that load the file as well, strictly and with the state of the optimiser.
        rearranged: Makers of networks that load it strictly, but keep the same numbers in other tensors.
    """

    build: Build
    calls: Callable[[], list[Call]]
    others: tuple[Build, ...] = ()
    rearranged: tuple[Build, ...] = ()


def call(*args: Any, **kwargs: Any) -> Call:
    return {"args": list(args), "kwargs": kwargs}


def draw(shapes: Any) -> list[Tensor]:
    """Random weights of moderate size; vectors are near one half."""
    return [weight(shape) if len(shape) > 1 else 0.5 + 0.3 * torch.randn(*shape) for shape in shapes]


def weight(shape: Sequence[int]) -> Tensor:
    """A random weight; a large one repeats few numbers, in memory as well, so that a file holds these only."""
    scale = math.prod(shape[1:]) ** -0.5
    if math.prod(shape) <= LARGE:
        return torch.randn(*shape) * scale
    numbers = torch.randn(sum(shape) - len(shape) + 1) * scale
    return numbers.as_strided(tuple(shape), (1,) * len(shape))


def made(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options in which a class stands for a new instance of it, so that no two networks share parameters."""
    return {name: value() if isinstance(value, type) else value for name, value in options.items()}


def main(
    cls: type,
    shape: tuple[int, ...],
    after: Callable[[Any], Any] = lambda net: net,
    conditions: int = 0,
    **options: Any,
) -> Case:
    """A main network, called with ``x`` of a shape for each of ``conditions``, with weights where it needs any."""

    def build() -> Any:
        return after(cls(verbose=False, **made(options)))

    def calls() -> list[Call]:
        shapes = build().hyper_shapes_learned
        weights = {"weights": draw(shapes)} if shapes else {}
        ids: list[dict[str, int]] = [{"condition": k} for k in range(conditions)] or [{}]
        return [call(torch.randn(*shape), **weights, **condition) for condition in ids]

    others = () if after is not checkpointed else (lambda: cls(verbose=False, **options),)
    return Case(build, calls, others)


def checkpointed(net: Any, conditions: int = 3) -> Any:
    """With statistics of batch norm for several conditions."""
    for layer in net.batchnorm_layers:
        for _ in range(conditions - 1):
            layer.checkpoint_stats()
    return net


def frozen(net: Any) -> Any:
    """Without training of large tensors."""
    for param in net.parameters():
        param.requires_grad_(param.numel() <= LARGE)
    return net


def mlp(after: Callable[[Any], Any] = lambda net: net, conditions: int = 0, **options: Any) -> Case:
    return main(MLP, (5, 3), after, conditions, n_in=3, n_out=2, **{"hidden_layers": [4, 4], **options})


RESIDUAL: dict[str, Any] = {"in_shape": (8, 8, 2), "num_classes": 3, "n": 1, "num_feature_maps": (2, 2, 3, 3)}

IMAGENET: dict[str, Any] = {
    "in_shape": (8, 8, 2),
    "num_classes": 3,
    "num_feature_maps": (2, 2, 2, 3, 3),
    "blocks_per_group": (1, 1, 1, 1),
    "cutout_mod": True,
}

MODULATED: dict[str, Any] = {"use_context_mod": True}
NORMED: dict[str, Any] = {"use_batch_norm": True}
EXTERNAL: dict[str, Any] = {"no_weights": True}
UNMODULATED: dict[str, Any] = {"context_mod_no_weights": True}


def rnn(**options: Any) -> Case:
    return main(SimpleRNN, (3, 2, 3), **{"n_in": 3, "rnn_layers": [4, 4], "fc_layers": [3, 2], **options})


def birnn(rnn_args: Mapping[str, Any], mlp_args: Mapping[str, Any]) -> Case:
    """A BiRNN on sequences of two lengths."""
    first = {"n_in": 3, "rnn_layers": [4], "fc_layers": [], **rnn_args}
    second = {"n_in": 8, "n_out": 2, "hidden_layers": [3], **mlp_args}
    return Case(
        lambda: BiRNN(rnn_args=first, mlp_args=second, verbose=False),
        lambda: [call(torch.randn(3, 2, 3), seq_lengths=torch.tensor([3, 2]))],
    )


def deep_birnn() -> Case:
    """A BiRNN of two layers, all of whose networks have tensors of the same shapes."""
    layer = {"n_in": 8, "rnn_layers": [4], "fc_layers": []}
    return Case(
        lambda: BiRNN(rnn_args=[layer, layer], mlp_args={"n_in": 8, "n_out": 2, "hidden_layers": [3]}, verbose=False),
        lambda: [call(torch.randn(3, 2, 8), seq_lengths=torch.tensor([3, 2]))],
    )


def squeezer(**options: Any) -> Case:
    return main(ChunkSqueezer, (5, 7), n_in=7, n_out=2, inp_chunk_dim=3, out_chunk_dim=4, cemb_size=2, **options)


def module() -> nn.Module:
    """A module with batch norm and a tied weight."""
    made = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
    made[5].weight = made[3].weight
    return made


def module_net(own: bool, conditions: int = 0, **options: Any) -> Case:
    """A ``ModuleNet``, called with weights; with ``own`` its module is called as well, which has values of its own."""

    def build() -> ModuleNet:
        net = ModuleNet(module(), stats_per_condition=conditions > 0, **options)
        return checkpointed(net, conditions) if conditions else net

    def calls() -> list[Call]:
        ids: list[dict[str, int]] = [{"condition": k} for k in range(conditions)] or [{}]
        weights = draw(build().hyper_shapes_learned)
        made = [call(torch.randn(5, 3), weights=weights, **condition) for condition in ids]
        return made + [{**call(torch.randn(5, 3)), "on": "module"}] * own

    others = (lambda: ModuleNet(module(), stats_per_condition=True, **options),) if conditions else ()
    return Case(build, calls, others)


def multi_net() -> MultiNet:
    """Two perceptrons with statistics, and a module with parameters of its own."""
    sizes = {"n_in": 3, "hidden_layers": [4], "verbose": False}
    return MultiNet(
        {
            "small": MLP(n_out=2, **sizes, **NORMED, **EXTERNAL),
            "large": MLP(n_out=5, **sizes, **NORMED, **MODULATED, **EXTERNAL),
            "module": ModuleNet(module(), include="3.*"),
        },
        share="none",
    )


def calls_of_multi_net() -> list[Call]:
    weights = draw(multi_net().hyper_shapes_learned)
    return [call(torch.randn(5, 3), weights=weights, net=name) for name in ("small", "large", "module")]


TARGETS = [[4, 3], [4], [2, 4], [2]]
"""What hypernetworks produce: the weights of an MLP 3-4-2."""


def hyper(
    build: Build,
    *others: Build,
    rearranged: tuple[Build, ...] = (),
    conditions: int = 3,
    **inputs: tuple[int, ...],
) -> Case:
    """A hypernetwork, called with all of its conditions, with inputs of these shapes and weights where it needs any."""

    def calls() -> list[Call]:
        given: dict[str, Any] = {name: torch.rand(*shape) for name, shape in inputs.items()}
        if conditions:
            given["cond_id"] = list(range(conditions))
        shapes = build().hyper_shapes_learned
        if shapes:
            given["weights"] = draw(shapes)
        return [call(**given, ret_format="flattened")]

    return Case(build, calls, others, rearranged)


def calibrated(build: Build) -> Build:
    """With the constants that the hyperfan initialisation sets."""

    def initialised() -> Any:
        hnet = build()
        hnet.apply_hyperfan_init()
        return hnet

    return initialised


def enlarged(build: Callable[[int], Any]) -> tuple[Build, Build]:
    """A hypernetwork of two conditions with two more, and one that was built for four of them."""

    def grown() -> Any:
        hnet = build(2)
        hnet.add_conditions(2)
        return hnet

    return grown, lambda: build(4)


def hmlp(**options: Any) -> Build:
    settings = {
        "target_shapes": TARGETS,
        "cond_in_size": 3,
        "layers": (4, 4),
        "num_cond_embs": 3,
        "verbose": False,
        **options,
    }
    return lambda: HMLP(**made(settings))


def chunked(**options: Any) -> Build:
    settings = {
        "target_shapes": TARGETS,
        "chunk_size": 7,
        "chunk_emb_size": 3,
        "cond_in_size": 3,
        "layers": (4,),
        "num_cond_embs": 3,
        "verbose": False,
        **options,
    }
    return lambda: ChunkedHMLP(**settings)


def deconv(**options: Any) -> Build:
    settings = {
        "hyper_img_shape": (7, 4),
        "cond_in_size": 3,
        "num_layers": 3,
        "num_filters": (3, 3),
        "kernel_size": 3,
        "sa_units": (1,),
        "num_cond_embs": 3,
        "verbose": False,
        **options,
    }
    return lambda: HDeconv(TARGETS, **settings)


def chunked_deconv(**options: Any) -> Build:
    settings = {
        "hyper_img_shape": (5, 2),
        "chunk_emb_size": 3,
        "cond_in_size": 3,
        "num_layers": 2,
        "num_filters": (3,),
        "kernel_size": 3,
        "sa_units": (0,),
        "num_cond_embs": 3,
        "verbose": False,
        **options,
    }
    return lambda: ChunkedHDeconv(TARGETS, **settings)


def glue(chunks: list[list[Tensor]]) -> list[Tensor]:
    """A layer, two halves of a kernel, a bias."""
    (weight, bias), (left,), (right,), (last,) = chunks
    return [weight, bias, torch.cat([left, right], dim=1), last]


def structured(**options: Any) -> Build:
    settings = {
        "chunk_shapes": [TARGETS[:2], [[2, 2]], TARGETS[3:]],
        "num_per_chunk": [1, 2, 1],
        "chunk_emb_sizes": [2, 3, 2],
        "hmlp_kwargs": {"layers": (4,)},
        "assembly_fct": glue,
        "cond_in_size": 3,
        "num_cond_embs": 3,
        "verbose": False,
        **options,
    }
    return lambda: StructuredHMLP(TARGETS, **settings)


def arranged(produced: list[list[Tensor]], uncond: list[Tensor], cond: list[Tensor]) -> list[Tensor]:
    """The first hypernetwork, plain parameters, further hypernetworks."""
    first, *others = produced or [[]]
    return [*first, *uncond, *cond, *(tensor for other in others for tensor in other)]


def container(*members: Build, target_shapes: Any = TARGETS, **options: Any) -> Build:
    settings = {"num_cond_embs": 3, "verbose": False, **options}
    return lambda: HContainer(target_shapes, arranged, [member() for member in members], **settings)


def around(wrapper: Callable[..., Any], inner: Build, *args: Any, **options: Any) -> Build:
    """A wrapper around a hypernetwork; functions among ``args`` make the argument."""
    return lambda: wrapper(inner(), *(arg() if callable(arg) else arg for arg in args), verbose=False, **options)


def base() -> list[Tensor]:
    return [torch.randn(*shape) for shape in TARGETS]


MATRICES = TARGETS[::2]
ROWS = [shape[:1] for shape in TARGETS]
NO_CONDITIONS: dict[str, Any] = {"cond_in_size": 4, "num_cond_embs": 0}
UNCONDITIONAL: dict[str, Any] = {"cond_in_size": 0, "uncond_in_size": 3, "num_cond_embs": 0}


def low_rank(inner: Callable[..., Build], rank: Any = 2, **options: Any) -> Build:
    """Low-rank updates of the matrices among the targets."""
    return lambda: HLowRank(
        lambda shapes: inner(target_shapes=shapes, **options)(), MATRICES, rank, alpha=3.0, verbose=False
    )


def trunk() -> nn.Module:
    """A module with batch norm that reads conditions of size 3."""
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 4), nn.LayerNorm(4))


def encoder() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 3))


def around_module(**options: Any) -> Build:
    settings = {"cond_in_size": 3, "num_cond_embs": 3, "verbose": False, **options}
    return lambda: ModuleHNet(trunk(), TARGETS, **settings)


def hyper_model(build: Callable[[], HyperModel], *others: Build, own: bool = False) -> Case:
    """A ``HyperModel`` with three conditions: all of them, one, and with ``own`` the module with its own values."""

    def calls() -> list[Call]:
        made = [call(torch.randn(3, 5, 3), cond_id=[0, 1, 2]), call(torch.randn(5, 3), cond_id=1)]
        return made + [{**call(torch.randn(5, 3)), "on": "mnet.module"}] * own

    return Case(build, calls, others)


def model_of_mlp(checkpoints: bool = True) -> HyperModel:
    """A hypernetwork and a perceptron with statistics per condition and modulation of its own."""
    net = MLP(n_in=3, n_out=2, hidden_layers=[4], verbose=False, **NORMED, **MODULATED, **EXTERNAL)
    hnet = HMLP(net.hyper_shapes_learned, cond_in_size=3, layers=(4,), num_cond_embs=3, verbose=False)
    return HyperModel(hnet, checkpointed(net) if checkpoints else net)


def model_of_module(**options: Any) -> HyperModel:
    """A hypernetwork in two wrappers, and a module of which some parameters are trained by themselves."""
    net = ModuleNet(module(), exclude="0.*", **options)
    shapes = net.hyper_shapes_learned
    inner = ChunkedHMLP(shapes, 7, chunk_emb_size=2, layers=(4,), verbose=False, **NO_CONDITIONS, cond_chunk_embs=False)
    return HyperModel(HResidual(HEncodedInput(inner, num_cond_embs=3, verbose=False), mnet=net, verbose=False), net)


def model_of_updates() -> HyperModel:
    """Low-rank updates of a module whose own values are in the file."""
    net = ModuleNet(module(), include=["*.weight"], exclude="1.*", save_base=True)
    return HyperModel(
        HLowRank(
            lambda shapes: HMLP(shapes, cond_in_size=3, layers=(4,), num_cond_embs=3, verbose=False),
            net,
            2,
            verbose=False,
        ),
        net,
    )


def model_from_module() -> HyperModel:
    return HyperModel.from_module(module(), 3, cond_in_size=3, layers=(4,), save_base=True, embedding_table=False)


def _enlarged_hmlp(conditions: int) -> Any:
    return hmlp(num_cond_embs=conditions)()


def _enlarged_chunks(conditions: int) -> Any:
    return chunked(num_cond_embs=conditions, cond_chunk_embs=True)()


def _enlarged_wrappers(conditions: int) -> Any:
    return around(HPerturbWrapper, around(HResidual, hmlp(num_cond_embs=conditions, uncond_in_size=2)), 2)()


def _enlarged_container(conditions: int) -> Any:
    return container(
        hmlp(target_shapes=TARGETS[:1], num_cond_embs=conditions),
        uncond_param_shapes=TARGETS[1:2],
        cond_param_shapes=TARGETS[2:],
        num_cond_embs=conditions,
    )()


CASES: dict[str, Case] = {
    # Main networks
    "mlp": mlp(),
    "mlp-norm-modulated": mlp(**NORMED, **MODULATED),
    "mlp-everything": mlp(
        **NORMED,
        **MODULATED,
        context_mod_inputs=True,
        context_mod_post_activation=True,
        distill_bn_stats=True,
        use_spectral_norm=True,
        activation_fn=nn.Tanh,
    ),
    "mlp-prelu": mlp(activation_fn=nn.PReLU),
    "mlp-no-bias": mlp(use_bias=False),
    "mlp-no-weights": mlp(**NORMED, **EXTERNAL),
    "mlp-no-weights-modulated": mlp(**NORMED, **EXTERNAL, **MODULATED),
    "mlp-external-modulation": mlp(**MODULATED, **UNMODULATED),
    "mlp-checkpoints": mlp(checkpointed, 3, **NORMED, **MODULATED),
    "lenet": main(LeNet, (3, 784), frozen, num_classes=3, arch="mnist_small"),
    "lenet-no-weights-modulated": main(
        LeNet, (2, 784), arch="mnist_small", **EXTERNAL, **MODULATED, context_mod_inputs=True
    ),
    "resnet": main(ResNet, (4, 128), **RESIDUAL),
    "resnet-modulated-checkpoints": main(ResNet, (4, 128), checkpointed, 3, **RESIDUAL, **MODULATED),
    "wrn": main(WRN, (4, 128), k=1, **RESIDUAL, **MODULATED, context_mod_apply_pixel_wise=True),
    "resnet-in": main(ResNetIN, (4, 128), **IMAGENET),
    "resnet-in-bottleneck": main(
        ResNetIN,
        (4, 128),
        **{**IMAGENET, "num_feature_maps": (2, 2, 2, 2, 2)},
        bottleneck_blocks=True,
        projection_shortcut=True,
    ),
    "zenkenet": main(ZenkeNet, (2, 3072), frozen, num_classes=3, dropout_rate=-1),
    "bio-conv-net": main(BioConvNet, (2, 1024), frozen, in_shape=(32, 32, 1), num_classes=3, **MODULATED),
    "rnn": rnn(),
    "rnn-modulated": rnn(**MODULATED, fc_layers_pre=[4], context_mod_inputs=True),
    "rnn-modulated-per-step": rnn(**MODULATED, context_mod_num_ts=3, context_mod_separate_layers_per_ts=True),
    "lstm": rnn(use_lstm=True),
    "lstm-modulated": rnn(**MODULATED, use_lstm=True, fc_layers_pre=[4], context_mod_inputs=True),
    "lstm-no-weights-modulated": rnn(**MODULATED, **EXTERNAL, use_lstm=True),
    "birnn": birnn({}, {}),
    "birnn-two-layers": deep_birnn(),
    "birnn-everything": birnn({**MODULATED, "use_lstm": True}, {**MODULATED, **NORMED}),
    "chunk-squeezer": squeezer(),
    "chunk-squeezer-dynamic": squeezer(dynamic_biases=[0, 1, 2], **NORMED, use_spectral_norm=True),
    "module-net": module_net(False, include="3.*"),
    "module-net-save-base": module_net(True, include=["0.*", "3.*"], save_base=True),
    "module-net-checkpoints": module_net(True, 2, save_base=True),
    "multi-net": Case(multi_net, calls_of_multi_net),
    # Hypernetworks
    "hmlp": hyper(hmlp()),
    "hmlp-unconditional": hyper(hmlp(**UNCONDITIONAL), conditions=0, uncond_input=(3, 3)),
    "hmlp-everything": hyper(hmlp(uncond_in_size=2, use_batch_norm=True, use_spectral_norm=True), uncond_input=(3, 2)),
    "hmlp-prelu": hyper(hmlp(activation_fn=nn.PReLU)),
    "hmlp-no-uncond-weights": hyper(hmlp(no_uncond_weights=True)),
    "hmlp-no-cond-weights": hyper(hmlp(no_cond_weights=True)),
    "hmlp-split-head": hyper(hmlp(split_head=True), rearranged=(hmlp(),)),
    "hmlp-whole-head": hyper(hmlp(), rearranged=(hmlp(split_head=True),)),
    "hmlp-calibrated": hyper(calibrated(hmlp()), hmlp(), rearranged=(hmlp(split_head=True),)),
    "hmlp-split-head-calibrated": hyper(calibrated(hmlp(split_head=True)), hmlp(split_head=True), rearranged=(hmlp(),)),
    "hmlp-enlarged": hyper(*enlarged(_enlarged_hmlp), conditions=4),
    "chunked-hmlp": hyper(chunked()),
    "chunked-hmlp-linear": hyper(chunked(layers=(), use_bias=False)),
    "chunked-hmlp-norm": hyper(chunked(use_batch_norm=True, uncond_in_size=2), uncond_input=(3, 2)),
    "chunked-hmlp-conditional": hyper(chunked(cond_chunk_embs=True)),
    "chunked-hmlp-conditional-only": hyper(chunked(cond_chunk_embs=True, cond_in_size=0)),
    "chunked-hmlp-calibrated": hyper(calibrated(chunked()), chunked()),
    "chunked-hmlp-conditional-calibrated": hyper(
        calibrated(chunked(cond_chunk_embs=True)), chunked(cond_chunk_embs=True)
    ),
    "chunked-hmlp-enlarged": hyper(*enlarged(_enlarged_chunks), conditions=4),
    "structured-hmlp": hyper(structured()),
    "structured-hmlp-conditional": hyper(structured(cond_chunk_embs=True)),
    "structured-hmlp-split-head-norm": hyper(
        structured(hmlp_kwargs={"layers": (4,), "split_head": True, "use_batch_norm": True})
    ),
    "structured-hmlp-calibrated": hyper(calibrated(structured()), structured()),
    "hdeconv": hyper(deconv()),
    "hdeconv-norm-calibrated": hyper(
        calibrated(deconv(use_batch_norm=True, use_spectral_norm=True)),
        deconv(use_batch_norm=True, use_spectral_norm=True),
    ),
    "chunked-hdeconv": hyper(chunked_deconv()),
    "chunked-hdeconv-conditional": hyper(chunked_deconv(cond_chunk_embs=True)),
    "chunked-hdeconv-calibrated": hyper(calibrated(chunked_deconv()), chunked_deconv()),
    "container": hyper(
        container(
            hmlp(target_shapes=TARGETS[:1]),
            chunked(target_shapes=TARGETS[3:], cond_chunk_embs=True),
            uncond_param_shapes=TARGETS[1:2],
            cond_param_shapes=TARGETS[2:3],
        )
    ),
    "container-nested": hyper(
        container(
            container(hmlp(target_shapes=TARGETS[:1]), target_shapes=TARGETS[:2], cond_param_shapes=TARGETS[1:2]),
            uncond_param_shapes=TARGETS[2:3],
            cond_param_shapes=TARGETS[3:],
        )
    ),
    "container-enlarged": hyper(*enlarged(_enlarged_container), conditions=4),
    # Wrappers
    "perturb-hmlp": hyper(around(HPerturbWrapper, hmlp(uncond_in_size=2), 2), uncond_input=(3, 26)),
    "perturb-structured": hyper(
        around(HPerturbWrapper, structured(uncond_in_size=2, cond_chunk_embs=True), 2), uncond_input=(3, 26)
    ),
    "residual-hmlp": hyper(around(HResidual, hmlp())),
    "residual-constant": hyper(around(HResidual, chunked(), base, False)),
    "residual-calibrated": hyper(calibrated(around(HResidual, chunked())), around(HResidual, chunked())),
    "low-rank-hmlp": hyper(low_rank(hmlp, [2, 1])),
    "low-rank-split-head": hyper(low_rank(hmlp, split_head=True)),
    "low-rank-chunked": hyper(low_rank(chunked)),
    "low-rank-chunked-calibrated": hyper(calibrated(low_rank(chunked)), low_rank(chunked)),
    "scaling": hyper(around(HScaling, hmlp(target_shapes=ROWS), base)),
    "scaling-constant": hyper(around(HScaling, hmlp(target_shapes=ROWS), base, None, False)),
    "encoded-conditions": hyper(around(HEncodedInput, hmlp(**NO_CONDITIONS), num_cond_embs=3)),
    "encoded-noise": hyper(around(HEncodedInput, chunked(uncond_in_size=4), "z|1-z", "uncond"), uncond_input=(3, 2)),
    "encoded-by-module": hyper(
        around(HEncodedInput, hmlp(**NO_CONDITIONS), lambda: nn.Linear(2, 4), in_size=2, num_cond_embs=3)
    ),
    "set-input": Case(
        around(HSetInput, hmlp(), encoder),
        lambda: [
            call(cond_input=torch.randn(3, 5, 2), ret_format="flattened"),
            call(cond_id=[0, 1, 2], ret_format="flattened"),
        ],
    ),
    "recurrent-gru": hyper(
        around(HRecurrent, hmlp(**NO_CONDITIONS, uncond_in_size=2), 3),
        conditions=0,
        cond_input=(4, 2, 3),
        uncond_input=(8, 2),
    ),
    "recurrent-lstm": hyper(
        around(HRecurrent, chunked(**NO_CONDITIONS), 3, "lstm"), conditions=0, cond_input=(4, 2, 3)
    ),
    "module-hnet": hyper(around_module()),
    "module-hnet-chunked-calibrated": hyper(
        calibrated(around_module(chunk_size=7, layers=(4,))), around_module(chunk_size=7, layers=(4,))
    ),
    # Wrappers around wrappers
    "perturb-residual": hyper(
        around(HPerturbWrapper, around(HResidual, hmlp(uncond_in_size=2)), 2), uncond_input=(3, 26)
    ),
    "perturb-residual-enlarged": hyper(*enlarged(_enlarged_wrappers), conditions=4, uncond_input=(4, 26)),
    "residual-encoded": hyper(
        around(HResidual, around(HEncodedInput, hmlp(**NO_CONDITIONS, split_head=True), num_cond_embs=3))
    ),
    "scaling-perturb": hyper(
        around(HScaling, around(HPerturbWrapper, chunked(target_shapes=ROWS, uncond_in_size=2), 2), base),
        uncond_input=(3, 12),
    ),
    "set-residual": Case(
        around(HSetInput, around(HResidual, chunked(cond_chunk_embs=False)), encoder),
        lambda: [
            call(cond_input=torch.randn(3, 5, 2), ret_format="flattened"),
            call(cond_id=[2, 0], ret_format="flattened"),
        ],
    ),
    "recurrent-residual": hyper(
        around(HRecurrent, around(HResidual, chunked(**NO_CONDITIONS)), 3, "rnn"), conditions=0, cond_input=(4, 2, 3)
    ),
    "perturb-container": hyper(
        around(
            HPerturbWrapper,
            container(
                hmlp(target_shapes=TARGETS[:2], uncond_in_size=2),
                uncond_param_shapes=TARGETS[2:3],
                cond_param_shapes=TARGETS[3:],
            ),
            2,
        ),
        uncond_input=(3, 26),
    ),
    "container-of-wrappers": hyper(
        container(
            around(HResidual, hmlp(target_shapes=TARGETS[:2])),
            around(HEncodedInput, hmlp(target_shapes=TARGETS[2:], **NO_CONDITIONS), num_cond_embs=3),
        )
    ),
    # Both together
    "hyper-model-mlp": hyper_model(model_of_mlp, lambda: model_of_mlp(checkpoints=False)),
    "hyper-model-module": hyper_model(model_of_module),
    "hyper-model-module-save-base": hyper_model(lambda: model_of_module(save_base=True), own=True),
    "hyper-model-low-rank": hyper_model(model_of_updates, own=True),
    "hyper-model-from-module": hyper_model(model_from_module, own=True),
}
