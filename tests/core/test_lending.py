"""Blocks swap entries of modules and put back exactly what was there."""

from __future__ import annotations

import asyncio
import copy
import gc
import pickle
import queue
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
import torch._dynamo
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hypnettorch.core.lending import Block, LentDict, groups_of
from hypnettorch.core.trees import tensors_within
from hypnettorch.mnets.mlp import MLP
from hypnettorch.mnets.module_net import ModuleNet

X = torch.ones(1, 2)


def lent(layer: nn.Module, **tensors: Tensor) -> Block:
    return Block(groups_of([((layer, key), tensor) for key, tensor in tensors.items()]))


def linear() -> nn.Linear:
    return nn.Linear(2, 1, bias=False)


def row(value: float) -> Tensor:
    return torch.full((1, 2), value)


def state(module: nn.Module) -> list[Any]:
    return [
        (type(part), part._parameters, *part._parameters.items(), *part._buffers.items()) for part in module.modules()
    ]


def test_nothing_is_left_behind() -> None:
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.utils.parametrizations.weight_norm(nn.Linear(3, 1)))
    before, plain = state(net), [part._parameters for part in net.modules()]
    with pytest.raises(RuntimeError), lent(net[0], weight=torch.zeros(3, 2)):
        net(torch.ones(5, 3))
    with lent(net[1], running_mean=torch.ones(3), weight=torch.zeros(3)), lent(net[1], bias=torch.ones(3)):
        net(torch.randn(5, 2))
        net[1].running_mean = torch.full((3,), 7.0)
        net[1].weight = nn.Parameter(torch.ones(3))
    gc.collect()
    assert all(a is b for a, b in zip(plain, [part._parameters for part in net.modules()], strict=True))
    for one, other in zip(before, state(net), strict=True):
        assert [id(entry) for _, entry in one[2:]] == [id(entry) for _, entry in other[2:]]
    assert not net[1].running_mean.any()


def test_everyone_who_reads_sees_the_weights_of_the_block() -> None:
    layer, weight, bias = nn.Linear(2, 1), row(3.0), torch.ones(1)
    own = dict(layer._parameters)
    with lent(layer, weight=weight, bias=bias):
        assert layer.weight is next(layer.parameters()) is weight
        assert torch.equal(nn.Sequential(layer).get_parameter("0.weight"), weight)
        assert (
            dict(layer.named_parameters())
            == dict(layer._parameters)
            == {**layer._parameters}
            == {
                "weight": weight,
                "bias": bias,
            }
        )
        assert layer._parameters.get("bias") is layer._parameters.copy()["bias"] is bias
        assert list(layer.state_dict()) == ["weight", "bias"]
        assert torch.equal(layer.state_dict()["weight"], weight)
        assert torch.func.functional_call(layer, {"weight": row(5.0)}, X).item() == 11.0
        assert layer(X).item() == 7.0
        twin = copy.deepcopy(layer)
    assert dict(layer._parameters) == own
    assert type(twin._parameters) is dict
    assert torch.equal(twin.weight, layer.weight)
    with lent(layer, weight=weight):
        assert torch.equal(pickle.loads(pickle.dumps(layer)).weight, own["weight"])


def test_entries_that_come_and_go_within_a_block() -> None:
    layer = nn.Linear(2, 1)
    with lent(layer, weight=row(2.0)):
        layer.register_parameter("extra", nn.Parameter(row(1.0)))
        del layer.bias
        layer.register_parameter("bias", None)
    assert list(layer._parameters) == ["weight", "extra", "bias"]
    with lent(layer, weight=row(2.0)):
        assert layer._parameters.pop("extra") is not None
        assert layer._parameters.pop("extra", None) is None
        layer._parameters.update(more=None)
        layer._parameters.setdefault("more", row(0.0))
    assert list(layer._parameters) == ["weight", "bias", "more"]
    assert type(layer._parameters) is dict


def test_assignment_outside_of_blocks_while_a_graph_lives() -> None:
    layer, new = linear(), nn.Parameter(row(4.0))
    with lent(layer, weight=row(2.0).requires_grad_()) as block:
        y = layer(X)
        block.keep(y)
    del block
    layer.weight = new
    assert layer(X).item() == 8.0
    y.sum().backward()
    del y
    assert layer._parameters["weight"] is new


