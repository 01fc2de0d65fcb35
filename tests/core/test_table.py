"""Rows are declared in the order of use and published in the documented order."""

from __future__ import annotations

import torch
from torch import nn

from hypnettorch.core.table import ParameterTable, normal, uniform


def test_published_order() -> None:
    table = ParameterTable()
    declared = ["weight", "bias", "cm_scale", "cm_shift", "bn_scale", "bn_shift", "embedding", None]
    slots = [table.add([k + 1], role, layer=k) for k, role in enumerate(declared)]
    assert slots == list(range(len(declared)))
    roles = [table.rows[slot].role for slot in table.published()]
    assert roles == ["embedding", "cm_scale", "cm_shift", "bn_scale", "bn_shift", "weight", "bias", None]
    later = table.add([1], "embedding", block=1)
    assert table.published()[-1] == later


def test_values_are_handed_over_once() -> None:
    table = ParameterTable()
    own = nn.Parameter(torch.ones(2))
    first = table.add([2], "weight", value=own)
    second = table.add([100], "bias", init=uniform(0.5))
    third = table.add([2], "bias", external=True)
    values = table.take_values()
    assert values[first] is own
    assert third not in values
    assert 0.4 < values[second].abs().max() <= 0.5
    assert table.take_values() == {}


def test_new_values_follow_others() -> None:
    table = ParameterTable()
    slot = table.add([3], "embedding", init=normal(1.0), like=torch.zeros(1, dtype=torch.float64))
    value = table.take_values()[slot]
    assert value.dtype == torch.float64
    assert value.requires_grad


def test_included_rows_share_parameters() -> None:
    inner, outer = ParameterTable(), ParameterTable()
    inner.add([2, 2], "weight", 0)
    inner.add([2], "bias", 0, external=True)
    values = inner.take_values()
    outer.add([1], "weight", block=1)
    slots = outer.include(inner.rows, [values.get(0), None], block=0)
    assert [outer.rows[slot].shape for slot in slots] == [(2, 2), (2,)]
    assert outer.take_values()[slots[0]] is values[0]
    assert outer.published() == [*slots, 0]


def test_layers_are_counted() -> None:
    table = ParameterTable()
    assert [table.next_layer() for _ in range(3)] == [0, 1, 2]
