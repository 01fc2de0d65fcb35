"""The base of the hypernetworks of this package: declare parameters, write the equation, get the interface."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from hypnettorch.core import checks, formats
from hypnettorch.hnets import inputs
from hypnettorch.hnets.conditional_network import EMBEDDING, ConditionalNetwork
from hypnettorch.hnets.hnet_interface import HyperNetInterface
from hypnettorch.layers.batchnorm_layer import BatchNormLayer
from hypnettorch.mnets.batched import set_conditions
from hypnettorch.mnets.old_network import equation_is_current
from hypnettorch.mnets.old_stages import Norm, Run


@dataclass(slots=True)
class Inputs:
    """The inputs of one evaluation, all of one batch size ``N`` (with many parameter sets ``[B, N, ...]``).

    Attributes:
        uncond: Unconditional input ``[N, uncond_in_size]``.
        cond: Conditional tensors ``[N, *shape]`` by kind.
    """

    uncond: Tensor | None
    cond: dict[str, Tensor] = field(default_factory=dict)


class HyperNetwork(ConditionalNetwork):
    """A hypernetwork, given by its declaration and its equation.

    A subclass declares stages and, with ``_declare_condition``, what belongs to one condition, calls ``_publish()`` and
    implements :meth:`_generate`, the equation. Kinds of conditional tensors that users may pass instead of
    ``cond_id`` (keys of the dictionary ``weights``) stand in ``_cond_keys``, those among them that are lists also in
    ``_list_keys``. The output layer is the last ``_output_pieces`` layer tensors.
    """

    _cond_keys: tuple[str, ...] = ()
    _list_keys: tuple[str, ...] = ()
    _output_pieces = 1

    def __init__(self, target_shapes: Any, uncond_in_size: int, cond_in_size: int) -> None:
        super().__init__()
        self._target_shapes = checks.shapes("target_shapes", target_shapes)
        if not self._target_shapes:
            checks.fail("target_shapes", "at least one shape", "none")
        self._uncond_in_size = checks.integer("uncond_in_size", uncond_in_size, 0)
        self._cond_in_size = checks.integer("cond_in_size", cond_in_size, 0)

    @abstractmethod
    def _generate(self, given: Any, run: Run) -> Tensor | list[Tensor]:
        """The equation, from what :meth:`_prepare` made of the arguments.

        Returns:
            Flat weights ``[N, num_outputs]``, with or without surplus numbers at the end, or a list with a tensor
            ``[N, *shape]`` per target; with many parameter sets ``[B, N, ...]``.
        """

    def _format(self, generated: Tensor | list[Tensor], ret_format: str) -> Any:
        """Bring generated weights into a return format."""
        convert = formats.from_padded if isinstance(generated, Tensor) else formats.from_stacked
        return convert(generated, self.target_shapes, ret_format)  # type: ignore[arg-type]

    def _norm_stage(self, size: int, external: bool) -> Norm:
        """A batch norm layer of this network, with its statistics."""
        if self._batchnorm_layers is None:
            self._batchnorm_layers = nn.ModuleList()
        self._batchnorm_layers.append(BatchNormLayer(size, affine=not external))
        number = len(self._batchnorm_layers) - 1
        return Norm(self._table, self._batchnorm_layers[number], number, external)  # type: ignore[arg-type]

    def _start_at_zero(self) -> None:
        inner = [part.network for part in self._inclusions if isinstance(part.network, HyperNetInterface)]
        for hnet in inner:
            hnet._start_at_zero()
        if inner:
            return
        if not self.unconditional_params:
            raise ValueError("start at zero: expected internal unconditional parameters, got external ones only")
        pieces = self._output_pieces
        for param in (*self.layer_weight_tensors[-pieces:], *self.layer_bias_vectors[-pieces:]):
            if param is not None:
                nn.init.zeros_(param)

    def _takes_input(self) -> bool:
        """Whether there is anything that ``forward`` could be given."""
        return self._uncond_in_size > 0 or self._takes_conditions()

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
            uncond_input: Unconditional input ``[N, uncond_in_size]``.
            cond_input: Conditional input ``[N, cond_in_size]``.
            cond_id: Id or ids of conditions; excludes ``cond_input``.
            weights: External parameters (:class:`~hypnettorch.hnets.hnet_interface.HyperNetInterface`).
            distilled_params: Must be ``None``.
            condition: Id of the batch norm statistics; ignored without batch norm.
            ret_format: ``'squeezed'``, ``'sequential'``, ``'flattened'`` or ``'stacked'``.

        Returns:
            The weights in the format that was asked for.

        Raises:
            ValueError: If inputs or weights are missing, do not fit or exclude each other.
            TypeError: If an argument has the wrong type.
        """
        if distilled_params is not None:
            raise checks.Unavailable(f"distilled_params: expected None, got {type(distilled_params).__name__}")
        given, run = self._prepare(uncond_input, cond_input, cond_id, weights, condition, ret_format)
        return self._format(self._generate(given, run), ret_format)

    def batched_forward(  # type: ignore[override]
        self,
        uncond_input: Tensor | None = None,
        cond_input: Tensor | None = None,
        cond_id: Any = None,
        weights: Any = None,
        share_input: bool = False,
        condition: int | Sequence[int] | None = None,
        ret_format: str = "squeezed",
    ) -> Any:
        """Evaluate the hypernetwork with ``B`` sets of its own parameters, in one pass of batched products.

        See :meth:`hypnettorch.hnets.hnet_interface.HyperNetInterface.batched_forward`.
        """
        if not self._takes_many_sets():
            return super().batched_forward(
                uncond_input, cond_input, cond_id, weights, share_input, condition, ret_format
            )
        sets = inputs.count_stacked(weights)
        for name, value in (("uncond_input", uncond_input), ("cond_input", cond_input)):
            inputs.check_sets(name, value, sets, share_input)
        if share_input:
            uncond_input, cond_input = (
                value if value is None else value.expand(sets, *value.shape) for value in (uncond_input, cond_input)
            )
        ids = None if condition is None else set_conditions(condition, sets)
        given, run = self._prepare(uncond_input, cond_input, cond_id, weights, ids, ret_format, sets)
        return self._format(self._generate(given, run), ret_format)

    def _takes_many_sets(self) -> bool:
        """Whether the equation is what ``forward`` evaluates, and can be evaluated for many parameter sets at once."""
        return equation_is_current(type(self), "_generate")

    def _prepare(
        self,
        uncond_input: Tensor | None,
        cond_input: Tensor | None,
        cond_id: Any,
        weights: Any,
        condition: Any,
        ret_format: str,
        sets: int | None = None,
    ) -> tuple[Any, Run]:
        """Check the arguments of ``forward`` and resolve them: what the equation computes with."""
        checks.one_of("ret_format", ret_format, formats.FORMATS)
        weights, passed = self._split_weights(weights)
        if passed and cond_id is not None:
            checks.fail("cond_id", f"None, since weights has the keys {sorted(passed)}", cond_id)
        inputs.check_combination(uncond_input, cond_input, cond_id, required=not passed and self._takes_input())
        optional = frozenset() if cond_id is not None else frozenset(self.conditional_param_shapes_ref)
        run = self._resolve(weights, optional, condition, sets)
        cond = self._conditions(cond_input, cond_id, passed, run)
        given = Inputs(uncond_input, cond)
        if (uncond_input is not None) + len(given.cond) > 1:
            given = self._join_batches(given, by_id=cond_id is not None, dim=0 if sets is None else 1)
        self._check_inputs(given)
        return given, run

    def _join_batches(self, given: Inputs, by_id: bool, dim: int) -> Inputs:
        """Inputs of batch size 1 expanded to that of the others; the batch is dimension ``dim``."""
        values = {_source(kind, by_id): value for kind, value in given.cond.items()}
        uncond, *cond = inputs.join_batches({"uncond_input": given.uncond, **values}, dim)
        return Inputs(uncond, dict(zip(given.cond, cond, strict=True)))  # type: ignore[arg-type]

    def _resolve(self, weights: Any, optional: frozenset[int], condition: Any, sets: int | None) -> Run:
        """An evaluation with these weights, of which the ``optional`` positions may be missing."""
        resolved = self._resolve_weights(weights, sets is not None and weights is not None, optional)
        run = self._start_run(resolved, condition)
        run.sets = sets
        return run

    def _split_weights(self, weights: Any) -> tuple[Any, dict[str, Any]]:
        """Separate what is passed in ``weights`` under one of ``_cond_keys`` from parameters; lists entry by entry."""
        if weights is None or not isinstance(weights, Mapping):
            return weights, {}
        passed = {key: weights[key] for key in self._cond_keys if key in weights}
        for key, value in passed.items():
            name = f"weights['{key}']"
            if key not in self._list_keys:
                checks.tensor(name, value)
                continue
            checks.instance(name, value, (list, tuple), "a list")
            if not value:
                checks.fail(name, "at least one entry", "none")
        rest = {key: value for key, value in weights.items() if key not in passed}
        return (None if passed and not rest else rest), inputs.split_lists(passed)

    def _conditions(
        self, cond_input: Tensor | None, cond_id: Any, passed: Mapping[str, Tensor], run: Run
    ) -> dict[str, Tensor]:
        """The conditional tensors of this evaluation by kind."""
        if cond_id is None:
            given = {EMBEDDING: cond_input, **passed}
            return {kind: value for kind, value in given.items() if value is not None}
        ids = inputs.parse_cond_id(cond_id, self.num_known_conds)
        found = {}
        for kind, slots in self._conditional.items():
            values = [run.values[slot] for slot in slots]
            stacked = run.sets is not None and values[0] is not None and run.given[slots[0]]
            tensor = inputs.select(values, ids, int(stacked))
            if run.sets is not None and not stacked:
                tensor = tensor.expand(run.sets, *tensor.shape)
            found[kind] = tensor
        return found

    def _check_inputs(self, given: Inputs) -> None:
        """Check the width of each input by itself."""
        inputs.check_width("uncond_input", given.uncond, self._uncond_in_size)
        inputs.check_width("cond_input", given.cond.get(EMBEDDING), self._cond_in_size)

    def _concat_inputs(self, given: Inputs) -> Tensor:
        """``[uncond_input, cond_input]`` along the last dimension."""
        uncond, cond = given.uncond, given.cond.get(EMBEDDING)
        if uncond is None or cond is None:
            return cond if uncond is None else uncond  # type: ignore[return-value]
        return torch.cat([uncond, cond], dim=-1)

    def distillation_targets(self) -> list[Tensor] | None:
        """``None``: there is nothing to distil."""
        return None


def common_bias(hnets: Sequence[HyperNetInterface]) -> bool:
    """Whether all of some networks have biases; a warning if some have and some have not."""
    found = {bool(hnet.has_bias) for hnet in hnets}
    if len(found) > 1:
        warnings.warn("has_bias is False, although some of the inner hypernetworks have biases", stacklevel=4)
    return found == {True}


def _source(kind: str, by_id: bool) -> str:
    """Where a conditional tensor came from, for messages."""
    if by_id:
        return f"cond_id ({kind})"
    key, bracket, number = kind.partition("[")
    return "cond_input" if kind == EMBEDDING else f"weights['{key}']{bracket}{number}"
