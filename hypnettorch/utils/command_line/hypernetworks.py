"""Hypernetworks that can be built from options, and the options that each of them takes.

What can be put around them stands in :mod:`~hypnettorch.utils.command_line.wrappers`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from hypnettorch.core import checks
from hypnettorch.hnets import HMLP, ChunkedHDeconv, ChunkedHMLP, HDeconv, ModuleHNet, StructuredHMLP
from hypnettorch.hnets.structured_hmlp_examples import resnet_chunking, wrn_chunking
from hypnettorch.mnets import WRN, ResNet
from hypnettorch.mnets.mnet_interface import MainNetInterface
from hypnettorch.utils.command_line.container import container, parse_parts
from hypnettorch.utils.command_line.expressions import module
from hypnettorch.utils.command_line.kinds import (
    ACTIVATION,
    BATCH_NORM,
    BIAS,
    DROPOUT,
    SPECTRAL_NORM,
    Argument,
    Kind,
    or_none,
    prefixed,
    sizes,
)
from hypnettorch.utils.misc import parse_numbers

Shapes = Sequence[Sequence[int]]


def single_size(option: str, value: str) -> int:
    """One number."""
    numbers = sizes(option, value)
    checks.length(option, numbers, 1)
    return numbers[0]


def one_or_more(option: str, value: str) -> int | list[int]:
    """One number for all, or a list."""
    numbers = sizes(option, value)
    return numbers[0] if len(numbers) == 1 else numbers


def sizes_or_none(option: str, value: str) -> list[int] | None:
    """Numbers; none of them stands for the default of the network."""
    return sizes(option, value) or None


def single_architecture(option: str, value: str) -> list[int]:
    """Sizes of the hidden layers of one network."""
    if ";" in value:
        checks.fail(option, "one architecture (several, separated by ';', are for structured_hmlp)", repr(value))
    return sizes(option, value)


def architectures(option: str, value: str) -> list[list[int]]:
    """Sizes of hidden layers: of all inner networks, or, separated by ``;``, of each of them."""
    return [parse_numbers(option, part, int) for part in value.split(";")]


def structured_hmlp(
    target_shapes: Shapes,
    chunk_shapes: Any = None,
    num_per_chunk: Any = None,
    assembly_fct: Any = None,
    chunk_emb_sizes: int | Sequence[int] = 8,
    layers: Sequence[Sequence[int]] = ((100, 100),),
    mnet: MainNetInterface | None = None,
    gcd_chunking: bool = False,
    **kwargs: Any,
) -> StructuredHMLP:
    """A ``StructuredHMLP`` with given chunks, or with those of a main network that has residual blocks."""
    chunking = (chunk_shapes, num_per_chunk, assembly_fct)
    if all(part is None for part in chunking):
        chunking = _chunking(mnet, target_shapes, gcd_chunking)
    for name, part in zip(("chunk_shapes", "num_per_chunk", "assembly_fct"), chunking, strict=True):
        if part is None:
            checks.fail(
                f"shmlp_{name}", "all three of shmlp_chunk_shapes, shmlp_num_per_chunk, shmlp_assembly_fct", None
            )
    shapes, counts, function = chunking
    if len(layers) not in (1, len(counts)):
        checks.fail("--hmlp_arch", f"one architecture, or one for each of {len(counts)} kinds of chunks", len(layers))
    inner = {name: kwargs.pop(name) for name in INNER_ARGUMENTS if name in kwargs}
    hmlp_kwargs = [{**inner, "layers": sizes} for sizes in layers] * (len(counts) // len(layers))
    return StructuredHMLP(target_shapes, shapes, counts, chunk_emb_sizes, hmlp_kwargs, function, **kwargs)


def _chunking(mnet: MainNetInterface | None, target_shapes: Shapes, gcd_chunking: bool) -> Any:
    """How the weights of a main network are put together."""
    if not isinstance(mnet, (ResNet, WRN)):
        expected = "a function with shmlp_chunk_shapes and shmlp_num_per_chunk, or a ResNet or WRN as mnet"
        checks.fail("shmlp_assembly_fct", expected, f"mnet of type {type(mnet).__name__}")
    if [list(shape) for shape in target_shapes] != mnet.param_shapes:
        expected = "a function with shmlp_chunk_shapes and shmlp_num_per_chunk, or mnet.param_shapes as targets"
        checks.fail("shmlp_assembly_fct", expected, "other shapes")
    if isinstance(mnet, ResNet):
        return resnet_chunking(mnet, gcd_chunking=gcd_chunking)
    return wrn_chunking(mnet, ignore_bn_weights=False, ignore_out_weights=False, gcd_chunking=gcd_chunking)


def module_hnet(
    target_shapes: Shapes,
    trunk: nn.Module,
    cond_in_size: int = 0,
    cond_shape: Sequence[int] | None = None,
    **kwargs: Any,
) -> ModuleHNet:
    """A ``ModuleHNet`` whose conditions are vectors or, with ``cond_shape``, of any shape."""
    return ModuleHNet(trunk, target_shapes, cond_in_size=cond_shape or cond_in_size, **kwargs)


INNER_ARGUMENTS = ("activation_fn", "use_bias", "dropout_rate", "use_spectral_norm", "use_batch_norm")
"""Arguments of the networks inside of a ``StructuredHMLP``."""

_COMMON = {
    "cond_emb_size": Argument("cond_in_size"),
    **prefixed("hnet_", {**ACTIVATION, **BIAS, **SPECTRAL_NORM, **BATCH_NORM}),
}
_DROPOUT = prefixed("hnet_", DROPOUT)
_CHUNKS = {
    "chunk_emb_size": Argument("chunk_emb_size", single_size),
    "use_cond_chunk_embs": Argument("cond_chunk_embs"),
}
_DECONV = {
    "hdeconv_shape": Argument("hyper_img_shape", sizes),
    "hdeconv_num_layers": Argument("num_layers"),
    "hdeconv_filters": Argument("num_filters", sizes_or_none),
    "hdeconv_kernels": Argument("kernel_size", one_or_more),
    "hdeconv_attention_layers": Argument("sa_units", sizes),
}

HYPERNETWORKS: dict[str, Kind] = {
    "hmlp": Kind(
        HMLP,
        {
            "hmlp_arch": Argument("layers", single_architecture),
            "hmlp_split_head": Argument("split_head"),
            **_COMMON,
            **_DROPOUT,
        },
    ),
    "chunked_hmlp": Kind(
        ChunkedHMLP,
        {
            "hmlp_arch": Argument("layers", single_architecture),
            "chmlp_chunk_size": Argument("chunk_size"),
            **_CHUNKS,
            **_COMMON,
            **_DROPOUT,
        },
    ),
    "structured_hmlp": Kind(
        structured_hmlp,
        {
            "hmlp_arch": Argument("layers", architectures),
            "chunk_emb_size": Argument("chunk_emb_sizes", one_or_more),
            "use_cond_chunk_embs": Argument("cond_chunk_embs"),
            "shmlp_gcd_chunking": Argument("gcd_chunking"),
            **_COMMON,
            **_DROPOUT,
        },
        from_program=("chunk_shapes", "num_per_chunk", "assembly_fct", "mnet"),
    ),
    "hdeconv": Kind(HDeconv, {**_DECONV, **_COMMON}),
    "chunked_hdeconv": Kind(ChunkedHDeconv, {**_DECONV, **_CHUNKS, **_COMMON}),
    "module_hnet": Kind(
        module_hnet,
        {
            "mhnet_trunk": Argument("trunk", module),
            "mhnet_cond_shape": Argument("cond_shape", sizes_or_none),
            "mhnet_feature_size": Argument("feature_size", or_none),
            "mhnet_chunk_size": Argument("chunk_size", or_none),
            "hmlp_arch": Argument("layers", single_architecture),
            "chunk_emb_size": Argument("chunk_emb_size", single_size),
            "cond_emb_size": Argument("cond_in_size"),
            **prefixed("hnet_", {**ACTIVATION, **BIAS}),
        },
    ),
    "container": Kind(
        container, {"container_parts": Argument("parts", parse_parts)}, from_program=("make_part", "mnet")
    ),
}
