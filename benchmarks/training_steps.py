"""A training step: produce the weights of one condition, evaluate the main network, go back."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import plain
from benchmarks.harness import Case, Step
from hypnettorch.hnets import HMLP, ChunkedHMLP, HyperNetwork, StructuredHMLP
from hypnettorch.hnets.structured_hmlp_examples import resnet_chunking
from hypnettorch.mnets import MLP, ResNet

EMBEDDING, HIDDEN, CHUNK, BATCH = 8, 100, 1000, 128
SHAPES = MLP.weight_shapes(784, 10, [100, 100])


def _images(*shape: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(BATCH, *shape, generator=generator, device="cpu")
    y = torch.randint(10, (BATCH,), generator=generator, device="cpu")
    return x.to(torch.get_default_device()), y.to(torch.get_default_device())


def _full(split_head: bool = False) -> HMLP:
    """A hypernetwork that knows one condition; both forms start with the same values."""
    torch.manual_seed(1)
    hnet = HMLP(SHAPES, cond_in_size=EMBEDDING, layers=[HIDDEN, HIDDEN], verbose=False)
    if not split_head:
        return hnet
    split = HMLP(SHAPES, cond_in_size=EMBEDDING, layers=[HIDDEN, HIDDEN], split_head=True, verbose=False)
    split.load_state_dict(hnet.state_dict())
    return split


def _chunked(shapes: list[list[int]]) -> ChunkedHMLP:
    torch.manual_seed(1)
    return ChunkedHMLP(shapes, CHUNK, EMBEDDING, cond_in_size=EMBEDDING, layers=[HIDDEN, HIDDEN], verbose=False)


def _with_mlp(hnet: HyperNetwork, update: str) -> Step:
    mnet = MLP(784, 10, [100, 100], no_weights=True, verbose=False)
    x, y = _images(784)
    return plain.STEPS[update](lambda: F.cross_entropy(mnet(x, weights=hnet(cond_id=0)), y), hnet.parameters())


def full(update: str) -> Step:
    """``HMLP`` as it is."""
    return _with_mlp(_full(), update)


def full_split(update: str) -> Step:
    """``HMLP`` with ``split_head``."""
    return _with_mlp(_full(split_head=True), update)


def full_by_hand(update: str) -> Step:
    """One output layer, cut by one split."""
    x, y = _images(784)
    params = plain.leaves(_full().parameters())

    def loss() -> Tensor:
        weights = plain.cut(plain.perceptron(params[0], params[1:]), SHAPES)
        return F.cross_entropy(plain.perceptron(x, weights), y)

    return plain.STEPS[update](loss, params)


def full_naive(update: str) -> Step:
    """One output layer, a slice per target."""
    x, y = _images(784)
    params = plain.leaves(_full().parameters())

    def loss() -> Tensor:
        weights = plain.slices(plain.perceptron(params[0], params[1:]), SHAPES)
        return F.cross_entropy(plain.perceptron(x, weights), y)

    return plain.STEPS[update](loss, params)


def full_heads(update: str) -> Step:
    """One output layer per target, as torchhyper has it."""
    x, y = _images(784)
    hnet = _full(split_head=True)
    embedding, *values = plain.leaves(hnet.parameters())
    heads = plain.Heads([EMBEDDING, HIDDEN, HIDDEN], SHAPES, values)
    return plain.STEPS[update](
        lambda: F.cross_entropy(plain.perceptron(x, heads(embedding)), y), [embedding, *heads.parameters()]
    )


def chunked(update: str) -> Step:
    """``ChunkedHMLP``."""
    return _with_mlp(_chunked(SHAPES), update)


def _chunks_by_hand(params: list[Tensor], num_outputs: int) -> Tensor:
    embedding, *layers, chunks = params
    rows = torch.cat([chunks, embedding.expand(len(chunks), EMBEDDING)], dim=1)
    return plain.perceptron(rows, layers).view(-1)[:num_outputs]


def chunked_by_hand(update: str) -> Step:
    """All chunks as one batch, cut by one split."""
    x, y = _images(784)
    hnet = _chunked(SHAPES)
    params = plain.leaves(hnet.parameters())

    def loss() -> Tensor:
        weights = plain.cut(_chunks_by_hand(params, hnet.num_outputs), SHAPES)
        return F.cross_entropy(plain.perceptron(x, weights), y)

    return plain.STEPS[update](loss, params)


def chunked_naive(update: str) -> Step:
    """A chunk after the other."""
    x, y = _images(784)
    hnet = _chunked(SHAPES)
    params = plain.leaves(hnet.parameters())
    embedding, *layers, chunks = params

    def loss() -> Tensor:
        pieces = [plain.perceptron(torch.cat([chunk, embedding]), layers) for chunk in chunks.unbind()]
        weights = plain.cut(torch.cat(pieces)[: hnet.num_outputs], SHAPES)
        return F.cross_entropy(plain.perceptron(x, weights), y)

    return plain.STEPS[update](loss, params)


def _resnet() -> ResNet:
    return ResNet(in_shape=(32, 32, 3), num_classes=10, n=5, no_weights=True, verbose=False)


def generator(update: str) -> Step:
    """``ChunkedHMLP`` for all 126 tensors of a ResNet-32."""
    hnet = _chunked(_resnet().hyper_shapes_learned)
    return plain.STEPS[update](lambda: sum(w.square().sum() for w in hnet(cond_id=0)), hnet.parameters())


def generator_by_hand(update: str) -> Step:
    """The same, cut by one split."""
    hnet = _chunked(_resnet().hyper_shapes_learned)
    params = plain.leaves(hnet.parameters())

    def loss() -> Tensor:
        weights = plain.cut(_chunks_by_hand(params, hnet.num_outputs), hnet.target_shapes)
        return sum(w.square().sum() for w in weights)

    return plain.STEPS[update](loss, params)


def generator_flat(update: str) -> Step:
    """Flat weights that nobody cuts."""
    hnet = _chunked(_resnet().hyper_shapes_learned)
    params = plain.leaves(hnet.parameters())
    return plain.STEPS[update](lambda: _chunks_by_hand(params, hnet.num_outputs).square().sum(), params)


def generator_naive(update: str) -> Step:
    """A slice per target."""
    hnet = _chunked(_resnet().hyper_shapes_learned)
    params = plain.leaves(hnet.parameters())

    def loss() -> Tensor:
        weights = plain.slices(_chunks_by_hand(params, hnet.num_outputs), hnet.target_shapes)
        return sum(w.square().sum() for w in weights)

    return plain.STEPS[update](loss, params)


def _structured(net: ResNet) -> StructuredHMLP:
    torch.manual_seed(1)
    chunk_shapes, num_per_chunk, assembly = resnet_chunking(net)
    hmlp = {"layers": [32], "verbose": False}
    return StructuredHMLP(
        net.param_shapes, chunk_shapes, num_per_chunk, EMBEDDING, hmlp, assembly, cond_in_size=EMBEDDING, verbose=False
    )


def structured(update: str) -> Step:
    """``StructuredHMLP`` and ``ResNet``, 32 layers."""
    net = _resnet()
    hnet = _structured(net)
    x, y = _images(32 * 32 * 3)
    return plain.STEPS[update](lambda: F.cross_entropy(net(x, weights=hnet(cond_id=0)), y), hnet.parameters())


def structured_by_hand(update: str, one_by_one: bool = False) -> Step:
    """A generator per kind of layer and the network in plain PyTorch; layers are put together by the same function."""
    net = _resnet()
    hnet = _structured(net)
    chunk_shapes, num_per_chunk, assembly = resnet_chunking(net)
    x, y = _images(32 * 32 * 3)
    images = x.view(-1, 32, 32, 3).permute(0, 3, 1, 2).contiguous()
    embedding, *rest = plain.leaves(hnet.internal_params)
    kinds = len(num_per_chunk)
    layers, embeddings = rest[: 4 * kinds], rest[4 * kinds :]
    statistics = [(torch.zeros(shape), torch.ones(shape)) for shape in net.param_shapes[:62:2]]

    def loss() -> Tensor:
        chunks = []
        for i, (shapes, count) in enumerate(zip(chunk_shapes, num_per_chunk, strict=True)):
            rows = torch.cat([embeddings[i], embedding.expand(count, EMBEDDING)], dim=1)
            batches = rows.split(1) if one_by_one else [rows]
            generated = torch.cat([plain.perceptron(batch, layers[4 * i : 4 * i + 4]) for batch in batches])
            tensors = plain.cut(generated, shapes)
            chunks += [list(chunk) for chunk in zip(*[tensor.unbind() for tensor in tensors], strict=True)]
        return F.cross_entropy(_resnet_by_hand(images, assembly(chunks), statistics), y)

    return plain.STEPS[update](loss, [embedding, *rest])


def structured_naive(update: str) -> Step:
    """The same, a chunk after the other."""
    return structured_by_hand(update, one_by_one=True)


def _resnet_by_hand(x: Tensor, weights: list[Tensor], statistics: list[tuple[Tensor, Tensor]]) -> Tensor:
    norms, layers = iter(zip(weights[0:62:2], weights[1:62:2], statistics, strict=True)), iter(weights[62:])

    def convolution(x: Tensor, stride: int = 1) -> Tensor:
        x = F.conv2d(x, next(layers), next(layers), stride, 1)
        scale, shift, (mean, var) = next(norms)
        return F.batch_norm(x, mean, var, scale, shift, training=True)

    x = convolution(x).relu()
    for group in range(3):
        for block in range(5):
            stride = 2 if group > 0 and block == 0 else 1
            body = convolution(convolution(x, stride).relu())
            missing = body.shape[1] - x.shape[1]
            x = F.pad(x[..., ::stride, ::stride], (0, 0, 0, 0, missing // 2, missing // 2))
            x = (body + x).relu()
    return F.linear(x.mean((2, 3)), next(layers), next(layers))


FULL = {"hand-written": full_by_hand, "naive slices": full_naive, "hand-written heads": full_heads}
ON_MLP = "→ MLP 784-100-100-10, batch 128"

CASES = [
    Case(
        f"HMLP {ON_MLP}, gradients",
        {"hypnettorch": full, **FULL},
        {"update": "gradients"},
        goals={"hand-written": 0.55},
    ),
    Case(f"HMLP {ON_MLP}, Adam", {"hypnettorch": full, **FULL}, {"update": "Adam"}, goals={"hand-written": 1.0}),
    Case(
        f"HMLP {ON_MLP}, gradients, split_head",
        {"hypnettorch": full_split, **FULL},
        {"update": "gradients"},
        goals={"hand-written": 0.35, "hand-written heads": 1.05},
    ),
    Case(
        f"HMLP {ON_MLP}, Adam, split_head",
        {"hypnettorch": full_split, **FULL},
        {"update": "Adam"},
        goals={"hand-written": 0.45, "hand-written heads": 1.05},
    ),
    Case(
        f"ChunkedHMLP {ON_MLP}, gradients",
        {"hypnettorch": chunked, "hand-written": chunked_by_hand, "naive loop": chunked_naive},
        {"update": "gradients"},
        goals={"hand-written": 1.05},
    ),
    Case(
        f"ChunkedHMLP {ON_MLP}, Adam",
        {"hypnettorch": chunked, "hand-written": chunked_by_hand, "naive loop": chunked_naive},
        {"update": "Adam"},
        goals={"hand-written": 1.05},
    ),
    Case(
        "ChunkedHMLP → ResNet-32, generator alone, gradients",
        {
            "hypnettorch": generator,
            "hand-written": generator_by_hand,
            "hand-written, flat": generator_flat,
            "naive slices": generator_naive,
        },
        {"update": "gradients"},
        goals={"hand-written": 1.05},
    ),
    Case(
        "StructuredHMLP → ResNet-32, batch 128, gradients",
        {"hypnettorch": structured, "hand-written": structured_by_hand, "naive loop": structured_naive},
        {"update": "gradients"},
        goals={"hand-written": 1.05},
        tolerance=1e-3,
    ),
]
