"""Modules that users bring, driven by hypernetworks: laws that hold for all of them."""

from __future__ import annotations

import copy
import functools
import io
import pickle
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from hypnettorch.hnets import HMLP
from hypnettorch.hyper_model import HyperModel
from hypnettorch.mnets.module_net import ModuleNet
from tests.mnets.module_zoo import ZOO, Brought

SETS = 2

pytestmark = [
    pytest.mark.filterwarnings("ignore:.* is evaluated weight set by weight set"),
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN"),
    pytest.mark.filterwarnings("ignore:Casting complex values to real"),
]


def law(function: Callable[..., None]) -> Callable[..., None]:
    """A test of every module; of one that cannot, the test is that it says so."""

    @pytest.mark.parametrize("brought", ZOO.values(), ids=ZOO)
    @functools.wraps(function)
    def test(brought: Brought, **others: Any) -> None:
        problem = brought.limits.get(function.__name__.removeprefix("test_"))
        with nullcontext() if problem is None else pytest.raises(Exception, match=problem):
            function(brought, **others)

    return test


class Case:
    """A module in evaluation mode, weights for it, and a hypernetwork.

    Attributes:
        module: The module, which nobody knows but the test.
        net: Another one with the same values.
        weights: Values for all parameters, in the form in which they are generated, near those of the module.
        stacked: Several of them.
    """

    def __init__(self, brought: Brought) -> None:
        torch.manual_seed(1)
        self.brought = brought
        self.module = brought.build().eval()
        self.net = ModuleNet(copy.deepcopy(self.module))
        self.sets = [self._near_own() for _ in range(SETS)]
        self.weights = self.sets[0]

    def _near_own(self) -> dict[str, Tensor]:
        own = dict(zip(self.net.param_names, self.net.initial_weights(), strict=True))
        return {name: (value + 0.1 * torch.randn_like(value)).requires_grad_() for name, value in own.items()}

    @property
    def stacked(self) -> dict[str, Tensor]:
        return {name: torch.stack([each[name] for each in self.sets]) for name in self.weights}

    def hypernetwork(self) -> HMLP:
        """One whose weights depend on the condition, also those that start constant."""
        hnet = HMLP(
            self.net.hyper_shapes_learned,
            cond_in_size=3,
            layers=[4],
            activation_fn=nn.Tanh(),
            num_cond_embs=SETS,
            verbose=False,
        )
        hnet.apply_hyperfan_init(mnet=self.net)
        with torch.no_grad():
            for param in hnet.unconditional_params:
                param.add_(0.02 * torch.randn_like(param))
        return hnet

    def inputs(self, *lead: int) -> dict[str, Tensor]:
        torch.manual_seed(2)
        return self.brought.inputs(*lead)

    def expected(self, weights: dict[str, Tensor], inputs: dict[str, Tensor]) -> Tensor:
        """What the module gives with these weights, by torch's own means."""
        own = dict(self.module.named_parameters())
        fitting = {name: torch.view_as_complex(w) if own[name].is_complex() else w for name, w in weights.items()}
        return self.brought.output(functional_call(self.module, fitting, (), inputs))

    def __call__(self, inputs: dict[str, Tensor], weights: Any) -> Tensor:
        return self.brought.output(self.net(**inputs, weights=weights))

    def batched(self, inputs: dict[str, Tensor], weights: Any, **options: Any) -> Tensor:
        return self.brought.output(self.net.batched_forward(**inputs, weights=weights, **options))


def member(inputs: dict[str, Tensor], b: int) -> dict[str, Tensor]:
    return {name: value[b] for name, value in inputs.items()}


def leading(tensors: dict[str, Tensor], sets: int) -> dict[str, Tensor]:
    return {name: value[:sets] for name, value in tensors.items()}


def with_gradients(inputs: dict[str, Tensor]) -> list[Tensor]:
    """The inputs that have gradients."""
    return [value.requires_grad_() for value in inputs.values() if value.is_floating_point()]


def gradients(output: Tensor, tensors: Sequence[Tensor]) -> list[Tensor]:
    return list(torch.autograd.grad(output.float().square().sum(), tensors, materialize_grads=True, allow_unused=True))


def close(got: Any, expected: Any, rtol: float = 1e-4) -> None:
    """Equal up to ``rtol`` of the largest entry; in a list of gradients small ones are rounding errors of others."""
    if isinstance(expected, Tensor):
        got, expected = [got], [expected]
    largest = max([1e-3, *(each.abs().max().item() / 100 for each in expected)])
    for one, other in zip(got, expected, strict=True):
        atol = rtol * max(other.abs().max().item(), largest)
        torch.testing.assert_close(one, other, rtol=rtol, atol=atol)


