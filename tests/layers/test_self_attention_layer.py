from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hypnettorch.layers import self_attention_layer
from hypnettorch.layers.self_attention_layer import (
    AttentionWeights,
    SelfAttnLayer,
    SelfAttnLayerV2,
    attention_shapes,
    self_attention,
)

CHANNELS = 16


def draw(in_dim: int = CHANNELS, *lead: int) -> list[Tensor]:
    shapes = attention_shapes(in_dim)
    return [torch.randn(*lead, *shape, dtype=torch.float64) / math.sqrt(math.prod(shape[1:])) for shape in shapes]


def image(*shape: int) -> Tensor:
    return torch.randn(*(shape or (2, CHANNELS, 3, 4)), dtype=torch.float64)


def by_pixels(x: Tensor, weights: list[Tensor]) -> tuple[Tensor, Tensor]:
    """The equation, pixel by pixel."""
    q_w, q_b, k_w, k_b, v_w, v_b, gamma = weights
    out, maps = x.clone(), []
    for n, sample in enumerate(x.flatten(2)):
        pixels = list(sample.unbind(1))
        queries, keys, values = (
            [w[:, :, 0, 0] @ p + b for p in pixels] for w, b in ((q_w, q_b), (k_w, k_b), (v_w, v_b))
        )
        scores = torch.stack([torch.stack([q @ k for k in keys]) for q in queries])
        attention = scores.exp() / scores.exp().sum(1, keepdim=True)
        for i in range(len(pixels)):
            attended = sum(a * v for a, v in zip(attention[i], values, strict=True))
            out.flatten(2)[n, :, i] += gamma * attended
        maps.append(attention)
    return out, torch.stack(maps)


def v1(weights: list[Tensor], spectral_norm: bool = False) -> SelfAttnLayer:
    layer = SelfAttnLayer(weights[4].shape[0], spectral_norm).double()
    names = ["query_conv.weight", "query_conv.bias", "key_conv.weight", "key_conv.bias"]
    names += ["value_conv.weight", "value_conv.bias", "gamma"]
    layer.load_state_dict(dict(zip(names, weights, strict=True)), strict=True)
    return layer


def test_equation() -> None:
    x, weights = image(), draw()
    expected = by_pixels(x, weights)
    torch.testing.assert_close(v1(weights)(x, ret_attention=True), expected)
    layer = SelfAttnLayerV2(CHANNELS, False, no_weights=True)
    torch.testing.assert_close(layer(x, ret_attention=True, weights=weights), expected)
    torch.testing.assert_close(layer(x, weights=weights), expected[0])


@pytest.mark.parametrize("cls", [SelfAttnLayer, SelfAttnLayerV2])
def test_starts_as_the_identity(cls: Any) -> None:
    x = image().float()
    layer = cls(CHANNELS, False)
    assert torch.equal(layer(x), x)
    assert sum(param.numel() for param in layer.parameters()) == 2 * (2 * 16 + 2) + 16 * 16 + 16 + 1


def test_few_channels_have_one_query() -> None:
    assert SelfAttnLayerV2(4, False).weight_shapes[0] == [1, 4, 1, 1]
    assert SelfAttnLayer(4, False)(torch.randn(1, 4, 2, 2)).shape == (1, 4, 2, 2)


def test_spectral_norm() -> None:
    x, weights = image(), draw()
    normalized = [w / torch.linalg.matrix_norm(w.flatten(1), 2) if w.dim() == 4 else w for w in weights]
    expected = by_pixels(x, normalized)[0]
    torch.testing.assert_close(v1(weights, spectral_norm=True)(x), expected)
    torch.testing.assert_close(SelfAttnLayerV2(CHANNELS, True, no_weights=True)(x, weights=weights), expected)


@pytest.mark.parametrize("no_weights", [False, True])
def test_changes_are_added(no_weights: bool) -> None:
    x, weights, changes = image(), draw(), draw()
    layer = SelfAttnLayerV2(CHANNELS, False, no_weights, None if no_weights else weights).double()
    sums = [w + d for w, d in zip(weights, changes, strict=True)]
    before = None if no_weights else [w.clone() for w in layer.weights]
    passed = {"weights": weights} if no_weights else {}
    torch.testing.assert_close(layer(x, dWeights=changes, **passed), by_pixels(x, sums)[0], rtol=1e-6, atol=1e-6)
    assert no_weights or all(torch.equal(a, b) for a, b in zip(before, layer.weights, strict=True))


def test_passed_weights_replace_own() -> None:
    x, weights = image(), draw()
    layer = SelfAttnLayerV2(CHANNELS, False, init_weights=draw()).double()
    torch.testing.assert_close(layer(x, weights=weights), by_pixels(x, weights)[0])