def outputs(layer: nn.Module, value: float) -> Iterator[float]:
    with lent(layer, weight=row(value)):
        while True:
            yield layer(X).item()


def test_blocks_end_in_any_order() -> None:
    layer = linear()
    own = layer(X).item()
    a, b, c = (outputs(layer, value) for value in (1.0, 2.0, 3.0))
    assert [next(a), next(b), next(c), next(a)] == [2.0, 4.0, 6.0, 6.0]  # the newest one wins
    b.close()
    assert next(a) == 6.0
    c.close()
    assert next(a) == 2.0
    a.close()
    assert layer(X).item() == own
    assert type(layer._parameters) is dict


def test_tasks_see_their_own_blocks() -> None:
    layer = linear()
    own = layer(X).item()

    async def work(value: float) -> list[float]:
        found = []
        with lent(layer, weight=row(value)):
            for _ in range(3):
                await asyncio.sleep(0)
                found.append(layer(X).item())
        await asyncio.sleep(0)
        return [*found, layer(X).item()]

    async def inherits() -> list[float]:
        with lent(layer, weight=row(9.0)):
            return [layer(X).item(), await asyncio.to_thread(lambda: layer(X).item())]

    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*(work(float(k)) for k in range(1, 4)), inherits())

    *found, inherited = asyncio.run(all_of_them())
    assert found == [[2.0 * k] * 3 + [own] for k in range(1, 4)]
    assert inherited == [18.0, 18.0]


def test_a_thread_sees_the_block_of_the_thread_that_made_it() -> None:
    layer = linear()
    own = layer(X).item()

    def ask(inbox: queue.Queue[Any], outbox: queue.Queue[Any]) -> None:
        while inbox.get():
            outbox.put(layer(X).item())

    idle = (queue.Queue(), queue.Queue())
    thread = threading.Thread(target=ask, args=idle)
    with ThreadPoolExecutor(1) as pool:
        made_before = pool.submit(lambda: layer(X).item()).result()
        with lent(layer, weight=row(2.0)):
            thread.start()
            idle[0].put(True)
            assert idle[1].get() == 4.0
            assert pool.submit(lambda: layer(X).item()).result() == 4.0
        idle[0].put(True)
        assert idle[1].get() == made_before == own
        idle[0].put(False)
        thread.join()


def test_a_thread_does_not_see_the_blocks_of_others() -> None:
    layer, go, stop, found = linear(), threading.Event(), threading.Event(), []
    own = layer(X).item()

    def lends() -> None:
        with lent(layer, weight=row(2.0)):
            go.set()
            stop.wait()
            found.append(layer(X).item())

    thread = threading.Thread(target=lends)
    thread.start()
    go.wait()
    found.append(layer(X).item())
    other = threading.Thread(target=lambda: found.append(layer(X).item()))
    other.start()
    other.join()
    stop.set()
    thread.join()
    assert found == [own, own, 4.0]


@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers(cell: type[nn.RNNBase]) -> None:
    layer, x = cell(2, 3), torch.randn(4, 1, 2)
    flat, own = layer._flat_weights, layer(x)[0]
    drawn = [{key: torch.randn_like(p) for key, p in layer.named_parameters()} for _ in range(4)]
    expected = [torch.func.functional_call(copy.deepcopy(layer), weights, x)[0] for weights in drawn]
    with lent(layer, **drawn[0]):
        assert torch.equal(layer(x)[0], expected[0])
        with lent(layer, **drawn[1]):
            assert torch.equal(layer(x)[0], expected[1])
        assert torch.equal(layer(x)[0], expected[0])
    assert layer._flat_weights is flat
    assert torch.equal(layer(x)[0], own)
    wrong = []

    def work(k: int) -> None:
        for _ in range(30):
            with torch.no_grad(), lent(layer, **drawn[k]):
                wrong.append(not torch.allclose(layer(x)[0], expected[k], atol=1e-6))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wrong) == 120
    assert not any(wrong)
    assert torch.equal(layer(x)[0], own)


