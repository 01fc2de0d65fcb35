"""The regulariser without outputs: equal to the plain one, values and gradients."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch

from hypnettorch.hnets import HMLP, ChunkedHMLP, HyperNetInterface
from hypnettorch.utils.hnet_regularizer import FixedTargetRegularizer, calc_fix_target_reg, get_current_targets

SHAPES = [[7, 5], [7], [3, 7], [3]]
TASKS = 6


def full(**options: object) -> HMLP:
    return HMLP(SHAPES, cond_in_size=4, layers=[6, 5], num_cond_embs=TASKS + 1, verbose=False, **options)


def chunked(chunk_size: int = 11, **options: object) -> ChunkedHMLP:
    return ChunkedHMLP(
        SHAPES, chunk_size, 3, cond_in_size=4, layers=[6, 5], num_cond_embs=TASKS + 1, verbose=False, **options
    )


NETWORKS: dict[str, Callable[[], HyperNetInterface]] = {
    "full": full,
    "full, no bias": lambda: full(use_bias=False),
    "full, linear": lambda: HMLP(SHAPES, cond_in_size=4, layers=[], num_cond_embs=TASKS + 1, verbose=False),
    "full, split head": lambda: full(split_head=True),
    "full, spectral norm": lambda: full(use_spectral_norm=True),
    "chunked, cut off": chunked,
    "chunked, even": lambda: chunked(chunk_size=6),
    "chunked, one chunk": lambda: chunked(chunk_size=100),
    "chunked, conditional chunks": lambda: chunked(cond_chunk_embs=True),
    "chunked, batch norm": lambda: chunked(use_batch_norm=True),
}


def moved(hnet: HyperNetInterface, size: float = 0.1) -> HyperNetInterface:
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in hnet.internal_params or ():
            parameter.add_(size * torch.randn_like(parameter))
    return hnet


def gradients(loss: torch.Tensor, hnet: HyperNetInterface) -> list[torch.Tensor]:
    return list(torch.autograd.grad(loss, list(hnet.internal_params or ()), allow_unused=True, materialize_grads=True))


@pytest.mark.parametrize("form", ["gram", "stored", "auto"])
@pytest.mark.parametrize("name", NETWORKS)
def test_equals_the_plain_regularizer(name: str, form: str) -> None:
    torch.manual_seed(0)
    hnet = NETWORKS[name]().double()
    targets = get_current_targets(TASKS, hnet)
    regularizer = FixedTargetRegularizer(hnet, TASKS, form)
    assert regularizer().item() == pytest.approx(0, abs=1e-20) or hnet.batchnorm_layers
    moved(hnet)
    value, plain = regularizer(), calc_fix_target_reg(hnet, TASKS, targets=targets)
    torch.testing.assert_close(value, plain, rtol=1e-10, atol=0)
    for ours, theirs in zip(gradients(value, hnet), gradients(plain, hnet), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("form", ["gram", "stored"])
@pytest.mark.parametrize("name", ["full", "chunked, cut off"])
def test_shares_of_the_tasks_add_up(name: str, form: str) -> None:
    torch.manual_seed(0)
    hnet = NETWORKS[name]().double()
    targets = get_current_targets(TASKS, hnet)
    parts = [[4, 0, 2], [1], [3, 5]]
    regularizers = [FixedTargetRegularizer(hnet, TASKS, form, tasks) for tasks in parts]
    moved(hnet)
    whole = calc_fix_target_reg(hnet, TASKS, targets=targets)
    for tasks, regularizer in zip(parts, regularizers, strict=True):
        torch.testing.assert_close(regularizer(), calc_fix_target_reg(hnet, TASKS, targets=targets, tasks=tasks))
    total = sum(len(tasks) / TASKS * part() for tasks, part in zip(parts, regularizers, strict=True))
    torch.testing.assert_close(total, whole, rtol=1e-10, atol=0)


@pytest.mark.parametrize("name", ["full", "chunked, cut off"])
def test_does_not_cancel_in_float32(name: str) -> None:
    """Shortly after the start of a task the differences are tiny."""
    torch.manual_seed(0)
    hnet = NETWORKS[name]()
    exact = copy.deepcopy(hnet).double()
    regularizer, reference = FixedTargetRegularizer(hnet, TASKS, "gram"), FixedTargetRegularizer(exact, TASKS, "stored")
    moved(exact, 1e-3)
    with torch.no_grad():
        for ours, theirs in zip(hnet.internal_params, exact.internal_params, strict=True):
            ours.copy_(theirs)
            theirs.copy_(ours)
    value, wanted = regularizer(), reference()
    torch.testing.assert_close(value.double(), wanted, rtol=1e-3, atol=0)
    for ours, theirs in zip(gradients(value, hnet), gradients(wanted, exact), strict=True):
        assert (ours - theirs).norm() <= 1e-3 * theirs.norm()


def test_form_is_chosen_by_arithmetic() -> None:
    few = HMLP(SHAPES, cond_in_size=4, layers=[100], num_cond_embs=3, verbose=False)
    many = HMLP(SHAPES, cond_in_size=4, layers=[4], num_cond_embs=60, verbose=False)
    assert FixedTargetRegularizer(few, 2).target_form == "stored"
    assert FixedTargetRegularizer(many, 59).target_form == "gram"


class Doubling(HMLP):
    def forward(self, *args: object, **kwargs: object) -> object:
        kwargs["ret_format"] = "flattened"
        return 2 * super().forward(*args, **kwargs)


def test_a_changed_equation_is_not_taken_apart() -> None:
    hnet = Doubling(SHAPES, num_cond_embs=60, layers=[4], verbose=False)
    assert FixedTargetRegularizer(hnet, 59).target_form == "stored"
    with pytest.raises(ValueError, match="target_form: expected 'stored' or 'auto' for Doubling"):
        FixedTargetRegularizer(hnet, 59, "gram")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task_id": 0}, "task_id"),
        ({"task_id": TASKS + 2}, "task_id"),
        ({"task_id": 1, "target_form": "factored"}, "target_form"),
        ({"task_id": 2, "tasks": []}, "tasks: expected at least one"),
        ({"task_id": 2, "tasks": [0, 2]}, r"tasks\[1\]"),
        ({"task_id": 1, "hnet": full(no_uncond_weights=True, no_cond_weights=True)}, "hnet"),
    ],
)
def test_wrong_arguments(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FixedTargetRegularizer(**{"hnet": full(), **arguments})
