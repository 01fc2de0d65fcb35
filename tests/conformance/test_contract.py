"""Every registered network keeps the public contract, and the laws that are too expensive for it."""

from __future__ import annotations

import copy
import random
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from hypnettorch.core import trees
from hypnettorch.hnets import HMLP
from hypnettorch.mnets.module_net import ModuleNet
from hypnettorch.testing import ContractViolation, check_hypernetwork, check_main_network
from hypnettorch.testing.cases import SETS, Case, HyperCase, MainCase, copy_of, give_statistics, same, statistics_layers
from tests.conformance.registry import HYPERNETWORKS, MAIN_NETWORKS, Entry, target_network
from tests.today import TODAY


def build(entry: Entry) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return entry.build()


def case_of(entry: Entry, dtype: torch.dtype = torch.float64) -> Case:
    net = build(entry)
    return HyperCase(net, dtype=dtype) if entry.x is None else MainCase(net, entry.x(), dtype)


@pytest.mark.parametrize("entry", MAIN_NETWORKS, ids=lambda entry: entry.name)
def test_main_network(entry: Entry) -> None:
    check(entry, public_limits(entry))


@pytest.mark.parametrize("entry", HYPERNETWORKS, ids=lambda entry: entry.name)
def test_hypernetwork(entry: Entry) -> None:
    check(entry, public_limits(entry))


def check(entry: Entry, limits: dict[str, str]) -> None:
    if entry.x is None:
        check_hypernetwork(build(entry), limits=limits)
    else:
        check_main_network(build(entry), entry.x(), limits=limits)


def public_limits(entry: Entry) -> dict[str, str]:
    return {law: reason for law, reason in entry.limits.items() if law not in EXPENSIVE}


@pytest.mark.parametrize("entry", [*MAIN_NETWORKS, *HYPERNETWORKS], ids=lambda entry: entry.name)
def test_a_block_lends_weights(entry: Entry) -> None:
    """Within a block of ``using`` a call without weights has those of the block; they stay those of the function."""
    case = case_of(entry)
    net, own = case.net, case.complete()
    values = case.weights or [torch.randn_like(value) for value in own or ()]
    expected = case(weights=values)
    before = None if case.weights else case(weights=None)
    with net.using(values) as function:
        same(case(weights=None), expected, "a call in the block")
        same(case(copy.deepcopy(net), weights=values), expected, "a call of a copy")
    if not isinstance(net, ModuleNet):
        inputs = (case.x,) if isinstance(case, MainCase) else ()
        options = {**case.inputs, "ret_format": "flattened"} if isinstance(case, HyperCase) else {}
        same(function(*inputs, **options), expected, "the function after the block")
    if before is not None:
        same(case(weights=None), before, "a call after the block")


def random_in_training(net: nn.Module) -> bool:
    return any(isinstance(m, nn.Dropout) and m.p > 0 for m in net.modules())


def modes(net: nn.Module) -> list[bool]:
    """Evaluation, and training where it differs without being random."""
    return [False, True] if statistics_layers(net) and not random_in_training(net) else [False]


# Laws


def derivatives_are_exact(entry: Entry) -> None:
    """First and second derivatives through hypernetwork and main network together."""
    case = case_of(entry)
    function, leaves = joint_function(case)
    for training in modes(case.net):
        case.net.train(training)
        torch.autograd.gradcheck(function, leaves, fast_mode=True)
        torch.autograd.gradgradcheck(function, leaves, fast_mode=True)


