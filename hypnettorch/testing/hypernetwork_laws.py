"""Laws of hypernetworks.

A law is a function of a case that raises if it does not hold; the first line of its docstring is the law.
"""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hypnettorch.core.formats import FORMATS
from hypnettorch.core.table import ALL
from hypnettorch.hnets.hnet_helpers import get_conditional_parameters
from hypnettorch.testing import state_laws, statistics_laws, table_laws, weight_laws
from hypnettorch.testing.cases import SETS, HyperCase, Law, copy_of, refused, require, same, stack_outputs


def targets_are_counted(case: HyperCase) -> None:
    """``target_shapes`` are the shapes of what is produced, ``num_outputs`` counts its elements."""
    net = case.net
    require(isinstance(net.target_shapes, list) and net.target_shapes, f"target_shapes is {net.target_shapes!r}")
    count = net.shapes_to_num_weights(net.target_shapes)
    require(net.num_outputs == count, f"num_outputs is {net.num_outputs}, the targets have {count} elements")
    known = net.num_known_conds
    require(isinstance(known, int) and known >= 0, f"num_known_conds is {known!r}")
    flat = case()
    require(list(flat.shape) == [case.size, count], f"'flattened' has the shape {tuple(flat.shape)}")
    found = [list(tensor.shape) for tensor in case(ret_format="stacked")]
    require(found == [[case.size, *shape] for shape in net.target_shapes], f"'stacked' has the shapes {found}")


def parameters_are_unconditional_or_conditional(case: HyperCase) -> None:
    """Each tensor, and each reference to one, is either unconditional or conditional."""
    net = case.net
    uncond, cond = net.unconditional_param_shapes_ref, net.conditional_param_shapes_ref
    both = sorted([*uncond, *cond])
    require(both == list(range(len(net.param_shapes))), f"positions {uncond} and {cond} of {len(net.param_shapes)}")
    for name, positions in (("unconditional_param_shapes", uncond), ("conditional_param_shapes", cond)):
        require(getattr(net, name) == [net.param_shapes[i] for i in positions], f"{name} is {getattr(net, name)}")
    params, refs = net.unconditional_params, net.unconditional_params_ref
    require((params is None) == (refs is None), "one of unconditional_params and unconditional_params_ref is None")
    require(
        all(a is net.internal_params[i] for a, i in zip(params or (), refs or (), strict=True)),
        "unconditional_params_ref points at other tensors than unconditional_params",
    )
    require(net.internal_params is not None and net.conditional_params is not None, "a list of parameters is None")
    parts = [id(param) for param in (*(params or ()), *net.conditional_params)]
    require(sorted(parts) == sorted(map(id, net.internal_params)), "the two lists do not part internal_params")
    meta = case.meta()
    if meta is not None:
        own = {id(net.internal_params[meta[i]["index"]]) for i in uncond if meta[i]["index"] >= 0}
        require(own == set(map(id, params or ())), "unconditional_params are not those of unconditional_param_shapes")


def formats_agree(case: HyperCase) -> None:
    """All values of ``ret_format`` hold the same numbers in the documented structure."""
    for inputs in _inputs_of_sizes(case):
        flat = case(**inputs)
        for ret_format in FORMATS:
            expected = _in_format(flat, case.net.target_shapes, ret_format)
            same(
                case(**inputs, ret_format=ret_format),
                expected,
                f"ret_format='{ret_format}' of batch {len(flat)}",
                rtol=0,
            )
    refused(ValueError, "ret_format", "an unknown ret_format", case, ret_format="dense")


def _inputs_of_sizes(case: HyperCase) -> list[dict[str, Any]]:
    one = {name: value[:1] for name, value in case.inputs.items()}
    return [case.inputs, one]


def _in_format(flat: Tensor, shapes: list[list[int]], ret_format: str) -> Any:
    """The documented formats in the plainest terms."""
    rows = []
    for row in flat:
        parts, start = [], 0
        for shape in shapes:
            size = int(np.prod(shape))
            parts.append(row[start : start + size].reshape(shape))
            start += size
        rows.append(parts)
    if ret_format == "flattened":
        return flat
    if ret_format == "stacked":
        return [torch.stack(column) for column in zip(*rows, strict=True)]
    return rows[0] if ret_format == "squeezed" and len(rows) == 1 else rows


