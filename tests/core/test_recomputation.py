"""What is evaluated again in a backward pass has the weights of its forward pass."""

from __future__ import annotations

import _thread
import asyncio
import functools
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hypnettorch.core import recomputation
from hypnettorch.core.lending import Block, LentDict, groups_of
from hypnettorch.hnets import HMLP
from hypnettorch.mnets.layer_types import register_layer
from hypnettorch.mnets.module_net import ModuleNet


class Again(torch.autograd.Function):
    """Evaluates a function again in the backward pass, as reversible networks and adjoint solvers do."""

    @staticmethod
    def forward(ctx: Any, function: Any, x: Tensor) -> Any:
        ctx.function = function
        ctx.save_for_backward(x)
        return function(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x = ctx.saved_tensors[0].detach().requires_grad_()
        with torch.enable_grad():
            y = ctx.function(x)
        torch.autograd.backward(y, grad)
        return None, x.grad


WAYS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "use_reentrant=False": lambda f, x: checkpoint(f, x, use_reentrant=False),
    "use_reentrant=True": lambda f, x: checkpoint(f, x, use_reentrant=True),
    "custom function": lambda f, x: Again.apply(f, x),
    "nested": lambda f, x: checkpoint(
        lambda x: checkpoint(lambda x: Again.apply(f, x), x, use_reentrant=True), x, use_reentrant=True
    ),
    "nested, mixed": lambda f, x: checkpoint(lambda x: checkpoint(f, x, use_reentrant=False), x, use_reentrant=True),
}


class Recomputing(nn.Conv1d):
    """A convolution (which saves its weight) that is evaluated again in the backward pass."""

    def __init__(self, way: str, size: int = 1) -> None:
        super().__init__(size, size, 1, bias=False)
        self.way = WAYS[way]

    def forward(self, x: Tensor) -> Tensor:
        return self.way(super().forward, x)


every = pytest.mark.parametrize("way", WAYS)


def weight(value: float) -> Tensor:
    return torch.full((1, 1, 1), value, requires_grad=True)


def ones() -> Tensor:
    return torch.ones(1, 1, 1, requires_grad=True)


@every
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_each_forward_pass_has_its_own_weights(way: str, order: tuple[int, ...]) -> None:
    net = ModuleNet(Recomputing(way))
    inputs, weights = [ones() for _ in range(3)], [weight(2.0), weight(3.0)]
    outputs = [net(x, weights=[w]) for x, w in zip(inputs, weights, strict=False)]
    outputs.append(net.module(inputs[2]))
    expected = [2.0, 3.0, net.module.weight.item()]
    for i in order:
        outputs[i].sum().backward()
        assert inputs[i].grad.item() == pytest.approx(expected[i])
    if "True" not in way and "nested" not in way and "custom" not in way:
        assert [w.grad.item() for w in weights] == [1.0, 1.0]


@every
def test_in_one_backward_pass(way: str) -> None:
    net = ModuleNet(nn.Sequential(Recomputing(way), nn.Tanh(), Recomputing(way)))
    inputs = [ones() for _ in range(3)]
    weights = [[weight(0.2), weight(0.3)], [weight(0.4), weight(0.5)]]
    losses = [net(x, weights=w) for x, w in zip(inputs, weights, strict=False)] + [net.module(inputs[2])]
    with net.using([weight(7.0), weight(8.0)]):
        sum(losses).sum().backward()  # type: ignore[union-attr]
    own = [w.detach() for w in net.initial_weights()]
    for x, (a, b) in zip(inputs, [*weights, own], strict=True):
        again = ones()
        (b * torch.tanh(a * again)).sum().backward()
        torch.testing.assert_close(x.grad, again.grad)


@every
def test_within_and_after_a_block(way: str) -> None:
    net = ModuleNet(Recomputing(way))
    before, inside, after = ones(), ones(), ones()
    own = net.module(before)
    with net.using([weight(5.0)]) as module:
        own.sum().backward()
        module(inside).sum().backward()
        y = module(after)
    y.sum().backward()
    assert before.grad.item() == pytest.approx(net.module.weight.item())
    assert inside.grad.item() == after.grad.item() == 5.0


@every
def test_blocks_open_and_nested_while_it_runs(way: str) -> None:
    net = ModuleNet(Recomputing(way))
    outer, inner = ones(), ones()
    with net.using([weight(2.0)]) as module:
        first = module(outer)
        with net.using([weight(3.0)]):
            second = module(inner)
            first.sum().backward()
        second.sum().backward()
    assert (outer.grad.item(), inner.grad.item()) == (2.0, 3.0)


