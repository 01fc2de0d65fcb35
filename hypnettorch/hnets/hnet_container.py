"""A hypernetwork that puts together what several hypernetworks, and parameters of its own, produce."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from hypnettorch.core import checks, trees
from hypnettorch.core.starts import Start, average
from hypnettorch.core.table import ROLES, Row
from hypnettorch.core.values import Values, resolve
from hypnettorch.hnets import assembly, initialization, inputs, output_constants
from hypnettorch.hnets.hypernetwork import PARTS, HyperNetwork, Request, check_hypernetwork, common_bias, normal
from hypnettorch.hnets.initialization import Plan
from hypnettorch.hnets.wrapper import check_own_complete, stacked_value
from hypnettorch.mnets.network import Shapes

HNETS = "hnets"
COND_TENSORS = "cond_tensors"
UNCOND = "uncond"
INPUTS = ("uncond_input", "cond_input", "cond_id")
PLAIN_STD = 0.02
"""Standard deviation of plain parameters at the start."""


class HContainer(HyperNetwork):
    """``assembly_fct([h_1(u, e), h_2(u, e), …], [p, …], [q_c, …])`` with hypernetworks ``h_i`` and plain parameters.

    ``p`` are tensors that all conditions share, as if they were parameters of the main network itself; ``q_c`` belong
    to condition ``c``. Both are drawn from N(0, 0.02²). Every input goes to every hypernetwork, and what is produced
    for a batch of size 1 is combined with every sample of a larger one. Parameters are published in the order ``h_1``,
    ``h_2``, …, ``p``, then ``q`` condition by condition; rows of ``param_shapes_meta`` say by ``celement_type``
    (``'hnet'``, ``'uncond'`` or ``'cond'``) and ``celement_ind`` where they come from, those of ``q`` by
    ``celement_cind`` to which condition they belong, and only those of ``h_1`` have a ``layer``.

    ``forward`` passes its inputs and ``condition`` to all hypernetworks. ``cond_id`` is required if there are ``q_c``,
    and with ``cond_input`` selects only these. Further keys of a dictionary ``weights``: ``hnets``, a list with a
    dictionary per hypernetwork, which has precedence over everything else for this hypernetwork. It may hold what its
    ``weights`` may hold (as ``chunk_embs``), and its inputs ``uncond_input``, ``cond_input`` and ``cond_id``. And
    ``cond_tensors``, a list of tensors ``[N, *shape]`` to use for ``q_c``.

    Args:
        target_shapes: Shapes of the tensors to produce.
        assembly_fct: Called with what was produced for one sample: a list with a list of tensors per hypernetwork, the
            list ``p`` and the list ``q_c``. Returns the target tensors. It is mapped over the samples
            (:mod:`hypnettorch.hnets.assembly`), and should only arrange what it is given.
        hnets: The hypernetworks: any of this package (containers and wrappers as well), or of a user's own class. All
            know the same number of conditions.
        uncond_param_shapes: Shapes of ``p``.
        cond_param_shapes: Shapes of ``q_c``. With them, ``forward`` needs ``cond_id``.
        uncond_param_names: ``name`` of each ``p`` in ``param_shapes_meta``; by default ``'weight'`` for shapes with
            more than one dimension and ``'bias'`` for vectors.
        cond_param_names: Likewise for ``q_c``.
        verbose: Whether to print a line about the network.
        no_uncond_weights: Whether ``p`` is external.
        no_cond_weights: Whether ``q`` is external.
        num_cond_embs: Number of conditions; without ``cond_param_shapes`` that of the hypernetworks counts.

    Raises:
        ValueError: If nothing would produce an output, numbers of conditions differ, or a name or shape is wrong.
        TypeError: If an argument has the wrong type.

    Example:
        The first layer is generated, batch norm is shared by all conditions, each of which has its own output weights.

        >>> from hypnettorch.hnets import HMLP
        >>> def assembly_fct(list_of_hnet_tensors, uncond_tensors, cond_tensors):
        ...     return list_of_hnet_tensors[0] + uncond_tensors + cond_tensors
        >>> hnet = HContainer(
        ...     [[10, 5], [5], [5], [5], [5, 5]], assembly_fct, [HMLP([[10, 5], [5]], num_cond_embs=5, verbose=False)],
        ...     uncond_param_shapes=[[5], [5]], uncond_param_names=['bn_scale', 'bn_shift'],
        ...     cond_param_shapes=[[5, 5]], num_cond_embs=5, verbose=False)
        >>> [tuple(w.shape) for w in hnet(cond_id=2)]
        [(10, 5), (5,), (5,), (5,), (5, 5)]
    """

    hnets: nn.ModuleList
    keeps_both = True

    def __init__(
        self,
        target_shapes: Sequence[Sequence[int]],
        assembly_fct: Callable[[list[list[Tensor]], list[Tensor], list[Tensor]], Sequence[Tensor]],
        hnets: Sequence[Any] | None = None,
        uncond_param_shapes: Sequence[Sequence[int]] | None = None,
        cond_param_shapes: Sequence[Sequence[int]] | None = None,
        uncond_param_names: Sequence[str] | None = None,
        cond_param_names: Sequence[str] | None = None,
        verbose: bool = True,
        no_uncond_weights: bool = False,
        no_cond_weights: bool = False,
        num_cond_embs: int = 1,
    ) -> None:
        hnets = [] if hnets is None else hnets
        checks.instance("hnets", hnets, Sequence, "a list of hypernetworks")
        for i, hnet in enumerate(hnets):
            check_hypernetwork((HNETS, i), hnet)
            if any(hnet is other for other in hnets[:i]):
                checks.fail((HNETS, i), "a hypernetwork that is not in the list already", type(hnet).__name__)
        sizes = [max([0, *(getattr(hnet, name, 0) for hnet in hnets)]) for name in ("_uncond_in_size", "_cond_in_size")]
        super().__init__(target_shapes, *sizes)
        checks.instance("assembly_fct", assembly_fct, Callable, "a function")  # type: ignore[arg-type]
        self._assembly_fct = assembly_fct
        self._no_uncond_weights, self._no_cond_weights = no_uncond_weights, no_cond_weights
        self._uncond_shapes = checks.shapes("uncond_param_shapes", uncond_param_shapes or [])
        self._cond_shapes = checks.shapes("cond_param_shapes", cond_param_shapes or [])
        uncond_names = _names("uncond_param_names", uncond_param_names, self._uncond_shapes)
        cond_names = _names("cond_param_names", cond_param_names, self._cond_shapes)
        if not (hnets or self._uncond_shapes or self._cond_shapes):
            checks.fail("hnets", "hypernetworks or shapes of parameters, to have an output", "neither")
        num_cond_embs = self._count_conditions(hnets, checks.integer("num_cond_embs", num_cond_embs, 0))

        self.hnets = nn.ModuleList()
        for i, hnet in enumerate(hnets):
            self.include(f"{HNETS}.{i}", hnet, block=i, numbered=i == 0, celement_type="hnet", celement_ind=i)
        init = normal(PLAIN_STD)
        for i, (shape, name) in enumerate(zip(self._uncond_shapes, uncond_names, strict=True)):
            meta: dict[str, Any] = {"celement_type": "uncond", "celement_ind": i}
            block = len(hnets) + i
            self.declare(f"{UNCOND}.{i}", shape, name, init=init, external=no_uncond_weights, block=block, **meta)
        if self._cond_shapes:
            self.per_condition(
                COND_TENSORS,
                self._cond_shapes,
                num_cond_embs,
                external=no_cond_weights,
                init=init,
                role=cond_names,
                layer=-1,
                block=len(hnets) + len(self._uncond_shapes),
                condition_key="celement_cind",
                metas=[{"celement_ind": i} for i in range(len(self._cond_shapes))],
                celement_type="cond",
            )
        self._num_known_conds = num_cond_embs
        self._learned_is_list = bool(hnets)
        plain = bool(self._uncond_shapes or self._cond_shapes)
        self._has_bias, self._mask_fc_out = common_bias(hnets), False
        self._has_fc_out = not plain and all(hnet.has_fc_out for hnet in hnets)
        self._has_linear_out = not plain and all(hnet.has_linear_out for hnet in hnets)
        if verbose:
            print(self)

    @property
    def internal_hnets(self) -> list[Any]:
        """The hypernetworks."""
        return list(self.hnets)

    def condition_inputs(self, cond_id: Any) -> dict[str, Any]:
        """Look conditions up in every hypernetwork and among the plain parameters."""
        weights = dict(super().condition_inputs(cond_id).get("weights", {}))
        if self._parts:
            weights[HNETS] = [_as_entry(hnet.condition_inputs(cond_id)) for hnet in self.internal_hnets]
        return {"weights": weights} if weights else {"cond_id": cond_id}

    def _layer_rows(self) -> list[tuple[Row, Row | None]]:
        return [pair for pair in super()._layer_rows() if pair[0].name.startswith(f"{HNETS}.")]

    def _count_conditions(self, hnets: Sequence[Any], wanted: int) -> int:
        """The number of conditions on which all parts agree."""
        if self._cond_shapes and wanted == 0:
            checks.fail("num_cond_embs", "at least one condition, since cond_param_shapes is given", 0)
        number = hnets[0].num_known_conds if hnets and not self._cond_shapes else wanted
        for i, hnet in enumerate(hnets):
            if hnet.num_known_conds != number:
                checks.fail((HNETS, i), f"a hypernetwork that knows {number} conditions", hnet.num_known_conds)
        return int(number)

    def check_given(self, given: Mapping[str, Any]) -> None:
        """What is given besides tensors of this network: an entry per hypernetwork, and tensors of conditions."""
        super().check_given({key: value for key, value in given.items() if key != HNETS})
        if HNETS in given:
            checks.instance("weights['hnets']", given[HNETS], (list, tuple), "a list")
            checks.length("weights['hnets']", given[HNETS], len(self.hnets))
            for i, entry in enumerate(given[HNETS]):
                checks.instance(("weights['hnets']", i), entry, Mapping, "a dictionary")

    def check_complete(self, tensors: Any, weights: Any = None) -> None:
        """The hypernetworks check their tensors, which may be in their entries, themselves."""
        check_own_complete(self, HNETS, tensors, weights)

    def select(self, request: Request, values: Values) -> Request:
        """Look up the plain parameters of conditions; the hypernetworks look conditions up themselves."""
        for name, value in (("uncond_input", request.uncond), ("cond_input", request.cond)):
            if value is not None and not self._parts:
                checks.fail(name, "None, since there is no hypernetwork", f"shape {tuple(value.shape)}")
        given = request.given.get(COND_TENSORS)
        if request.ids is not None and (given or (request.cond is not None and not self._cond_shapes)):
            checks.fail("cond_id", "None, since everything conditional is passed", request.ids)
        if not self._cond_shapes:
            return request
        if given is None and request.ids is None:
            checks.fail("cond_id", "the conditions whose plain parameters are meant", None)
        if given is None:
            return replace(request, given={**request.given, **self.conditions(request.ids, values)})  # type: ignore[arg-type]
        checks.length("weights['cond_tensors']", given, len(self._cond_shapes))
        lead = 1 if values.sets is None else 2
        for i, (tensor, shape) in enumerate(zip(given, self._cond_shapes, strict=True)):
            checks.tensor(("weights['cond_tensors']", i), tensor)
            checks.shape(("weights['cond_tensors']", i), tensor, [*tensor.shape[:lead], *shape])
        return request

    def generate(self, request: Request, values: Values) -> list[Tensor]:
        """The equation."""
        cond = request.given.get(COND_TENSORS, [])
        entries = request.given.get(HNETS, [{}] * len(self.hnets))
        made = [self._ask_with(i, entry, request, values) for i, entry in enumerate(entries)]
        lead = self._lead(made, cond, request, values.sets)
        first = len(lead) - 1
        uncond = [stacked_value(values, f"{UNCOND}.{i}").unsqueeze(first) for i in range(len(self._uncond_shapes))]
        parts = trees.map_tensors(lambda t: t.expand(*lead, *t.shape[first + 1 :]), (made, uncond, list(cond)))
        return assembly.assemble(self._assembly_fct, parts, lead, self.target_shapes)

    def _ask_with(self, number: int, entry: Mapping[str, Any], request: Request, values: Values) -> list[Tensor]:
        """What one of the hypernetworks produces, whose entry has precedence over the inputs of all."""
        name, hnet = f"{HNETS}.{number}", self.hnets[number]
        own = {key: entry[key] for key in INPUTS if key in entry}
        named = {key: value for key, value in entry.items() if key in PARTS or "." in key}
        given = {key: value for key, value in entry.items() if key not in own and key not in named}
        if named:
            _, passed = resolve(hnet.table, named, hnet, stacked=values.sets is not None)  # type: ignore[arg-type]
            values = values.with_tensors({f"{name}.{key}": tensor for key, tensor in passed.items()})
        inputs.check_combination(own.get("uncond_input"), own.get("cond_input"), own.get("cond_id"), required=False)
        conditional: Mapping[str, Any] = (
            own if {"cond_input", "cond_id"} & own.keys() else {"cond_input": request.cond, "cond_id": request.ids}
        )
        cond, ids = conditional.get("cond_input"), conditional.get("cond_id")
        if ids is not None:
            ids = None if cond is not None else inputs.parse_cond_id(ids, hnet.num_known_conds)  # type: ignore[arg-type]
        return self.ask(name, Request(own.get("uncond_input", request.uncond), cond, ids, given), values).tensors

    def _lead(
        self, made: Sequence[Sequence[Tensor]], cond: Sequence[Tensor], request: Request, sets: int | None
    ) -> list[int]:
        """``[N]`` or ``[B, N]``: the number of weight sets; parts that come once are meant for all of them."""
        lead = [] if sets is None else [sets]
        sizes = {f"{HNETS}[{i}]": tensors[0].shape[len(lead)] for i, tensors in enumerate(made)}
        sizes |= {f"{COND_TENSORS}[{i}]": tensor.shape[len(lead)] for i, tensor in enumerate(cond)}
        if request.ids is not None and not sizes:
            sizes["cond_id"] = len(request.ids)
        return [*lead, inputs.common_size(sizes)]

    def start_at(self, wanted: Sequence[Start], plan: Plan) -> None:
        """Initialise each hypernetwork, and plain parameters, for the targets in which they end up.

        In a calibrated start, constants give targets their variance if a function computes with what it puts together,
        or makes different ones of the same tensor.
        """
        found = self._counts_in_targets(wanted, plan)
        if found is None:
            produced = sum(len(hnet.target_shapes) for hnet in self.internal_hnets)
            own = [Start(generated=1.0)] * (produced + len(self._uncond_shapes) + len(self._cond_shapes))
        else:
            own = [average(wanted, counts) for counts in found]
        rest = iter(own)
        for i, hnet in enumerate(self.internal_hnets):
            hnet.start_at([next(rest) for _ in hnet.target_shapes], self._plan_of_member(i, plan))
        for rows, start in zip(self._plain_rows(), rest, strict=True):
            for row in rows:
                initialization.fill_uniform(row.value(), start.mean, start.variance)
        output_constants.keep(self, None, None)
        if found is None:
            initialization.settle(self, wanted, plan.at(self))

    def _counts_in_targets(self, wanted: Sequence[Start], plan: Plan) -> list[Counter[int]] | None:
        """How many elements of each tensor are in which target; ``None`` where a calibrated start cannot follow it."""
        plain = [[tuple(shape) for shape in shapes] for shapes in (self._uncond_shapes, self._cond_shapes)]
        try:
            found = assembly.trace(self._assembly_fct, (self._shapes_of_members(), *plain), self.target_shapes)
        except ValueError:
            if plan.calibrated:
                return None
            raise
        mixed = any(len({wanted[target] for target in counts}) > 1 for counts in found)
        return None if plan.calibrated and mixed else found

    def _shapes_of_members(self) -> list[list[tuple[int, ...]]]:
        return [[tuple(shape) for shape in hnet.target_shapes] for hnet in self.internal_hnets]

    def _plan_of_member(self, number: int, plan: Plan) -> Plan:
        """The plan for one of the hypernetworks, all of which get the same inputs."""
        if plan.samples is None:
            return plan
        request, values = plan.samples
        ids = request.ids if request.cond is None else None
        return plan.within(Request(request.uncond, request.cond, ids), values.part(f"{HNETS}.{number}"))

    def start_at_zero(self) -> None:
        """Let all hypernetworks, and plain parameters, start at zero."""
        for hnet in self.internal_hnets:
            hnet.start_at_zero()
        for rows in self._plain_rows():
            for row in rows:
                nn.init.zeros_(row.value())

    def _plain_rows(self) -> list[list[Row]]:
        """Internal rows of each plain parameter: one of each shared one, and one per condition of each other one."""
        own = self.table.by_name
        names = [[f"{UNCOND}.{i}"] for i in range(len(self._uncond_shapes))]
        conditions = range(self.num_known_conds)
        names += [[f"{COND_TENSORS}.{c}.{i}" for c in conditions] for i in range(len(self._cond_shapes))]
        return [[own[name] for name in group if own[name].owner is not None] for group in names]


def _as_entry(condition_inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of ``forward`` that stand for conditions as one entry of ``weights['hnets']``."""
    given = {key: condition_inputs[key] for key in INPUTS if key in condition_inputs}
    return {**condition_inputs.get("weights", {}), **given}


def _names(argument: str, names: Sequence[str] | None, shapes: Shapes) -> list[str]:
    """The names of plain parameters."""
    if names is None:
        return ["weight" if len(shape) > 1 else "bias" for shape in shapes]
    checks.length(argument, names, len(shapes))
    for i, name in enumerate(names):
        checks.one_of(f"{argument}[{i}]", name, ROLES)
    return list(names)
