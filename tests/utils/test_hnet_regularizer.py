"""The regulariser equals a plain loop over tasks, in one pass of the hypernetwork."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hypnettorch.hnets import HMLP, ChunkedHMLP
from hypnettorch.mnets import MLP
from hypnettorch.utils.hnet_regularizer import (
    calc_fix_target_reg,
    flatten_and_remove_out_heads,
    get_current_targets,
)

NUM_TASKS = 4


def main_network(**options: Any) -> MLP:
    return MLP(n_in=3, n_out=4, hidden_layers=[5], **{"no_weights": True, "verbose": False, **options})


def hmlp(**options: Any) -> HMLP:
    settings = {"cond_in_size": 3, "layers": (6,), "num_cond_embs": NUM_TASKS + 1, "verbose": False, **options}
    return HMLP(main_network().hyper_shapes_learned, **settings).double()


def chunked(**options: Any) -> ChunkedHMLP:
    settings = {"cond_in_size": 3, "layers": (6,), "num_cond_embs": NUM_TASKS + 1, "verbose": False, **options}
    return ChunkedHMLP(main_network().hyper_shapes_learned, chunk_size=11, **settings).double()


KINDS: dict[str, Callable[..., Any]] = {
    "HMLP": hmlp,
    "ChunkedHMLP": chunked,
    "own-chunks": lambda **options: chunked(cond_chunk_embs=True, **options),
}


@pytest.fixture(params=KINDS)
def hnet(request: pytest.FixtureRequest) -> Any:
    return KINDS[request.param]()


def perturb(hnet: nn.Module) -> None:
    """A training step away from the targets."""
    with torch.no_grad():
        for param in hnet.parameters():
            param.add_(0.1 * torch.randn_like(param))


def changes(params: Any) -> list[Tensor]:
    return [0.1 * torch.randn_like(param) for param in params]


def loop(
    hnet: Any,
    tasks: range | list[int],
    targets: Any,
    weights: dict[str, list[Tensor]] | None = None,
    fisher: Any = None,
    scaling: Any = None,
    masks: list[list[Tensor]] | None = None,
) -> Tensor:
    """The regulariser in the plainest terms."""
    total = torch.zeros((), dtype=torch.float64)
    for j in tasks:
        task = torch.zeros((), dtype=torch.float64)
        for i, (produced, target) in enumerate(zip(hnet(cond_id=j, weights=weights), targets[j], strict=True)):
            squares = (produced - target).square()
            if masks is not None:
                squares = squares[masks[j][i]]
            if fisher is not None:
                squares = squares * (fisher[j][i] if masks is None else fisher[j][i][masks[j][i]])
            task = task + squares.sum()
        total = total + task * (1.0 if scaling is None else scaling[j])
    return total / len(tasks)


def check(got: Tensor, expected: Tensor, leaves: list[Tensor]) -> None:
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)
    assert got.item() > 0
    grads = [torch.autograd.grad(value, leaves, allow_unused=True) for value in (got, expected)]
    for mine, plain in zip(*grads, strict=True):
        assert (mine is None) == (plain is None)
        if mine is not None:
            torch.testing.assert_close(mine, plain, rtol=1e-9, atol=1e-12)


class Calls:
    """Counts the forward passes of a hypernetwork."""

    def __init__(self, hnet: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.batches: list[Any] = []
        forward = hnet.forward

        def counted(*args: Any, **kwargs: Any) -> Any:
            self.batches.append(kwargs.get("cond_id"))
            return forward(*args, **kwargs)

        monkeypatch.setattr(hnet, "forward", counted)


@pytest.mark.parametrize("task_id", [1, 2, NUM_TASKS])
def test_values_and_gradients(hnet: Any, task_id: int) -> None:
    targets = get_current_targets(task_id, hnet)
    perturb(hnet)
    got = calc_fix_target_reg(hnet, task_id, targets=targets)
    check(got, loop(hnet, range(task_id), targets), list(hnet.parameters()))


def test_one_pass(hnet: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    targets = get_current_targets(NUM_TASKS, hnet)
    calls = Calls(hnet, monkeypatch)
    calc_fix_target_reg(hnet, NUM_TASKS, targets=targets)
    assert calls.batches == [list(range(NUM_TASKS))]


def test_current_and_later_tasks_have_no_gradient(hnet: Any) -> None:
    targets = get_current_targets(2, hnet)
    perturb(hnet)
    calc_fix_target_reg(hnet, 2, targets=targets).backward()
    for task in range(NUM_TASKS + 1):
        for param in hnet.parameters_of_condition(task):
            assert (param.grad is None) == (task >= 2)


def test_look_ahead(hnet: Any) -> None:
    targets = get_current_targets(NUM_TASKS, hnet)
    d_theta = changes(hnet.unconditional_params)
    d_embs = changes(hnet.conditional_params)
    theta = [p + d for p, d in zip(hnet.unconditional_params, d_theta, strict=True)]
    embs = [p + d for p, d in zip(hnet.conditional_params, d_embs, strict=True)]
    for options, weights in (
        ({"dTheta": d_theta}, {"uncond_weights": theta}),
        ({"dTembs": d_embs}, {"cond_weights": embs}),
        ({"dTheta": d_theta, "dTembs": d_embs}, {"uncond_weights": theta, "cond_weights": embs}),
    ):
        got = calc_fix_target_reg(hnet, NUM_TASKS, targets=targets, **options)
        check(got, loop(hnet, range(NUM_TASKS), targets, weights), list(hnet.parameters()))


def test_gradients_reach_the_look_ahead(hnet: Any) -> None:
    targets = get_current_targets(1, hnet)
    d_theta = [change.requires_grad_() for change in changes(hnet.unconditional_params)]
    calc_fix_target_reg(hnet, 1, targets=targets, dTheta=d_theta).backward()
    assert all(change.grad is not None for change in d_theta)


def test_targets_of_earlier_parameters(hnet: Any) -> None:
    """Instead of targets, the parameters that gave them; these are no part of the gradient."""
    theta = [param.detach().clone().requires_grad_() for param in hnet.unconditional_params]
    embs = [param.detach().clone() for param in hnet.conditional_params]
    targets = get_current_targets(NUM_TASKS, hnet)
    perturb(hnet)
    got = calc_fix_target_reg(hnet, NUM_TASKS, prev_theta=theta, prev_task_embs=embs)
    check(got, loop(hnet, range(NUM_TASKS), targets), [*hnet.parameters(), *theta])


def test_earlier_parameters_are_evaluated_without_dropout() -> None:
    hnet = hmlp(dropout_rate=0.5)
    theta, embs = list(hnet.unconditional_params), list(hnet.conditional_params)
    torch.manual_seed(3)
    got = calc_fix_target_reg(hnet, 2, prev_theta=theta, prev_task_embs=embs)
    targets = get_current_targets(2, hnet)
    torch.manual_seed(3)
    assert torch.equal(got, calc_fix_target_reg(hnet, 2, targets=targets))
    assert hnet.training
    assert got.item() > 0


def test_fisher_and_scaling(hnet: Any) -> None:
    targets = get_current_targets(NUM_TASKS, hnet)
    perturb(hnet)
    fisher = [[torch.rand_like(weight) for weight in target] for target in targets]
    scaling = [0.5, 2.0, 0.0, 1.5]
    for options in ({"fisher": fisher}, {"scaling": scaling}, {"fisher": fisher, "scaling": scaling}):
        names = {"fisher": "fisher_estimates", "scaling": "reg_scaling"}
        got = calc_fix_target_reg(hnet, NUM_TASKS, targets=targets, **{names[k]: v for k, v in options.items()})
        check(got, loop(hnet, range(NUM_TASKS), targets, **options), list(hnet.parameters()))


@pytest.mark.parametrize("external", [True, False])
def test_heads(external: bool) -> None:
    """Weights of other output units are left out, for a main network with external or with internal weights."""
    mnet = main_network(no_weights=external)
    hnet = hmlp()
    targets = get_current_targets(3, hnet)
    perturb(hnet)
    heads = [[0], [1, 2], [3]]
    fisher = [[torch.rand_like(weight) for weight in target] for target in targets]
    masks = []
    for units in heads:
        keep = [torch.ones(shape, dtype=torch.bool) for shape in hnet.target_shapes]
        for mask in keep[-2:]:
            mask[[unit for unit in range(4) if unit not in units]] = False
        masks.append(keep)
    got = calc_fix_target_reg(hnet, 3, targets=targets, mnet=mnet, inds_of_out_heads=heads)
    check(got, loop(hnet, range(3), targets, masks=masks), list(hnet.parameters()))
    got = calc_fix_target_reg(
        hnet, 3, targets=targets, mnet=mnet, inds_of_out_heads=heads, fisher_estimates=fisher, reg_scaling=[1, 2, 3]
    )
    expected = loop(hnet, range(3), targets, masks=masks, fisher=fisher, scaling=[1, 2, 3])
    check(got, expected, list(hnet.parameters()))


def test_heads_are_those_that_flattening_keeps() -> None:
    mnet, hnet = main_network(), hmlp()
    targets = get_current_targets(1, hnet)
    perturb(hnet)
    parts = [flatten_and_remove_out_heads(mnet, weights, [1, 3]) for weights in (hnet(cond_id=0), targets[0])]
    got = calc_fix_target_reg(hnet, 1, targets=targets, mnet=mnet, inds_of_out_heads=[[1, 3]])
    torch.testing.assert_close(got, (parts[0] - parts[1]).square().sum())


def test_random_part_of_the_tasks(hnet: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    targets = get_current_targets(NUM_TASKS, hnet)
    perturb(hnet)
    calls = Calls(hnet, monkeypatch)
    fisher = [[torch.rand_like(weight) for weight in target] for target in targets]
    scaling = [1.0, 2.0, 3.0, 4.0]
    chosen = set()
    for seed in range(12):
        np.random.seed(seed)
        got = calc_fix_target_reg(
            hnet, NUM_TASKS, targets=targets, batch_size=2, fisher_estimates=fisher, reg_scaling=scaling
        )
        tasks = calls.batches[-1]
        assert len(set(tasks)) == len(tasks) == 2
        chosen.add(tuple(tasks))
        expected = loop(hnet, tasks, targets, fisher=fisher, scaling=scaling)
        torch.testing.assert_close(got, expected)
        calls.batches.clear()
        np.random.seed(seed)
        calc_fix_target_reg(hnet, NUM_TASKS, targets=targets, batch_size=2)
        assert calls.batches == [tasks]
    assert len(chosen) > 3


@pytest.mark.parametrize("batch_size", [None, -1, NUM_TASKS, 100])
def test_all_tasks(batch_size: int | None) -> None:
    hnet = hmlp()
    targets = get_current_targets(NUM_TASKS, hnet)
    perturb(hnet)
    state = np.random.get_state()[1].tolist()
    got = calc_fix_target_reg(hnet, NUM_TASKS, targets=targets, batch_size=batch_size)
    torch.testing.assert_close(got, loop(hnet, range(NUM_TASKS), targets))
    assert np.random.get_state()[1].tolist() == state


def test_random_part_with_earlier_parameters() -> None:
    hnet = hmlp()
    theta = [param.detach().clone() for param in hnet.unconditional_params]
    embs = [param.detach().clone() for param in hnet.conditional_params]
    targets = get_current_targets(NUM_TASKS, hnet)
    perturb(hnet)
    values = []
    for options in ({"targets": targets}, {"prev_theta": theta, "prev_task_embs": embs}):
        np.random.seed(4)
        values.append(calc_fix_target_reg(hnet, NUM_TASKS, batch_size=2, **options))
    torch.testing.assert_close(*values)


def test_batch_norm_in_evaluation() -> None:
    hnet = hmlp(use_batch_norm=True).eval()
    for layer in hnet.batchnorm_layers:
        layer.get_stats()[0].normal_()
    targets = get_current_targets(NUM_TASKS, hnet)
    perturb(hnet)
    got = calc_fix_target_reg(hnet, NUM_TASKS, targets=targets)
    check(got, loop(hnet, range(NUM_TASKS), targets), list(hnet.parameters()))


def test_batch_norm_in_training_goes_task_by_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """A joint pass would mix the statistics of the tasks."""
    hnet = chunked(use_batch_norm=True)
    targets = get_current_targets(NUM_TASKS, hnet)
    perturb(hnet)
    expected = loop(hnet, range(NUM_TASKS), targets)
    calls = Calls(hnet, monkeypatch)
    got = calc_fix_target_reg(hnet, NUM_TASKS, targets=targets)
    assert calls.batches == [[0], [1], [2], [3]]
    check(got, expected, list(hnet.parameters()))


def test_batch_norm_in_training_wants_more_than_one_row() -> None:
    hnet = hmlp(use_batch_norm=True)
    targets = get_current_targets(2, hnet)
    with pytest.raises(ValueError, match="batch norm"):
        calc_fix_target_reg(hnet, 2, targets=targets)


def test_targets_are_lists_of_tensors(hnet: Any) -> None:
    hnet.train()
    targets = get_current_targets(3, hnet)
    assert hnet.training
    assert isinstance(targets, list)
    assert [[list(weight.shape) for weight in target] for target in targets] == [hnet.target_shapes] * 3
    assert not any(weight.requires_grad for target in targets for weight in target)
    expected = hnet.eval()(cond_id=[0, 1, 2], ret_format="sequential")
    for target, row in zip(targets, expected, strict=True):
        for a, b in zip(target, row, strict=True):
            torch.testing.assert_close(a, b.detach())
    assert get_current_targets(0, hnet) == []


def test_targets_are_taken_without_dropout() -> None:
    hnet = hmlp(dropout_rate=0.5)
    first, second = get_current_targets(1, hnet), get_current_targets(1, hnet)
    assert all(torch.equal(a, b) for a, b in zip(first[0], second[0], strict=True))


def test_targets_may_be_any_lists() -> None:
    """Copies, changed lists and lists from a file count as they are."""
    hnet = hmlp()
    targets = get_current_targets(2, hnet)
    perturb(hnet)
    expected = loop(hnet, range(2), targets)
    plain = [[weight.clone() for weight in target] for target in targets]
    torch.testing.assert_close(calc_fix_target_reg(hnet, 2, targets=plain), expected)
    changed = get_current_targets(2, hnet)
    changed[0] = targets[0]
    changed[1] = targets[1]
    torch.testing.assert_close(calc_fix_target_reg(hnet, 2, targets=changed), expected)
    shorter = get_current_targets(3, hnet)
    del shorter[2]
    shorter[:] = plain
    torch.testing.assert_close(calc_fix_target_reg(hnet, 2, targets=shorter), expected)


def test_a_changed_target_counts() -> None:
    """Also where only an entry of a task's list is replaced."""
    hnet = hmlp()
    targets = get_current_targets(1, hnet)
    targets[0][0] = targets[0][0] + 1.0
    got = calc_fix_target_reg(hnet, 1, targets=targets)
    torch.testing.assert_close(got, torch.tensor(float(targets[0][0].numel()), dtype=torch.float64))