def formats_convert_into_each_other(case: HyperCase) -> None:
    """``convert_out_format`` goes between any two formats, and back again."""
    convert = case.net.convert_out_format
    for inputs in _inputs_of_sizes(case):
        outputs = {ret_format: case(**inputs, ret_format=ret_format) for ret_format in FORMATS}
        for source, target in itertools.product(FORMATS, FORMATS):
            there = convert(outputs[source], source, target)
            same(there, outputs[target], f"from '{source}' to '{target}'", rtol=0)
            same(convert(there, target, source), outputs[source], f"from '{source}' to '{target}' and back", rtol=0)
    for source, target in (("dense", "flattened"), ("flattened", "dense")):
        refused(ValueError, "_format", "an unknown format", convert, case(), source, target)


def forms_of_cond_id_agree(case: HyperCase) -> None:
    """``cond_id`` is an int (or anything with ``__index__``), a list, or a ``LongTensor``, all alike."""
    for cond_id in range(case.conditions):
        expected = case(**case.of_condition(cond_id))
        forms: list[Any] = [[cond_id], (cond_id,), np.int64(cond_id), torch.tensor(cond_id), torch.tensor([cond_id])]
        for form in forms:
            same(case(**case.of_condition(form)), expected, f"cond_id={form!r}", rtol=0)


def conditions_do_not_interfere(case: HyperCase) -> None:
    """What is produced for several conditions at once is what is produced for each of them alone."""
    if case.conditions:
        ids = [*reversed(range(case.conditions)), 0]
        expected = torch.cat([case(**case.of_condition(cond_id)) for cond_id in ids])
        same(case(**case.of_condition(ids)), expected, f"cond_id={ids}")


def wrong_cond_ids_are_refused(case: HyperCase) -> None:
    """An id out of range raises ``ValueError``, one that is no integer ``TypeError``; both name ``cond_id``."""
    out_of_range: list[Any] = [case.conditions, -1, [0, case.conditions], torch.tensor([-1]), []]
    for cond_id in out_of_range:
        refused(ValueError, "cond_id", f"cond_id={cond_id!r}", case, **case.of_condition(cond_id))
    if case.conditions:
        no_integers: list[Any] = [0.5, "0", [0.5], torch.tensor([0.0])]
        for wrong in no_integers:
            refused(TypeError, "cond_id", f"cond_id={wrong!r}", case, **case.of_condition(wrong))


def inputs_that_do_not_fit_are_refused(case: HyperCase) -> None:
    """Inputs that exclude each other, lack a batch dimension or differ in batch size raise ``ValueError``."""
    cond = torch.zeros(1, 2, dtype=case.dtype)
    refused(ValueError, "cond_i", "cond_input and cond_id together", case, cond_id=0, cond_input=cond)
    refused(ValueError, "cond_input", "a 1-D cond_input", case, cond_id=None, cond_input=cond[0])
    refused(ValueError, "", "a call without any input", case, **dict.fromkeys(case.inputs))
    uncond = case.inputs.get("uncond_input")
    if uncond is not None and len(case.inputs) > 1 and case.size > 1:
        longer = torch.cat([uncond, uncond[:1]])
        refused(ValueError, "cond_i", "inputs of different batch sizes", case, uncond_input=longer)


def _tables(net: Any) -> list[Any]:
    """The internal parameters that hold the tensors of all conditions, a row for each (``embedding_table=True``)."""
    return [row.value() for row in net.table.internal() if row.condition == ALL]


def _belongings(net: Any, cond_id: int) -> list[tuple[Any, int | None]]:
    """What belongs to a condition: its own parameters, each with ``None``, and tables, each with the row of it."""
    tables = _tables(net)
    if not tables:
        return [(param, None) for param in get_conditional_parameters(net, cond_id)]
    own = [row.value() for row in net.table.internal() if row.kind is not None and row.condition == cond_id]
    return [*((param, None) for param in own), *((table, cond_id) for table in tables)]


def _values(net: Any, cond_id: int) -> list[Tensor]:
    """A copy of the tensors that belong to a condition."""
    found = _belongings(net, cond_id)
    return [(param if row is None else param[row]).detach().clone() for param, row in found]


def _untouched(param: Any, row: int | None) -> bool:
    """Whether a parameter has no gradient; a row of a table, which has a gradient as a whole, may have zeros."""
    return param.grad is None or (row is not None and not param.grad[row].any())


