"""``ChunkSqueezer``: the documented equation, dynamic biases, statistics of both perceptrons."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hypnettorch.hnets import ChunkedHMLP
from hypnettorch.mnets import MLP, ChunkSqueezer
from tests.mnets.recurrent_networks import draw

SIZES: dict[str, Any] = {
    "n_in": 7,
    "n_out": 2,
    "inp_chunk_dim": 3,
    "out_chunk_dim": 4,
    "cemb_size": 2,
    "red_layers": [5, 6],
    "net_layers": [5],
}
NORMED: dict[str, Any] = {"use_batch_norm": True}


def make(**options: Any) -> Any:
    return ChunkSqueezer(**{**SIZES, "verbose": False, **options}).double()


def perceptron(n_in: int, n_out: int, hidden: list[int], **options: Any) -> Any:
    return MLP(n_in, n_out, hidden, verbose=False, **options).double()


def draw_input(samples: int = 4) -> Tensor:
    return torch.randn(samples, 7, dtype=torch.float64)


@pytest.mark.parametrize("options", [{}, {"use_bias": False}, {"activation_fn": nn.Tanh()}, NORMED])
def test_equation(options: dict[str, Any]) -> None:
    net, x = make(**options).train(), draw_input()
    reducer, network = perceptron(5, 4, [5, 6], **options), perceptron(12, 2, [5], **options)
    embeddings, *rest = draw(net.param_shapes)
    reducer_weights, network_weights = rest[: len(reducer.param_shapes)], rest[len(reducer.param_shapes) :]
    padded = torch.cat([x, torch.zeros(4, 2, dtype=x.dtype)], dim=1)
    inputs = [torch.cat([padded[:, 3 * j : 3 * j + 3], embeddings[j].expand(4, 2)], dim=1) for j in range(3)]
    squeezed = reducer(torch.cat(inputs), weights=reducer_weights).chunk(3)
    expected = network(torch.cat(squeezed, dim=1), weights=network_weights)
    torch.testing.assert_close(net(x, weights=[embeddings, *rest]), expected)
    layers = [*(reducer.batchnorm_layers or ()), *(network.batchnorm_layers or ())]
    for own, reference in zip(net.batchnorm_layers or (), layers, strict=True):
        torch.testing.assert_close(own.get_stats(), reference.get_stats())


@pytest.mark.parametrize("layers", [[], [0], [1, 2], [0, 1, 2]])
@pytest.mark.parametrize("options", [{}, NORMED, {"use_bias": False}])
def test_dynamic_biases(layers: list[int], options: dict[str, Any]) -> None:
    """``W h + b`` of the chosen layers of the reducer becomes ``W h + b + D c``."""
    net, x = make(dynamic_biases=layers, **options).train(), draw_input()
    sizes = [5, 6, 4]
    embeddings, *rest = draw(net.param_shapes)
    end = len(perceptron(3, 4, [5, 6], **options).param_shapes)
    own, matrices, network_weights = rest[:end], rest[end : end + len(layers)], rest[end + len(layers) :]
    assert [list(matrix.shape) for matrix in matrices] == [[sizes[layer], 2] for layer in layers]
    norms, maps = (own[:4], own[4:]) if options == NORMED else ([], own)
    h = torch.cat([*x[:, :6].split(3, dim=1), torch.cat([x[:, 6:], torch.zeros(4, 2, dtype=x.dtype)], dim=1)])
    c = embeddings.repeat_interleave(4, dim=0)
    for layer in range(3):
        weight, bias = (maps.pop(0), None) if "use_bias" in options else (maps.pop(0), maps.pop(0))
        h = nn.functional.linear(h, weight, bias)
        if layer in layers:
            h = h + c @ matrices[layers.index(layer)].T
        if layer < 2 and norms:
            h = nn.functional.batch_norm(h, None, None, norms.pop(0), norms.pop(0), training=True)
        if layer < 2:
            h = h.relu()
    network = perceptron(12, 2, [5], **options).train()
    expected = network(torch.cat(h.chunk(3), dim=1), weights=network_weights)
    torch.testing.assert_close(net(x, weights=[embeddings, *rest]), expected)


def test_dynamic_bias_of_the_first_layer_is_an_input() -> None:
    dynamic, ordinary, x = make(dynamic_biases=[0]), make(), draw_input()
    weights = draw(dynamic.param_shapes)
    image = weights.pop(7)
    joined = [weights[0], torch.cat([weights[1], image], dim=1), *weights[2:]]
    torch.testing.assert_close(dynamic(x, weights=[*weights[:7], image, *weights[7:]]), ordinary(x, weights=joined))


@pytest.mark.parametrize("options", [{}, NORMED, {"dynamic_biases": [1]}, {"use_spectral_norm": True}])
@pytest.mark.parametrize("share_input", [False, True])
def test_many_weight_sets(options: dict[str, Any], share_input: bool) -> None:
    net, xs = make(no_weights=True, **options), torch.stack([draw_input(), draw_input()])
    weights = draw(net.hyper_shapes_learned, 2)
    inputs = [xs[0], xs[0]] if share_input else list(xs)
    loop = [net(inputs[b], weights=[weight[b] for weight in weights]) for b in range(2)]
    batched = net.batched_forward(xs[0] if share_input else xs, weights, share_input=share_input)
    torch.testing.assert_close(batched, torch.stack(loop))


def test_embeddings_are_drawn_from_a_normal_distribution() -> None:
    net = ChunkSqueezer(n_in=1000, inp_chunk_dim=1, cemb_size=50, cemb_init_std=0.3, verbose=False)
    assert abs(net.internal_params[0].std().item() - 0.3) < 0.01
    assert ChunkSqueezer(n_in=5, cemb_init_std=0.0, verbose=False).internal_params[0].abs().sum() == 0


def test_statistics_of_each_condition() -> None:
    net, x = make(**NORMED, activation_fn=nn.Tanh()).eval(), draw_input()
    for layer in net.batchnorm_layers:
        layer.checkpoint_stats()
        for k in range(2):
            for stat in layer.get_stats(k):
                stat.uniform_(0.5, 2)
    first, last = (net(x, condition=k) for k in range(2))
    assert not torch.allclose(first, last)
    torch.testing.assert_close(net(x), last)
    fresh = make(**NORMED, activation_fn=nn.Tanh()).eval()
    fresh.load_state_dict(net.state_dict(), strict=True)
    torch.testing.assert_close(fresh(x, condition=0), first)


def test_state_of_version_0_0_4_loads() -> None:
    """There, the embeddings and both perceptrons held their tensors under names of their own."""
    net, x = make(**NORMED).eval(), draw_input()
    values = draw(net.param_shapes)
    num_reducer = len(perceptron(5, 4, [5, 6], **NORMED).param_shapes)
    parts = {"_reducer": values[1 : 1 + num_reducer], "_network": values[1 + num_reducer :]}
    old = {f"{name}.{i}": value for name in ("_internal_params", "_weights") for i, value in enumerate(values)}
    old["_cembs"] = values[0]
    statistics = iter(range(3))
    for part, own in parts.items():
        old |= {f"{part}.{name}.{i}": value for name in ("_internal_params", "_weights") for i, value in enumerate(own)}
        for j in range(2 if part == "_reducer" else 1):
            layer, number = f"{part}._batchnorm_layers.{j}", next(statistics)
            for name in (layer, f"_batchnorm_layers.{number}"):
                old |= {
                    f"{name}.scale": own[2 * j],
                    f"{name}.bias": own[2 * j + 1],
                    f"{name}._num_stats": torch.tensor(2),
                }
                old |= {f"{name}._weights.{i}": own[2 * j + i] for i in range(2)}
                for k in range(2):
                    size = own[2 * j].shape
                    old |= {f"{name}.{stat}_{k}": torch.full(size, 1.0 + number + k) for stat in ("mean", "var")}
    weights = [i for i, meta in enumerate(net.param_shapes_meta) if meta["name"] == "weight"]
    old |= {f"_layer_weight_tensors.{j}": values[i] for j, i in enumerate(weights)}
    old |= {f"_layer_bias_vectors.{j}": values[i + 1] for j, i in enumerate(weights)}
    net.load_state_dict(old, strict=True)
    torch.testing.assert_close([param.detach() for param in net.internal_params], values)
    assert [layer.get_stats(1)[0][0].item() for layer in net.batchnorm_layers] == [2.0, 3.0, 4.0]
    torch.testing.assert_close(net(x), net(x, weights=values))
    assert net.load_state_dict({"_cembs": values[0]}, strict=False).unexpected_keys == []


# Arguments


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"n_in": 0}, "n_in"),
        ({"n_out": 0}, "n_out"),
        ({"inp_chunk_dim": 0}, "inp_chunk_dim"),
        ({"out_chunk_dim": 0}, "out_chunk_dim"),
        ({"cemb_size": 0}, "cemb_size"),
        ({"cemb_init_std": -1}, "cemb_init_std"),
        ({"red_layers": [0]}, r"red_layers\[0\]"),
        ({"net_layers": [3, 0]}, r"net_layers\[1\]"),
        ({"dynamic_biases": [0, 3]}, r"dynamic_biases\[1\]"),
        ({"dynamic_biases": [1, 1]}, "dynamic_biases"),
        ({"dropout_rate": 2}, "dropout_rate"),
        ({"use_batch_norm": True, "distill_bn_stats": True, "bn_track_stats": False}, "distill_bn_stats"),
        ({"no_weights": True, "init_weights": [torch.zeros(1)]}, "init_weights"),
    ],
)
def test_wrong_options(options: dict[str, Any], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        make(**options)


@pytest.mark.parametrize("shape", [(7,), (4, 6), (4, 9), (1, 4, 7)])
def test_wrong_input(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="x"):
        make()(torch.zeros(shape, dtype=torch.float64))


# What was wrong in hypnettorch 0.0.4


def test_size_of_the_squeezed_chunks_is_free() -> None:
    """The padded input had to be divisible by ``out_chunk_dim``."""
    net = make(n_in=33, inp_chunk_dim=10, out_chunk_dim=7)
    assert net.num_chunks == 4
    assert net(torch.randn(2, 33, dtype=torch.float64)).shape == (2, 2)


def test_distillation_targets() -> None:
    assert make().distillation_targets() is None
    net, x = make(**NORMED, distill_bn_stats=True).eval(), draw_input()
    assert net.hyper_shapes_distilled == [[5], [5], [6], [6], [5], [5]]
    targets = [target.clone().uniform_(0.5, 2) for target in net.distillation_targets()]
    expected = net(x, distilled_params=targets)
    assert not torch.allclose(expected, net(x))
    for own, target in zip(net.distillation_targets(), targets, strict=True):
        own.copy_(target)
    torch.testing.assert_close(net(x), expected)


def test_table() -> None:
    net = make(**NORMED, dynamic_biases=[0])
    rows = [(meta["layer"], meta["name"]) for meta in net.param_shapes_meta]
    norm, fc = ["bn_scale", "bn_shift"], ["weight", "bias"]
    expected = [(0, "embedding")]
    for layers in ([2, 4], [1, 3, 5], [6], [8], [7, 9]):
        names = {2: norm, 8: norm, 6: ["weight"]}.get(layers[0], fc)
        expected += [(layer, name) for layer in layers for name in names]
    assert rows == expected
    assert net.hyper_shapes_learned_ref is None
    assert make(no_weights=True).hyper_shapes_learned_ref == list(range(11))


def test_summary(capsys: pytest.CaptureFixture[str]) -> None:
    net = ChunkSqueezer(**SIZES)
    assert str(net.num_params) in capsys.readouterr().out
    make()
    assert not capsys.readouterr().out


# Training


@pytest.mark.parametrize("options", [{}, {"dynamic_biases": [0, 1]}])
def test_chunked_hypernetwork_lets_it_overfit(options: dict[str, Any]) -> None:
    sizes = {"n_in": 40, "n_out": 3, "inp_chunk_dim": 15, "red_layers": [12], "net_layers": [12]}
    net = ChunkSqueezer(**sizes, **options, no_weights=True, verbose=False)
    hnet = ChunkedHMLP(net.hyper_shapes_learned, chunk_size=150, layers=[24], cond_in_size=4, verbose=False)
    hnet.apply_chunked_hyperfan_init(mnet=net, cond_var=None)
    optimizer = torch.optim.Adam(hnet.parameters(), lr=0.01)
    x, labels = torch.randn(12, 40), torch.randint(3, (12,))
    for _ in range(200):
        loss = nn.functional.cross_entropy(net(x, weights=hnet(cond_id=0)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.01