def test_targets_survive_copies() -> None:
    hnet = hmlp()
    targets = get_current_targets(2, hnet)
    perturb(hnet)
    expected = loop(hnet, range(2), targets)
    for other in (copy.deepcopy(targets), pickle.loads(pickle.dumps(targets)), list(targets), targets[:]):
        torch.testing.assert_close(calc_fix_target_reg(hnet, 2, targets=other), expected)
        kept = other[1][2]
        other[1][2] = kept + 1.0
        assert not torch.allclose(calc_fix_target_reg(hnet, 2, targets=other), expected)
        other[1][2] = kept


@pytest.mark.parametrize("which", ["param_shapes", "hyper_shapes_learned"])
def test_flattening_without_other_heads(which: str) -> None:
    mnet = main_network(use_context_mod=True, no_last_layer_context_mod=True)
    weights = [torch.randn(shape) for shape in getattr(mnet, which)]
    *others, weight, bias = weights
    expected = [*(w.flatten() for w in others), weight[[0, 2]].flatten(), bias[[0, 2]]]
    assert torch.equal(flatten_and_remove_out_heads(mnet, weights, [0, 2]), torch.cat(expected))


def test_flattening_without_bias() -> None:
    mnet = main_network(use_bias=False)
    first, last = (torch.randn(shape) for shape in mnet.param_shapes)
    expected = torch.cat([first.flatten(), last[1]])
    assert torch.equal(flatten_and_remove_out_heads(mnet, [first, last], [1]), expected)


