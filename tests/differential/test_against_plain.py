"""Every hypernetwork with every main network does what its equation in plain PyTorch does.

Each pair is drawn a condition or several, and one thing to compare. Two seeds draw: a fixed one, and the day, which
covers more as time goes by. To repeat a day's run, set ``HYPNETTORCH_SEED`` to the number in the message.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from hypnettorch import HyperModel
from tests.differential.plain_hypernetworks import CONDITIONS, HYPERNETWORKS, Hyper
from tests.differential.plain_layers import cut
from tests.differential.plain_main_networks import MAIN_NETWORKS, OWN, Main
from tests.today import TODAY

pytestmark = pytest.mark.filterwarnings("ignore:cond_input. expected values in")


class Pair:
    """A hypernetwork and a main network with drawn parameters, conditions and inputs, and what both equations say."""

    def __init__(self, hyper: Hyper, main: Main, random: torch.Generator) -> None:
        self.main, self.random = main, random
        self.mnet = main.build().double().eval()
        self.shapes = self.mnet.hyper_shapes_learned
        self.hnet = hyper.build(self.shapes).double().eval()
        self.ids = torch.randint(CONDITIONS, (self.number(1, 3),), generator=random).tolist()
        self.inputs = dict(hyper.inputs(random, self.ids, self.shapes))
        self.x = self.draw(len(self.ids), *main.shape)
        known = {id(param): name for name, param in self.hnet.named_parameters()}
        self.names = [known[id(param)] for param in self.hnet.internal_params]
        fans = [math.prod(shape[1:]) for shape in self.hnet.param_shapes]
        self.values = [self.draw(*p.shape) / n**0.5 for p, n in zip(self.hnet.internal_params, fans, strict=True)]
        self.flat, self.own = hyper.flat, OWN if hyper.updates else 0.0
        self.model = HyperModel(self.hnet, self.mnet)
        with torch.no_grad():
            for param, value in zip(self.hnet.internal_params, self.values, strict=True):
                param.copy_(value)

    def number(self, low: int, high: int) -> int:
        """A random number, bounds included."""
        return int(torch.randint(low, high + 1, (), generator=self.random))

    def draw(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.random, dtype=torch.float64)

    def plain_weights(self, values: list[Tensor]) -> Tensor:
        """What is produced, ``[B, D]``."""
        return self.flat(list(values), self.inputs, self.shapes)

    def plain(self, values: list[Tensor], x: Tensor) -> Tensor:
        """The outputs, one set of weights after the other."""
        rows = self.plain_weights(values) + self.own
        return torch.stack([self.main.compute(cut(row, self.shapes), one) for row, one in zip(rows, x, strict=True)])

    def ours(self, values: list[Tensor], x: Tensor) -> Tensor:
        """The same by the library."""
        params = {f"hnet.{name}": value for name, value in zip(self.names, values, strict=True)}
        output: Tensor = functional_call(self.model, params, (x,), {**self.inputs, **self.main.options})
        return output


def same(got: Any, expected: Any, rtol: float = 1e-9) -> None:
    """Compare tensors, entries beside the largest one."""
    assert len(got) == len(expected)
    for one, other in zip(got, expected, strict=True):
        largest = float(other.detach().abs().max()) if other.numel() else 0.0
        torch.testing.assert_close(one, other, rtol=rtol, atol=rtol * max(largest, 1e-3))


def formats(pair: Pair) -> None:
    """All formats, and the main network with each of them."""
    flat = pair.plain_weights(pair.values)
    lists = [cut(row, pair.shapes) for row in flat]
    hnet, inputs = pair.hnet, pair.inputs
    same([hnet(**inputs, ret_format="flattened")], [flat])
    same(hnet(**inputs, ret_format="stacked"), [torch.stack(column) for column in zip(*lists, strict=True)])
    for got, expected in zip(hnet(**inputs, ret_format="sequential"), lists, strict=True):
        same(got, expected)
    squeezed = hnet(**inputs)
    same(squeezed if len(lists) == 1 else squeezed[-1], lists[-1])
    same([pair.model(pair.x, **inputs, **pair.main.options)], [pair.plain(pair.values, pair.x)])
    direct = torch.stack([pair.main.compute(weights, x) for weights, x in zip(lists, pair.x, strict=True)])
    names = [pair.mnet.param_names[i] for i in pair.mnet.hyper_shapes_learned_ref]
    for weights in (lists[0], flat[0], dict(zip(names, lists[0], strict=True))):
        same([pair.mnet(pair.x[0], weights=weights, **pair.main.options)], [direct[0]])
    stacked = [torch.stack(column) for column in zip(*lists, strict=True)]
    same([pair.mnet.batched_forward(pair.x, weights=stacked, **pair.main.options)], [direct])


def one_condition(pair: Pair) -> None:
    """Each form of a condition, for one input."""
    expected = pair.plain(pair.values, pair.x)[0]
    if "cond_id" not in pair.inputs:
        got = pair.model(pair.x[:1], cond_input=pair.inputs["cond_input"][:1], **pair.main.options)[0]
        return same([got], [expected])
    others = {name: value[0] for name, value in pair.inputs.items() if name != "cond_id"}
    for form in (pair.ids[0], torch.tensor(pair.ids[0])):
        same([pair.model(pair.x[0], cond_id=form, **others, **pair.main.options)], [expected])
    return None


Function = Callable[[list[Tensor], Tensor], Tensor]


def gradients(pair: Pair, twice: bool = False) -> None:
    """Gradients of parameters and input."""
    seeds = [*pair.values, pair.x]
    direction = [pair.draw(*tensor.shape) for tensor in seeds]
    cotangent = pair.draw(*pair.plain(pair.values, pair.x).shape)

    def derived(function: Function) -> list[Tensor]:
        leaves = [seed.clone().requires_grad_() for seed in seeds]
        loss = (function(leaves[:-1], leaves[-1]) * cotangent).sum()
        first = torch.autograd.grad(loss, leaves, create_graph=twice, allow_unused=True, materialize_grads=True)
        if not twice:
            return list(first)
        along = sum((g * d).sum() for g, d in zip(first, direction, strict=True))
        return list(torch.autograd.grad(along, leaves, allow_unused=True, materialize_grads=True))

    same(derived(pair.ours), derived(pair.plain), rtol=1e-7)


def second_derivatives(pair: Pair) -> None:
    """Products of the Hessian with a vector."""
    gradients(pair, twice=True)


def forward_mode(pair: Pair) -> None:
    """Directional derivatives in forward mode."""
    primals = (pair.values, pair.x)
    tangents = ([pair.draw(*value.shape) for value in pair.values], pair.draw(*pair.x.shape))
    got, expected = (torch.func.jvp(function, primals, tangents)[1] for function in (pair.ours, pair.plain))
    same([got], [expected], rtol=1e-7)


def mapped(pair: Pair) -> None:
    """Gradients for each of three inputs by ``torch.func.vmap``."""
    xs = pair.draw(3, *pair.x.shape)

    def gradient(function: Function) -> Callable[[Tensor], Tensor]:
        return torch.func.grad(lambda x: function(pair.values, x).square().sum())

    expected = torch.stack([gradient(pair.plain)(x) for x in xs])
    same([torch.func.vmap(gradient(pair.ours))(xs)], [expected], rtol=1e-7)


def mapped_parameters(pair: Pair) -> None:
    """Outputs for three sets of parameters by ``torch.func.vmap``."""
    many = [pair.draw(3, *value.shape) * 0.5 for value in pair.values]
    expected = torch.stack([pair.plain([value[i] for value in many], pair.x) for i in range(3)])
    same([torch.func.vmap(lambda values: pair.ours(values, pair.x))(many)], [expected], rtol=1e-7)


def half_precision(pair: Pair) -> None:
    """Outputs under autocast, as near to the exact ones as the equation under autocast comes."""
    pair.model.float()
    values, x = [value.float() for value in pair.values], pair.x.float()
    pair.inputs = {n: v.float() if isinstance(v, Tensor) else v for n, v in pair.inputs.items()}
    exact = pair.plain(values, x)
    with torch.autocast("cpu", torch.bfloat16):
        got, reference = pair.ours(values, x), pair.plain(values, x)
    scale = exact.abs().max().clamp(min=1e-3)
    error, usual = ((y.float() - exact).abs().max() / scale for y in (got, reference))
    assert error <= 4 * usual + 0.05
    assert got.dtype in (reference.dtype, torch.float32)


def compiled(pair: Pair) -> None:
    """The compiled model, with gradients."""
    expected = pair.plain(pair.values, pair.x)
    torch.compiler.reset()
    model = torch.compile(pair.model, backend="aot_eager")
    got = model(pair.x, **pair.inputs, **pair.main.options)
    same([got], [expected])
    got.sum().backward()
    pair_gradients = [param.grad for param in pair.hnet.internal_params]
    leaves = [value.clone().requires_grad_() for value in pair.values]
    wanted = torch.autograd.grad(pair.plain(leaves, pair.x).sum(), leaves, allow_unused=True, materialize_grads=True)
    found = [torch.zeros_like(v) if g is None else g for g, v in zip(pair_gradients, leaves, strict=True)]
    same(found, wanted, rtol=1e-7)


COMPARISONS = [
    *(formats, one_condition, gradients, second_derivatives, forward_mode, mapped, mapped_parameters, half_precision)
]
PAIRS = [
    (hyper, main)
    for hyper in HYPERNETWORKS
    for main in MAIN_NETWORKS
    if not hyper.updates or main.name == "ModuleNet-matrices"  # elsewhere, nothing is there that could be updated
]


def compare(seed: int, index: int, comparison: Callable[[Pair], None] | None = None) -> None:
    """Compare something of a pair; what fails says how to repeat it."""
    random = torch.Generator().manual_seed(1000 * seed + index)
    hyper, main = PAIRS[index % len(PAIRS)]
    chosen = comparison or COMPARISONS[int(torch.randint(len(COMPARISONS), (), generator=random))]
    try:
        chosen(Pair(hyper, main, random))
    except Exception as error:
        error.add_note(f"{hyper.name} with {main.name}: {chosen.__name__}; HYPNETTORCH_SEED={seed}, index {index}")
        raise


@pytest.mark.parametrize("index", range(len(PAIRS)), ids=[f"{hyper.name}-{main.name}" for hyper, main in PAIRS])
def test_every_pair(index: int) -> None:
    compare(0, index)


@pytest.mark.parametrize("part", range(8))
def test_sample_of_the_day(part: int) -> None:
    print(f"HYPNETTORCH_SEED={TODAY}")
    random = torch.Generator().manual_seed(TODAY + part)
    for index in torch.randint(1000 * len(PAIRS), (10,), generator=random).tolist():
        compare(TODAY, index)


@pytest.mark.parametrize("part", range(2))
def test_compiled_sample(part: int) -> None:
    for seed in (0, TODAY):
        random = torch.Generator().manual_seed(seed + part)
        compare(seed, int(torch.randint(len(PAIRS), (), generator=random)), compiled)
