"""Laws of main networks.

A law is a function of a case that raises if it does not hold; the first line of its docstring is the law.
"""

from __future__ import annotations

import torch

from hypnettorch.testing import state_laws, statistics_laws, table_laws, weight_laws
from hypnettorch.testing.cases import SETS, Law, MainCase, copy_of, give_statistics, refused, require, same


def distilled_shapes_match_targets(case: MainCase) -> None:
    """``distillation_targets()`` are tensors of shapes ``hyper_shapes_distilled``, and ``None`` if that is ``None``."""
    shapes, targets = case.net.hyper_shapes_distilled, case.net.distillation_targets()
    require((shapes is None) == (targets is None), "one of the two is None")
    found = [list(target.shape) for target in targets or ()]
    require(found == [list(shape) for shape in shapes or ()], f"targets of shapes {found}, declared {shapes}")


def distilled_tensors_replace_computed_ones(case: MainCase) -> None:
    """``distilled_params`` equal to ``distillation_targets()`` change nothing; a wrong number or shape is refused."""
    shapes = case.net.hyper_shapes_distilled
    if shapes is None:
        refused(
            ValueError,
            "distilled_params",
            "distilled_params of a network without any",
            case,
            distilled_params=[torch.zeros(1, dtype=case.dtype)],
        )
        return
    net = copy_of(case.net)
    give_statistics(net, 1)
    targets = [target.detach().clone() for target in net.distillation_targets()]
    expected = case(net)
    same(case(distilled_params=targets), expected, "the output with the targets of another network")
    refused(ValueError, "distilled_params", "too few tensors", case, distilled_params=targets[:-1])
    wrong = [*targets[:-1], torch.cat([targets[-1], targets[-1]])]
    refused(ValueError, "distilled_params", "a tensor of a wrong shape", case, distilled_params=wrong)


def batched_takes_distilled_tensors(case: MainCase) -> None:
    """``batched_forward`` takes one set of ``distilled_params`` per weight set."""
    weights, shapes = case.stacked(), case.net.hyper_shapes_distilled
    if weights is None or shapes is None:
        return
    distilled = [torch.rand(SETS, *shape, dtype=case.dtype) + 0.5 for shape in shapes]
    got = case.batched(case.net, weights, distilled_params=distilled)
    per_set = [[tensor[b] for tensor in distilled] for b in range(SETS)]
    same(got, case.loop(case.net, weights, distilled_params=per_set), "the output")


def batched_refuses_wrong_inputs(case: MainCase) -> None:
    """``batched_forward`` raises ``ValueError`` for an input without the leading dimension of weight sets."""
    weights = case.stacked()
    if weights is not None:
        refused(ValueError, "x", "too few inputs", case.net.batched_forward, case.xs[:-1], weights)


LAWS: tuple[Law, ...] = (
    *table_laws.LAWS,
    *weight_laws.LAWS,
    *state_laws.LAWS,
    *statistics_laws.LAWS,
    distilled_shapes_match_targets,
    distilled_tensors_replace_computed_ones,
    batched_takes_distilled_tensors,
    batched_refuses_wrong_inputs,
)
