"""Laws about running statistics, which a network may keep for several conditions.

A law is a function of a case that raises if it does not hold; the first line of its docstring is the law.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from hypnettorch.core import trees
from hypnettorch.testing.cases import (
    SETS,
    Case,
    Law,
    copy_of,
    give_statistics,
    refused,
    require,
    same,
    statistics_layers,
)


def first_condition_is_the_default(case: Case) -> None:
    """``condition=0`` of a network with one set of statistics, or none, gives what no condition gives."""
    if all(layer.num_stats <= 1 for layer in case.net.batchnorm_layers or ()):
        same(case(condition=0), case(), "the output")


def conditions_select_statistics(case: Case) -> None:
    """``condition`` selects one of several running statistics; without it the latest one counts."""
    net = copy_of(case.net)
    give_statistics(net)
    if not _statistics(net):
        return
    same(case(net), case(net, condition=SETS - 1), "the output without condition")
    for k in range(SETS):
        alone = copy_of(case.net)
        for layer, source in zip(statistics_layers(alone), statistics_layers(net), strict=True):
            for own, value in zip(layer.get_stats(), source.get_stats(k), strict=True):
                own.copy_(value)
        same(case(net, condition=k), case(alone), f"the output for condition={k}")
    refused(ValueError, "", "an id that does not exist", case, net, condition=SETS)


def training_updates_selected_statistics(case: Case) -> None:
    """In training mode the running statistics of the given condition change, and no others."""
    net = copy_of(case.net)
    give_statistics(net)
    before = _statistics(net)
    if not before:
        return
    case(net.train(), condition=1)
    for layer, (old, new) in enumerate(zip(before, _statistics(net), strict=True)):
        for k in range(SETS):
            changed = not torch.equal(old[k], new[k])
            require(changed == (k == 1), f"layer {layer}: statistics {k} {'changed' if changed else 'did not change'}")


def batched_takes_conditions(case: Case) -> None:
    """``batched_forward`` takes one condition for all weight sets, or one for each of them."""
    net, weights = copy_of(case.net), case.stacked()
    give_statistics(net)
    if weights is None:
        return
    for conditions in ([0, 1, 2], [1, 1, 0]) if _statistics(net) else ([0, 0, 0],):
        got = case.batched(net, weights, condition=conditions)
        same(got, case.loop(net, weights, condition=conditions), f"the output for condition={conditions}")
    got = case.batched(net, weights, condition=0)
    same(got, case.loop(net, weights, condition=[0] * SETS), "the output for condition=0")


def batched_training_equals_a_loop(case: Case) -> None:
    """``batched_forward`` in training mode equals a loop over ``forward``, the running statistics included."""
    weights = case.stacked()
    if weights is None or _training_is_random(case):
        return
    for conditions in ([2, 0, 1], [1, 1, 0]):
        nets = [copy_of(case.net).train() for _ in range(2)]
        for net in nets:
            torch.manual_seed(5)
            give_statistics(net)
        options: dict[str, Any] = {"condition": conditions} if _statistics(nets[0]) else {}
        got, expected = case.batched(nets[0], weights, **options), case.loop(nets[1], weights, **options)
        same(got, expected, f"the output for condition={conditions}")
        same(_statistics(nets[0]), _statistics(nets[1]), f"the running statistics after condition={conditions}")


def _statistics(net: Any) -> list[list[Tensor]]:
    """Per batch norm layer its running statistics, mean and variance as one tensor."""
    layers = statistics_layers(net)
    return [[torch.cat(layer.get_stats(k)).clone() for k in range(layer.num_stats)] for layer in layers]


def _tensors(output: Any) -> list[Tensor]:
    return [leaf.detach() for leaf in trees.tensors(output)]


def _training_is_random(case: Case) -> bool:
    outputs = []
    for seed in range(2):
        torch.manual_seed(seed)
        outputs.append(_tensors(case(copy_of(case.net).train())))
    dropout = any(isinstance(m, nn.modules.dropout._DropoutNd) and m.p > 0 for m in case.net.modules())
    return dropout or any(not torch.equal(a, b) for a, b in zip(*outputs, strict=True))


LAWS: tuple[Law, ...] = (
    first_condition_is_the_default,
    conditions_select_statistics,
    training_updates_selected_statistics,
    batched_takes_conditions,
    batched_training_equals_a_loop,
)
