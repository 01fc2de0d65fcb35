"""The regulariser without outputs can be differentiated, transformed and converted as the one with stored targets."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from hypnettorch.hnets import HMLP, ChunkedHMLP, HyperNetInterface
from hypnettorch.utils.hnet_regularizer import FixedTargetRegularizer, calc_fix_target_reg, get_current_targets

SHAPES = [[7, 5], [7], [3, 7], [3]]
TASKS = 3


class Penalty(nn.Module):
    """A regulariser as a module, for ``functional_call``; the parameters have moved since it was made."""

    def __init__(self, hnet: HyperNetInterface, form: str, size: float = 0.2) -> None:
        super().__init__()
        self.regularizer = FixedTargetRegularizer(hnet, TASKS, form)
        assert self.regularizer.target_form == form
        self.hnet = hnet
        torch.manual_seed(5)
        with torch.no_grad():
            for param in hnet.parameters():
                param.add_(size * torch.randn_like(param))

    def forward(self) -> Tensor:
        return self.regularizer()

    def of(self, params: dict[str, Tensor]) -> Tensor:
        """The value at other parameters."""
        return torch.func.functional_call(self, params, ())

    def values(self) -> dict[str, Tensor]:
        return {name: param.detach() for name, param in self.named_parameters()}


def full(**options: Any) -> HMLP:
    given = {"cond_in_size": 4, "layers": [6, 5], "activation_fn": nn.Tanh(), **options}
    return HMLP(SHAPES, num_cond_embs=TASKS + 1, verbose=False, **given)


def chunked(**options: Any) -> ChunkedHMLP:
    given = {"chunk_size": 11, "chunk_emb_size": 3, "cond_in_size": 4, "activation_fn": nn.Tanh(), **options}
    return ChunkedHMLP(SHAPES, layers=[6], num_cond_embs=TASKS + 1, verbose=False, **given)


NETWORKS: dict[str, Callable[[], HyperNetInterface]] = {
    "full": full,
    "full, no bias": lambda: full(use_bias=False),
    "full, linear": lambda: full(layers=[]),
    "full, split head": lambda: full(split_head=True),
    "chunked, cut off": chunked,
}


def both(name: str) -> tuple[Penalty, Penalty]:
    torch.manual_seed(0)
    hnet = NETWORKS[name]().double()
    return Penalty(copy.deepcopy(hnet), "gram"), Penalty(hnet, "stored")


def random_network(seed: int) -> HyperNetInterface:
    torch.manual_seed(seed)
    draw = random.Random(seed)
    options = {
        "layers": [draw.randint(1, 6) for _ in range(draw.randint(0, 2))],
        "use_bias": draw.random() < 0.7,
        "cond_in_size": draw.randint(1, 5),
        "activation_fn": draw.choice([nn.Tanh(), nn.ReLU(), None]),
        "num_cond_embs": TASKS + 1,
        "verbose": False,
    }
    shapes = [[draw.randint(1, 4) for _ in range(draw.randint(1, 3))] for _ in range(draw.randint(1, 4))]
    if draw.random() < 0.5:
        return HMLP(shapes, split_head=draw.random() < 0.5, **options).double()
    return ChunkedHMLP(shapes, draw.randint(1, 20), cond_chunk_embs=draw.random() < 0.5, **options).double()


def assert_close(ours: Any, theirs: Any) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-10)


def second_order(penalty: Penalty) -> list[Tensor]:
    """Value, gradient, and the gradient of a function of the gradient."""
    params = [param for param in penalty.parameters() if param.requires_grad]
    value = penalty()
    gradient = torch.autograd.grad(value, params, create_graph=True, materialize_grads=True)
    squares = torch.stack([g.square().sum() for g in gradient]).sum()
    second = torch.autograd.grad(squares + value * squares, params, materialize_grads=True)
    return [value, *gradient, *second]


@pytest.mark.parametrize("seed", range(30))
def test_random_networks(seed: int) -> None:
    hnet = random_network(seed)
    gram, stored = Penalty(copy.deepcopy(hnet), "gram"), Penalty(hnet, "stored")
    assert stored().item() > 0
    assert_close(second_order(gram), second_order(stored))


@pytest.mark.parametrize("form", ["gram", "stored"])
@pytest.mark.parametrize("task_id", [1, 2])
@pytest.mark.parametrize("layers", [[], [5]])
def test_the_reference_does_not_move_with_the_embeddings(layers: list[int], task_id: int, form: str) -> None:
    hnet = full(layers=layers).double()
    before = hnet(cond_id=list(range(task_id)), ret_format="flattened").detach()
    regularizer, targets = FixedTargetRegularizer(hnet, task_id, form), get_current_targets(task_id, hnet)
    with torch.no_grad():
        for embedding in hnet.conditional_params:
            embedding.add_(1.0)
    change = (hnet(cond_id=list(range(task_id)), ret_format="flattened") - before).square().sum() / task_id
    assert change > 1e-3
    assert_close(regularizer(), change)
    assert_close(calc_fix_target_reg(hnet, task_id, targets=targets), change)


class Remembering(HMLP):
    """A hypernetwork whose outputs are the parameter itself."""

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:  # type: ignore[override]
        return self.conditional_params[0][None]


def test_targets_are_no_views_of_parameters() -> None:
    hnet = Remembering([[4]], cond_in_size=4, verbose=False)
    regularizer, targets = FixedTargetRegularizer(hnet, 1), get_current_targets(1, hnet)
    with torch.no_grad():
        hnet.conditional_params[0].add_(2)
    assert regularizer().item() == pytest.approx(16)
    assert calc_fix_target_reg(hnet, 1, targets=targets).item() == pytest.approx(16)


def func_grad(penalty: Penalty) -> Any:
    return torch.func.grad(penalty.of)(penalty.values())


def func_jvp(penalty: Penalty) -> Any:
    values = penalty.values()
    return torch.func.jvp(penalty.of, (values,), ({name: value.cos() for name, value in values.items()},))


def forward_over_reverse(penalty: Penalty) -> Any:
    values = penalty.values()
    tangents = {name: value.cos() for name, value in values.items()}
    return torch.func.jvp(torch.func.grad(penalty.of), (values,), (tangents,))


def hessian(penalty: Penalty) -> Any:
    values = penalty.values()
    name = next(iter(values))
    return torch.func.hessian(lambda value: penalty.of({**values, name: value}))(values[name])


def reverse_over_reverse(penalty: Penalty) -> Any:
    def squares(values: dict[str, Tensor]) -> Tensor:
        return torch.stack([g.square().sum() for g in torch.func.grad(penalty.of)(values).values()]).sum()

    return torch.func.grad(squares)(penalty.values())


def dual_numbers(penalty: Penalty) -> Any:
    with forward_ad.dual_level():
        values = {n: forward_ad.make_dual(value, value.cos()) for n, value in penalty.values().items()}
        return tuple(forward_ad.unpack_dual(penalty.of(values)))


def dual_numbers_through_backward(penalty: Penalty) -> Any:
    with forward_ad.dual_level():
        values = {n: forward_ad.make_dual(v.requires_grad_(), v.cos()) for n, v in penalty.values().items()}
        gradients = torch.autograd.grad(penalty.of(values), list(values.values()), materialize_grads=True)
        return [forward_ad.unpack_dual(gradient).tangent for gradient in gradients]


def ensemble(penalty: Penalty) -> Any:
    stacked = {name: torch.stack([value, 2 * value, -value]) for name, value in penalty.values().items()}
    return torch.func.vmap(penalty.of)(stacked), torch.func.vmap(torch.func.grad(penalty.of))(stacked)


def batched_gradients(penalty: Penalty) -> Any:
    params = list(penalty.parameters())
    weights = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    options = {"is_grads_batched": True, "materialize_grads": True}
    first = torch.autograd.grad(penalty(), params, weights, **options)
    again = torch.autograd.grad(penalty(), params, weights, create_graph=True, **options)
    second = torch.autograd.grad(torch.stack([g.square().sum() for g in again]).sum(), params, materialize_grads=True)
    return first, again, second


def hessian_vector_product(penalty: Penalty) -> Any:
    names, values = zip(*penalty.values().items(), strict=True)
    vector = tuple(value.cos() for value in values)
    return torch.autograd.functional.vhp(lambda *v: penalty.of(dict(zip(names, v, strict=True))), values, vector)


def weight_only(penalty: Penalty) -> Any:
    """Nothing but one parameter needs a gradient."""
    for param in penalty.parameters():
        param.requires_grad_(False)
    chosen = next(penalty.parameters())
    chosen.requires_grad_()
    return second_order(penalty)


WAYS = [
    func_grad,
    func_jvp,
    forward_over_reverse,
    hessian,
    reverse_over_reverse,
    dual_numbers,
    dual_numbers_through_backward,
    ensemble,
    batched_gradients,
    hessian_vector_product,
    weight_only,
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("name", NETWORKS)
def test_both_forms_can_be_differentiated_alike(name: str, way: Callable[[Penalty], Any]) -> None:
    gram, stored = both(name)
    assert_close(way(gram), way(stored))


def test_gradients_are_those_of_differences() -> None:
    torch.manual_seed(0)
    gram = Penalty(HMLP([[2, 2], [2]], cond_in_size=2, layers=[3], num_cond_embs=TASKS, verbose=False).double(), "gram")
    names, values = zip(*gram.values().items(), strict=True)
    inputs = tuple(value.clone().requires_grad_() for value in values)

    def value(*given: Tensor) -> Tensor:
        return gram.of(dict(zip(names, given, strict=True)))

    assert torch.autograd.gradcheck(value, inputs, check_forward_ad=True, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(value, inputs, atol=1e-4)


def test_hooks_of_a_parameter_run_once() -> None:
    for create_graph in (False, True):
        gram = both("full")[0]
        calls: list[Tensor] = []
        params = list(gram.parameters())
        for param in params:
            param.register_hook(calls.append)
        gram().backward(create_graph=create_graph)
        assert len(calls) == len([param for param in params if param.grad is not None])


def test_autocast() -> None:
    """Activations are rounded there, the distance is not."""
    torch.manual_seed(0)
    hnet = full(layers=[60])
    gram, stored = Penalty(copy.deepcopy(hnet), "gram", 0.5), Penalty(hnet, "stored", 0.5)
    exact = stored().item()
    for penalty in (gram, stored):
        with torch.autocast("cpu", torch.bfloat16):
            value = penalty()
            assert value.dtype == torch.float32
            assert value.item() == pytest.approx(exact, rel=0.05)
            value.backward()
    for ours, theirs in zip(gram.parameters(), stored.parameters(), strict=True):
        if theirs.grad is not None:
            assert (ours.grad - theirs.grad).norm() <= 0.05 * theirs.grad.norm()
    with torch.autocast("cpu", torch.bfloat16):
        made_inside = FixedTargetRegularizer(gram.hnet, TASKS, "gram")
    assert made_inside().item() == pytest.approx(0, abs=0.01 * exact)


def test_made_in_inference_mode() -> None:
    hnet = full()
    with torch.inference_mode():
        regularizers = [FixedTargetRegularizer(hnet, TASKS, form) for form in ("gram", "stored")]
        targets = get_current_targets(TASKS, hnet)
    with torch.no_grad():
        hnet.conditional_params[1].add_(1)
    values = [regularizer() for regularizer in regularizers] + [calc_fix_target_reg(hnet, TASKS, targets=targets)]
    gradients = [torch.autograd.grad(value, hnet.conditional_params[1])[0] for value in values]
    for value, gradient in zip(values, gradients, strict=True):
        torch.testing.assert_close(value, values[1])
        torch.testing.assert_close(gradient, gradients[1])


def test_compiled() -> None:
    gram, stored = both("full")
    compiled = torch.compile(lambda: gram.regularizer(), backend="aot_eager", fullgraph=True)
    value = compiled()
    assert_close(value, stored())
    params = [list(penalty.parameters()) for penalty in (gram, stored)]
    ours, theirs = (
        torch.autograd.grad(v, p, materialize_grads=True) for v, p in zip((value, stored()), params, strict=True)
    )
    assert_close(ours, theirs)


@pytest.mark.parametrize("form", ["gram", "stored"])
def test_a_network_may_be_converted_later(form: str) -> None:
    torch.manual_seed(0)
    penalty = Penalty(full(), form)
    before = penalty()
    penalty.double()
    assert penalty().dtype == torch.float64
    torch.testing.assert_close(penalty().float(), before)
    penalty().backward()
    assert all(p.grad.dtype == torch.float64 for p in penalty.parameters() if p.grad is not None)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_small_numbers_are_not_squared_in_sums(dtype: torch.dtype) -> None:
    """In half precision the products of large layers overflow, so that form is not taken."""
    hnet = HMLP(SHAPES, cond_in_size=4, layers=[4], num_cond_embs=60, verbose=False)
    assert FixedTargetRegularizer(hnet, 59).target_form == "gram"
    assert FixedTargetRegularizer(hnet.to(dtype), 59).target_form == "stored"
    with pytest.raises(ValueError, match="target_form"):
        FixedTargetRegularizer(hnet, 59, "gram")


def test_hidden_activations_are_not_kept_against_the_wish_of_the_user() -> None:
    hnet = chunked()
    hnet.recompute_chunks = True
    assert FixedTargetRegularizer(hnet, TASKS).target_form == "stored"


def test_another_network_is_evaluated_or_refused() -> None:
    torch.manual_seed(0)
    hnet = full()
    regularizers = {form: FixedTargetRegularizer(hnet, TASKS, form) for form in ("gram", "stored")}
    twin = copy.deepcopy(hnet)
    with torch.no_grad():
        twin.conditional_params[0].add_(1)
    torch.testing.assert_close(regularizers["gram"](twin), regularizers["stored"](twin))
    deeper = full(layers=[6, 6, 5])
    assert regularizers["stored"](deeper).item() > 0
    torch.testing.assert_close(regularizers["gram"](deeper), regularizers["stored"](deeper))
    with pytest.raises(ValueError, match="activations of the last hidden layer"):
        regularizers["gram"](full(layers=[6, 4]))
    other = HMLP([[1]], num_cond_embs=TASKS, verbose=False)
    for regularizer in regularizers.values():
        with pytest.raises(ValueError, match="hnet: expected a hypernetwork with the target shapes"):
            regularizer(other)
    twin.forward = lambda **_: torch.zeros(TASKS, hnet.num_outputs)  # type: ignore[method-assign]
    assert regularizers["stored"](twin).item() > 0
    with pytest.raises(ValueError, match="hnet: expected one that the form 'gram' can evaluate"):
        regularizers["gram"](twin)


def test_digits_where_changes_make_up_for_each_other() -> None:
    """The last two layers scaled by 2 and 1/2: outputs stay, so the value is rounding error, relative to the terms."""
    torch.manual_seed(0)
    hnet = full(layers=[6], activation_fn=nn.ReLU())
    regularizers = [FixedTargetRegularizer(hnet, TASKS, form) for form in ("gram", "stored")]
    first, last = hnet.layer_weight_tensors
    norm = hnet(cond_id=list(range(TASKS)), ret_format="flattened").square().sum().item()
    with torch.no_grad():
        for tensor in (first, hnet.layer_bias_vectors[0]):
            tensor.mul_(2)
        last.mul_(0.5)
    assert abs(regularizers[0]().item()) < 1e-5 * norm
    assert regularizers[1]().item() < 1e-12 * norm