@law
def test_own_values(brought: Brought) -> None:
    """They give what the module gives by itself, wrapped or not, and are frozen."""
    case = Case(brought)
    inputs = case.inputs()
    expected = brought.output(case.module(**inputs))
    close(case(inputs, [value.clone() for value in case.net.initial_weights()]), expected, 1e-6)
    close(brought.output(case.net.module(**inputs)), expected, 1e-6)
    assert not any(parameter.requires_grad for parameter in case.net.parameters())


@law
def test_one_set(brought: Brought) -> None:
    """Results and derivatives are those of ``functional_call``."""
    case = Case(brought)
    inputs = case.inputs()
    leaves = [*case.weights.values(), *with_gradients(inputs)]
    got, expected = case(inputs, case.weights), case.expected(case.weights, inputs)
    close(got, expected, 1e-6)
    close(gradients(got, leaves), gradients(expected, leaves))
    assert not torch.equal(got, brought.output(case.module(**inputs)))


@law
def test_many_sets(brought: Brought) -> None:
    """Results and derivatives are those of a loop over ``functional_call``."""
    case = Case(brought)
    inputs = case.inputs(SETS)
    leaves = [*(w for each in case.sets for w in each.values()), *with_gradients(inputs)]
    got = case.batched(inputs, case.stacked)
    expected = torch.stack([case.expected(weights, member(inputs, b)) for b, weights in enumerate(case.sets)])
    close(got, expected)
    close(gradients(got, leaves), gradients(expected, leaves), 1e-3)
    with torch.no_grad():
        close(case.batched(inputs, case.stacked), expected)


@law
def test_shared_input(brought: Brought) -> None:
    case = Case(brought)
    inputs = case.inputs()
    with torch.no_grad():
        expected = torch.stack([case.expected(weights, inputs) for weights in case.sets])
        close(case.batched(inputs, case.stacked, share_input=True), expected)


@law
def test_selected_parameters(brought: Brought) -> None:
    """Every second parameter comes from outside; the others stay trainable, and learn from all sets."""
    case = Case(brought)
    names = case.net.param_names[::2]
    net = ModuleNet(copy.deepcopy(case.module), include=lambda name, _: name in names)
    weights, inputs = {name: case.weights[name] for name in names}, case.inputs()
    rest = [parameter for parameter in net.parameters() if parameter.requires_grad]
    others = [p for name, p in case.module.named_parameters() if name not in names]
    got, expected = brought.output(net(**inputs, weights=weights)), case.expected(weights, inputs)
    close(got, expected, 1e-6)
    of_one = gradients(expected, others)
    close(gradients(got, rest), of_one)
    twice = {name: torch.stack([value, value]) for name, value in weights.items()}
    many = brought.output(net.batched_forward(**inputs, weights=twice, share_input=True))
    close(gradients(many, rest), [2 * grad for grad in of_one], 1e-3)


@law
def test_number_of_sets(brought: Brought) -> None:
    """Chunks of sets, one set and none."""
    case = Case(brought)
    inputs, stacked = case.inputs(SETS), case.stacked
    with torch.no_grad():
        expected = case.batched(inputs, stacked)
        close(case.batched(inputs, stacked, chunk_size=1), expected)
        close(case.batched(leading(inputs, 1), leading(stacked, 1)), expected[:1])
        assert case.batched(leading(inputs, 0), leading(stacked, 0)).shape == (0, *expected.shape[1:])


@law
def test_gradients_reach_the_hypernetwork(brought: Brought) -> None:
    """All of it that the module makes use of."""
    case = Case(brought)
    hnet, net, inputs = case.hypernetwork(), case.net, case.inputs()
    brought.output(HyperModel(hnet, net)(**inputs, cond_id=1)).square().sum().backward()
    for param in hnet.unconditional_params:
        assert torch.isfinite(param.grad).all()
        assert param.grad.any()
    assert hnet.get_cond_in_emb(1).grad.any()
    assert hnet.get_cond_in_emb(0).grad is None
    rows = hnet.layer_weight_tensors[-1].grad.any(1).split([w.numel() for w in net.initial_weights()])
    weights = dict(zip(net.param_names, hnet(cond_id=1), strict=True))
    used = gradients(case.expected(weights, inputs), list(weights.values()))
    for name, reached, grad in zip(net.param_names, rows, used, strict=True):
        assert reached.any() or not grad.abs().max() > 1e-6, name


