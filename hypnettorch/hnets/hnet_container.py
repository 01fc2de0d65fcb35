"""A hypernetwork that puts together what several hypernetworks, and parameters of its own, produce."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from hypnettorch.core import checks
from hypnettorch.core.old_table import NAMES, normal
from hypnettorch.hnets import assembly, hyperfan, inputs, partwise_hyperfan
from hypnettorch.hnets.composite import INPUTS, Call, CompositeHyperNetwork, arguments_of
from hypnettorch.hnets.hnet_interface import HyperNetInterface
from hypnettorch.hnets.old_hypernetwork import common_bias
from hypnettorch.hnets.targets import Plan
from hypnettorch.mnets.extension_protocol import Shapes
from hypnettorch.mnets.old_stages import Run

HNETS = "hnets"
COND_TENSORS = "cond_tensors"
PLAIN_STD = 0.02
"""Standard deviation of plain parameters at the start."""


class HContainer(CompositeHyperNetwork):
    """``assembly_fct([h_1(u, e), h_2(u, e), …], [p, …], [q_c, …])`` with hypernetworks ``h_i`` and plain parameters.

    ``p`` are tensors that all conditions share, as if they were parameters of the main network itself; ``q_c`` belong
    to condition ``c``. Both are drawn from N(0, 0.02²). Every input goes to every hypernetwork, and what is produced
    for a batch of size 1 is combined with every sample of a larger one. Parameters are published in the order ``h_1``,
    ``h_2``, …, ``p``, then ``q`` condition by condition; rows of ``param_shapes_meta`` say by ``celement_type``
    (``'hnet'``, ``'uncond'`` or ``'cond'``) and ``celement_ind`` where they come from, those of ``q`` by
    ``celement_cind`` to which condition they belong, and only those of ``h_1`` have a ``layer``.

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

    _cond_keys = _list_keys = (HNETS, COND_TENSORS)

    def __init__(
        self,
        target_shapes: Sequence[Sequence[int]],
        assembly_fct: Callable[[list[list[Tensor]], list[Tensor], list[Tensor]], Sequence[Tensor]],
        hnets: Sequence[HyperNetInterface] | None = None,
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
            checks.instance(("hnets", i), hnet, HyperNetInterface)
            checks.instance(("hnets", i), hnet, nn.Module)
            if any(hnet is other for other in hnets[:i]):
                checks.fail((HNETS, i), "a hypernetwork that is not in the list already", type(hnet).__name__)
        super().__init__(target_shapes, hnets)
        checks.instance("assembly_fct", assembly_fct, Callable, "a function")  # type: ignore[arg-type]
        self._assembly_fct = assembly_fct
        self._no_cond_weights = no_cond_weights
        self._uncond_shapes = checks.shapes("uncond_param_shapes", uncond_param_shapes or [])
        self._cond_shapes = checks.shapes("cond_param_shapes", cond_param_shapes or [])
        uncond_names = _names("uncond_param_names", uncond_param_names, self._uncond_shapes)
        self._cond_names = _names("cond_param_names", cond_param_names, self._cond_shapes)
        if not (hnets or self._uncond_shapes or self._cond_shapes):
            checks.fail("hnets", "hypernetworks or shapes of parameters, to have an output", "neither")
        num_cond_embs = self._count_conditions(hnets, checks.integer("num_cond_embs", num_cond_embs, 0))

        self._hnets = nn.ModuleList(hnets)  # type: ignore[arg-type]
        for i, hnet in enumerate(hnets):
            self._include(hnet, block=i, numbered=i == 0, celement_type="hnet", celement_ind=i)
        self._uncond_slots = [
            self._table.add(
                shape,
                name,
                init=normal(PLAIN_STD),
                external=no_uncond_weights,
                block=len(hnets) + i,
                extra={"celement_type": "uncond", "celement_ind": i},
            )
            for i, (shape, name) in enumerate(zip(self._uncond_shapes, uncond_names, strict=True))
        ]
        for condition in range(num_cond_embs):
            self._declare_condition(condition)
        self._num_known_conds = num_cond_embs
        plain = bool(self._uncond_shapes or self._cond_shapes)
        self._has_bias, self._mask_fc_out = common_bias(hnets), False
        self._has_fc_out = not plain and all(hnet.has_fc_out for hnet in hnets)
        self._has_linear_out = not plain and all(hnet.has_linear_out for hnet in hnets)
        self._publish()
        if verbose:
            print(self)

    @property
    def internal_hnets(self) -> list[HyperNetInterface]:
        """The hypernetworks."""
        return list(self._hnets)  # type: ignore[arg-type]

    def forward(
        self,
        uncond_input: Tensor | None = None,
        cond_input: Tensor | None = None,
        cond_id: Any = None,
        weights: Any = None,
        distilled_params: Any = None,
        condition: int | None = None,
        ret_format: str = "squeezed",
    ) -> Any:
        """Compute the weights of the target network.

        Args:
            uncond_input: Passed to all hypernetworks.
            cond_input: Passed to all hypernetworks; ``cond_id`` then only selects plain parameters.
            cond_id: Id or ids of conditions; required if there are plain conditional parameters.
            weights: External parameters, see :meth:`hypnettorch.hnets.hnet_interface.HyperNetInterface.forward`.
                Further keys of a dictionary: ``hnets``, a list with a dictionary per hypernetwork, which has
                precedence over everything else for this hypernetwork. It may hold what its ``weights`` may hold (as
                ``chunk_embs``), and its inputs ``uncond_input``, ``cond_input`` and ``cond_id``. And ``cond_tensors``,
                a list of tensors ``[N, *shape]`` to use for the plain conditional parameters.
            distilled_params: Must be ``None``.
            condition: Passed to all hypernetworks.
            ret_format: ``'squeezed'``, ``'sequential'``, ``'flattened'`` or ``'stacked'``.

        Returns:
            The weights in the format that was asked for.

        Raises:
            ValueError: If inputs or weights are missing, do not fit or exclude each other.
            TypeError: If an argument has the wrong type.
        """
        return super().forward(uncond_input, cond_input, cond_id, weights, distilled_params, condition, ret_format)

    def condition_inputs(self, cond_id: Any) -> dict[str, Any]:
        """Look conditions up in every hypernetwork and among the plain parameters."""
        weights = inputs.join_lists(self._look_up(cond_id))
        if self._inclusions:
            weights[HNETS] = [arguments_of(hnet.condition_inputs(cond_id)) for hnet in self.internal_hnets]
        return {"weights": weights} if weights else {"cond_id": cond_id}

    def _start_learned(self) -> tuple[Shapes | None, list[int] | None]:
        return ([], []) if self._inclusions else (None, None)

    def _publish_layer_tensors(self, values: Mapping[int, nn.Parameter]) -> None:
        inner = {slot for part in self._inclusions for slot in part.slots}
        super()._publish_layer_tensors({slot: value for slot, value in values.items() if slot in inner})

    def _declare_condition(self, condition: int) -> None:
        first = len(self._hnets) + len(self._uncond_shapes) + condition * len(self._cond_shapes)
        for i, (shape, name) in enumerate(zip(self._cond_shapes, self._cond_names, strict=True)):
            self._add_conditional(
                f"{COND_TENSORS}[{i}]",
                shape,
                condition,
                self._no_cond_weights,
                block=first + i,
                role=name,
                layer=-1,
                std=PLAIN_STD,
                celement_type="cond",
                celement_ind=i,
                celement_cind=condition,
            )

    def _count_conditions(self, hnets: Sequence[HyperNetInterface], wanted: int) -> int:
        """The number of conditions on which all parts agree."""
        if self._cond_shapes and wanted == 0:
            checks.fail("num_cond_embs", "at least one condition, since cond_param_shapes is given", 0)
        number = hnets[0].num_known_conds if hnets and not self._cond_shapes else wanted
        for i, hnet in enumerate(hnets):
            if hnet.num_known_conds != number:
                checks.fail((HNETS, i), f"a hypernetwork that knows {number} conditions", hnet.num_known_conds)
        return number

    def _prepare(
        self,
        uncond_input: Tensor | None,
        cond_input: Tensor | None,
        cond_id: Any,
        weights: Any,
        condition: Any,
        ret_format: str,
        sets: int | None = None,
    ) -> tuple[Call, Run]:
        call, run = super()._prepare(uncond_input, cond_input, cond_id, weights, condition, ret_format, sets)
        entries = {key: call.passed[key] for key in call.passed if key.startswith(HNETS)}
        tensors = [call.passed[key] for key in call.passed if key not in entries]
        if entries:
            checks.length("weights['hnets']", entries, len(self._hnets))  # type: ignore[arg-type]
            for i, entry in enumerate(entries.values()):
                checks.instance(("weights['hnets']", i), entry, Mapping, "a dictionary")
        if tensors:
            checks.length("weights['cond_tensors']", tensors, len(self._cond_shapes))
            lead = 1 if sets is None else 2
            for i, (tensor, shape) in enumerate(zip(tensors, self._cond_shapes, strict=True)):
                checks.tensor(("weights['cond_tensors']", i), tensor)
                checks.shape(("weights['cond_tensors']", i), tensor, [*tensor.shape[:lead], *shape])
        for name, value in (("uncond_input", uncond_input), ("cond_input", cond_input)):
            if value is not None and not self._inclusions:
                checks.fail(name, "None, since there is no hypernetwork", f"shape {tuple(value.shape)}")
        if self._cond_shapes and cond_id is None and not tensors:
            checks.fail("cond_id", "the conditions whose plain parameters are meant", None)
        if cond_id is not None and (tensors or (cond_input is not None and not self._cond_shapes)):
            checks.fail("cond_id", "None, since everything conditional is passed", cond_id)
        return call, run

    def _generate(self, call: Call, run: Run) -> list[Tensor]:
        own = {key: value for key, value in call.passed.items() if key.startswith(COND_TENSORS)}
        cond = list(self._conditions(None, call.cond_id, own, run).values())
        made = [self._ask(part, self._call_of(i, call), run, "stacked") for i, part in enumerate(self._inclusions)]
        lead = self._lead(made, cond, call, run)

        def spread(tensors: Sequence[Tensor], shapes: Shapes) -> list[Tensor]:
            return [tensor.expand(*lead, *shape) for tensor, shape in zip(tensors, shapes, strict=True)]

        uncond = [
            run.values[slot].unsqueeze(1) if run.sets is not None and run.given[slot] else run.values[slot]
            for slot in self._uncond_slots
        ]
        parts = (
            [spread(tensors, hnet.target_shapes) for tensors, hnet in zip(made, self.internal_hnets, strict=True)],
            spread(uncond, self._uncond_shapes),
            spread(cond, self._cond_shapes),
        )
        return assembly.assemble(self._assembly_fct, parts, lead, self.target_shapes)

    def _call_of(self, number: int, call: Call) -> Call:
        """What one of the hypernetworks is asked for."""
        entry = dict(call.passed.get(f"{HNETS}[{number}]", {}))
        given = {key: entry.pop(key) for key in INPUTS if key in entry}
        arguments = {"uncond_input": call.uncond_input, "cond_input": call.cond_input, "cond_id": call.cond_id}
        if call.cond_input is not None or "cond_input" in given:
            arguments["cond_id"] = None
        if "cond_id" in given:
            arguments["cond_input"] = None
        return Call(**{**arguments, **given}, passed=entry)

    def _lead(self, made: Sequence[Sequence[Tensor]], cond: Sequence[Tensor], call: Call, run: Run) -> list[int]:
        """``[N]`` or ``[B, N]``: the number of weight sets; parts that come once are meant for all of them."""
        lead = [] if run.sets is None else [run.sets]
        sizes = {f"{HNETS}[{i}]": tensors[0].shape[len(lead)] for i, tensors in enumerate(made)}
        sizes |= {f"{COND_TENSORS}[{i}]": tensor.shape[len(lead)] for i, tensor in enumerate(cond)}
        if call.cond_id is not None and not sizes:
            sizes["cond_id"] = len(inputs.parse_cond_id(call.cond_id, self.num_known_conds))
        return [*lead, inputs.common_size(sizes)]

    def _start_at(self, destinations: partwise_hyperfan.Destinations, plan: Plan) -> None:
        inner = [[tuple(shape) for shape in hnet.target_shapes] for hnet in self.internal_hnets]
        plain = [[tuple(shape) for shape in shapes] for shapes in (self._uncond_shapes, self._cond_shapes)]
        found = assembly.trace(self._assembly_fct, (inner, *plain), self.target_shapes)
        traced = iter(partwise_hyperfan.trace_back(found, destinations))
        for hnet in self.internal_hnets:
            hnet._start_at([next(traced) for _ in hnet.target_shapes], plan)
        values = self._values_by_slot()
        for slots in [*([slot] for slot in self._uncond_slots), *self._conditional.values()]:
            start = partwise_hyperfan.average_start(next(traced), plan)
            for slot in slots:
                if slot in values:
                    hyperfan.fill_uniform(values[slot], start.mean, start.constant + start.generated)

    def _start_at_zero(self) -> None:
        super()._start_at_zero()
        values = self._values_by_slot()
        for slot in [*self._uncond_slots, *(slot for slots in self._conditional.values() for slot in slots)]:
            if slot in values:
                nn.init.zeros_(values[slot])


def _names(argument: str, names: Sequence[str] | None, shapes: Shapes) -> list[str]:
    """The names of plain parameters."""
    if names is None:
        return ["weight" if len(shape) > 1 else "bias" for shape in shapes]
    checks.length(argument, names, len(shapes))
    for i, name in enumerate(names):
        checks.one_of(f"{argument}[{i}]", name, NAMES)
    return list(names)
