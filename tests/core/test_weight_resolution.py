"""What ``weights=`` means: which of the lists a network takes, by number and shapes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hypnettorch.core.weights import WeightLayout

GAIN, SHIFT, WEIGHT, BIAS = range(4)
SHAPES = ((2,), (2,), (2, 3), (2,))
OWN = [torch.full(shape, -1.0) for shape in SHAPES]


def layout(external: tuple[int, ...]) -> WeightLayout:
    indices = iter(range(4))
    return WeightLayout(
        shapes=SHAPES,
        internal=tuple(-1 if position in external else next(indices) for position in range(4)),
        learned=external or None,
        parts={"internal_weights": (WEIGHT, BIAS), "mod_weights": (GAIN, SHIFT)},
        modulation=frozenset((GAIN, SHIFT)),
    )


def resolve(external: tuple[int, ...], weights: Any, **options: Any) -> tuple[list[int], Any]:
    """Positions that were given, and what was resolved."""
    own = [value for position, value in enumerate(OWN) if position not in external]
    resolved = layout(external).resolve(weights, own, **options)
    return [position for position, given in enumerate(resolved.given) if given], resolved


def tensors(*positions: int, lead: tuple[int, ...] = ()) -> list[torch.Tensor]:
    return [torch.randn(*lead, *SHAPES[position]) for position in positions]


EVERYTHING = (GAIN, SHIFT, WEIGHT, BIAS)


@pytest.mark.parametrize(
    ("external", "passed", "expected"),
    [
        ((), EVERYTHING, EVERYTHING),
        ((), (GAIN, SHIFT), (GAIN, SHIFT)),
        ((WEIGHT, BIAS), (WEIGHT, BIAS), (WEIGHT, BIAS)),
        ((WEIGHT, BIAS), EVERYTHING, EVERYTHING),
        ((GAIN, SHIFT), (GAIN, SHIFT), (GAIN, SHIFT)),
        (EVERYTHING, EVERYTHING, EVERYTHING),
    ],
)
def test_a_list_is_the_first_that_fits(
    external: tuple[int, ...], passed: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    weights = tensors(*passed)
    positions, resolved = resolve(external, weights)
    assert positions == list(expected)
    for position, weight in zip(passed, weights, strict=True):
        assert resolved.values[position] is weight
    for position in set(range(4)) - set(passed):
        assert torch.equal(resolved.values[position], OWN[position])


def test_shapes_decide_between_lists_of_one_length() -> None:
    """With external layers, two vectors can only be modulation; what it lacks must be internal."""
    with pytest.raises(ValueError, match="weights"):
        resolve((WEIGHT, BIAS), tensors(GAIN, SHIFT))
    positions, _ = resolve((), tensors(GAIN, SHIFT))
    assert positions == [GAIN, SHIFT]


def test_modulation_may_be_given_per_sample() -> None:
    positions, resolved = resolve((), tensors(GAIN, SHIFT, lead=(5,)))
    assert positions == [GAIN, SHIFT]
    assert resolved.values[GAIN].shape == (5, 2)
    with pytest.raises(ValueError, match=r"weights\[2\]"):
        resolve((), [*tensors(GAIN, SHIFT), torch.randn(5, 2, 3), *tensors(BIAS)])


def test_dictionary_names_its_parts() -> None:
    mod, rest = tensors(GAIN, SHIFT), tensors(WEIGHT, BIAS)
    assert resolve((), {"mod_weights": mod})[0] == [GAIN, SHIFT]
    assert resolve((), {"internal_weights": rest})[0] == [WEIGHT, BIAS]
    assert resolve(EVERYTHING, {"mod_weights": mod, "internal_weights": rest})[0] == [*EVERYTHING]
    assert resolve((), {"mod_weights": mod, "internal_weights": None})[0] == [GAIN, SHIFT]


def test_a_vector_is_what_is_learned() -> None:
    positions, resolved = resolve((WEIGHT, BIAS), torch.arange(8.0))
    assert positions == [WEIGHT, BIAS]
    assert resolved.values[WEIGHT].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert resolved.values[BIAS].tolist() == [6, 7]


def test_stacked_weights() -> None:
    positions, resolved = resolve((WEIGHT, BIAS), tensors(WEIGHT, BIAS, lead=(3,)), stacked=True)
    assert (positions, resolved.sets) == ([WEIGHT, BIAS], 3)
    assert resolved.values[GAIN].shape == (2,)
    _, resolved = resolve((WEIGHT, BIAS), torch.randn(3, 8), stacked=True)
    assert (resolved.sets, resolved.values[WEIGHT].shape) == (3, (3, 2, 3))
    _, resolved = resolve((), tensors(GAIN, SHIFT, lead=(3, 5)), stacked=True)
    assert (resolved.sets, resolved.values[GAIN].shape) == (3, (3, 5, 2))


def test_nothing_passed_takes_what_is_internal() -> None:
    positions, resolved = resolve((), None)
    assert positions == []
    assert all(value is own for value, own in zip(resolved.values, OWN, strict=True))


def test_optional_values_may_be_missing() -> None:
    _, resolved = resolve((BIAS,), None, optional=frozenset([BIAS]))
    assert resolved.values[BIAS] is None


@pytest.mark.parametrize(
    ("external", "weights", "error", "message"),
    [
        ((BIAS,), None, ValueError, "weights: expected the external tensors"),
        ((BIAS,), {"mod_weights": tensors(GAIN, SHIFT)}, ValueError, "internal_weights"),
        ((), 3, TypeError, "weights: expected a list"),
        ((), [1.0], TypeError, r"weights\[0\]"),
        ((), tensors(GAIN), ValueError, r"2 \(context-modulation tensors\), 4 \(param_shapes\) tensors, got 1"),
        ((), tensors(GAIN, SHIFT, BIAS, WEIGHT), ValueError, r"weights\[2\]: expected shape \(2, 3\)"),
        ((), {}, ValueError, "weights"),
        ((), {"weights": []}, ValueError, r"weights: .*\['internal_weights', 'mod_weights'\], got keys \['weights'\]"),
        ((), {"mod_weights": tensors(GAIN)}, ValueError, r"weights\['mod_weights'\]: expected 2 entries, got 1"),
        ((), {"mod_weights": torch.zeros(2, 2)}, TypeError, r"weights\['mod_weights'\]"),
        ((), {"mod_weights": tensors(GAIN, WEIGHT)}, ValueError, r"weights\['mod_weights'\]\[1\]"),
        ((), torch.zeros(12), ValueError, "weights"),
        ((WEIGHT, BIAS), torch.zeros(7), ValueError, r"weights: .* shape \(8"),
        ((WEIGHT, BIAS), torch.zeros(1, 8), ValueError, "weights"),
    ],
)
def test_what_does_not_fit_is_refused(
    external: tuple[int, ...], weights: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        resolve(external, weights)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (tensors(WEIGHT, BIAS), r"weights\[0\]: expected shape \(B, 2, 3\)"),
        ([*tensors(WEIGHT, lead=(3,)), *tensors(BIAS, lead=(2,))], "the same number B"),
        (torch.zeros(8), "weights"),
        ({"internal_weights": None}, "weights"),
    ],
)
def test_stacked_weights_that_do_not_fit_are_refused(weights: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolve((WEIGHT, BIAS), weights, stacked=True)