def unselected_conditions_keep_no_gradient(case: HyperCase) -> None:
    """The gradients of conditions that are not selected stay ``None``, those of their rows in a table 0.

    Whatever the form of ``cond_id``.
    """
    for cond_id in range(case.conditions):
        forms: list[Any] = [cond_id, [cond_id], torch.tensor([cond_id])]
        for form in forms:
            net = copy_of(case.net)
            if not net.conditional_params:
                return
            case(net, **case.of_condition(form)).square().sum().backward()
            for other in range(case.conditions):
                for param, row in _belongings(net, other):
                    if other == cond_id:
                        require(param.grad is not None, f"after cond_id={form!r} condition {other} has no gradient")
                    else:
                        require(_untouched(param, row), f"after cond_id={form!r} condition {other} has a gradient")


def conditions_own_their_parameters(case: HyperCase) -> None:
    """``get_conditional_parameters`` parts ``conditional_params`` among the conditions; of tables each owns a row."""
    net = case.net
    if not net.conditional_params:
        return
    tables = _tables(net)
    if tables:
        refused(NotImplementedError, "", "get_conditional_parameters of a table", get_conditional_parameters, net, 0)
        for table in tables:
            require(len(table) == case.conditions, f"a table has {len(table)} rows for {case.conditions} conditions")
        own = {id(param) for k in range(case.conditions) for param, _ in _belongings(net, k)}
        require(own == set(map(id, net.conditional_params)), "tables and parts are not conditional_params")
        return
    owned = [id(param) for k in range(case.conditions) for param in get_conditional_parameters(net, k)]
    require(sorted(owned) == sorted(map(id, net.conditional_params)), "the parts are not conditional_params")


def conditions_may_be_looked_up(case: HyperCase) -> None:
    """``forward(**condition_inputs(ids))`` equals ``forward(cond_id=ids)``; others get no gradient (a table: zeros)."""
    if not case.conditions or not case.net.conditional_params:
        return
    for ids in (0, list(range(case.conditions)), torch.tensor([case.conditions - 1])):
        net = copy_of(case.net)
        options = case.of_condition(ids)
        uncond = {name: value for name, value in options.items() if name != "cond_id"}
        found = net.condition_inputs(ids)
        got = net(**uncond, ret_format="flattened", **_with_weights(found, case))
        same(got, case(net, **options), f"the output for {ids!r}")
        if case.conditions > 1 and not isinstance(ids, list):
            got.square().sum().backward()
            chosen = 0 if isinstance(ids, int) else case.conditions - 1
            others = [part for k in range(case.conditions) if k != chosen for part in _belongings(net, k)]
            require(all(_untouched(*part) for part in others), f"other conditions than {ids!r} have a gradient")
    refused(ValueError, "cond_id", "an id out of range", case.net.condition_inputs, case.conditions)


def _with_weights(found: dict[str, Any], case: HyperCase) -> dict[str, Any]:
    """Arguments that a look-up gave, with the unconditional weights of the network if some are external."""
    if case.weights is None:
        return found
    values = case.complete()
    weights = case.weights if values is None else [values[i] for i in case.net.unconditional_param_shapes_ref]
    return {**found, "weights": {"uncond_weights": weights, **found.get("weights", {})}}


def conditions_may_be_added(case: HyperCase) -> None:
    """``add_conditions`` returns the new parameters, and keeps the old ones and what they produce.

    A table is replaced by a larger one that begins with the old rows.
    """
    net = copy_of(case.net)
    known = case.conditions
    if not _takes_more_conditions(case):
        return
    tables = _tables(net)
    replaced = {id(table) for table in tables}
    old = [(param, param.detach().clone()) for param in net.internal_params if id(param) not in replaced]
    before, own = case(net), [_values(net, k) for k in range(known)]
    new = net.add_conditions(2)
    require(net.num_known_conds == known + 2, f"num_known_conds is {net.num_known_conds} instead of {known + 2}")
    same(case(net), before, "the output for old conditions")
    kept = {id(param) for param in net.internal_params}
    require(all(id(p) in kept and torch.equal(p, value) for p, value in old), "old parameters were replaced or changed")
    require(not kept & replaced, "a table that is too small is still there")
    same([_values(net, k) for k in range(known)], own, "the tensors of old conditions", rtol=0)
    added = kept - {id(param) for param, _ in old}
    require({id(param) for param in new} == added, "it does not return the parameters that were added")
    owned = {id(param) for k in (known, known + 1) for param, _ in _belongings(net, k)}
    require(owned == added, "the new parameters are not those of the new conditions")
    larger = [len(table) for table in _tables(net)]
    require(larger == [known + 2] * len(tables), f"tables for {known + 2} conditions have {larger} rows")
    case(net, **case.of_condition(known + 1))
    refused(ValueError, "n", "add_conditions(0)", net.add_conditions, 0)