@every
@pytest.mark.parametrize(
    "test",
    [
        functools.partial(test_each_forward_pass_has_its_own_weights, order=(2, 0, 1)),
        test_in_one_backward_pass,
        test_within_and_after_a_block,
        test_blocks_open_and_nested_while_it_runs,
    ],
)
def test_without_other_threads(test: Callable[..., None], way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers of nodes say it all; pytest itself has threads."""
    monkeypatch.setattr(threading, "active_count", lambda: 1)
    test(way=way)


@every
def test_a_whole_call_that_is_evaluated_again(way: str) -> None:
    """The block itself is opened in the backward pass."""
    net, x, w = ModuleNet(Recomputing(way)), ones(), weight(4.0)
    y = WAYS[way](lambda x: net(x, weights=[w]), x)
    with net.using([weight(9.0)]):
        y.sum().backward()
    assert x.grad.item() == 4.0


@every
def test_backward_in_another_thread(way: str) -> None:
    net = ModuleNet(Recomputing(way))
    inputs = [ones() for _ in range(2)]
    outputs = [net(x, weights=[weight(k + 2.0)]).sum() for k, x in enumerate(inputs)]
    threads = [threading.Thread(target=y.backward) for y in outputs]
    for thread in threads:
        thread.start()
        thread.join()
    assert [x.grad.item() for x in inputs] == [2.0, 3.0]


@every
def test_threads_at_the_same_time(way: str) -> None:
    net, barrier, found = ModuleNet(Recomputing(way)), threading.Barrier(3), {}

    def work(k: int) -> None:
        for step in range(5):
            x = ones()
            y = net(x, weights=[weight(k + 10.0 * step)])
            barrier.wait()
            y.sum().backward()
            found[k, step] = x.grad.item()
            barrier.wait()

    threads = [threading.Thread(target=work, args=(k,)) for k in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {(k, step): k + 10.0 * step for k in range(3) for step in range(5)}


@every
def test_own_values_in_a_thread_without_blocks(way: str) -> None:
    """Nodes of two threads have the same numbers: they are not taken for each other's."""
    net, found = ModuleNet(Recomputing(way)), {}

    def lent() -> None:
        found["x"] = ones()
        found["y"] = net(found["x"], weights=[weight(5.0)])

    def own() -> None:
        with pytest.raises(RuntimeError, match="expected those of the forward pass"):
            net.module(ones()).sum().backward()

    for work in (lent, own):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    found["y"].sum().backward()
    assert found["x"].grad.item() == 5.0


def test_a_thread_of_torch() -> None:
    """Backward passes of a GPU run in threads that Python did not make: they belong to whoever asks for them."""
    net, x, done, idle = ModuleNet(Recomputing("custom function")), ones(), threading.Event(), threading.Event()
    other = threading.Thread(target=idle.wait)
    other.start()
    try:
        with net.using([weight(5.0)]) as module:
            y = module.forward(x)

            def work() -> None:
                y.sum().backward()
                done.set()

            _thread.start_new_thread(work, ())
            assert done.wait(60)
    finally:
        idle.set()
        other.join()
    assert x.grad.item() == 5.0


def test_results_of_threads_that_meet_in_one_backward_pass_are_right_or_refused() -> None:
    net, results, inputs = ModuleNet(Recomputing("use_reentrant=False")), {}, {k: ones() for k in range(2)}

    def work(k: int) -> None:
        results[k] = net(inputs[k], weights=[weight(k + 2.0)])

    for k in range(2):
        thread = threading.Thread(target=work, args=(k,))
        thread.start()
        thread.join()
    with pytest.raises(RuntimeError, match="one forward pass"):
        sum(results.values()).sum().backward()


def test_methods_of_the_module() -> None:
    """Nobody knows what they return, so afterwards an error is what is left."""

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = Recomputing("custom function")

        def encode(self, x: Tensor) -> Tensor:
            return self.layer(x)

    net, x = ModuleNet(Model()), ones()
    with net.using([weight(5.0)]) as module:
        module.encode(x).sum().backward()
        y = module.encode(x)
    assert x.grad.item() == 5.0
    with pytest.raises(RuntimeError, match="run the backward pass within the block"):
        y.sum().backward()


REMEDY = "call the module itself within the block .* keep what it returns, or run the backward pass within"


@every
def test_a_method_beside_a_call_whose_output_is_dropped(way: str) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = Recomputing(way)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x)

        def encode(self, x: Tensor) -> Tensor:
            return self.layer(x)

    net, x = ModuleNet(Model()), ones()
    with net.using([weight(5.0)]) as module:
        module(ones())
        y = module.encode(x)
    with pytest.raises(RuntimeError, match=REMEDY):
        y.sum().backward()


