"""Hyperfan initialisation of hypernetworks that are made of others: variances of what they produce."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hypnettorch.core.starts import METHODS, UNUSED, Start, Target, average, hyperfan
from hypnettorch.hnets import (
    HMLP,
    ChunkedHMLP,
    HContainer,
    HDeconv,
    HPerturbWrapper,
    HyperNetInterface,
    StructuredHMLP,
)
from hypnettorch.hnets.assembly import GluedChunks, Piece
from hypnettorch.hnets.hnet_helpers import init_chunk_embeddings, init_conditional_embeddings
from hypnettorch.hnets.initialization import describe_targets
from hypnettorch.hnets.structured_hmlp_examples import resnet_chunking
from hypnettorch.mnets import MLP, MainNetInterface, ResNet
from tests.hnets.assemblies import HandWritten, hnets_around_plain, in_order

DRAWS = 400


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Hundreds of tiny operations per second are slower with several threads, which wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def mlp(width: int, **options: Any) -> MLP:
    return MLP(n_in=12, n_out=8, hidden_layers=[width, width], no_weights=True, verbose=False, **options)


def pairs(shapes: list[list[int]]) -> list[list[list[int]]]:
    """Weight and bias of each layer."""
    return [shapes[i : i + 2] for i in range(0, len(shapes), 2)]


def structured(mnet: MainNetInterface, **options: Any) -> StructuredHMLP:
    """One kind of chunk per shape of a layer."""
    layers = pairs(mnet.hyper_shapes_learned or [])
    kinds = [layer for i, layer in enumerate(layers) if layer not in layers[:i]]
    where = [(kinds.index(layer), layers[:i].count(layer)) for i, layer in enumerate(layers)]
    counts = [layers.count(kind) for kind in kinds]
    chunk = [sum(counts[:kind]) + number for kind, number in where]
    glue = GluedChunks(tuple(Piece((position,), tensor) for position in chunk for tensor in range(2)))
    settings = {"hmlp_kwargs": {"layers": [64]}, "cond_in_size": 32, "num_cond_embs": 1, "verbose": False, **options}
    return StructuredHMLP(mnet.hyper_shapes_learned or [], kinds, counts, 32, assembly_fct=glue, **settings)


def moments(hnet: Any, mnet: MainNetInterface, draws: int = DRAWS, **options: Any) -> tuple[Tensor, Tensor]:
    """Mean and variance of every produced tensor over draws of weights and embeddings."""
    sums = torch.zeros(2, len(hnet.target_shapes), dtype=torch.float64)
    noise = {"uncond_input": None}
    for _ in range(draws):
        init_conditional_embeddings(hnet)
        init_chunk_embeddings(hnet)
        hnet.apply_hyperfan_init(mnet=mnet, **options)
        if hnet._uncond_in_size:
            noise["uncond_input"] = torch.randn(1, hnet._uncond_in_size)
        with torch.no_grad():
            produced = hnet(cond_id=0, **noise)
        sums[0] += torch.stack([weight.double().mean() for weight in produced])
        sums[1] += torch.stack([weight.double().square().mean() for weight in produced])
    mean = sums[0] / draws
    return mean, sums[1] / draws - mean.square()


def wanted(mnet: MainNetInterface, shapes: list[list[int]], method: str = "in", xavier: bool = False) -> Tensor:
    """Mean and variance that every tensor should have."""
    starts = [hyperfan(target, method, 1.0 if xavier else 2.0) for target in describe_targets(shapes, mnet)]
    return torch.tensor([[start.mean for start in starts], [start.generated + start.constant for start in starts]])


def assert_moments(found: tuple[Tensor, Tensor], expected: Tensor) -> None:
    mean, variance = found
    assert ((mean - expected[0]).abs() < 0.1 * expected[1].sqrt() + 1e-6).all(), mean
    assert ((variance - expected[1]).abs() <= 0.1 * expected[1] + 1e-9).all(), variance / expected[1]


@pytest.mark.parametrize(("method", "xavier"), [*((method, False) for method in METHODS), ("in", True)])
def test_structured(method: str, xavier: bool) -> None:
    mnet = mlp(16)
    hnet = structured(mnet, hmlp_kwargs={"layers": [64], "activation_fn": nn.ReLU()})
    found = moments(hnet, mnet, method=method, use_xavier=xavier)
    assert_moments(found, wanted(mnet, hnet.target_shapes, method, xavier))


OPTIONS: dict[str, dict[str, Any]] = {
    "linear, without biases": {"hmlp_kwargs": {"layers": (), "use_bias": False}, "cond_in_size": 64},
    "tanh": {"hmlp_kwargs": {"layers": [64, 64], "activation_fn": nn.Tanh()}},
    "own chunk embeddings": {"cond_chunk_embs": True, "cond_in_size": 0},
    "noise": {"uncond_in_size": 32},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_structured_options(options: dict[str, Any]) -> None:
    mnet = mlp(16)
    hnet = structured(mnet, **options)
    assert_moments(moments(hnet, mnet), wanted(mnet, hnet.target_shapes))


def test_chunk_embeddings_of_any_variance() -> None:
    """The variance of the rows takes into account how large the embeddings are."""
    mnet = mlp(16)
    hnet = structured(mnet, hmlp_kwargs={"layers": ()}, cond_in_size=32)
    bounds = []
    for std in (1.0, 3.0):
        init_chunk_embeddings(hnet, normal_std=std)
        hnet.apply_hyperfan_init(mnet=mnet)
        embeddings = [embedding.square().mean() for embedding, *_ in hnet.chunk_embeddings()]
        rows = [net.layer_weight_tensors[-1].square().mean() for net in hnet.internal_hnets]
        bounds.append([(row * (1 + e) / 2).item() for row, e in zip(rows, embeddings, strict=True)])
    assert bounds[0] == pytest.approx(bounds[1], rel=0.1)


def test_batch_norm_starts_neutral() -> None:
    """Scales start at 1 and shifts at 0, whatever the input."""
    mnet = ResNet(in_shape=(8, 8, 3), num_classes=8, n=1, num_feature_maps=(2, 2, 2, 2), no_weights=True, verbose=False)
    shapes, counts, assembly_fct = resnet_chunking(mnet)
    options: dict[str, Any] = {"cond_in_size": 8, "num_cond_embs": 3, "verbose": False}
    hnet = StructuredHMLP(mnet.param_shapes, shapes, counts, 8, {"layers": [16]}, assembly_fct, **options)
    hnet.apply_hyperfan_init(mnet=mnet)
    for weights in hnet(cond_id=[0, 1, 2], ret_format="sequential"):
        for weight, meta in zip(weights, mnet.param_shapes_meta, strict=True):
            if meta["name"] in ("bn_scale", "bn_shift"):
                assert (weight == float(meta["name"] == "bn_scale")).all()
    linear = StructuredHMLP(mnet.param_shapes, shapes, counts, 8, {"use_bias": False}, assembly_fct, **options)
    with pytest.raises(ValueError, match="biases"):
        linear.apply_hyperfan_init(mnet=mnet)


def test_container() -> None:
    """Full and structured hypernetworks, a nested container, plain parameters; and a wrapper around it all."""
    mnet = MLP(n_in=12, n_out=8, hidden_layers=[16, 16, 16], use_batch_norm=True, no_weights=True, verbose=False)
    first, *rest = pairs(mnet.param_shapes[6:])
    options: dict[str, Any] = {"cond_in_size": 32, "num_cond_embs": 1, "verbose": False}
    full = HMLP(first, layers=[64], **options)
    middle = StructuredHMLP([*rest[0], *rest[1]], rest[:1], [2], 32, {"layers": [64]}, in_order, **options)
    nested = HContainer([*rest[0], *rest[1]], first_of, [middle], verbose=False)

    hnet = HContainer(
        mnet.param_shapes,
        norm_first,
        [full, nested],
        uncond_param_shapes=mnet.param_shapes[:6],
        uncond_param_names=["bn_scale", "bn_shift"] * 3,
        cond_param_shapes=rest[2],
        num_cond_embs=1,
        verbose=False,
    )
    expected = wanted(mnet, hnet.target_shapes)
    assert expected[0].tolist() == [1, 0] * 3 + [0] * 8
    assert_moments(moments(hnet, mnet), expected)
    torch.manual_seed(7)
    hnet.apply_hyperfan_init(mnet=mnet)
    own = [param.clone() for param in hnet.internal_params]
    torch.manual_seed(7)
    HPerturbWrapper(hnet, 0, verbose=False).apply_hyperfan_init(mnet=mnet)
    assert all(torch.equal(a, b) for a, b in zip(own, hnet.internal_params, strict=True))


def norm_first(hnets: list[list[Tensor]], uncond: list[Tensor], cond: list[Tensor]) -> list[Tensor]:
    return [*uncond, *hnets[0], *hnets[1], *cond]


def first_of(hnets: list[list[Tensor]], uncond: list[Tensor], cond: list[Tensor]) -> list[Tensor]:
    return hnets[0]


def test_chunked_member() -> None:
    """A chunked hypernetwork reaches its variances by its own rule, whatever its embeddings were."""
    mnet = MLP(n_in=10, n_out=10, hidden_layers=[40], use_bias=False, no_weights=True, verbose=False)
    chunked = ChunkedHMLP([[40, 10]], 100, 32, cond_in_size=8, layers=[64], verbose=False)
    hnet = HContainer(mnet.param_shapes, hnets_around_plain, [chunked], [[10, 40]], verbose=False)
    mean, variance = moments(hnet, mnet)
    torch.testing.assert_close(variance, torch.tensor([2 / 10, 2 / 40], dtype=torch.float64), rtol=0.1, atol=0)
    assert (mean.abs() < 0.02).all()


def test_deconvolutional_member() -> None:
    """Constants per pixel bring its targets to their variances, also where it is a part of something else."""
    mnet = MLP(n_in=12, n_out=8, hidden_layers=[16], no_weights=True, verbose=False)
    drawn = HDeconv(
        mnet.param_shapes[:2], (16, 16), cond_in_size=32, num_layers=2, num_filters=[16], sa_units=(), verbose=False
    )
    plain = mnet.param_shapes[2:]
    inner = HContainer(mnet.param_shapes, hnets_around_plain, [drawn], plain, verbose=False)
    hnet = HPerturbWrapper(HContainer(mnet.param_shapes, first_of, [inner], verbose=False), 0, 1e-4, verbose=False)
    assert_moments(moments(hnet, mnet), wanted(mnet, hnet.target_shapes))


def test_glued_chunks_serve_several_layers() -> None:
    """A kind of chunk with two destinations starts at the average of what they want."""
    mnet = MLP(n_in=8, n_out=16, hidden_layers=[16], use_bias=False, no_weights=True, verbose=False)
    glue = GluedChunks((Piece((0,), 0), Piece((1, 2), 0, 1)))
    options: dict[str, Any] = {"cond_in_size": 32, "num_cond_embs": 1, "verbose": False}
    hnet = StructuredHMLP(mnet.param_shapes, [[[16, 8]]], [3], 32, {"layers": [64]}, glue, **options)
    _, variance = moments(hnet, mnet)
    shared = (1 * 2 / 8 + 2 * 2 / 16) / 3
    torch.testing.assert_close(variance, torch.tensor([shared] * 2).double(), rtol=0.1, atol=0)


@pytest.mark.parametrize("build", ["structured", "container"])
def test_second_moments_of_a_deep_network(build: str) -> None:
    """Ten layers without normalisation neither amplify nor damp."""
    width, depth, size = 32, 10, 128
    mnet = MLP(
        n_in=width, n_out=width, hidden_layers=[width] * (depth - 1), no_weights=True, verbose=False, use_bias=False
    )
    options: dict[str, Any] = {"cond_in_size": 0, "num_cond_embs": 1, "verbose": False}
    linear = {"layers": (), "use_bias": False}
    half = [[width, width]] * (depth // 2)
    parts = [
        StructuredHMLP(half, [[[width, width]]], [depth // 2], size, linear, in_order, True, **options)
        for _ in range(2)
    ]
    hnet: Any = HContainer(mnet.param_shapes, hnets_around_plain, parts, verbose=False)
    if build == "structured":
        hnet = StructuredHMLP(mnet.param_shapes, [[[width, width]]], [depth], size, linear, in_order, True, **options)
        parts = [hnet]
    ratios = []
    for _ in range(50):
        init_chunk_embeddings(hnet)
        hnet.apply_hyperfan_init(mnet=mnet)
        factors = torch.cat([part.get_chunk_embs(0)[0].square().sum(1) / size for part in parts])
        x = torch.randn(64, width)
        with torch.no_grad():
            for weight, factor in zip(hnet(cond_id=0), factors, strict=True):
                y = x @ weight.T
                ratios.append(y.square().mean() / (2 * x.square().mean() * factor))
                x = torch.relu(y)
    mean = torch.stack(ratios).view(50, depth).mean(0)
    assert ((mean - 1).abs() < 0.1).all(), mean


def test_what_is_averaged() -> None:
    starts = [hyperfan(Target((4, 8), "weight", 8, 4)), hyperfan(Target((4, 4), "bn_scale", 4, 4))]
    mixed = average(starts, {0: 30, 1: 10})
    assert mixed == Start(0.25, 0.0, 0.75 * 2 / 8)
    assert average(starts, {}) is UNUSED
    nested = average([starts[0], mixed, UNUSED], Counter({0: 10, 1: 5, 2: 7}))
    assert (nested.mean, nested.constant) == (pytest.approx(1.25 / 15), 0.0)
    assert nested.generated == pytest.approx(13.75 / 15 * 2 / 8)


def test_arguments() -> None:
    mnet = mlp(16)
    hnets: list[HyperNetInterface] = [
        structured(mnet),
        HContainer(mnet.param_shapes, hnets_around_plain, [structured(mnet)], verbose=False),
        HPerturbWrapper(structured(mnet), 0, verbose=False),
    ]
    for hnet in hnets:
        with pytest.raises(ValueError, match="method"):
            hnet.apply_hyperfan_init("fan")
        with pytest.raises(ValueError, match="cond_var"):
            hnet.apply_hyperfan_init(cond_var=-1.0)
        with pytest.raises(TypeError, match="mnet"):
            hnet.apply_hyperfan_init(mnet=3)
        with pytest.raises(ValueError, match="mnet"):
            hnet.apply_hyperfan_init(mnet=mlp(17))
    with pytest.raises(ValueError, match="internal unconditional parameters"):
        structured(mnet, no_uncond_weights=True).apply_hyperfan_init(mnet=mnet)
    with pytest.raises(NotImplementedError, match="HandWritten"):
        HPerturbWrapper(HandWritten(mnet.param_shapes), 0, verbose=False).apply_hyperfan_init(mnet=mnet)
    computing = StructuredHMLP(
        [[4, 3]], [[[4, 3]]], [1], 3, {"layers": [4]}, lambda chunks: [2 * chunks[0][0]], verbose=False
    )
    with pytest.raises(ValueError, match="assembly_fct"):
        computing.apply_hyperfan_init()


def test_unused_tensors_get_no_variance() -> None:
    """What no target needs (surplus biases of glued chunks) does not disturb what the others need."""
    glue = GluedChunks((Piece((0, 1), 0, 1), Piece((0,), 1)))
    hnet = StructuredHMLP([[8, 8], [8]], [[[8, 4], [8]]], [2], 3, {"layers": [4]}, glue, verbose=False)
    hnet.apply_hyperfan_init()
    rows = hnet.internal_hnets[0].layer_weight_tensors[-1]
    assert rows[-8:].abs().max() > 0
    alone = GluedChunks((Piece((0, 1), 0, 1),))
    hnet = StructuredHMLP([[8, 8]], [[[8, 4], [8]]], [2], 3, {"layers": ()}, alone, verbose=False)
    hnet.apply_hyperfan_init()
    rows = hnet.internal_hnets[0].layer_weight_tensors[-1]
    assert rows[-8:].abs().max() == 0
    assert math.isclose(rows[:-8].abs().max().item(), math.sqrt(3 * 2 / (8 * 11)), rel_tol=0.2)
