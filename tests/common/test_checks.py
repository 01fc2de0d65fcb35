"""Checks raise on failure, with a message that names the argument, what was expected and what came."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from hypnettorch.core import checks

ZEROS = torch.zeros(2, 3)


@pytest.mark.parametrize(
    ("check", "error", "message"),
    [
        (lambda: checks.instance("a", 1, str), TypeError, "a: expected str, got int"),
        (lambda: checks.instance("a", 1, (str, list), "text"), TypeError, "a: expected text, got int"),
        (lambda: checks.integer("a", True), TypeError, "a: expected an integer, got bool"),
        (lambda: checks.integer("a", 1.0), TypeError, "a: expected an integer, got float"),
        (lambda: checks.integer("a", -1, 0), ValueError, "a: expected an integer of at least 0, got -1"),
        (lambda: checks.integer("a", 5, None, 4), ValueError, "a: expected an integer of at most 4, got 5"),
        (lambda: checks.integer(("a", 2), 5, 0, 4), ValueError, "a[2]: expected an integer between 0 and 4, got 5"),
        (lambda: checks.number("a", "1"), TypeError, "a: expected a number, got str"),
        (lambda: checks.number("a", None), TypeError, "a: expected a number, got NoneType"),
        (lambda: checks.number("a", True), TypeError, "a: expected a number, got bool"),
        (lambda: checks.number("a", ZEROS), TypeError, "a: expected a number, got Tensor"),
        (lambda: checks.number("a", float("nan")), ValueError, "a: expected a number"),
        (lambda: checks.number("a", 2.5, 0, 1), ValueError, "a: expected a number between 0 and 1, got 2.5"),
        (lambda: checks.positive("a", 0), ValueError, "a: expected a positive number, got 0.0"),
        (lambda: checks.positive("a", -1), ValueError, "a: expected a positive number, got -1.0"),
        (lambda: checks.one_of("a", "c", ("b", "d")), ValueError, "a: expected one of 'b', 'd', got 'c'"),
        (lambda: checks.length("a", [1], 2), ValueError, "a: expected 2 entries, got 1"),
        (lambda: checks.length("a", 1, 2), TypeError, "a: expected 2 entries, got int"),
        (lambda: checks.integers("a", "12"), TypeError, "a: expected a sequence of integers, got str"),
        (lambda: checks.integers("a", 3), TypeError, "a: expected a sequence of integers, got int"),
        (lambda: checks.integers("a", [1, 0], 1), ValueError, "a[1]: expected an integer of at least 1, got 0"),
        (lambda: checks.shapes("a", 3), TypeError, "a: expected a list of shapes, as net.param_shapes, got int"),
        (lambda: checks.shapes("a", [[1], 2]), TypeError, "a[1]: expected a sequence of integers, got int"),
        (lambda: checks.shapes("a", [[1], [2, -1]]), ValueError, "a[1][1]: expected an integer of at least 0, got -1"),
        (lambda: checks.tensor("a", [1.0]), TypeError, "a: expected a tensor, got list"),
        (lambda: checks.shape("a", ZEROS, [3, 2]), ValueError, "a: expected shape (3, 2), got (2, 3)"),
        (lambda: checks.shape(("a", 1), None, [3]), TypeError, "a[1]: expected a tensor, got NoneType"),
        (lambda: checks.width("a", ZEROS, 2), ValueError, "a: expected 2 entries in the last dimension"),
        (lambda: checks.width("a", torch.zeros(()), 2), ValueError, "a: expected 2 entries in the last dimension"),
        (lambda: checks.flag("a", 1), TypeError, "a: expected bool, got int"),
        (lambda: checks.function("a", torch.nn.ReLU), TypeError, "a: expected a function"),
        (lambda: checks.function("a", "relu"), TypeError, "a: expected a function"),
        (lambda: checks.dropout_rate("a", 1.5), ValueError, "a: expected -1 (no dropout) or a number between 0 and 1"),
        (lambda: checks.dropout_rate("a", -0.5), ValueError, "a: expected -1 (no dropout) or a number between 0 and 1"),
    ],
)
def test_failure(check: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as info:
        check()
    assert message in str(info.value)


@pytest.mark.parametrize("value", [3, np.int64(3), torch.tensor(3)])
def test_integer_takes_whatever_is_an_index(value: Any) -> None:
    number = checks.integer("a", value, 3, 3)
    assert number == 3
    assert type(number) is int


@pytest.mark.parametrize("value", [0.5, np.float32(0.5), torch.tensor(0.5), np.array(0.5)])
def test_number_takes_whatever_is_one(value: Any) -> None:
    number = checks.number("a", value, 0, 1)
    assert number == 0.5
    assert type(number) is float


def test_lists_come_back_plain() -> None:
    assert checks.integers("a", torch.tensor([1, 2]), 0) == [1, 2]
    assert checks.shapes("a", [torch.Size([2, 3]), (), [np.int64(4)]]) == [[2, 3], [], [4]]


def test_what_is_right_passes() -> None:
    checks.instance("a", 1, int)
    checks.one_of("a", "b", ("b",))
    checks.length("a", [1, 2], 2)
    checks.shape("a", ZEROS, [2, 3])
    checks.width("a", ZEROS, 3)
    checks.flag("a", False)
    checks.function("a", None)
    checks.function("a", torch.nn.ReLU())
    assert checks.dropout_rate("a", -1) == -1
    assert checks.dropout_rate("a", 0) == 0


def test_state_error_is_both() -> None:
    assert issubclass(checks.StateError, RuntimeError)
    assert issubclass(checks.StateError, ValueError)
