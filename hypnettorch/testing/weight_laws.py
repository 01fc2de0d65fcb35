"""Laws about evaluation: what is computed with which weights, one set of them or many.

A law is a function of a case that raises if it does not hold; the first line of its docstring is the law.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hypnettorch.core import trees
from hypnettorch.testing.cases import SETS, Case, Law, copy_of, draw, refused, require, same, state_of


def output_is_finite(case: Case) -> None:
    """``forward`` returns tensors of finite numbers."""
    leaves = trees.tensors(case())
    require(leaves, "there is no tensor in the output")
    require(all(bool(torch.isfinite(leaf).all()) for leaf in leaves), "there are numbers that are not finite")


def dtype_is_that_of_the_parameters(case: Case) -> None:
    """After ``to(dtype)`` the network computes in that type and gives the same numbers up to rounding."""
    expected = case()
    _require_dtype(expected, torch.float64)
    net = copy_of(case.net).to(torch.float32)
    options = {name: _as_float32(getattr(case, name)) for name in ("x", "inputs") if hasattr(case, name)}
    options = {**options.pop("inputs", {}), **options}
    got = case(net, weights=_as_float32(case.weights), **options)
    _require_dtype(got, torch.float32)
    same(got, expected, "float32 against float64", rtol=1e-3)


def _as_float32(values: Any) -> Any:
    return trees.map_tensors(lambda v: v.float() if v.is_floating_point() else v, values)


def _require_dtype(output: Any, dtype: torch.dtype) -> None:
    for leaf in trees.flatten(output)[0]:
        if isinstance(leaf, Tensor) and leaf.is_floating_point():
            require(leaf.dtype == dtype, f"a network of {dtype} returns {leaf.dtype}")


def evaluation_is_deterministic(case: Case) -> None:
    """In evaluation mode nothing is random and nothing changes."""
    net = copy_of(case.net)
    before = state_of(net)
    torch.manual_seed(1)
    first = case(net)
    torch.manual_seed(2)
    same(case(net), first, "a second evaluation", rtol=0)
    same(state_of(net), before, "state_dict()", rtol=0)


def earlier_weights_do_not_matter(case: Case) -> None:
    """A result does not depend on weights of an earlier evaluation; nothing that is computed of them is kept."""
    if case.weights:
        net = copy_of(case.net)
        case(net, weights=draw(case.net.hyper_shapes_learned, dtype=case.dtype))
        same(case(net), case(copy_of(case.net)), "an evaluation after one with other weights")


def a_seed_fixes_training(case: Case) -> None:
    """In training mode one seed gives one result."""
    outputs = []
    for _ in range(2):
        torch.manual_seed(3)
        outputs.append(case(copy_of(case.net).train()))
    same(outputs[1], outputs[0], "the same seed again", rtol=0)


def internal_values_may_be_passed(case: Case) -> None:
    """Passing all of ``param_shapes`` as ``weights=`` gives what the network gives with these values by itself."""
    values = case.complete()
    if values is not None:
        same(case(weights=values), case(), "weights=<list parallel to param_shapes>")


def passed_values_replace_internal_ones(case: Case) -> None:
    """Values passed as ``weights=`` give what ``overwrite_internal_params`` with the same values gives."""
    values, meta = case.complete(), case.meta()
    if values is None or meta is None or not case.net.internal_params:
        return
    values = draw(case.net.param_shapes)
    net = copy_of(case.net)
    net.overwrite_internal_params([values[ref] for ref in net.internal_params_ref])
    learned = None if case.weights is None else [values[ref] for ref in case.learned_refs() or ()]
    same(case(weights=values), case(net, weights=learned), "weights=<other values>")


def forms_of_weights_agree(case: Case) -> None:
    """A list, a dictionary and a flat vector of the same weights give the same result."""
    expected = case()
    if case.weights:
        same(case(weights=tuple(case.weights)), expected, "weights=<tuple>")
        same(case(weights=case.net.flatten_params(case.weights)), expected, "weights=<flat vector>")
    values, parts = case.complete(), case.parts()
    if values is None or parts is None:
        return
    by_name = dict(zip(case.net.param_names, values, strict=True))
    same(case(weights=by_name), expected, "weights=<dictionary by name>")
    by_key = {key: [values[i] for i in positions] for key, positions in parts.items()}
    same(case(weights=by_key), expected, f"weights=<dictionary with the keys {list(by_key)}>")
    refs = case.learned_refs() or []
    if case.weights:
        keys = [key for key, positions in parts.items() if set(positions) & set(refs)]
        same(case(weights={key: by_key[key] for key in keys}), expected, f"weights=<dictionary with the keys {keys}>")


def gradients_reach_passed_weights(case: Case) -> None:
    """Gradients flow to the tensors passed as ``weights=`` and not to the internal ones that they replace."""
    values = case.complete()
    if not values:
        return
    net = copy_of(case.net)
    leaves = [value.requires_grad_() for value in values]
    require(_backward(case(net, weights=leaves)), "the output does not require a gradient")
    meta = case.meta() or []
    used = [i for i, m in enumerate(meta) if m["name"] != "embedding"]
    missing = [i for i in used if leaves[i].grad is None]
    require(not missing, f"no gradient at the positions {missing} of param_shapes")
    reached = [i for i, param in enumerate(net.internal_params or ()) if param.grad is not None]
    require(not reached, f"internal_params {reached} have gradients although values were passed for them")


def wrong_weights_are_refused(case: Case) -> None:
    """Weights of a wrong number, shape or type raise ``ValueError`` or ``TypeError`` with a message that names them."""
    shapes = case.net.param_shapes
    too_many = draw([*shapes, *(case.net.hyper_shapes_learned or ()), [1]])
    wrong: dict[str, Any] = {
        "too many tensors": too_many,
        "a dictionary with an unknown key": {"w": draw(shapes)},
        "{}": {},
    }
    if case.complete() is not None and shapes:
        *others, last = shapes
        wrong["a tensor of a wrong shape"] = [*draw(others), *draw([[*last[:-1], (last or [1])[-1] + 1]])]
    if case.weights:
        flat = case.net.flatten_params(case.weights)
        wrong["a flat vector of a wrong size"] = torch.cat([flat, flat.new_zeros(1)])
    for what, weights in wrong.items():
        refused(ValueError, "weights", f"weights=<{what}>", case, weights=weights)
    for nothing in (3, [[1.0]] * len(shapes)):
        refused(TypeError, "weights", f"weights={nothing!r}", case, weights=nothing)


def missing_weights_are_refused(case: Case) -> None:
    """Without the external weights that a network needs, ``forward`` raises a ``ValueError`` that names ``weights``."""
    if case.weights:
        refused(ValueError, "weights", "weights=None", case, weights=None)


def batched_equals_a_loop(case: Case) -> None:
    """``batched_forward`` with one input per weight set equals a loop over ``forward``, gradients included."""
    weights = case.stacked()
    if weights is None:
        return
    for value in weights:
        value.requires_grad_()
    got, expected = case.batched(case.net, weights), case.loop(case.net, weights)
    same(got, expected, "the output")
    gradients = []
    for output in (got, expected):
        for value in weights:
            value.grad = None
        _backward(output)
        gradients.append([value.grad for value in weights])
    for i, pair in enumerate(zip(*gradients, strict=True)):
        grads = [torch.zeros_like(weights[i]) if grad is None else grad for grad in pair]
        same(grads[0], grads[1], f"the gradient of weights[{i}]", rtol=1e-6)


def _backward(output: Any) -> bool:
    leaves = [leaf for leaf in trees.tensors(output) if leaf.is_floating_point()]
    total = torch.stack([leaf.square().sum() for leaf in leaves]).sum()
    if not total.requires_grad:
        return False
    total.backward()
    return True


def batched_shares_an_input(case: Case) -> None:
    """``batched_forward`` with ``share_input=True`` equals a loop over ``forward`` with this input."""
    weights = case.stacked()
    if weights is not None:
        got = case.batched(case.net, weights, share_input=True)
        same(got, case.loop(case.net, weights, share_input=True), "the output")


def batched_takes_forms_of_weights(case: Case) -> None:
    """``batched_forward`` takes weights in the forms that ``forward`` takes, with a leading dimension."""
    weights, parts = case.stacked(), case.parts()
    if weights is None:
        return
    expected = case.batched(case.net, weights)
    if case.weights:
        flat = torch.cat([value.flatten(1) for value in weights], dim=1)
        same(case.batched(case.net, flat), expected, "weights=<tensor [B, n]>")
    if parts is None:
        return
    refs = (case.learned_refs() if case.weights else list(range(len(weights)))) or []
    complete = case.complete()
    if complete is None:
        return
    values = {i: value.expand(SETS, *value.shape) for i, value in enumerate(complete)}
    values.update(zip(refs, weights, strict=True))
    by_name = {name: values[i] for i, name in enumerate(case.net.param_names)}
    same(case.batched(case.net, by_name), expected, "weights=<dictionary by name>")
    by_key = {key: [values[i] for i in positions] for key, positions in parts.items()}
    same(case.batched(case.net, by_key), expected, f"weights=<dictionary with the keys {list(by_key)}>")


def batched_refuses_different_sizes(case: Case) -> None:
    """``batched_forward`` raises ``ValueError`` if its arguments have different numbers of weight sets."""
    weights = case.stacked()
    if weights is None:
        return
    if len(weights) > 1:
        fewer = [*weights[:-1], weights[-1][:-1]]
        refused(ValueError, "weights", "tensors of different B", case.batched, case.net, fewer)
    refused(ValueError, "weights", "weights=None", case.batched, case.net, None)
    wrong = [0] * (SETS + 1)
    refused(ValueError, "condition", "a wrong number of conditions", case.batched, case.net, weights, condition=wrong)


LAWS: tuple[Law, ...] = (
    output_is_finite,
    dtype_is_that_of_the_parameters,
    evaluation_is_deterministic,
    earlier_weights_do_not_matter,
    a_seed_fixes_training,
    internal_values_may_be_passed,
    passed_values_replace_internal_ones,
    forms_of_weights_agree,
    gradients_reach_passed_weights,
    wrong_weights_are_refused,
    missing_weights_are_refused,
    batched_equals_a_loop,
    batched_shares_an_input,
    batched_takes_forms_of_weights,
    batched_refuses_different_sizes,
)