def test_modules_that_are_gone_leave_nothing() -> None:
    from hypnettorch.core import lending

    gc.collect()
    living = len(lending._living)
    layer = linear()
    with lent(layer, weight=row(1.0)):
        assert type(layer._parameters) is LentDict
        known = weakref.ref(layer)
    del layer
    gc.collect()
    assert known() is None
    assert len(lending._living) == living
    assert not lending._opened


def test_compiled_modules_see_the_block() -> None:
    """Compiled before, called in a block of code that is not."""
    net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    compiled = torch.compile(net, backend="aot_eager")
    own = compiled(X).item()
    weights = {"weight": torch.ones(3, 2, requires_grad=True), "bias": torch.zeros(3)}
    for _ in range(2):
        with lent(net[0], **weights):
            expected = net(X)
            got = compiled(X)
            torch.testing.assert_close(got, expected)
            got.sum().backward()
        assert weights["weight"].grad.any()
        assert compiled(X).item() == pytest.approx(own)
    torch._dynamo.reset()


def test_compiled_modules_and_updates() -> None:
    """Layers that were compiled without updates get them, and so does who reads the weight."""

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.head = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)
            self.head.weight = self.embedding.weight

        def forward(self, tokens: Tensor) -> Tensor:
            return self.head(self.embedding(tokens)) + nn.functional.linear(self.embedding(tokens), self.head.weight)

    net, tokens = ModuleNet(Tied()), torch.tensor([1, 2])
    pair = {"embedding.weight": (torch.randn(1, 3), torch.randn(5, 1))}
    dense = {"embedding.weight": torch.randn(5, 3)}
    compiled = torch.compile(net.module, backend="aot_eager")
    own = net.module(tokens)
    for weights in (dense, pair, dense, pair):
        with net.using(weights):
            torch.testing.assert_close(compiled(tokens), net.materialize(weights)(tokens))
        torch.testing.assert_close(compiled(tokens), own)
    torch._dynamo.reset()


def test_one_graph_while_another_one_lives() -> None:
    net = ModuleNet(nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)))
    weights = [torch.randn(shape).requires_grad_() for shape in net.hyper_shapes_learned]
    compiled = torch.compile(lambda x, w: net(x, weights=w), fullgraph=True, backend="aot_eager")
    own = net.module(X)
    first = compiled(X, weights)
    alive = net(X, weights=weights)
    assert type(net.module[0]._parameters) is LentDict
    for k in (1, 2):
        scaled = [k * w for w in weights]
        torch.testing.assert_close(compiled(X, scaled), net(X, weights=scaled))
        torch.testing.assert_close(net.module(X), own)
    torch.testing.assert_close(first, alive)
    torch._dynamo.reset()


def test_moves_while_a_graph_lives() -> None:
    net = ModuleNet(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)))
    alive = net(torch.randn(4, 2), weights=[torch.randn(shape).requires_grad_() for shape in net.hyper_shapes_learned])
    net.double()
    assert {p.dtype for p in net.module.parameters()} == {torch.float64}
    alive.sum().backward()
    del alive
    assert net.module(torch.randn(4, 2).double()).dtype == torch.float64
    assert type(net.module[0]._parameters) is dict


def test_copies_within_a_block() -> None:
    net = ModuleNet(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)))
    own = net.module(X)
    with net.using({"0.weight": (torch.ones(1, 2), torch.ones(3, 1))}) as module:
        copies = [copy.deepcopy(module), copy.deepcopy(net).module, pickle.loads(pickle.dumps(module))]
        plain = net.materialize({"0.weight": (torch.ones(1, 2), torch.ones(3, 1))})
        torch.testing.assert_close(plain(X), module(X))
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in [*plain.modules(), *net.modules()])
    for twin in copies:
        assert torch.equal(twin(X), own)
        assert all(type(part._parameters) is dict for part in twin.modules())


def test_a_module_that_was_taken_apart() -> None:
    net = ModuleNet(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)))
    nn.utils.parametrizations.weight_norm(net.module[1])
    with pytest.raises(RuntimeError, match="taken apart"):
        net(X, weights=[torch.randn(shape) for shape in net.hyper_shapes_learned])
    assert type(net.module[0]._parameters) is dict


