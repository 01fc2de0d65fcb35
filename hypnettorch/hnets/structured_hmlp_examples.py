"""How to chunk residual networks for a :class:`~hypnettorch.hnets.structured_mlp_hnet.StructuredHMLP`.

Each function takes a main network and returns ``chunk_shapes``, ``num_per_chunk`` and ``assembly_fct``. A chunk is (a
part of) one layer: kernel, bias, batch norm scale and batch norm shift, as far as they exist. The assembly functions
are data (:class:`~hypnettorch.hnets.assembly.GluedChunks`), so they can be pickled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from hypnettorch.core import checks
from hypnettorch.hnets.assembly import GluedChunks, Piece
from hypnettorch.mnets.resnet import ResNet
from hypnettorch.mnets.wide_resnet import WRN

Shape = list[int]
Layer = tuple[int | str, Shape, Shape]
"""A convolution: its kind of chunk, the kernel of such a chunk, and its own."""

Chunking = tuple[list[list[Shape]], list[int], GluedChunks]


def resnet_chunking(net: ResNet, gcd_chunking: bool = False) -> Chunking:
    """Chunks for all weights of a ``ResNet``: layers of equal shape are chunks of one kind.

    =========  ==================================================  ================
    kind       layers                                              number of chunks
    =========  ==================================================  ================
    0          first convolution                                   1
    1, 3, 5    first convolution of each group of ``n`` blocks     1
    2, 4, 6    the other convolutions of the group                 2n - 1
    7          output layer                                        1
    =========  ==================================================  ================

    Args:
        net: The main network.
        gcd_chunking: Whether the kinds 1 to 6 are replaced by four, one for the layers that follow the first
            convolution and one for those that follow a layer of each group: these have the same number of input
            channels. A chunk has as many output channels as all widths of the network can be divided by, and layers
            are glued along them.

    Returns:
        ``chunk_shapes``, ``num_per_chunk`` and ``assembly_fct``; the target shapes are ``net.param_shapes``.

    Raises:
        ValueError: If ``net`` is no ``ResNet``.
        NotImplementedError: If it has context modulation.

    Example:
        >>> chunk_shapes, num_per_chunk, assembly_fct = resnet_chunking(ResNet(n=5, verbose=False))
        >>> num_per_chunk, chunk_shapes[2]
        ([1, 1, 9, 1, 9, 1, 9, 1], [[16, 16, 3, 3], [16], [16], [16]])
    """
    found = _read(net, ResNet)
    layers: list[Layer] = [("stem", found.stem, found.stem)]
    widths = [found.stem[0], *(group[0][0] for group in found.groups)]
    for i, (first, *others) in enumerate(found.groups):
        if gcd_chunking:
            before, own = ([math.gcd(*widths), width, *found.stem[2:]] for width in widths[i : i + 2])
            layers += [(i, before, first), *((i + 1, own, conv) for conv in others)]
        else:
            layers += [(f"first {i}", first, first), *((i, conv, conv) for conv in others)]
    return _chunking(found, layers, found.has_norm, found.output)


def wrn_chunking(
    net: WRN,
    ignore_bn_weights: bool = True,
    ignore_out_weights: bool = True,
    gcd_chunking: bool = False,
    vertical: bool = False,
) -> Chunking:
    """Chunks for the weights of a ``WRN``, by default for its convolutions.

    There are up to eleven groups of layers, each with its own kind of chunk; groups that do not exist are left out.

    =========  ====================================================================
    group      layers
    =========  ====================================================================
    0          first convolution
    1, 3, 5    first convolution of each of the three groups of blocks
    2, 4, 6    the other convolutions of this group of blocks
    7, 8, 9    1×1 convolution in the shortcut at the beginning of the group of blocks
    10         output layer
    =========  ====================================================================

    Where a group of blocks has ``w`` channels, and the layer before it ``p``, which is ``w``, ``2w`` or ``w / 2``, the
    first convolution belongs to the others: their chunks have ``min(p, w)`` input channels, and layers are glued along
    these. Bias and batch norm weights are those of the first chunk of a layer; what other chunks hold of them is
    unused. Batch norm weights number ``i`` are in the chunk of convolution ``i``, on whose output they act.

    Args:
        net: The main network.
        ignore_bn_weights: Whether batch norm weights are to come from elsewhere, as plain parameters of an
            ``HContainer``.
        ignore_out_weights: Whether the output layer is to come from elsewhere.
        gcd_chunking: Whether all first convolutions belong to the others, with chunks of ``gcd(p, w)`` input channels.
        vertical: Whether the chunks of the groups 2, 4 and 6 have ``w / 2`` input channels, as in Sacramento et al.;
            the first convolution belongs to them where ``p`` is a multiple of ``w / 2``.

    Returns:
        ``chunk_shapes``, ``num_per_chunk`` and ``assembly_fct``; the target shapes are ``net.param_shapes`` without
        what is ignored.

    Raises:
        ValueError: If ``net`` is no ``WRN``, both ``gcd_chunking`` and ``vertical`` are set, or a width is odd where
            it has to be halved.
        NotImplementedError: If it has context modulation.

    Example:
        The network and the two schemes of Sacramento et al.

        >>> net = WRN(n=4, k=10, use_bias=False, use_fc_bias=True, no_weights=True, verbose=False)
        >>> chunk_shapes, num_per_chunk, assembly_fct = wrn_chunking(net)
        >>> num_per_chunk, chunk_shapes[2]
        ([1, 1, 7, 15, 15, 1, 1, 1], [[160, 160, 3, 3]])
        >>> chunk_shapes, num_per_chunk, assembly_fct = wrn_chunking(net, vertical=True)
        >>> num_per_chunk, chunk_shapes[2]
        ([1, 1, 14, 15, 15, 1, 1, 1], [[160, 80, 3, 3]])

    References:
        Sacramento et al., "Economical ensembles with hypernetworks", 2020, table S1, https://arxiv.org/abs/2007.12927.
    """
    found = _read(net, WRN)
    if gcd_chunking and vertical:
        checks.fail("vertical", "only one of gcd_chunking and vertical", "both")
    layers: list[Layer] = [("stem", found.stem, found.stem)]
    for i, (first, *others) in enumerate(found.groups):
        width, before, *kernel = first
        size, alike = _chunk_width(width, before, gcd_chunking, vertical)
        layers.append((i, [width, size, *kernel], first) if alike else (f"first {i}", first, first))
        layers += [(i, [width, size, *kernel], conv) for conv in others]
    return _chunking(
        found, layers, found.has_norm and not ignore_bn_weights, [] if ignore_out_weights else found.output
    )


def _chunk_width(width: int, before: int, gcd_chunking: bool, vertical: bool) -> tuple[int, bool]:
    """The input channels of the chunks of a group of blocks, and whether its first convolution is made of them."""
    if vertical:
        if width % 2:
            checks.fail("vertical", "groups of blocks with an even number of channels", width)
        return width // 2, before % (width // 2) == 0
    if gcd_chunking or max(width, before) in (min(width, before), 2 * min(width, before)):
        return math.gcd(width, before), True
    return width, False


class _Layers(NamedTuple):
    """What a residual network consists of.

    Attributes:
        stem: Shape of the kernel of the first convolution.
        groups: Shapes of the kernels of the convolutions in each group of blocks.
        shortcuts: Shapes of the kernels of convolutions in shortcuts.
        output: Shapes of weight and, if there is one, bias of the output layer.
        has_bias: Whether convolutions have biases.
        has_norm: Whether there is batch norm with weights.
    """

    stem: Shape
    groups: list[list[Shape]]
    shortcuts: list[Shape]
    output: list[Shape]
    has_bias: bool
    has_norm: bool


def _read(net: Any, cls: Any) -> _Layers:
    """Read a residual network off its parameter table."""
    if not isinstance(net, cls):
        checks.fail("net", f"an instance of {cls.__name__}", type(net).__name__)
    named = [(meta["name"], shape) for shape, meta in zip(net.param_shapes, net.param_shapes_meta, strict=True)]
    names = [name for name, _ in named]
    if "cm_scale" in names or "cm_shift" in names:
        raise NotImplementedError(f"{cls.__name__} with context modulation cannot be chunked")
    kernels = [shape for name, shape in named if name == "weight" and len(shape) == 4]
    stem, *convs = [shape for shape in kernels if shape[2:] != [1, 1]]
    size = len(convs) // 3
    last = max(i for i, name in enumerate(names) if name == "weight")
    return _Layers(
        stem=stem,
        groups=[convs[start : start + size] for start in range(0, len(convs), size)],
        shortcuts=[shape for shape in kernels if shape[2:] == [1, 1]],
        output=[shape for _, shape in named[last:]],
        has_bias="bias" in names[:last],
        has_norm="bn_scale" in names,
    )


def _chunking(found: _Layers, layers: Sequence[Layer], norm: bool, output: Sequence[Shape]) -> Chunking:
    """Glue each layer from as many further chunks of its kind as it takes, in the order of the main network.

    Args:
        found: The main network.
        layers: The convolutions in order of use.
        norm: Whether their chunks hold batch norm weights.
        output: Shapes of the output layer, if it is made of a chunk.
    """
    number = 1 + found.has_bias
    vectors = number - 1 + 2 * norm
    plan = [(kind, [chunk, *[chunk[:1]] * vectors], kernel) for kind, chunk, kernel in layers]
    plan += [(f"shortcut {i}", [kernel], kernel) for i, kernel in enumerate(found.shortcuts)]
    plan += [("output", list(output), output[0])] if output else []
    shapes: dict[int | str, list[Shape]] = {}
    taken: dict[int | str, list[int]] = {}
    for position, (kind, tensors, kernel) in enumerate(plan):
        shapes[kind] = tensors
        taken.setdefault(kind, []).extend([position] * (math.prod(kernel) // math.prod(tensors[0])))
    owners = [position for positions in taken.values() for position in positions]
    glued = []
    for position, (_, tensors, kernel) in enumerate(plan):
        chunks = tuple(chunk for chunk, owner in enumerate(owners) if owner == position)
        along_inputs = kernel[0] == tensors[0][0]
        kernels = Piece(chunks, 0, int(along_inputs))
        glued.append([kernels, *(Piece(chunks[: 1 if along_inputs else None], i) for i in range(1, len(tensors)))])
    convs, others = glued[: len(layers)], glued[len(layers) :]
    shortcuts, outputs = others[: len(found.shortcuts)], others[len(found.shortcuts) :]
    order = [*(conv[number:] for conv in convs), *shortcuts, *(conv[:number] for conv in convs), *outputs]
    pieces = tuple(piece for group in order for piece in group)
    return list(shapes.values()), [len(positions) for positions in taken.values()], GluedChunks(pieces)
