"""How to chunk residual networks for a :class:`~hypnettorch.hnets.structured_mlp_hnet.StructuredHMLP`.

Each function takes a main network and returns ``chunk_shapes``, ``num_per_chunk`` and ``assembly_fct``. A chunk is (a
part of) one layer: kernel, bias, batch norm scale and batch norm shift, as far as they exist. The assembly functions
are data (:class:`~hypnettorch.hnets.assembly.GluedChunks`), so they can be pickled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hypnettorch.core import checks
from hypnettorch.hnets.assembly import GluedChunks, Piece
from hypnettorch.mnets.resnet import ResNet
from hypnettorch.mnets.wide_resnet import WRN

Shape = list[int]
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
    layers = _read(net, ResNet)
    plan = _Plan(layers.has_bias, layers.has_norm)
    plan.layer(plan.kind(layers.stem), layers.stem)
    if gcd_chunking:
        widths = [layers.stem[0], *(group[0][0] for group in layers.groups)]
        kinds = [plan.kind([math.gcd(*widths), width, *layers.stem[2:]]) for width in widths]
        for number, (first, *others) in enumerate(layers.groups):
            plan.layer(kinds[number], first)
            for conv in others:
                plan.layer(kinds[number + 1], conv)
    else:
        for first, *others in layers.groups:
            plan.layer(plan.kind(first), first)
            kind = plan.kind(others[0])
            for conv in others:
                plan.layer(kind, conv)
    return plan.finish(layers.shortcuts, layers.output)


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
    layers = _read(net, WRN)
    if gcd_chunking and vertical:
        checks.fail("vertical", "only one of gcd_chunking and vertical", "both")
    plan = _Plan(layers.has_bias, layers.has_norm and not ignore_bn_weights)
    plan.layer(plan.kind(layers.stem), layers.stem)
    for first, *others in layers.groups:
        width, before, *kernel = first
        size, alike = _chunk_width(width, before, gcd_chunking, vertical)
        convs = [first, *others] if alike else others
        if not alike:
            plan.layer(plan.kind(first), first)
        kind = plan.kind([width, size, *kernel])
        for conv in convs:
            plan.layer(kind, conv)
    return plan.finish(layers.shortcuts, [] if ignore_out_weights else layers.output)


def _chunk_width(width: int, before: int, gcd_chunking: bool, vertical: bool) -> tuple[int, bool]:
    """The input channels of the chunks of a group of blocks, and whether its first convolution is made of them."""
    if vertical:
        if width % 2:
            checks.fail("vertical", "groups of blocks with an even number of channels", width)
        return width // 2, before % (width // 2) == 0
    if gcd_chunking or max(width, before) in (min(width, before), 2 * min(width, before)):
        return math.gcd(width, before), True
    return width, False


@dataclass(frozen=True)
class _Layers:
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


@dataclass(frozen=True)
class _Glued:
    """A layer: its chunks, as kind and number within the kind, and the dimension along which kernels are glued."""

    chunks: list[tuple[int, int]]
    dim: int


class _Plan:
    """Kinds of chunks and the layers that are made of them, in order."""

    def __init__(self, has_bias: bool, has_norm: bool) -> None:
        self._has_bias = has_bias
        self._has_norm = has_norm
        self._shapes: list[list[Shape]] = []
        self._counts: list[int] = []
        self._layers: list[_Glued] = []

    def kind(self, kernel: Sequence[int]) -> int:
        """Declare a kind of chunk by the shape of its kernel."""
        vectors = int(self._has_bias) + 2 * int(self._has_norm)
        return self._add([list(kernel), *([kernel[0]] for _ in range(vectors))])

    def layer(self, kind: int, kernel: Sequence[int]) -> None:
        """Declare a convolution whose kernel is glued from as many further chunks of a kind as it takes."""
        out, size = self._shapes[kind][0][:2]
        dim, number = (1, kernel[1] // size) if kernel[0] == out else (0, kernel[0] // out)
        self._layers.append(_Glued(self._take(kind, number), dim))

    def finish(self, shortcuts: Sequence[Shape], output: Sequence[Shape]) -> Chunking:
        """Add layers that are a kind by themselves, and put everything in the order of the main network."""
        bridges = [_Glued(self._take(self._add([shape]), 1), 0) for shape in shortcuts]
        ends = [_Glued(self._take(self._add(list(output)), 1), 0)] if output else []
        norm = 1 + int(self._has_bias)
        norms = [(conv, tensor) for conv in self._layers for tensor in (norm, norm + 1)] if self._has_norm else []
        kernels = [(bridge, 0) for bridge in bridges]
        convs = [(conv, tensor) for conv in self._layers for tensor in range(norm)]
        outputs = [(end, tensor) for end in ends for tensor in range(len(output))]
        pieces = [self._piece(*made) for made in (*norms, *kernels, *convs, *outputs)]
        return self._shapes, self._counts, GluedChunks(tuple(pieces))

    def _add(self, shapes: list[Shape]) -> int:
        self._shapes.append(shapes)
        self._counts.append(0)
        return len(self._counts) - 1

    def _take(self, kind: int, number: int) -> list[tuple[int, int]]:
        first = self._counts[kind]
        self._counts[kind] += number
        return [(kind, first + i) for i in range(number)]

    def _piece(self, layer: _Glued, tensor: int) -> Piece:
        positions = [sum(self._counts[:kind]) + number for kind, number in layer.chunks]
        shared = tensor > 0 and layer.dim == 1
        return Piece(tuple(positions[:1] if shared else positions), tensor, 0 if tensor > 0 else layer.dim)