def test_tensors_in_objects() -> None:
    class Slots:
        __slots__ = ("a", "b")

        def __init__(self) -> None:
            self.a = torch.zeros(1)

    normal = torch.distributions.Normal(torch.zeros(2), torch.ones(2))
    assert len(tensors_within([normal, {"x": (torch.zeros(1), 3)}, Slots(), "text", None, nn.Linear(2, 1)])) == 4


def test_what_is_relied_on_of_torch() -> None:
    """Undocumented attributes: a mark of parameters, lists of recurrent layers, and what compilation is told."""
    tensor = torch.ones(1)
    assert not isinstance(tensor, nn.Parameter)
    tensor._is_param = True
    assert isinstance(tensor, nn.Parameter)
    layer = nn.LSTM(2, 3)
    assert [layer._parameters[name] for name in layer._flat_weights_names] == layer._flat_weights
    assert [ref() for ref in layer._flat_weight_refs] == layer._flat_weights
    assert callable(torch._dynamo.reset)
    calls = []

    def told(x: Tensor) -> Tensor:
        calls.append(torch.compiler.is_compiling())
        return x + 1

    torch._dynamo.decorators.skip_code(told.__code__)
    assert torch.compile(told, backend="eager")(torch.ones(1)).item() == 2
    assert calls == [False]
    torch._dynamo.reset()


def two_layers() -> tuple[MLP, Tensor, list[Tensor], list[Tensor]]:
    """A network with weights of its own, an input, and other weights with the leaves that they are made of."""
    net = MLP(n_in=4, n_out=2, hidden_layers=[5], verbose=False)
    leaves = [torch.randn(*shape, requires_grad=True) for shape in net.param_shapes]
    return net, torch.randn(3, 4, requires_grad=True), [2 * leaf for leaf in leaves], leaves


def test_blocks_of_a_network_nest_and_end() -> None:
    net, x, weights, _ = two_layers()
    own, other = net(x), [torch.ones_like(weight) for weight in weights]
    seen: list[Tensor] = []
    with net.using(weights):
        with net.using(other):
            torch.testing.assert_close(net(x), net(x, weights=other))
        torch.testing.assert_close(net(x), net(x, weights=weights))
        torch.testing.assert_close(net.forward(x, other), net(x, weights=other))
        torch.testing.assert_close(pickle.loads(pickle.dumps(net))(x), own)
        thread = threading.Thread(target=lambda: seen.append(net(x).detach()))
        thread.start()
        thread.join()
    torch.testing.assert_close(seen[0], net(x, weights=weights).detach())
    torch.testing.assert_close(net(x), own)


@pytest.mark.parametrize("stacked", [False, True])
def test_what_a_network_evaluates_again_has_the_weights_of_its_block(stacked: bool) -> None:
    net, x, weights, leaves = two_layers()
    given = [torch.stack([weight, -weight]) for weight in weights] if stacked else weights
    inputs = x.expand(2, *x.shape) if stacked else x
    with net.using(given):
        output = checkpoint(net, inputs, use_reentrant=False)
    found = torch.autograd.grad(output.sum(), leaves, retain_graph=True)
    expected = net.batched_forward(inputs, given) if stacked else net(x, weights=weights)
    torch.testing.assert_close(found, torch.autograd.grad(expected.sum(), leaves))


def test_a_network_in_a_block_is_compiled() -> None:
    net, x, weights, _ = two_layers()

    @torch.compile(backend="eager", fullgraph=True)
    def within(x: Tensor, *weights: Tensor) -> Any:
        with net.using(list(weights)):
            return net(x)

    torch.testing.assert_close(within(x, *weights), net(x, weights=weights))
    compiled = torch.compile(net, backend="eager")
    own = compiled(x)
    with net.using(weights):
        torch.testing.assert_close(compiled(x), net(x, weights=weights))
    torch.testing.assert_close(compiled(x), own)


def test_a_call_of_a_module_net_in_its_block() -> None:
    net = ModuleNet(nn.Linear(2, 1))
    weights = [torch.randn(1, 2), torch.randn(1)]
    with net.using(weights) as module:
        x = torch.randn(3, 2)
        torch.testing.assert_close(net(x), module(x))
    with pytest.raises(ValueError, match=r"weights: .*\['weight', 'bias'\].*got None"):
        net(x)
