"""What ``weights=`` means: which of the lists a network takes, by number and shapes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hypnettorch.mnets import MLP
from hypnettorch.mnets.network import Network

GAIN, SHIFT, WEIGHT, BIAS = range(4)
SHAPES = ((2,), (2,), (2, 3), (2,))
NAMES = ("mods.gain", "mods.shift", "layer.weight", "layer.bias")
ROLES = ("cm_scale", "cm_shift", "weight", "bias")


def network(external: tuple[int, ...]) -> Network:
    """A network of four tensors of -1, some of which are external."""
    net = Network()
    for position, (name, shape, role) in enumerate(zip(NAMES, SHAPES, ROLES, strict=True)):
        options = {"external": position in external, "init": lambda tensor: tensor.fill_(-1)}
        net.declare(name, shape, role, order=(position,), **options)
    return net


def resolve(external: tuple[int, ...], weights: Any, **options: Any) -> tuple[list[int], Any]:
    """Positions that were given, and the evaluation."""
    values = network(external).evaluation(weights, None, None, **options)
    return [position for position, name in enumerate(NAMES) if name in values.given], values


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
        assert resolved[NAMES[position]] is weight
    for position in set(range(4)) - set(passed):
        assert torch.equal(resolved[NAMES[position]], torch.full(SHAPES[position], -1.0))


def test_shapes_decide_between_lists_of_one_length() -> None:
    """With external layers, two vectors can only be modulation; what it lacks must be internal."""
    with pytest.raises(ValueError, match="weights"):
        resolve((WEIGHT, BIAS), tensors(GAIN, SHIFT))
    positions, _ = resolve((), tensors(GAIN, SHIFT))
    assert positions == [GAIN, SHIFT]


def test_modulation_may_be_given_per_sample() -> None:
    positions, resolved = resolve((), tensors(GAIN, SHIFT, lead=(5,)))
    assert positions == [GAIN, SHIFT]
    assert resolved[NAMES[GAIN]].shape == (5, 2)
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
    assert resolved[NAMES[WEIGHT]].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert resolved[NAMES[BIAS]].tolist() == [6, 7]


def test_stacked_weights() -> None:
    positions, resolved = resolve((WEIGHT, BIAS), tensors(WEIGHT, BIAS, lead=(3,)), stacked=True)
    assert (positions, resolved.sets) == ([WEIGHT, BIAS], 3)
    assert resolved[NAMES[GAIN]].shape == (2,)
    _, resolved = resolve((WEIGHT, BIAS), torch.randn(3, 8), stacked=True)
    assert (resolved.sets, resolved[NAMES[WEIGHT]].shape) == (3, (3, 2, 3))
    _, resolved = resolve((), tensors(GAIN, SHIFT, lead=(3, 5)), stacked=True)
    assert (resolved.sets, resolved[NAMES[GAIN]].shape) == (3, (3, 5, 2))


def test_nothing_passed_takes_what_is_internal() -> None:
    net = network(())
    values = net.evaluation(None, None, None)
    assert not values.given
    assert all(values[name] is own for name, own in zip(NAMES, net.internal_params, strict=True))


def test_names() -> None:
    """Any tensor may be given by its name, together with lists or alone; what is missing is that of the network."""
    weight, (gain, shift) = tensors(WEIGHT)[0], tensors(GAIN, SHIFT)
    positions, resolved = resolve((), {NAMES[WEIGHT]: weight})
    assert positions == [WEIGHT]
    assert resolved[NAMES[WEIGHT]] is weight
    assert resolve((), {NAMES[WEIGHT]: weight, "mod_weights": [gain, shift]})[0] == [GAIN, SHIFT, WEIGHT]
    stacked = {name: tensors(position, lead=(3,))[0] for position, name in enumerate(NAMES)}
    assert resolve(EVERYTHING, stacked, stacked=True)[1].sets == 3
    with pytest.raises(ValueError, match="external"):
        resolve((WEIGHT, BIAS), {NAMES[WEIGHT]: weight})
    with pytest.raises(ValueError, match=r"weights\['layer.weight'\]: expected shape \(2, 3\)"):
        resolve((), {NAMES[WEIGHT]: weight.T})
    with pytest.raises(TypeError, match=r"weights\['layer.weight'\]"):
        resolve((), {NAMES[WEIGHT]: 1.0})
    with pytest.raises(ValueError, match=r"by names as 'mods\.gain'"):
        resolve((), {"layer.wieght": weight})


def test_dtypes_that_a_product_would_meet_are_refused() -> None:
    x, weights = torch.zeros(1, 3), [tensor.double() for tensor in tensors(WEIGHT, BIAS)]
    with pytest.raises(TypeError, match=r"weights\['layer.weight'\]: expected dtype torch.float32"):
        resolve((WEIGHT, BIAS), weights, x=x)
    assert resolve((WEIGHT, BIAS), weights, x=x.double())[0] == [WEIGHT, BIAS]
    with torch.autocast("cpu", torch.bfloat16):
        assert resolve((WEIGHT, BIAS), weights, x=x)[0] == [WEIGHT, BIAS]


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
        (
            (),
            {"weights": []},
            ValueError,
            r"weights: .*\['internal_weights', 'mod_weights'\], or by names .*, got keys \['weights'\]",
        ),
        ((), {"mod_weights": tensors(GAIN)}, ValueError, r"weights\['mod_weights'\]: expected 2 entries, got 1"),
        ((), {"mod_weights": torch.zeros(2, 2)}, TypeError, r"weights\['mod_weights'\]"),
        ((), {"mod_weights": tensors(GAIN, WEIGHT)}, ValueError, r"weights\['mod_weights'\]\[1\]"),
        ((), torch.zeros(12), ValueError, "weights"),
        ((WEIGHT, BIAS), torch.zeros(7), ValueError, r"weights: .* shape \(8"),
        ((WEIGHT, BIAS), torch.zeros(2, 8), ValueError, r"weights: .* many weight sets"),
        ((WEIGHT, BIAS), torch.zeros(1, 1, 8), ValueError, r"weights: .* shape \(8"),
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


def test_no_weights_where_none_are_needed() -> None:
    net = MLP(n_in=3, n_out=2, verbose=False)
    x = torch.randn(4, 3)
    assert torch.equal(net(x, weights=[]), net(x))
    with pytest.raises(ValueError, match="weights"):
        MLP(n_in=3, n_out=2, no_weights=True, verbose=False)(x, weights=[])
