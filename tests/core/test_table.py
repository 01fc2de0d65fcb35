"""Rows stand in the documented order, whatever the order of declaration; each tensor has one name."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from hypnettorch.core.table import Row, Table, order_of
from hypnettorch.mnets.network import Network


def test_documented_order() -> None:
    table = Table()
    roles = ["weight", "bias", "cm_scale", "cm_shift", "bn_scale", "bn_shift", "embedding", None]
    for k, role in enumerate(roles):
        table.extend([Row(f"all.{k}", (k + 1,), role, k, order=order_of(0, role))])
    expected = ["embedding", "cm_scale", "cm_shift", "bn_scale", "bn_shift", "weight", "bias", None]
    assert [row.role for row in table.rows] == expected
    table.extend([Row("later.0", (1,), "embedding", order=order_of(1, "embedding"))])
    assert table.rows[-1].name == "later.0"
    one_by_one = [row.name for row in table.rows]
    at_once = Table()
    at_once.extend(sorted(table.rows, key=lambda row: row.name))
    assert [row.role for row in at_once.rows] == [*expected, "embedding"]
    assert at_once.num_layers == table.num_layers == len(roles)
    assert sorted(at_once.by_name) == sorted(one_by_one)


def test_a_name_is_taken_once() -> None:
    net = Network()
    net.linear("layers.0", 2, 3)
    with pytest.raises(ValueError, match=r"layers\.0"):
        net.linear("layers.0", 2, 3)
    with pytest.raises(ValueError, match="name with a dot"):
        net.declare("scale", [1])
    with pytest.raises(ValueError, match="is no attribute of Network"):
        net.linear("forward", 2, 3)
    table = Table()
    table.extend([Row("a.b", (1,), None)])
    with pytest.raises(ValueError, match=r"'a\.b'"):
        table.extend([Row("a.b", (1,), None)])


def test_new_parameters_follow_others() -> None:
    net = Network()
    net.declare("first.weight", [2], value=nn.Parameter(torch.zeros(2, dtype=torch.float64)))
    net.declare("second.weight", [2], init=nn.init.ones_)
    assert net.internal_params[1].dtype == torch.float64
    assert net.second.weight.tolist() == [1, 1]


class Two(Network):
    """A network with a network as its part."""

    def __init__(self) -> None:
        super().__init__()
        inner = Network()
        inner.linear("layers.0", 2, 2, external=False)
        inner.declare("layers.extra.weight", [2], "bias", 0, external=True)
        self.linear("after.0", 2, 1, block=1)
        self.include("inner", inner, note="inside")


def test_included_rows_are_those_of_the_part() -> None:
    net = Two()
    assert net.param_names == [
        "inner.layers.0.weight", "inner.layers.0.bias", "inner.layers.extra.weight", "after.0.weight", "after.0.bias",
    ]  # fmt: skip
    assert net.internal_params[0] is net.inner.layers[0].weight
    assert [meta["layer"] for meta in net.param_shapes_meta] == [1, 1, 1, 0, 0]
    assert [meta.get("note") for meta in net.param_shapes_meta] == ["inside"] * 3 + [None] * 2
    assert [name for name, _ in net.named_parameters()] == [
        "inner.layers.0.weight", "inner.layers.0.bias", "after.0.weight", "after.0.bias",
    ]  # fmt: skip


@pytest.mark.parametrize("make", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))], ids=["copy", "pickle"])
def test_rows_look_their_tensor_up(make: object) -> None:
    """A row says where a tensor is: replaced, converted, copied, it is the one that is there."""
    net = make(Two())  # type: ignore[operator]
    net.inner.layers[0].weight = nn.Parameter(torch.full((2, 2), 7.0))
    assert net.internal_params[0] is net.inner.layers[0].weight
    assert net.evaluation({"inner.layers.extra.weight": torch.zeros(2)}, None, None)["inner.layers.0.weight"][0, 0] == 7
    net.to(torch.float64)
    assert all(param.dtype == torch.float64 for param in net.internal_params)
    net.to("meta").to_empty(device="cpu")
    assert net.internal_params[0] is net.inner.layers[0].weight


def test_layers_are_counted() -> None:
    table = Table()
    assert [table.next_layer() for _ in range(3)] == [0, 1, 2]