def joint_function(case: Case) -> tuple[Callable[..., tuple[Tensor, ...]], list[Tensor]]:
    """Outputs of a main network as a function of its input and of all that the hypernetwork has."""
    if isinstance(case, MainCase):
        shapes = case.net.hyper_shapes_learned or case.net.param_shapes
        hnet = HMLP(shapes, cond_in_size=2, layers=[3], activation_fn=nn.Tanh(), verbose=False).double()
        leaves = [param.detach().clone().requires_grad_() for param in hnet.internal_params]
        x = case.x.clone().requires_grad_(case.x.is_floating_point())

        def of_main_network(x: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
            output = case(weights=hnet(cond_id=0, weights=list(values)), x=x)
            return tuple(trees.flatten(output)[0])

        return of_main_network, [x, *leaves]

    mnet = target_network(case.net.target_shapes).double()
    stacked = case.complete()
    x = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)

    def of_hypernetwork(x: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        weights = case(weights=list(values), ret_format="stacked")
        return (mnet.batched_forward(x, weights, share_input=True),)

    return of_hypernetwork, [x, *[value.requires_grad_() for value in stacked]]


@pytest.fixture(autouse=True)
def _no_graphs_left() -> Iterator[None]:
    yield
    torch._dynamo.reset()


def compilation_changes_nothing(entry: Entry) -> None:
    """``torch.compile(fullgraph=True)`` gives the outputs and gradients of ``forward`` and ``batched_forward``.

    The graph of Dynamo is evaluated; statistics that it writes make a pass of AOTAutograd necessary as well.
    """
    case = case_of(entry)
    backend = "aot_eager" if statistics_layers(case.net) else "eager"
    options: dict[str, Any] = {}
    if isinstance(case, HyperCase) and case.conditions:
        options["cond_id"] = torch.arange(case.conditions).flip(0)
    stacked = case.stacked()

    def run(net: Any, weights: Any, stacked: Any) -> list[Any]:
        one = case(net, weights=weights, **options)
        return [one] if stacked is None else [one, case.batched(net, stacked, **options)]

    eager, other = (copy_of(case.net).train(modes(case.net)[-1]) for _ in range(2))
    results = []
    for net, function in ((eager, run), (other, torch.compile(run, fullgraph=True, backend=backend))):
        leaves = [grad_copies(case.weights), grad_copies(stacked)]
        outputs = function(net, *leaves)
        own = list(net.internal_params or ())
        results.append((outputs, gradients(outputs, [*own, *(leaves[0] or ()), *(leaves[1] or ())])))
    same(results[1], results[0], "outputs and gradients", rtol=1e-9)
    same(dict(other.named_buffers()), dict(eager.named_buffers()), "statistics")


def grad_copies(tensors: list[Tensor] | None) -> list[Tensor] | None:
    return None if tensors is None else [tensor.clone().requires_grad_() for tensor in tensors]


def gradients(output: Any, leaves: list[Tensor]) -> list[Tensor]:
    total = torch.stack([leaf.square().sum() for leaf in trees.flatten(output)[0]]).sum()
    grads = torch.autograd.grad(total, leaves, allow_unused=True)
    return [torch.zeros_like(leaf) if grad is None else grad for leaf, grad in zip(leaves, grads, strict=True)]


def autocast_is_close(entry: Entry) -> None:
    """Under autocast to bfloat16, weights are generated and used with the precision that is left."""
    case = case_of(entry, torch.float32)
    torch.manual_seed(1)
    if isinstance(case, MainCase):
        shapes = case.net.hyper_shapes_learned or case.net.param_shapes
        hnet = HMLP(shapes, cond_in_size=2, layers=[3], num_cond_embs=SETS, verbose=False)
        ids = list(range(SETS))
        functions = [
            lambda: case(weights=hnet(cond_id=0)),
            lambda: case.batched(case.net, hnet(cond_id=ids, ret_format="stacked")),
        ]
    else:
        mnet = target_network(case.net.target_shapes)
        x = torch.randn(5, 3)
        functions = [lambda: mnet.batched_forward(x, case(ret_format="stacked"), share_input=True)]
    for function in functions:
        expected = function()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            got = function()
        same(trees.map_leaves(lambda t: t.float(), got), expected, "the output", rtol=0.1)


def half_precision_is_close(entry: Entry) -> None:
    """A network in bfloat16 or float16 computes in this type, one set of weights or many."""
    case = case_of(entry, torch.float32)
    expected = case()
    stacked = case.stacked()
    for dtype in (torch.bfloat16, torch.float16):
        half = copy.copy(case)
        half.net = copy_of(case.net).to(dtype)
        for name in ("weights", "x", "xs", "inputs"):
            if hasattr(case, name):
                setattr(half, name, in_dtype(getattr(case, name), dtype))
        got = [half()] if stacked is None else [half(), half.batched(half.net, in_dtype(stacked, dtype))]
        assert all(leaf.dtype == dtype for leaf in trees.flatten(got)[0])
        same(trees.map_leaves(lambda t: t.float(), got[0]), expected, "the output", rtol=0.15)


def in_dtype(values: Any, dtype: torch.dtype) -> Any:
    return trees.map_tensors(lambda v: v.to(dtype) if v.is_floating_point() else v, values)


def construction_without_memory(entry: Entry) -> None:
    """A network built on the meta device and filled with a ``state_dict`` is the network."""
    case = case_of(entry, torch.float32)
    with torch.device("meta"):
        net = build(entry)
    net.to_empty(device="cpu").eval()
    net.load_state_dict(case.net.state_dict(), strict=True)
    same(case(net), case(), "the output")
    net.load_state_dict(
        {name: value.clone() for name, value in case.net.state_dict().items()}, strict=True, assign=True
    )
    same(case(net), case(), "the output")


def safetensors_hold_the_state(entry: Entry) -> None:
    """A ``state_dict`` goes through safetensors."""
    case = case_of(entry)
    net = copy_of(case.net)
    give_statistics(net)
    other = copy.deepcopy(case.net)
    other.load_state_dict(load(save(dict(net.state_dict()))), strict=True)
    same(case(other), case(net), "the output")


EXPENSIVE: dict[str, Callable[[Entry], None]] = {
    law.__name__: law
    for law in (
        derivatives_are_exact,
        compilation_changes_nothing,
        autocast_is_close,
        half_precision_is_close,
        construction_without_memory,
        safetensors_hold_the_state,
    )
}


def held_to(entry: Entry, law: str) -> bool:
    """Whether a network is held to a law today. The day draws a third of those that are compiled.

    The first of each class and those that cannot be compiled are looked at every day.
    """
    if law != compilation_changes_nothing.__name__ or law in entry.limits:
        return True
    kind = [other.name for other in ALL if other.name.partition("-")[0] == entry.name.partition("-")[0]]
    return entry.name == kind[0] or random.Random(f"{entry.name} {TODAY}").random() < 1 / 3


ALL = [*MAIN_NETWORKS, *HYPERNETWORKS]


@pytest.mark.parametrize(
    ("entry", "law"),
    [pytest.param(entry, law, id=f"{entry.name}-{law}") for law in EXPENSIVE for entry in ALL if held_to(entry, law)],
)
def test_expensive_law(entry: Entry, law: str) -> None:
    if law in entry.limits:
        with pytest.raises(Exception):  # noqa: B017, PT011
            EXPENSIVE[law](entry)
    else:
        EXPENSIVE[law](entry)


def test_limits_are_still_limits() -> None:
    """A documented limit that has gone is to be removed from the registry."""
    for entry in (*MAIN_NETWORKS, *HYPERNETWORKS):
        limits = public_limits(entry)
        for law in limits:
            others = {name: reason for name, reason in limits.items() if name != law}
            with pytest.raises(ContractViolation, match=law):
                check(entry, others)


def test_names_are_unique() -> None:
    names = [entry.name for entry in (*MAIN_NETWORKS, *HYPERNETWORKS)]
    assert len(set(names)) == len(names)
