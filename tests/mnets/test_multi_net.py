"""One hypernetwork for several main networks."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from hypnettorch.hnets import HMLP
from hypnettorch.hyper_model import HyperModel
from hypnettorch.mnets import MLP
from hypnettorch.mnets.module_net import ModuleNet
from hypnettorch.mnets.multi_net import MultiNet


def mlp(n_out: int, **options: object) -> MLP:
    return MLP(n_in=4, n_out=n_out, hidden_layers=[8], no_weights=True, verbose=False, **options)


def draw(net: MultiNet, *lead: int) -> list[Tensor]:
    return [torch.randn(*lead, *shape) for shape in net.hyper_shapes_learned or []]


@pytest.mark.parametrize(
    ("share", "shapes"),
    [
        ("equal", [[8, 4], [8], [2, 8], [2], [10, 8], [10]]),
        ("leading", [[8, 4], [8], [10, 8], [10]]),
        ("none", [[8, 4], [8], [2, 8], [2], [8, 4], [8], [10, 8], [10]]),
        (lambda name: "none" if name == "1.bias" else "leading", [[8, 4], [8], [10, 8], [2], [10]]),
    ],
)
def test_sharing(share: object, shapes: list[list[int]]) -> None:
    nets = {"small": mlp(2), "large": mlp(10)}
    net = MultiNet(nets, share=share)
    assert net.hyper_shapes_learned == shapes
    weights, x = draw(net), torch.randn(5, 4)
    for name, own in nets.items():
        parts = net.net_weights(weights, name)
        assert [list(w.shape) for w in parts] == own.hyper_shapes_learned
        torch.testing.assert_close(net(x, weights=weights, net=name), own(x, weights=[w.clone() for w in parts]))
    if share == "leading":
        assert torch.equal(net.net_weights(weights, "small")[2], weights[2][:2])


def test_equal_tensors_of_later_networks_are_shared() -> None:
    net = MultiNet({"a": mlp(2), "b": mlp(3), "c": mlp(3)})
    assert net.hyper_shapes_learned == [[8, 4], [8], [2, 8], [2], [3, 8], [3]]


def test_batched_forward_equals_a_loop() -> None:
    net = MultiNet({"small": mlp(2), "large": mlp(10)}, share="leading")
    weights, x = draw(net, 3), torch.randn(3, 5, 4)
    output = net.batched_forward(x, weights=weights, net="small")
    loop = [net(x[b], weights=[w[b] for w in weights], net="small") for b in range(3)]
    torch.testing.assert_close(output, torch.stack(loop))


def test_condition_fixes_the_network() -> None:
    net = MultiNet({"small": mlp(2), "large": mlp(10)}, net_of_condition={0: "small", 1: "large"})
    hnet = HMLP(net.hyper_shapes_learned, num_cond_embs=2, layers=[6], verbose=False)
    hnet.apply_hyperfan_init(mnet=net)
    model = HyperModel(hnet, net)
    x = torch.randn(5, 4)
    assert model(x, cond_id=0).shape == model(x, cond_id=1, condition=0).shape == (5, 2)
    assert model(x, cond_id=1).shape == (5, 10)
    assert model(x, cond_id=1, net="small").shape == (5, 2)
    for two in ([1, 1], torch.tensor([1, 1])):
        assert model(torch.stack([x, x]), cond_id=two).shape == (2, 5, 10)


def test_conditions_reach_the_networks_that_depend_on_them() -> None:
    normed = ModuleNet(nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)), stats_per_condition=True)
    plain = MLP(n_in=4, n_out=2, no_weights=True, use_batch_norm=True, verbose=False)
    net = MultiNet({"normed": normed, "plain": plain}, net_of_condition={0: "plain", 1: "plain", 2: "normed"})
    model = HyperModel(HMLP(net.hyper_shapes_learned, num_cond_embs=3, verbose=False), net)
    for condition in range(3):
        model(torch.randn(5, 4), cond_id=condition)
    assert [normed.batchnorm_layers[0].get_stats(k)[0].any().item() for k in range(3)] == [False, False, True]
    assert [layer.num_stats for layer in plain.batchnorm_layers] == [1] * len(plain.batchnorm_layers)


def test_modules_correspond_by_parameter_names() -> None:
    nets = {
        "a": ModuleNet(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))),
        "b": ModuleNet(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))),
    }
    net = MultiNet(nets)
    assert net.hyper_shapes_learned == [[4, 3], [4], [2, 4], [2], [2, 4], [2]]


def test_internal_parameters_copies_and_files() -> None:
    nets = {"a": ModuleNet(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), include="1.*"), "b": mlp(2)}
    net = MultiNet(nets)
    assert [p.shape for p in net.internal_params] == [(4, 3), (4,)]
    assert sum(parameter.requires_grad for parameter in net.parameters()) == 2
    weights, x = draw(net), torch.randn(5, 3)
    twin = copy.deepcopy(net)
    twin.load_state_dict(net.state_dict())
    assert torch.equal(twin(x, weights=weights, net="a"), net(x, weights=weights, net="a"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"nets": {}}, "nets"),
        ({"nets": {"a": MLP(verbose=False)}}, r"nets\['a'\]"),
        ({"nets": {"a": mlp(2)}, "share": "all"}, "share"),
        ({"nets": {"a": mlp(2)}, "net_of_condition": {0: "b"}}, r"net_of_condition\[0\]"),
    ],
)
def test_wrong_construction(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MultiNet(**arguments)


def test_wrong_calls() -> None:
    net = MultiNet({"a": mlp(2), "b": mlp(3)})
    with pytest.raises(ValueError, match="net: expected one of"):
        net(torch.randn(5, 4), weights=draw(net))
    with pytest.raises(ValueError, match="net: expected one of"):
        net(torch.randn(5, 4), weights=draw(net), net="c")
    with pytest.raises(ValueError, match="weights"):
        net(torch.randn(5, 4), weights=draw(net)[:-1], net="a")