@law
def test_using_and_materialize(brought: Brought) -> None:
    case = Case(brought)
    net, inputs = case.net, case.inputs()
    with torch.no_grad():
        expected = case.expected(case.weights, inputs)
        with net.using(case.weights) as module:
            close(brought.output(module(**inputs)), expected, 1e-6)
        close(brought.output(net.module(**inputs)), brought.output(case.module(**inputs)), 1e-6)
        plain = net.materialize(case.weights)
        close(brought.output(plain(**inputs)), expected, 1e-6)
        assert type(plain) is type(case.module)
        case.module.load_state_dict(plain.state_dict(), strict=True)
        close(brought.output(case.module(**inputs)), expected, 1e-6)


def check_checkpointing(brought: Brought, use_reentrant: bool) -> None:
    """Derivatives are those of an ordinary module with these weights, whatever else is lent meanwhile."""
    case = Case(brought)
    plain = case.net.materialize(case.weights)
    for module in (case.net.module, plain):
        brought.recompute(module, use_reentrant)
    inputs = case.inputs()
    leaves = [*case.weights.values(), *with_gradients(inputs)]
    expected = brought.output(plain(**inputs))
    expected.square().sum().backward()
    of_plain = [parameter.grad for parameter in plain.parameters()]
    of_inputs = [leaf.grad for leaf in leaves[len(case.weights) :]]
    for leaf in leaves:
        leaf.grad = None
    got = case(inputs, case.weights)
    close(got, expected, 1e-6)
    with case.net.using(case.sets[1]):
        got.square().sum().backward()
    reached = [(leaf, grad) for leaf, grad in zip(leaves, [*of_plain, *of_inputs], strict=True) if grad is not None]
    assert reached
    close(
        [leaf.grad for leaf, _ in reached],
        [torch.view_as_real(grad) if grad.is_complex() else grad for _, grad in reached],
    )


def check_generated(brought: Brought, use_reentrant: bool) -> None:
    """The hypernetwork learns the same, for one condition and for many."""
    case = Case(brought)
    hnet = case.hypernetwork()
    model = HyperModel(hnet, case.net)
    found: list[list[Tensor]] = []
    for recompute in (False, True):
        if recompute:
            brought.recompute(case.net.module, use_reentrant)
        hnet.zero_grad()
        brought.output(model(**case.inputs(), cond_id=0)).square().sum().backward()
        brought.output(model(**case.inputs(SETS), cond_id=[0, 1])).square().sum().backward()
        found.append([param.grad for param in hnet.parameters()])
    close(found[1], found[0], 1e-3)


@law
def test_checkpointing(brought: Brought) -> None:
    check_checkpointing(brought, use_reentrant=False)


@law
def test_reentrant_checkpointing(brought: Brought) -> None:
    check_checkpointing(brought, use_reentrant=True)


@law
def test_checkpointing_of_generated_weights(brought: Brought) -> None:
    check_generated(brought, use_reentrant=False)


@law
def test_reentrant_checkpointing_of_generated_weights(brought: Brought) -> None:
    check_generated(brought, use_reentrant=True)


def under_autocast(compute: Callable[[], Any]) -> Any:
    """The result in half precision, or what torch says of a processor that has no such operation."""
    try:
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            return compute()
    except RuntimeError as problem:
        return str(problem)


@law
def test_autocast(brought: Brought) -> None:
    """Works where the module by itself does; there is no LSTM in half precision for every processor."""
    case = Case(brought)
    inputs = case.inputs(SETS)
    one = under_autocast(lambda: case(member(inputs, 0), case.weights))
    expected = under_autocast(lambda: case.expected(case.weights, member(inputs, 0)))
    many = under_autocast(lambda: case.batched(inputs, case.stacked))
    if isinstance(expected, str):
        assert isinstance(many, str)
        assert one == expected
        return
    close(one, expected, 1e-6)
    assert many.dtype == one.dtype
    close(many[0].float(), expected.float(), 0.1)


@law
def test_inference_mode(brought: Brought) -> None:
    case = Case(brought)
    inputs = case.inputs(SETS)
    with torch.no_grad():
        one, many = case(member(inputs, 0), case.weights), case.batched(inputs, case.stacked)
    with torch.inference_mode():
        close(case(member(inputs, 0), {name: w.clone() for name, w in case.weights.items()}), one, 1e-6)
        close(case.batched(inputs, case.stacked), many, 1e-6)
        with case.net.using(case.weights) as module:
            close(brought.output(module(**member(inputs, 0))), one, 1e-6)


def check_copies(brought: Brought, copied: Callable[[nn.Module], Any]) -> None:
    """A copy, also one that is made within a block, is a network of its own."""
    case = Case(brought)
    inputs = case.inputs()
    with torch.no_grad():
        expected = case(inputs, case.weights)
    with case.net.using({name: value * 1 for name, value in case.weights.items()}):  # no leaves, as generated ones
        other = copied(case.net)
    with torch.no_grad():
        for parameter in case.net.parameters():
            parameter.zero_()
        close(brought.output(other.module(**inputs)), brought.output(case.module(**inputs)), 1e-6)
        close(brought.output(other(**inputs, weights=case.weights)), expected, 1e-6)


