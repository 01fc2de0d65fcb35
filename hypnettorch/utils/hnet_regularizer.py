r"""The regulariser that keeps a hypernetwork's outputs for earlier tasks.

While task ``t`` is learned, the weights that the hypernetwork produces for each earlier task ``j`` are held at the
targets that it produced before (its parameters then were ``θ*``, ``e*``):

    ``R = 1/K Σ_{j ∈ S} s_j Σ_i F_ji (h_i(e_j*, θ*) - h_i(e_j + Δe_j, θ + Δθ))²``

with ``S`` all earlier tasks, or a random part of them, and ``K`` their number. All tasks are one batch of the
hypernetwork.

References:
    von Oswald, Henning, Sacramento, Grewe, "Continual learning with hypernetworks", ICLR 2020,
    https://arxiv.org/abs/1906.00695, eq. 2 (``Δθ`` is the look-ahead; ``F = s = 1``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hypnettorch.core import checks, formats
from hypnettorch.core.modes import evaluation
from hypnettorch.hnets.factors import FactorDistance, can_factorize, factorize, has_exact_type
from hypnettorch.hnets.hypernetwork import HyperNetwork, check_hypernetwork
from hypnettorch.mnets.network import Network, check_network


def get_current_targets(task_id: int, hnet: HyperNetwork) -> list[list[Tensor]]:
    """What a hypernetwork produces now for all tasks before ``task_id``.

    Computed in evaluation mode and without gradient; the mode is restored.

    Args:
        task_id: The task that is about to be learned.
        hnet: The hypernetwork.

    Returns:
        One list of weights per earlier task, empty for the first task. They stay what they are, whatever becomes of the
        hypernetwork.

    Raises:
        ValueError: If ``task_id`` is out of range.

    Example:
        >>> from hypnettorch.hnets import HMLP
        >>> hnet = HMLP([[4, 3], [4]], num_cond_embs=3, verbose=False)
        >>> targets = get_current_targets(2, hnet)
        >>> len(targets), [tuple(w.shape) for w in targets[0]]
        (2, [(4, 3), (4,)])
    """
    _check_hnet(hnet)
    checks.integer("task_id", task_id, 0, hnet.num_known_conds)
    if task_id == 0:
        return []
    return formats.from_flat(_snapshot(hnet, list(range(task_id))), hnet.target_shapes, "sequential")


def calc_fix_target_reg(
    hnet: HyperNetwork,
    task_id: int,
    targets: Sequence[Sequence[Tensor]] | None = None,
    dTheta: Sequence[Tensor] | None = None,
    dTembs: Sequence[Tensor] | None = None,
    mnet: Network | None = None,
    inds_of_out_heads: Sequence[Sequence[int]] | None = None,
    fisher_estimates: Sequence[Sequence[Tensor]] | None = None,
    prev_theta: Sequence[Tensor] | None = None,
    prev_task_embs: Sequence[Tensor] | None = None,
    batch_size: int | None = None,
    reg_scaling: Sequence[float] | None = None,
    tasks: Sequence[int] | None = None,
) -> Tensor:
    """The regulariser ``R`` (top of this module), with gradient into the hypernetwork.

    Args:
        hnet: The hypernetwork; all its unconditional parameters must be internal.
        task_id: The current task; the tasks ``0 .. task_id - 1`` are regularised.
        targets: Their weights from :func:`get_current_targets`.
        dTheta: Look-ahead ``Δθ``, parallel to ``hnet.unconditional_params``, as
            :func:`~hypnettorch.utils.optim_step.calc_delta_theta` gives it.
        dTembs: Look-ahead ``Δe``, parallel to ``hnet.conditional_params``.
        mnet: The main network, needed for ``inds_of_out_heads``.
        inds_of_out_heads: Per earlier task the output units of the main network that count; weights of other units are
            left out.
        fisher_estimates: Per earlier task the factors ``F``, parallel to ``hnet.target_shapes``.
        prev_theta: ``θ*``; together with ``prev_task_embs`` the targets are computed here, in evaluation mode.
        prev_task_embs: ``e*``, parallel to ``hnet.conditional_params`` then.
        batch_size: Regularise a random part of the tasks of this size, drawn by ``numpy.random.choice``; -1 for all.
        reg_scaling: Per earlier task the factor ``s``.
        tasks: ``S``, the earlier tasks that are regularised, instead of ``batch_size``; all by default.

    Returns:
        A scalar.

    Raises:
        ValueError: If an argument is wrong, targets are missing or given twice, or parameters are external.

    Note:
        A hypernetwork with batch norm in training mode is evaluated once per task, since a joint batch would mix their
        statistics.
    """
    task_id = _check_arguments(hnet, task_id, targets, prev_theta, prev_task_embs)
    for name, values in (
        ("inds_of_out_heads", inds_of_out_heads),
        ("fisher_estimates", fisher_estimates),
        ("reg_scaling", reg_scaling),
    ):
        if values is not None:
            _check_per_task(name, values, task_id)
    if tasks is None:
        tasks = choose_tasks(task_id, batch_size)
    elif batch_size is not None:
        checks.fail("batch_size", "None with tasks", batch_size)
    tasks = _check_tasks(tasks, task_id)

    outputs = _outputs(hnet, tasks, _look_ahead(hnet, dTheta, dTembs))
    if targets is None:
        previous = {"uncond_weights": prev_theta, "cond_weights": prev_task_embs}
        with evaluation(hnet), torch.no_grad():
            wanted = hnet.forward(cond_id=tasks, weights=previous, ret_format="flattened")
    else:
        wanted = _flat(targets, tasks, hnet, "targets")
    squares = (outputs - wanted).square()
    if inds_of_out_heads is not None:
        heads = [_check_head(mnet, j, inds_of_out_heads[j]) for j in tasks]
        squares = squares * _head_masks(mnet, hnet, heads, squares.device)  # type: ignore[arg-type]
    if fisher_estimates is not None:
        squares = squares * _flat(fisher_estimates, tasks, hnet, "fisher_estimates")
    if reg_scaling is None:
        return squares.sum() / len(tasks)
    scaling = squares.new_tensor([checks.number(("reg_scaling", j), reg_scaling[j]) for j in tasks])
    return (squares.sum(dim=1) * scaling).sum() / len(tasks)


class FixedTargetRegularizer:
    """The plain regulariser of one task, with everything that stays the same computed once.

    The value is that of :func:`calc_fix_target_reg` without look-ahead, Fisher weights and the like. In the form
    ``'gram'`` neither targets nor outputs are computed (:mod:`hypnettorch.hnets.factors`), so that time and memory
    hardly grow with the number of tasks.

    Args:
        hnet: The hypernetwork as it is before the task; it becomes the reference.
        task_id: The task that is about to be learned, at least 1.
        target_form: ``'stored'``: keep the targets ``[task_id, num_outputs]``. ``'gram'``: keep the parameters of the
            output layer instead; for ``HMLP`` and chunked hypernetworks around it whose equation no subclass changed,
            in single or double precision. ``'auto'``: whichever should take less time, by arithmetic. Both can be
            differentiated in the same ways; how many digits are right is said in :mod:`hypnettorch.hnets.factors`.
        tasks: The earlier tasks that are regularised; all by default.

    Raises:
        ValueError: If ``target_form`` is unknown or not possible for this hypernetwork, or parameters are external.

    Example:
        >>> from hypnettorch.hnets import HMLP
        >>> hnet = HMLP([[4, 3], [4]], num_cond_embs=3, verbose=False)
        >>> regularizer = FixedTargetRegularizer(hnet, task_id=2)
        >>> regularizer().item()
        0.0
    """

    def __init__(
        self,
        hnet: HyperNetwork,
        task_id: int,
        target_form: str = "auto",
        tasks: Sequence[int] | None = None,
    ) -> None:
        _check_hnet(hnet)
        checks.one_of("target_form", target_form, ("auto", "stored", "gram"))
        self._hnet = hnet
        checks.integer("task_id", task_id, 1, hnet.num_known_conds)
        self._tasks = _check_tasks(range(task_id) if tasks is None else tasks, task_id)
        _check_internal(hnet)
        usable = can_factorize(hnet) and has_exact_type(hnet)
        if target_form == "gram" and not usable:
            checks.fail("target_form", f"'stored' or 'auto' for {type(hnet).__name__}", "'gram'")
        self._distances: list[FactorDistance] = []
        with _constants(hnet):
            if target_form != "stored" and usable:
                earlier = factorize(hnet, self._tasks)
                costs = sum(part.gram_cost for part in earlier), sum(part.output_cost for part in earlier)
                if target_form == "gram" or costs[0] < costs[1]:
                    self._distances = [FactorDistance(part) for part in earlier]
                    return
        self._targets = _snapshot(hnet, self._tasks)

    @property
    def target_form(self) -> str:
        """The form in use, ``'stored'`` or ``'gram'``."""
        return "gram" if self._distances else "stored"

    def __call__(self, hnet: HyperNetwork | None = None) -> Tensor:
        """The value of the regulariser, with gradient into the hypernetwork.

        Args:
            hnet: The hypernetwork, if it is not the object that was passed to the constructor; so an instance can be
                the ``regularizer`` of a :class:`~hypnettorch.hyper_model.HyperModel`.

        Raises:
            ValueError: If ``hnet`` has other target shapes than the hypernetwork of the constructor or, in the form
                ``'gram'``, its equation or its layers are others.
        """
        hnet = self._hnet if hnet is None else hnet
        if hnet.target_shapes != self._hnet.target_shapes:
            checks.fail("hnet", f"a hypernetwork with the target shapes {self._hnet.target_shapes}", hnet.target_shapes)
        if not self._distances:
            return (_outputs(hnet, self._tasks, None) - self._targets).square().sum() / len(self._tasks)
        if not can_factorize(hnet):
            checks.fail("hnet", "one that the form 'gram' can evaluate", f"a {type(hnet).__name__} that is not one now")
        parts = factorize(hnet, self._tasks, one_by_one=_mixes_statistics(hnet))
        distances = [distance(part) for distance, part in zip(self._distances, parts, strict=True)]
        return torch.stack(distances).sum() / len(self._tasks)


def flatten_and_remove_out_heads(mnet: Network, weights: Sequence[Tensor], allowed_outputs: Sequence[int]) -> Tensor:
    """Weights of a main network as a vector, without those of other output units.

    Args:
        mnet: The main network.
        weights: Parallel to its ``param_shapes`` or ``hyper_shapes_learned``.
        allowed_outputs: The output units to keep.

    Returns:
        A 1-D tensor: tensors of the output layer reduced to the rows of the allowed units, all others whole.

    Raises:
        ValueError: If the weights fit neither list, or a unit does not exist.
    """
    check_network("mnet", mnet)
    masks = mnet.get_output_weight_mask(allowed_outputs)
    if len(weights) != len(mnet.param_shapes):
        refs = mnet.hyper_shapes_learned_ref or []
        checks.length("weights", weights, len(refs))
        masks = [masks[ref] for ref in refs]
    for i, (weight, mask) in enumerate(zip(weights, masks, strict=True)):
        if mask is not None:
            checks.shape(("weights", i), weight, mask.shape)
    return torch.cat(
        [
            weight.flatten() if mask is None else weight[mask.to(weight.device)]
            for weight, mask in zip(weights, masks, strict=True)
        ]
    )


@contextmanager
def _constants(hnet: Any) -> Iterator[None]:
    """Inside, the hypernetwork computes in evaluation mode what is going to be a constant, also of later gradients."""
    with torch.inference_mode(False), torch.no_grad(), evaluation(hnet):
        yield


def _snapshot(hnet: HyperNetwork, tasks: list[int]) -> Tensor:
    """Flat weights of the tasks ``[K, num_outputs]``, a copy that shares no memory with parameters."""
    with _constants(hnet):
        flat: Tensor = hnet.forward(cond_id=tasks, ret_format="flattened")
        return flat.detach().clone()


def _check_hnet(hnet: HyperNetwork) -> None:
    check_hypernetwork("hnet", hnet)


def _check_internal(hnet: HyperNetwork) -> None:
    if len(hnet.unconditional_params or ()) != len(hnet.unconditional_param_shapes):
        checks.fail("hnet", "a hypernetwork whose unconditional parameters are internal", "external ones")


def _mixes_statistics(hnet: HyperNetwork) -> bool:
    """Whether conditions in one batch would share the statistics by which batch norm normalises them."""
    return hnet.training and bool(hnet.batchnorm_layers)


def _check_arguments(hnet: Any, task_id: Any, targets: Any, prev_theta: Any, prev_task_embs: Any) -> int:
    _check_hnet(hnet)
    task_id = checks.integer("task_id", task_id, 1, hnet.num_known_conds)
    _check_internal(hnet)
    if (targets is None) == (prev_theta is None):
        got = "neither" if targets is None else "both"
        checks.fail("targets", "either 'targets' or 'prev_theta' and 'prev_task_embs'", got)
    if prev_theta is not None and prev_task_embs is None:
        checks.fail("prev_task_embs", "the conditional parameters that belong to prev_theta", None)
    if targets is not None:
        if prev_task_embs is not None:
            checks.fail("targets", "either 'targets' or 'prev_theta' and 'prev_task_embs'", "both")
        checks.length("targets", targets, task_id)
    return task_id


def _check_per_task(name: str, values: Any, task_id: int) -> None:
    if not hasattr(values, "__len__"):
        raise TypeError(f"{name}: expected a list with an entry per earlier task, got {type(values).__name__}")
    if len(values) < task_id:
        checks.fail(name, f"an entry for each of the {task_id} earlier tasks", f"{len(values)} entries")


def _check_head(mnet: Network | None, task: int, units: Any) -> list[int]:
    if mnet is None:
        checks.fail("mnet", "the main network, since inds_of_out_heads is given", None)
    check_network("mnet", mnet)
    name = f"inds_of_out_heads[{task}]"
    last = mnet.param_shapes[-1][0] - 1
    return [checks.integer((name, i), unit, 0, last) for i, unit in enumerate(checks.integers(name, units))]


def _check_tasks(tasks: Sequence[int], task_id: int) -> list[int]:
    if not len(tasks):
        checks.fail("tasks", "at least one earlier task", "none")
    return [checks.integer(("tasks", i), j, 0, task_id - 1) for i, j in enumerate(tasks)]


def choose_tasks(task_id: int, batch_size: int | None) -> list[int]:
    """The earlier tasks that a step regularises.

    Args:
        task_id: The current task.
        batch_size: How many to draw by ``numpy.random.choice``; -1 or ``None`` for all.

    Example:
        >>> choose_tasks(3, -1)
        [0, 1, 2]
    """
    if batch_size is None or batch_size == -1 or checks.integer("batch_size", batch_size, 1) >= task_id:
        return list(range(task_id))
    return [int(j) for j in np.random.choice(task_id, size=batch_size, replace=False)]


def _look_ahead(
    hnet: HyperNetwork, d_theta: Sequence[Tensor] | None, d_tembs: Sequence[Tensor] | None
) -> dict[str, list[Tensor]] | None:
    weights: dict[str, list[Tensor]] = {}
    if d_theta is not None:
        weights["uncond_weights"] = _shifted("dTheta", d_theta, hnet.unconditional_params)
    if d_tembs is not None:
        weights["cond_weights"] = _shifted("dTembs", d_tembs, hnet.conditional_params)
    return weights or None


def _shifted(name: str, changes: Sequence[Tensor], params: Sequence[Tensor] | None) -> list[Tensor]:
    """Parameters after changes."""
    checks.length(name, changes, len(params or ()))
    for i, (param, change) in enumerate(zip(params or (), changes, strict=True)):
        checks.shape((name, i), change, param.shape)
    return [param + change for param, change in zip(params or (), changes, strict=True)]


def _outputs(hnet: Any, tasks: list[int], weights: dict[str, list[Tensor]] | None) -> Tensor:
    """Flat weights of the tasks ``[K, num_outputs]``."""
    if not _mixes_statistics(hnet):
        flat: Tensor = hnet.forward(cond_id=tasks, weights=weights, ret_format="flattened")
        return flat
    try:
        return torch.cat([hnet.forward(cond_id=[j], weights=weights, ret_format="flattened") for j in tasks])
    except ValueError as error:
        raise ValueError(
            "calc_fix_target_reg: a hypernetwork with batch norm in training mode is evaluated one task at a time, and "
            f"this one cannot be (use eval mode): {error}"
        ) from error


def _flat(values: Sequence[Sequence[Tensor]], tasks: list[int], hnet: HyperNetwork, name: str) -> Tensor:
    """What a list holds for each weight of some tasks ``[K, num_outputs]``."""
    for j in tasks:
        checks.length(name, values[j], len(hnet.target_shapes))
        for i, (tensor, shape) in enumerate(zip(values[j], hnet.target_shapes, strict=True)):
            checks.shape((name, i), tensor, shape)
    return torch.cat([tensor.flatten() for j in tasks for tensor in values[j]]).unflatten(0, (len(tasks), -1))


def _head_masks(mnet: Network, hnet: HyperNetwork, heads: list[list[int]], device: torch.device) -> Tensor:
    """Per task which weights count ``[K, num_outputs]``."""
    positions: Sequence[int] = range(len(mnet.param_shapes))
    if len(hnet.target_shapes) != len(mnet.param_shapes):
        positions = mnet.hyper_shapes_learned_ref or []
    shapes = [mnet.param_shapes[position] for position in positions]
    if shapes != [list(shape) for shape in hnet.target_shapes]:
        checks.fail("mnet", f"the main network with weights of shapes {hnet.target_shapes}", shapes)
    rows = []
    for units in heads:
        masks = mnet.get_output_weight_mask(units, device=device)
        parts = [masks[position] for position in positions]
        full = [
            torch.ones(shape, dtype=torch.bool, device=device) if mask is None else mask
            for mask, shape in zip(parts, hnet.target_shapes, strict=True)
        ]
        rows.append(torch.cat([mask.flatten() for mask in full]))
    return torch.stack(rows)