@every
def test_an_activation_that_outlives_the_output(way: str) -> None:
    net, x, seen = ModuleNet(nn.Sequential(Recomputing(way), nn.Tanh())), ones(), []
    net.module[0].register_forward_hook(lambda layer, args, output: seen.append(output))
    kept = net(x, weights=[weight(5.0)])
    seen.pop().sum().backward()
    assert x.grad.item() == 5.0
    del kept
    net(x, weights=[weight(5.0)])
    with pytest.raises(RuntimeError, match=REMEDY):
        seen.pop().sum().backward()


def test_a_checkpoint_around_the_module() -> None:
    """The module sees no graph there, so nothing that it returns keeps the block."""
    net, x = ModuleNet(nn.Conv1d(1, 1, 1, bias=False)), ones()
    with net.using([weight(5.0)]) as module:
        y = checkpoint(module, x, use_reentrant=True)
        y.sum().backward()
        z = checkpoint(module, x, use_reentrant=True)
    assert x.grad.item() == 5.0
    with pytest.raises(RuntimeError, match=REMEDY):
        z.sum().backward()


def test_many_blocks_that_are_lost() -> None:
    net = ModuleNet(Recomputing("custom function"))
    own = net.module(ones())
    outputs = []
    for _ in range(150):
        with net.using([weight(5.0)]) as module:
            outputs.append(module.forward(ones()))
    for output in (outputs[0], outputs[70], outputs[-1]):
        with pytest.raises(RuntimeError, match=REMEDY):
            output.sum().backward()
    own.sum().backward()
    assert len(net.module._parameters.lost) <= 100


