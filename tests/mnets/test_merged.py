"""Weights written into a module for the time of a block."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from hypnettorch.core.low_rank import LowRank
from hypnettorch.mnets import ModuleNet
from tests.mnets.test_weight_updates import close, draw, make


@pytest.mark.parametrize("name", ["linear", "conv 2d in groups", "embedding", "tied", "lstm"])
def test_merged_and_undone(name: str) -> None:
    net, x = make(name)
    updates = draw(net)
    before = {key: value.clone() for key, value in net.module.state_dict().items()}
    parameters = dict(net.module.named_parameters(remove_duplicate=False))
    expected = net.materialize(updates)
    with net.merged(updates) as module:
        assert module is net.module
        assert all(own is parameters[key] for key, own in module.named_parameters(remove_duplicate=False))
        close(list(module.state_dict().values()), list(expected.state_dict().values()))
        close(module(x), expected(x))
    after = net.module.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())


def test_parameters_that_share_memory_get_back_what_they_had() -> None:
    module = nn.Module()
    module.a = nn.Parameter(torch.zeros(2))
    module.b = nn.Parameter(module.a.data)
    net = ModuleNet(module)
    with net.merged({"a": torch.ones(2), "b": torch.full((2,), 2.0)}):
        assert module.a.tolist() == [2.0, 2.0]
    assert module.a.tolist() == [0.0, 0.0]


def test_undone_after_an_error_and_in_nested_blocks() -> None:
    net, _ = make("linear")
    before = net.module[0].weight.clone()
    one, other = draw(net), draw(net)

    def fail_inside() -> None:
        with net.merged(one):
            with net.merged(other):
                both = [pair["0.weight"].product(before.shape) for pair in (one, other)]
                close(net.module[0].weight, before + sum(both))
            close(net.module[0].weight, before + one["0.weight"].product(before.shape))
            raise KeyError

    with pytest.raises(KeyError):
        fail_inside()
    assert torch.equal(net.module[0].weight, before)


def test_tensors_are_written_as_they_are() -> None:
    net = ModuleNet(nn.Linear(2, 1))
    before = [value.clone() for value in net.initial_weights()]
    with net.merged({"weight": torch.ones(1, 2), "bias": torch.zeros(1)}) as module:
        assert module(torch.ones(1, 2)).item() == 2
    assert all(map(torch.equal, net.initial_weights(), before))


def test_other_threads_see_it_though_they_have_blocks() -> None:
    net, _ = make("linear")
    updates, found = draw(net), []

    def work() -> None:
        with net.using({"2.weight": draw(net)["2.weight"]}) as module:
            found.append(module[0].weight.clone())

    with net.merged(updates) as module:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert torch.equal(found[0], module[0].weight)


def test_a_backward_pass_that_needs_what_was_overwritten_says_so() -> None:
    net, x = make("linear")
    y = net.module(x.requires_grad_())
    with net.merged(draw(net)), pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_wrong_use() -> None:
    net, _ = make("linear")
    before = net.module[0].weight.clone()
    wrong: dict[Any, Any] = {**draw(net), "2.weight": LowRank(torch.ones(1, 2), torch.ones(1, 1))}
    with pytest.raises(ValueError, match=r"weights\['2.weight'\]"), net.merged(wrong):
        pass
    with pytest.raises(ValueError, match=r"A: expected shape \(r, 40\)"), net.merged(draw(net, 3)):
        pass
    assert torch.equal(net.module[0].weight, before)
    quantised = nn.Linear(2, 1)
    quantised.weight = nn.Parameter(torch.ones(1, 2, dtype=torch.int8), requires_grad=False)
    net = ModuleNet(quantised, include="weight")
    with pytest.raises(TypeError, match="int8"), net.merged({"weight": (torch.ones(1, 2), torch.ones(1, 1))}):
        pass


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("name", ["linear", "tied", "lstm"])
def test_copies_of_what_is_not_changed(name: str, share: bool) -> None:
    """A module with the weights, which has what they do not change in common with this one if it is told to."""
    net, x = make(name)
    first, *_ = draw(net).items()
    updates = dict([first])
    made = net.materialize(updates, share=share)
    close(made(x), net(x, weights=updates))
    own = dict(net.module.named_parameters())
    shared = [key for key, value in made.named_parameters() if value is own[key]]
    assert shared == ([key for key in own if key != first[0]] if share else [])
    assert {value.data_ptr() for value in made.parameters()} & {value.data_ptr() for value in own.values()} == (
        {own[key].data_ptr() for key in shared}
    )


def test_a_copy_makes_each_weight_once() -> None:
    """Neither the old value of a weight that changes is copied, nor the new one twice."""
    net = ModuleNet(nn.Sequential(nn.Linear(100, 100), nn.Linear(100, 50)), include="0.weight")
    made: list[int] = []

    class Counting(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            y = func(*args, **(kwargs or {}))
            if isinstance(y, torch.Tensor) and y.untyped_storage().data_ptr() not in seen:
                seen.add(y.untyped_storage().data_ptr())
                made.append(y.numel())
            return y

    for share, expected in ((False, 100 * 100 + 100 + 50 * 100 + 50), (True, 100 * 100)):
        seen, made = {p.untyped_storage().data_ptr() for p in net.module.parameters()}, []
        with Counting():
            copied = net.materialize({"0.weight": torch.ones(100, 100)}, share=share)
        assert sum(made) == expected + 100 * 100, "and the ones themselves"
        assert copied is not net.module