def test_initial_values() -> None:
    weights = [w.float() for w in draw()]
    layer = SelfAttnLayerV2(CHANNELS, False, init_weights=weights)
    assert isinstance(layer.weights, nn.ParameterList)
    assert all(torch.equal(a, b) for a, b in zip(layer.weights, weights, strict=True))
    assert SelfAttnLayerV2(CHANNELS, False, no_weights=True).weights is None
    plain = SelfAttnLayerV2(CHANNELS, False).weights
    assert all(0.9 * 0.25 < w.abs().max() <= 0.25 for w in plain[:6:2])
    assert plain[6].item() == 0


def test_many_sets() -> None:
    x, weights = image(3, 2, CHANNELS, 3, 4), draw(CHANNELS, 3)
    expected = torch.stack([by_pixels(x[b], [w[b] for w in weights])[0] for b in range(3)])
    torch.testing.assert_close(self_attention(x, AttentionWeights(*weights)), expected)
    shared = [*weights[:3], weights[3][0], weights[4][0], None, weights[6]]
    own = [[w if w is None or i in (3, 4) else w[b] for i, w in enumerate(shared)] for b in range(3)]
    expected = torch.stack([self_attention(x[b], AttentionWeights(*own[b])) for b in range(3)])
    torch.testing.assert_close(self_attention(x, AttentionWeights(*shared)), expected)


def test_large_maps_are_computed_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weights = image().requires_grad_(), [w.requires_grad_() for w in draw()]

    def derivatives() -> tuple[Tensor, ...]:
        out = self_attention(x, AttentionWeights(*weights))
        first = torch.autograd.grad(out.square().sum(), [x, *weights], create_graph=True)
        return (out, *first, *torch.autograd.grad(sum(g.square().sum() for g in first), [x, *weights]))

    expected = derivatives()
    calls: list[tuple[int, ...]] = []
    attend = self_attention_layer._attend
    monkeypatch.setattr(self_attention_layer, "_attend", lambda q, k, v: calls.append(q.shape) or attend(q, k, v))
    monkeypatch.setattr(self_attention_layer, "LARGEST_MAP", 5 * 12)
    torch.testing.assert_close(derivatives(), expected)
    assert [shape[-2] for shape in calls[:3]] == [5, 5, 2]


def test_derivatives() -> None:
    layer = SelfAttnLayerV2(8, True, no_weights=True)
    inputs = [tensor.requires_grad_() for tensor in (image(2, 8, 2, 3), *draw(8))]

    def function(x: Tensor, *weights: Tensor) -> Tensor:
        return layer(x, weights=list(weights))

    assert torch.autograd.gradcheck(function, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, inputs, fast_mode=True)


def test_vmap_and_compile() -> None:
    layer = SelfAttnLayerV2(CHANNELS, False, no_weights=True)
    x, weights = image(3, 2, CHANNELS, 3, 4), draw(CHANNELS, 3)
    expected = self_attention(x, AttentionWeights(*weights))
    torch.testing.assert_close(torch.func.vmap(lambda x, w: layer(x, weights=w))(x, weights), expected)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x[0], weights=[w[0] for w in weights]), expected[0])
    torch._dynamo.reset()


@pytest.mark.parametrize("cls", [SelfAttnLayer, SelfAttnLayerV2])
def test_state(cls: Any) -> None:
    layer = cls(CHANNELS, False)
    nn.init.ones_(layer.gamma if cls is SelfAttnLayer else layer.weights[6])
    x = image().float()
    other = cls(CHANNELS, False)
    other.load_state_dict(layer.state_dict(), strict=True)
    for same in (other, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(same(x), layer(x))
    assert not torch.equal(layer(x), x)


def test_wrong_arguments() -> None:
    weights = draw()
    external, internal = SelfAttnLayerV2(CHANNELS, False, no_weights=True), SelfAttnLayerV2(CHANNELS, False)
    x = image()
    with pytest.raises(ValueError, match="in_dim"):
        SelfAttnLayer(0, False)
    with pytest.raises(TypeError, match="use_spectral_norm"):
        SelfAttnLayer(8, 1)
    with pytest.raises(ValueError, match="init_weights"):
        SelfAttnLayerV2(CHANNELS, False, no_weights=True, init_weights=weights)
    with pytest.raises(ValueError, match=r"init_weights\[0\]"):
        SelfAttnLayerV2(8, False, init_weights=weights)
    for wrong in (image(2, 8, 3, 4), image(2, CHANNELS, 12)):
        with pytest.raises(ValueError, match="x: expected shape"):
            external(wrong, weights=weights)
    with pytest.raises(ValueError, match="weights: expected 7 tensors"):
        external(x)
    with pytest.raises(ValueError, match="weights: expected 7 entries"):
        internal(x, weights=weights[:-1])
    with pytest.raises(ValueError, match=r"weights\[4\]"):
        external(x, weights=[*weights[:4], weights[4][0], *weights[5:]])
    with pytest.raises(ValueError, match=r"dWeights\[6\]"):
        internal(x, dWeights=[*weights[:6], torch.zeros(2)])
    with pytest.raises(TypeError, match="weights"):
        external(x, weights=torch.zeros(7))
    with pytest.raises(TypeError, match=r"weights\[0\]"):
        external(x, weights=[None, *weights[1:]])