ONE = torch.zeros(1)


@pytest.mark.parametrize(
    ("options", "error", "name"),
    [
        ({"hnet": nn.Linear(1, 1)}, TypeError, "hnet"),
        ({"hnet": hmlp(no_uncond_weights=True)}, ValueError, "hnet"),
        ({"task_id": 0}, ValueError, "task_id"),
        ({"task_id": NUM_TASKS + 2}, ValueError, "task_id"),
        ({"task_id": "2"}, TypeError, "task_id"),
        ({"targets": None}, ValueError, "targets"),
        ({"targets": [[]]}, ValueError, "targets"),
        ({"targets": [[ONE], [ONE]]}, ValueError, "targets"),
        ({"targets": [[ONE] * 4] * 2}, ValueError, r"targets\[0\]"),
        ({"targets": [3, 3]}, TypeError, "targets"),
        ({"prev_theta": [ONE], "prev_task_embs": [ONE]}, ValueError, "targets"),
        ({"prev_task_embs": [ONE]}, ValueError, "targets"),
        ({"targets": None, "prev_task_embs": [ONE]}, ValueError, "targets"),
        ({"targets": None, "prev_theta": [ONE]}, ValueError, "prev_task_embs"),
        ({"targets": None, "prev_theta": [ONE], "prev_task_embs": [ONE]}, ValueError, "uncond_weights"),
        ({"dTheta": [ONE]}, ValueError, "dTheta"),
        ({"dTheta": [ONE] * 4}, ValueError, r"dTheta\[0\]"),
        ({"dTheta": 3}, TypeError, "dTheta"),
        ({"dTembs": [ONE]}, ValueError, "dTembs"),
        ({"dTembs": [ONE] * (NUM_TASKS + 1)}, ValueError, r"dTembs\[0\]"),
        ({"inds_of_out_heads": [[0], [1]]}, ValueError, "mnet"),
        ({"inds_of_out_heads": [[0], [1]], "mnet": nn.Linear(1, 1)}, TypeError, "mnet"),
        ({"inds_of_out_heads": [[0], [1]], "mnet": MLP(n_in=3, n_out=2, verbose=False)}, ValueError, "mnet"),
        ({"inds_of_out_heads": [[0]], "mnet": main_network()}, ValueError, "inds_of_out_heads"),
        ({"inds_of_out_heads": [[0], [4]], "mnet": main_network()}, ValueError, r"inds_of_out_heads\[1\]\[0\]"),
        ({"inds_of_out_heads": [[0], 1], "mnet": main_network()}, TypeError, r"inds_of_out_heads\[1\]"),
        ({"fisher_estimates": [[ONE]]}, ValueError, "fisher_estimates"),
        ({"fisher_estimates": [[ONE] * 4] * 2}, ValueError, "fisher_estimates"),
        ({"fisher_estimates": 3}, TypeError, "fisher_estimates"),
        ({"reg_scaling": [1.0]}, ValueError, "reg_scaling"),
        ({"reg_scaling": 1.0}, TypeError, "reg_scaling"),
        ({"reg_scaling": [1.0, "a"]}, TypeError, r"reg_scaling\[1\]"),
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"batch_size": 1.5}, TypeError, "batch_size"),
    ],
)
def test_wrong_arguments(options: dict[str, Any], error: type[Exception], name: str) -> None:
    hnet = hmlp()
    arguments = {"hnet": hnet, "task_id": 2, "targets": get_current_targets(2, hnet), **options}
    with pytest.raises(error, match=name):
        calc_fix_target_reg(**arguments)


@pytest.mark.parametrize(
    ("task_id", "error"), [(-1, ValueError), (NUM_TASKS + 2, ValueError), ("1", TypeError), (1.0, TypeError)]
)
def test_wrong_task_for_targets(task_id: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="task_id"):
        get_current_targets(task_id, hmlp())


def test_wrong_hypernetwork_for_targets() -> None:
    with pytest.raises(TypeError, match="hnet"):
        get_current_targets(1, main_network())


@pytest.mark.parametrize(
    ("mnet", "weights", "units", "error", "name"),
    [
        (nn.Linear(1, 1), [ONE], [0], TypeError, "mnet"),
        (main_network(), [ONE], [0], ValueError, "weights"),
        (main_network(), [ONE] * 4, [0], ValueError, r"weights\[2\]"),
        (main_network(), [ONE] * 4, [4], ValueError, "out_inds"),
        (main_network(), [ONE] * 4, "0", TypeError, "out_inds"),
    ],
)
def test_wrong_arguments_of_flattening(mnet: Any, weights: Any, units: Any, error: type[Exception], name: str) -> None:
    with pytest.raises(error, match=name):
        flatten_and_remove_out_heads(mnet, weights, units)