@law
def test_deepcopy(brought: Brought) -> None:
    check_copies(brought, copy.deepcopy)


@law
def test_pickle(brought: Brought) -> None:
    check_copies(brought, lambda net: pickle.loads(pickle.dumps(net)))


@law
def test_files(brought: Brought) -> None:
    """With the base a file gives the same network; without it, it has nothing of the selected parameters."""
    case = Case(brought)
    inputs = case.inputs()
    whole, other = ModuleNet(case.module, save_base=True), ModuleNet(brought.build().eval())
    file = io.BytesIO()
    torch.save(whole.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert other.base_from_file is True
    with torch.no_grad():
        close(brought.output(other.module(**inputs)), brought.output(whole.module(**inputs)), 1e-6)
    assert not {f"module.{name}" for name, _ in case.module.named_parameters()} & other.state_dict().keys()
    whole.load_state_dict(other.state_dict())
    assert whole.base_from_file is False


@law
def test_low_rank_updates(brought: Brought) -> None:
    """Updates of all matrices are the sums."""
    case = Case(brought)
    inputs = case.inputs()
    own = {n: p for n, p in case.module.named_parameters() if p.dim() > 1 and not p.is_complex()}
    pairs = {n: (0.3 * torch.randn(2, p[0].numel()), 0.3 * torch.randn(len(p), 2)) for n, p in own.items()}
    sums = {n: p + (pairs[n][1] @ pairs[n][0]).view_as(p) for n, p in own.items()}
    close(case(inputs, pairs), case.expected(sums, inputs))
    stacked = {n: (torch.stack([A, -A]), torch.stack([B, B])) for n, (A, B) in pairs.items()}
    close(case.batched(inputs, stacked, share_input=True)[0], case.expected(sums, inputs))


@law
def test_half_precision(brought: Brought) -> None:
    """A bfloat16 model of a float32 hypernetwork computes with rounded weights, whose gradients are float32."""
    case = Case(brought)
    hnet = case.hypernetwork()
    weights = dict(zip(case.net.param_names, hnet(cond_id=0), strict=True))
    half = {n: value.bfloat16() if value.is_floating_point() else value for n, value in case.inputs().items()}
    for module in (case.net, case.module):
        module.to(torch.bfloat16)
    output = case(half, weights)
    close(output, case.expected({name: w.bfloat16() for name, w in weights.items()}, half), 1e-2)
    output.float().square().sum().backward()
    assert all(param.grad.dtype == torch.float32 for param in hnet.unconditional_params)


@law
def test_training_mode(brought: Brought) -> None:
    """Many sets are a loop also where running statistics are updated, whose last values agree."""
    case = Case(brought)
    for module in case.net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train()
    inputs = case.inputs(SETS)
    looped = copy.deepcopy(case.net)
    with torch.no_grad():
        got = case.batched(inputs, case.stacked)
        for b, weights in enumerate(case.sets):
            close(got[b], brought.output(looped(**member(inputs, b), weights=weights)))
    for own, other in zip(case.net.buffers(), looped.buffers(), strict=True):
        torch.testing.assert_close(own, other)


@pytest.mark.parametrize("name", [name for name, brought in ZOO.items() if brought.compiled])
def test_compile(name: str) -> None:
    case = Case(ZOO[name])
    inputs = case.inputs()
    compiled = torch.compile(lambda inputs, weights: case(inputs, weights), fullgraph=True, backend="aot_eager")
    leaves = list(case.weights.values())
    got, expected = compiled(inputs, case.weights), case.expected(case.weights, inputs)
    close(got, expected)
    close(gradients(got, leaves), gradients(expected, leaves))


def test_hugging_face_keyword_arguments() -> None:
    """A loss that the model computes by itself, and a mask per weight set."""
    case = Case(ZOO["GPT-2"])
    ids = torch.randint(11, (2, 3, 6))
    mask = torch.ones(2, 3, 6, dtype=torch.long)
    mask[1, :, :2] = 0
    arguments: dict[str, Any] = {"input_ids": ids, "attention_mask": mask, "labels": ids}
    both = case.net.batched_forward(**arguments, weights=case.stacked)
    for b, weights in enumerate(case.sets):
        one = case.net(**member(arguments, b), weights=weights)
        close(both.loss[b], one.loss)
        close(both.logits[b], one.logits)
