"""The base of hypernetworks around other hypernetworks: containers and wrappers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from hypnettorch.core import checks, formats
from hypnettorch.hnets import inputs
from hypnettorch.hnets.hnet_interface import HyperNetInterface
from hypnettorch.hnets.old_hypernetwork import HyperNetwork
from hypnettorch.hnets.partwise_hyperfan import PartwiseHyperfan
from hypnettorch.mnets.old_network import Inclusion, equation_is_current
from hypnettorch.mnets.old_stages import Run

INPUTS = ("uncond_input", "cond_input", "cond_id")
PARTS = ("uncond_weights", "cond_weights")


@dataclass(frozen=True)
class Call:
    """What an inner hypernetwork is asked for.

    Attributes:
        uncond_input: As for ``forward`` (with many parameter sets ``[B, N, ...]``).
        cond_input: Likewise.
        cond_id: Likewise.
        passed: What ``weights`` holds besides parameters.
    """

    uncond_input: Tensor | None = None
    cond_input: Tensor | None = None
    cond_id: Any = None
    passed: Mapping[str, Any] = field(default_factory=dict)


class CompositeHyperNetwork(PartwiseHyperfan, HyperNetwork):
    """A hypernetwork that calls other hypernetworks, whatever their class, by ``forward`` and ``batched_forward``.

    A subclass registers them as submodules, makes them a part of itself (``_include``), declares tensors of its own,
    calls ``_publish()`` and implements ``_generate(call, run)``, in which :meth:`_ask` evaluates inner hypernetworks.
    """

    def __init__(self, target_shapes: Any, hnets: Sequence[HyperNetInterface]) -> None:
        sizes = [max([0, *(getattr(hnet, name, 0) for hnet in hnets)]) for name in ("_uncond_in_size", "_cond_in_size")]
        super().__init__(target_shapes, *sizes)

    @property
    def _inner(self) -> list[HyperNetInterface]:
        """The inner hypernetworks."""
        return [part.network for part in self._inclusions]

    def _ask(self, part: Inclusion, call: Call, run: Run, ret_format: str) -> Any:
        """What an inner hypernetwork produces with its share of the weights: ``'flattened'`` or ``'stacked'``."""
        hnet: HyperNetInterface = part.network
        weights = {**self._weights_of(part, run), **call.passed}
        evaluate = hnet.forward if run.sets is None else hnet.batched_forward
        understands = isinstance(hnet, HyperNetwork) and equation_is_current(type(hnet), "_generate")
        produced = evaluate(
            uncond_input=call.uncond_input,
            cond_input=call.cond_input,
            cond_id=call.cond_id,
            weights=weights or None,
            condition=run.stats_id,
            ret_format=ret_format if understands else "flattened",
        )
        return produced if understands else formats.from_flat(produced, hnet.target_shapes, ret_format)

    @staticmethod
    def _weights_of(part: Inclusion, run: Run) -> dict[str, Any]:
        """The parameters of an inner hypernetwork, as far as it would not take the same ones by itself."""
        hnet: HyperNetInterface = part.network
        slots = part.positions()
        weights = {}
        for key, refs in zip(
            PARTS, (hnet.unconditional_param_shapes_ref, hnet.conditional_param_shapes_ref), strict=True
        ):
            own = [slots[ref] for ref in refs]
            values = [run.values[slot] for slot in own]
            changed = run.sets is not None or any(run.given[slot] for slot in own)
            if own and changed and all(value is not None for value in values):
                weights[key] = [stacked_value(run, slot) for slot in own]
        return weights

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
        checks.one_of("ret_format", ret_format, formats.FORMATS)
        inputs.check_combination(uncond_input, cond_input, None, required=False)
        weights, passed = self._split_weights(weights)
        inner = frozenset(self._positions[slot] for part in self._inclusions for slot in part.slots)
        optional = inner.union(self.conditional_param_shapes_ref)
        run = self._resolve(weights, optional, condition, sets)
        return Call(uncond_input, cond_input, cond_id, passed), run

    def _adopt_conditional(self, part: Inclusion) -> None:
        """Inner hypernetworks look conditions up by themselves."""

    def _takes_conditions(self) -> bool:
        return any([bool(self._conditional), *(hnet._takes_conditions() for hnet in self._inner)])

    def condition_inputs(self, cond_id: Any) -> dict[str, Any]:
        """Conditions are looked up by the inner hypernetworks, unless a subclass says how to pass them on."""
        return {"cond_id": cond_id}

    def parameters_of_condition(self, cond_id: int) -> list[Tensor]:
        """The internal parameters that belong to one condition: those of inner hypernetworks, then the own ones."""
        values = self._values_by_slot()
        own = [slots[cond_id] for slots in self._conditional.values()]
        inner = [hnet.parameters_of_condition(cond_id) for hnet in self._inner if hnet.conditional_params]
        return [*(param for params in inner for param in params), *(values[slot] for slot in own if slot in values)]

    def condition_embeddings(self) -> Iterator[tuple[int, Tensor]]:
        """Internal input embeddings of all inner hypernetworks with the id of their condition."""
        for hnet in self._inner:
            if hnet.conditional_params:
                yield from hnet.condition_embeddings()

    def chunk_embeddings(self) -> Iterator[tuple[Tensor, int, int | None]]:
        """Internal chunk embeddings of all inner hypernetworks, as each of them numbers them."""
        for hnet in self._inner:
            yield from hnet.chunk_embeddings()


def stacked_value(run: Run, slot: int) -> Tensor:
    """A value as the inner hypernetwork wants it: with many parameter sets all of them carry the leading dimension."""
    value: Tensor = run.values[slot]
    return value if run.sets is None or run.given[slot] else value.expand(run.sets, *value.shape)


def arguments_of(condition_inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of ``forward`` that stand for conditions as one entry of ``weights['hnets']``."""
    return {
        **condition_inputs.get("weights", {}),
        **{key: condition_inputs[key] for key in INPUTS if key in condition_inputs},
    }
