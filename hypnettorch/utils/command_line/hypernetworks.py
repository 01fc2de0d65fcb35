"""Hypernetworks that can be built from options.

What can be put around them stands in :mod:`~hypnettorch.utils.command_line.wrappers`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from hypnettorch.core import checks
from hypnettorch.hnets import HMLP, ChunkedHDeconv, ChunkedHMLP, HDeconv, ModuleHNet, StructuredHMLP
from hypnettorch.hnets.structured_hmlp_examples import resnet_chunking, wrn_chunking
from hypnettorch.mnets import WRN, ResNet
from hypnettorch.mnets.network import Network
from hypnettorch.utils.command_line.container import container, parse_parts
from hypnettorch.utils.command_line.kinds import COMMON, Kind, Table
from hypnettorch.utils.command_line.options import Option, one_or_more, single_size, sizes

Shapes = Sequence[Sequence[int]]


def single_architecture(option: str, value: str) -> list[int]:
    """Sizes of the hidden layers of one network."""
    if ";" in value:
        checks.fail(option, "one architecture (several, separated by ';', are for structured_hmlp)", repr(value))
    return sizes(option, value)


def architectures(option: str, value: str) -> list[list[int]]:
    """Sizes of hidden layers: of all inner networks, or, separated by ``;``, of each of them."""
    return [sizes(option, part) for part in value.split(";")]


def structured_hmlp(
    target_shapes: Shapes,
    chunk_shapes: Sequence[Shapes] | None = None,
    num_per_chunk: Sequence[int] | None = None,
    assembly_fct: Callable[..., Any] | None = None,
    chunk_emb_sizes: int | Sequence[int] = 8,
    layers: Sequence[Sequence[int]] = ((100, 100),),
    mnet: Network | None = None,
    gcd_chunking: bool = False,
    **kwargs: Any,
) -> StructuredHMLP:
    """A ``StructuredHMLP`` with given chunks, or with those of a main network that has residual blocks.

    Args:
        chunk_emb_sizes: Size of the chunk embeddings: of all kinds of chunks, or of each.
        layers: Sizes of the hidden layers: of all inner networks, or of each, separated by ';'.
        gcd_chunking: Whether there are fewer kinds of chunks, from which all layers are glued.
    """
    chunking: Any = (chunk_shapes, num_per_chunk, assembly_fct)
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
    outer = inspect.signature(StructuredHMLP).parameters
    inner = {name: kwargs.pop(name) for name in list(kwargs) if name not in outer}
    hmlp_kwargs = [{**inner, "layers": sizes} for sizes in layers] * (len(counts) // len(layers))
    return StructuredHMLP(target_shapes, shapes, counts, chunk_emb_sizes, hmlp_kwargs, function, **kwargs)


def _chunking(mnet: Network | None, target_shapes: Shapes, gcd_chunking: bool) -> Any:
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
    cond_in_size: int = 8,
    cond_shape: Sequence[int] | None = None,
    **kwargs: Any,
) -> ModuleHNet:
    """A ``ModuleHNet`` whose conditions are vectors or, with ``cond_shape``, of any shape.

    Args:
        trunk: How to make the trunk, e.g. ``torch.nn.Linear(8, 32)``.
        cond_shape: Shape of a condition, if it is no vector, e.g. ``3,32,32``.
    """
    return ModuleHNet(trunk, target_shapes, cond_in_size=cond_shape or cond_in_size, **kwargs)


_ARCH = Option("layers", "100,100", "Sizes of the hidden layers.", read=single_architecture)
_COMMON: Table = {
    "cond_emb_size": Option("cond_in_size", help="Size of the embedding of a condition."),
    "hmlp_arch": _ARCH,
    "hmlp_split_head": "split_head",
    "use_cond_chunk_embs": "cond_chunk_embs",
    "chunk_emb_size": Option("chunk_emb_size", "8", read=single_size),
    "shmlp_gcd_chunking": "gcd_chunking",
    "hdeconv_shape": Option("hyper_img_shape", "512,512,3", "Width, height and channels of the image of weights."),
    "hdeconv_num_layers": "num_layers",
    "hdeconv_filters": Option("num_filters", "128,512,256,128", "Channels of each hidden layer; '': by its number."),
    "hdeconv_kernels": Option("kernel_size", "5", "Kernel size, of all layers or of each.", read=one_or_more),
    "hdeconv_attention_layers": "sa_units",
    **{f"hnet_{name}": option for name, option in COMMON.items()},
}
_STRUCTURED: Table = {
    **_COMMON,
    "hmlp_arch": Option("layers", "100,100", read=architectures),
    "chunk_emb_size": Option("chunk_emb_sizes", "8", read=one_or_more),
}
_MODULE = {f"mhnet_{name}": name for name in ("trunk", "cond_shape", "feature_size", "chunk_size")}
_PARTS = {"container_parts": Option("parts", "", read=parse_parts)}

HYPERNETWORKS = {
    "hmlp": Kind(HMLP, "hnet_", common=_COMMON),
    "chunked_hmlp": Kind(ChunkedHMLP, "hnet_", common={**_COMMON, "chmlp_chunk_size": Option("chunk_size", 1000)}),
    "structured_hmlp": Kind(structured_hmlp, "hnet_", common=_STRUCTURED, of=(StructuredHMLP, HMLP)),
    "hdeconv": Kind(HDeconv, "hnet_", common=_COMMON),
    "chunked_hdeconv": Kind(ChunkedHDeconv, "hnet_", common=_COMMON),
    "module_hnet": Kind(module_hnet, "hnet_", common={**_COMMON, **_MODULE}, of=(ModuleHNet,)),
    "container": Kind(container, "hnet_", common=_PARTS),
}
