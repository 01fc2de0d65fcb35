"""Resolution of ``weights=``: from what a user passes to one tensor per row of the parameter table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from torch import Tensor

from hypnettorch.core import checks, formats

Positions = tuple[int, ...]


@dataclass(slots=True)
class Resolved:
    """Values of a parameter table for one evaluation.

    Attributes:
        values: One tensor per entry of ``param_shapes``; ``None`` for optional ones that nobody gave.
        given: Whether the value was passed by the user (and not taken from the network).
        sets: Number ``B`` of weight sets, if the passed tensors are stacked.
    """

    values: Sequence[Any]
    given: Sequence[bool]
    sets: int | None


@dataclass(frozen=True)
class WeightLayout:
    """Which tensors a network has, and under which names they may be passed.

    Attributes:
        shapes: ``param_shapes``.
        internal: Position in ``internal_params`` per shape, ``-1`` for external ones.
        learned: Positions of ``hyper_shapes_learned``; ``None`` if there is no such list.
        parts: Keys of a dictionary of weights and the positions that each stands for, the default one last.
        modulation: Positions of tensors that may carry one more leading dimension (one value per sample).
        external: Positions whose values must be passed; follows from the others, as does the rest.
        learned_shapes: Shapes of ``hyper_shapes_learned``.
        all_internal: Whether the values are ``internal_params``, in this order.
        all_learned: Whether the values are ``hyper_shapes_learned``, in this order.
        none_given: ``given`` of an evaluation for which nobody passes anything.
        all_given: ``given`` of an evaluation for which everything is passed.
    """

    shapes: tuple[tuple[int, ...], ...]
    internal: Positions
    learned: Positions | None
    parts: Mapping[str, Positions]
    modulation: frozenset[int]
    external: Positions = field(init=False)
    learned_shapes: list[tuple[int, ...]] = field(init=False)
    all_internal: bool = field(init=False)
    all_learned: bool = field(init=False)
    none_given: tuple[bool, ...] = field(init=False)
    all_given: tuple[bool, ...] = field(init=False)

    def __post_init__(self) -> None:
        positions = tuple(range(len(self.shapes)))
        external = tuple(position for position, index in enumerate(self.internal) if index < 0)
        object.__setattr__(self, "external", external)
        object.__setattr__(self, "learned_shapes", [self.shapes[position] for position in self.learned or ()])
        object.__setattr__(self, "all_internal", self.internal == positions)
        object.__setattr__(self, "all_learned", self.learned == external == positions)
        object.__setattr__(self, "none_given", (False,) * len(positions))
        object.__setattr__(self, "all_given", (True,) * len(positions))

    def resolve(
        self,
        weights: Any,
        internal_params: Sequence[Tensor],
        stacked: bool = False,
        optional: frozenset[int] = frozenset(),
    ) -> Resolved:
        """One value per table row.

        Args:
            weights: ``None``, a list, a dictionary with keys of ``parts``, or flat ``hyper_shapes_learned``.
            internal_params: The network's own tensors.
            stacked: Whether passed tensors carry a leading dimension of weight sets.
            optional: Positions that may stay without value.

        Raises:
            ValueError: If nothing fits, or an external tensor is missing.
            TypeError: If ``weights`` or an entry has the wrong type.
        """
        if weights is None and self.all_internal and not stacked:  # the two usual cases, without a look at each tensor
            return Resolved(internal_params, self.none_given, None)
        if self.all_learned and isinstance(weights, list) and self._are_learned(weights, stacked):
            return Resolved(weights, self.all_given, self._count_sets(weights) if stacked else None)
        chosen = {} if weights is None else self._chosen(weights, stacked)
        values: list[Any] = [None if index < 0 else internal_params[index] for index in self.internal]
        given = [False] * len(values)
        for position, tensor in chosen.items():
            values[position], given[position] = tensor, True
        for position in self.external:
            if not given[position] and position not in optional:
                self._fail_missing(position, weights)
        return Resolved(values, given, self._count_sets(chosen.values()) if stacked else None)

    def _chosen(self, weights: Any, stacked: bool) -> dict[int, Tensor]:
        """The passed tensors by position."""
        if isinstance(weights, Mapping):
            return self._from_dict(weights, stacked)
        if isinstance(weights, Tensor):
            return self._from_flat(weights, stacked)
        if not isinstance(weights, Sequence) and not hasattr(weights, "__getitem__"):
            raise TypeError(f"weights: expected a list, a dict or a flat tensor, got {type(weights).__name__}")
        return self._from_list(list(weights), stacked)

    def _from_dict(self, weights: Mapping[str, Any], stacked: bool) -> dict[int, Tensor]:
        unknown = [key for key in weights if key not in self.parts]
        if unknown or not weights:
            checks.fail("weights", f"a dictionary with some of the keys {list(self.parts)}", f"keys {list(weights)}")
        chosen: dict[int, Tensor] = {}
        for key, tensors in weights.items():
            name = f"weights['{key}']"
            positions = self.parts[key]
            if tensors is None:
                continue
            if isinstance(tensors, Tensor) or not hasattr(tensors, "__len__"):
                raise TypeError(f"{name}: expected a list of tensors, got {type(tensors).__name__}")
            checks.length(name, tensors, len(positions))
            for i, (position, tensor) in enumerate(zip(positions, tensors, strict=True)):
                checks.tensor((name, i), tensor)
                problem = self._misfit(position, tensor, stacked)
                if problem is not None:
                    checks.fail((name, i), f"shape {problem}", tuple(tensor.shape))
                chosen[position] = tensor
        return chosen

    def _from_flat(self, weights: Tensor, stacked: bool) -> dict[int, Tensor]:
        learned = self.learned or ()
        expected = (formats.num_elements(self.learned_shapes),)
        if not learned or weights.dim() != 1 + stacked or tuple(weights.shape[-1:]) != expected:
            lead = "(B, " if stacked else "("
            checks.fail("weights", f"flat hyper_shapes_learned of shape {lead}{expected[0]})", tuple(weights.shape))
        return dict(zip(learned, formats.unflatten(weights, self.learned_shapes), strict=True))

    def _from_list(self, weights: list[Tensor], stacked: bool) -> dict[int, Tensor]:
        if self._are_learned(weights, stacked):
            return dict(zip(self.learned or (), weights, strict=True))
        for i, tensor in enumerate(weights):
            checks.tensor(("weights", i), tensor)
        candidates = self._candidates()
        for positions in candidates.values():
            if len(positions) == len(weights) and not any(
                self._misfit(position, tensor, stacked) for position, tensor in zip(positions, weights, strict=True)
            ):
                return dict(zip(positions, weights, strict=True))
        return self._fail_list(weights, candidates, stacked)

    def _are_learned(self, weights: list[Tensor], stacked: bool) -> bool:
        """Whether these are tensors that fit ``hyper_shapes_learned``."""
        shapes = [tensor.shape for tensor in weights if isinstance(tensor, Tensor)]
        if stacked:
            shapes = [shape[1:] for shape in shapes]
        return shapes == self.learned_shapes and len(shapes) == len(weights)

    def _candidates(self) -> dict[str, Positions]:
        candidates: dict[str, Positions] = {}
        if self.learned is not None:
            candidates["hyper_shapes_learned"] = self.learned
        if "mod_weights" in self.parts:
            candidates["context-modulation tensors"] = self.parts["mod_weights"]
        candidates["param_shapes"] = tuple(range(len(self.shapes)))
        return candidates

    def _misfit(self, position: int, tensor: Any, stacked: bool) -> tuple[int, ...] | None:
        """The expected shape if ``tensor`` does not have it, else ``None``."""
        shape = self.shapes[position]
        if tensor.shape == shape and not stacked:
            return None
        extra = tensor.dim() - len(shape)
        allowed = {1, 2} if stacked else {0, 1}
        if position not in self.modulation:
            allowed = {int(stacked)}
        return None if extra in allowed and tuple(tensor.shape[extra:]) == shape else shape

    def _count_sets(self, tensors: Iterable[Tensor]) -> int:
        sizes = {int(tensor.shape[0]) for tensor in tensors}
        if not sizes:
            checks.fail("weights", "at least one stacked tensor [B, *shape]", "none")
        if len(sizes) > 1:
            checks.fail("weights", "the same number B of weight sets in every tensor", sorted(sizes))
        return sizes.pop()

    def _fail_missing(self, position: int, weights: Any) -> NoReturn:
        owner = next((key for key, positions in self.parts.items() if position in positions), "weights")
        got = "None" if weights is None else "only other tensors"
        checks.fail("weights", f"the external tensors (hyper_shapes_learned, or a dictionary with key '{owner}')", got)

    def _fail_list(self, weights: list[Tensor], candidates: Mapping[str, Positions], stacked: bool) -> NoReturn:
        lead = ("B",) if stacked else ()
        for name, positions in candidates.items():
            if len(positions) != len(weights):
                continue
            for i, (position, tensor) in enumerate(zip(positions, weights, strict=True)):
                problem = self._misfit(position, tensor, stacked)
                if problem is not None:
                    wanted = f"({', '.join(str(n) for n in (*lead, *problem))})" if stacked else str(problem)
                    checks.fail(("weights", i), f"shape {wanted} ({name})", tuple(tensor.shape))
        lengths = ", ".join(f"{len(positions)} ({name})" for name, positions in candidates.items())
        checks.fail("weights", f"{lengths} tensors", len(weights))