def _takes_more_conditions(case: HyperCase) -> bool:
    if not case.conditions or not case.net.conditional_params:
        return False
    try:
        copy_of(case.net).add_conditions(1)
    except NotImplementedError:
        return False
    return True


def smaller_checkpoints_load(case: HyperCase) -> None:
    """A ``state_dict`` with fewer conditions loads with ``strict=False``: old conditions produce what they did."""
    grown = copy_of(case.net)
    if not _takes_more_conditions(case):
        return
    grown.add_conditions(2)
    with torch.no_grad():
        for param in grown.parameters():
            param.uniform_(-1, 1)
    new = _values(grown, case.conditions)
    grown.load_state_dict(case.net.state_dict(), strict=False)
    same(case(grown), case(), "the output for old conditions")
    same(_values(grown, case.conditions), new, "a new condition", rtol=0)


def changes_may_be_added(case: HyperCase) -> None:
    """``add_to_uncond_params`` adds changes to the unconditional parameters and leaves these as they are."""
    params = case.net.unconditional_params
    if params is None:
        refused(ValueError, "params", "no internal parameters", case.net.add_to_uncond_params, [])
        return
    changes = [torch.ones_like(param) for param in params]
    sums = case.net.add_to_uncond_params(changes)
    same(list(sums), [param + 1 for param in params], "the sums")
    same(list(case.net.add_to_uncond_params(changes, params=sums)), [param + 2 for param in params], "params=<sums>")
    refused(ValueError, "dparams", "too few changes", case.net.add_to_uncond_params, changes[:-1])


def task_embeddings_are_deprecated(case: HyperCase) -> None:
    """``get_task_embs`` and ``get_task_emb`` warn; they give ``conditional_params`` if each condition has one."""
    params = case.net.conditional_params or []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if len(params) != case.conditions or _tables(case.net):
            refused(RuntimeError, "", "get_task_embs()", case.net.get_task_embs)
            return
        found = case.net.get_task_embs()
        first = [case.net.get_task_emb(0)] if params else []
    require(
        all(a is b for a, b in zip([*found, *first], [*params, *params[:1]], strict=True)), "they are other tensors"
    )
    count = sum(w.category is DeprecationWarning for w in caught)
    require(count == 1 + len(first), f"{count} deprecation warnings for {1 + len(first)} calls")


def batched_formats_agree(case: HyperCase) -> None:
    """``batched_forward`` gives all formats with one more leading dimension on every tensor."""
    weights = case.stacked()
    if weights is None:
        return
    flat = case.batched(case.net, weights)
    require(
        list(flat.shape) == [SETS, case.size, case.net.num_outputs], f"'flattened' has the shape {tuple(flat.shape)}"
    )
    for ret_format in FORMATS:
        per_set = [_in_format(one, case.net.target_shapes, ret_format) for one in flat]
        got = case.batched(case.net, weights, ret_format=ret_format)
        same(got, stack_outputs(per_set), f"ret_format='{ret_format}'", rtol=0)
    refused(ValueError, "ret_format", "a wrong format", case.batched, case.net, weights, ret_format="dense")


LAWS: tuple[Law, ...] = (
    *table_laws.LAWS,
    *weight_laws.LAWS,
    *state_laws.LAWS,
    *statistics_laws.LAWS,
    targets_are_counted,
    parameters_are_unconditional_or_conditional,
    formats_agree,
    formats_convert_into_each_other,
    forms_of_cond_id_agree,
    conditions_do_not_interfere,
    wrong_cond_ids_are_refused,
    inputs_that_do_not_fit_are_refused,
    unselected_conditions_keep_no_gradient,
    conditions_own_their_parameters,
    conditions_may_be_looked_up,
    conditions_may_be_added,
    smaller_checkpoints_load,
    changes_may_be_added,
    task_embeddings_are_deprecated,
    batched_formats_agree,
)