def test_a_layer_that_reads_its_weight_again() -> None:
    """What an adapted layer computes again is what it computed: the base, to which the update is added."""

    class Layer(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return Reading.apply(self, x)

    class Reading(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, layer: nn.Linear, x: Tensor) -> Tensor:
            ctx.layer = layer
            return x @ layer.weight.T

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Any:
            return None, grad @ ctx.layer.weight

    register_layer(Layer, term=lambda layer, x, update: x @ update.A.T @ update.B.T)
    net, pair = ModuleNet(nn.Sequential(Layer(3, 2, bias=False))), (torch.randn(1, 3), torch.randn(2, 1))
    x = torch.randn(4, 3, requires_grad=True)
    y = net(x, weights={"0.weight": pair})
    torch.testing.assert_close(y, x @ (net.module[0].weight + pair[1] @ pair[0]).T)
    y.sum().backward()
    torch.testing.assert_close(x.grad, (torch.ones(4, 2) @ (net.module[0].weight + pair[1] @ pair[0])))


def test_a_failed_backward_pass_is_forgotten() -> None:
    class Fails(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            raise ArithmeticError

    net, x, own = ModuleNet(Recomputing("use_reentrant=True")), ones(), ones()
    y, z = net(Fails.apply(x), weights=[weight(5.0)]), net.module(own)
    with pytest.raises(ArithmeticError):
        y.sum().backward()
    assert net(ones(), weights=[weight(2.0)]).item() == 2.0
    z.sum().backward()
    assert own.grad.item() == pytest.approx(net.module.weight.item())


def test_low_rank_updates() -> None:
    class Model(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return checkpoint(super().forward, x, use_reentrant=True)

    module = Model(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    net = ModuleNet(module)
    pairs = {f"{i}.weight": (torch.randn(1, n), torch.randn(m, 1)) for i, n, m in ((0, 3, 4), (2, 4, 2))}
    x = torch.randn(5, 3, requires_grad=True)
    y = net(x, weights=pairs)
    with net.using({"0.weight": (torch.ones(1, 3), torch.ones(4, 1))}):
        y.sum().backward()
    again = x.detach().clone().requires_grad_()
    nn.Sequential.forward(net.materialize(pairs), again).sum().backward()
    torch.testing.assert_close(x.grad, again.grad)


@pytest.mark.parametrize("way", ["use_reentrant=True", "twice", "nested, mixed"])
def test_reentrant_checkpoints_of_produced_weights(way: str) -> None:
    """Each runs a backward pass of its own; the hypernetwork learns what it learns without them."""
    checkpoints = {
        **WAYS,
        "twice": lambda f, x: checkpoint(lambda x: checkpoint(f, x, use_reentrant=True).sin(), x, use_reentrant=True),
    }
    blocks = [nn.Sequential(nn.Conv1d(2, 2, 1), nn.Tanh(), nn.Conv1d(2, 2, 1)) for _ in range(2)]
    net = ModuleNet(nn.Sequential(nn.Conv1d(2, 2, 1), *blocks, nn.Conv1d(2, 2, 1)))
    hnet = HMLP(net.hyper_shapes_learned, layers=[3], num_cond_embs=2, activation_fn=nn.Tanh(), verbose=False)
    plain, x = checkpoints[way] if way == "twice" else None, torch.randn(4, 2, 3)
    found = []
    for recompute in (False, True):
        for block in blocks:
            forward = functools.partial(nn.Sequential.forward, block)
            if recompute:
                block.forward = functools.partial(checkpoints[way], forward)
            elif plain is not None:
                block.forward = lambda x, forward=forward: forward(x).sin()
        hnet.zero_grad()
        weights, others = hnet(cond_id=0), hnet(cond_id=1)
        with net.using(others) as module:
            within = module(x)
        loss = net(x, weights=weights).square().sum() + within.sum() + sum(w.square().sum() for w in weights)
        loss.backward()
        found.append([param.grad.clone() for param in hnet.parameters()])
    torch.testing.assert_close(found[1], found[0])


def test_reentrant_checkpoints_of_produced_updates() -> None:
    layers = [nn.Linear(3, 3) for _ in range(2)]
    net, x = ModuleNet(nn.Sequential(nn.Linear(3, 3), *layers)), torch.randn(5, 3)
    source = torch.randn(3, 6, requires_grad=True)
    found = []
    for recompute in (False, True):
        for layer in layers if recompute else ():
            layer.forward = functools.partial(WAYS["use_reentrant=True"], layer.forward)
        products = source.exp().chunk(3)
        net(x, weights={f"{i}.weight": (p[:, :3], p[:, 3:].T) for i, p in enumerate(products)}).sum().backward()
        found.append(source.grad)
        source.grad = None
    torch.testing.assert_close(found[1], found[0])


def test_tasks_that_take_turns() -> None:
    net = ModuleNet(Recomputing("use_reentrant=False"))

    async def work(value: float) -> float:
        x = ones()
        with net.using([weight(value)]) as module:
            await asyncio.sleep(0)
            y = module(x)
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        y.sum().backward()
        return x.grad.item()

    async def both() -> list[float]:
        return list(await asyncio.gather(work(2.0), work(3.0)))

    assert asyncio.run(both()) == [2.0, 3.0]


def test_the_dictionary_comes_back_when_the_graph_is_gone() -> None:
    layer = nn.Linear(2, 1)
    plain, x = layer._parameters, torch.ones(1, 2)
    with Block(groups_of([((layer, "weight"), torch.ones(1, 2, requires_grad=True))])) as block:
        y = layer(x)
        block.keep(y)
    del block
    assert type(layer._parameters) is LentDict
    assert torch.equal(layer(x), nn.functional.linear(x, plain["weight"], plain["bias"]))
    del y
    assert layer._parameters is plain


def test_a_block_that_computed_nothing_leaves_nothing() -> None:
    net = ModuleNet(nn.Linear(2, 1))
    plain, weights = net.module._parameters, [torch.ones(shape, requires_grad=True) for shape in ([1, 2], [1])]
    with net.using(weights) as module:
        assert module.weight is weights[0]
    with pytest.raises(KeyError), net.using(weights):
        raise KeyError
    assert net.module._parameters is plain


def test_what_is_relied_on_of_torch() -> None:
    """Private functions of torch: numbers of nodes and of backward passes, the running node, the end of a pass."""
    assert recomputation.current_pass() == -1
    first = recomputation.next_number()
    x = torch.ones(1, requires_grad=True)
    y = x.exp()
    assert y.grad_fn._sequence_nr() == first
    assert recomputation.next_number() == first + 1
    seen, ended = [], []

    def hook(_: Tensor) -> None:
        seen.append((recomputation.current_pass(), torch._C._current_autograd_node()._sequence_nr()))
        torch.autograd.Variable._execution_engine.queue_callback(lambda: ended.append(len(seen)))

    y.register_hook(hook)
    y.backward()
    (number, node), *rest = seen
    assert not rest
    assert ended == [1]
    assert number >= 0
    assert node == first
    x.grad = None
    leaf = x * 1
    assert next(iter(leaf.grad_fn.next_functions))[0]._sequence_nr() == recomputation._NO_NUMBER


def test_what_is_asked_before_something_is_evaluated_again() -> None:
    """Gradients are off in custom functions and reentrant checkpoints; the other checkpoints save by hooks."""
    found = []

    def note(x: Tensor) -> Tensor:
        found.append(recomputation.may_follow())
        return x.exp()

    note(ones())
    for reentrant in (True, False):
        checkpoint(note, ones(), use_reentrant=reentrant)
    Again.apply(note, ones())
    assert found == [False, True, True, True]
