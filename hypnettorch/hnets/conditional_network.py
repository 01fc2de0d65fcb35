"""Which tensors of a hypernetwork belong to which condition, and how there come to be more of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hypnettorch.core import checks
from hypnettorch.core.old_table import normal
from hypnettorch.hnets import inputs
from hypnettorch.hnets.hnet_interface import HyperNetInterface
from hypnettorch.mnets.extension_protocol import Shapes
from hypnettorch.mnets.old_network import Inclusion, Network

EMBEDDING = "embedding"
"""The kind of conditional tensor that is an input: what ``cond_input`` replaces."""


class ConditionalNetwork(Network, HyperNetInterface):
    """A network with tensors of several *kinds* (an input embedding, chunk embeddings) for each condition.

    A subclass says with :meth:`_declare_condition` what a condition has; looking conditions up by id, adding further
    ones, and loading files with fewer of them are derived.
    """

    _cond_in_size: int

    def __init__(self) -> None:
        Network.__init__(self)
        HyperNetInterface.__init__(self)
        self._num_known_conds = 0
        self._conditional: dict[str, list[int]] = {}

    def _declare_condition(self, condition: int) -> None:
        """Declare the tensors of one more condition (:meth:`_add_conditional`)."""

    def _add_conditional(
        self,
        kind: str,
        shape: Sequence[int],
        condition: int,
        external: bool,
        block: int = 0,
        role: str | None = "embedding",
        layer: int = 0,
        std: float = 1.0,
        **extra: Any,
    ) -> None:
        """Declare a tensor N(0, std²) that belongs to one condition."""
        slot = self._table.add(
            shape,
            role,
            layer,
            init=normal(std),
            like=self._internal_params[0] if self._internal_params else None,
            external=external,
            condition=condition,
            block=block,
            extra=extra,
        )
        self._conditional.setdefault(kind, []).append(slot)

    def _publish(self) -> None:
        self._unconditional_param_shapes_ref = [
            i for i, slot in enumerate(self._table.published()) if self._table.rows[slot].condition is None
        ]
        self._unconditional_params_ref = None
        super()._publish()

    def _start_learned(self) -> tuple[Shapes | None, list[int] | None]:
        return [], []

    def _sync_inclusions(self) -> None:
        super()._sync_inclusions()
        for part in self._inclusions:
            self._adopt_conditional(part)

    def _adopt_conditional(self, part: Inclusion) -> None:
        """Take over the conditional tensors of an inner network, which are inputs of this network then."""
        if isinstance(part.network, ConditionalNetwork):
            for kind, inner_slots in part.network._conditional.items():
                self._conditional[kind] = [part.slots[i] for i in inner_slots]

    def add_conditions(self, n: int, init: Callable[[Tensor], Any] | None = None) -> list[nn.Parameter]:
        """Let the network know ``n`` more conditions.

        Parameters that exist stay the same objects, so an optimiser keeps its state. Networks whose batch norm keeps
        statistics per condition get further statistics.

        Args:
            n: Number of new conditions.
            init: Fills each new tensor in place (default: N(0, 1)).

        Returns:
            The new parameters, for ``optimizer.add_param_group``; empty if they are external.

        Raises:
            ValueError: If ``n`` is not positive, or the network has no conditional parameters.

        Example:
            >>> from hypnettorch.hnets import HMLP
            >>> hnet = HMLP([[4, 3]], cond_in_size=2, num_cond_embs=1, verbose=False)
            >>> [tuple(p.shape) for p in hnet.add_conditions(2)], hnet.num_known_conds
            ([(2,), (2,)], 3)
        """
        checks.integer("n", n, 1)
        checks.function("init", init)
        known = {id(param) for param in self._internal_params or ()}
        first = self.num_known_conds
        if not self._takes_conditions():
            raise checks.StateError(f"add_conditions: {type(self).__name__} has no conditional parameters")
        for inner in self._condition_owners():
            inner.add_conditions(n)
        self._sync_inclusions()
        for condition in range(first, first + n):
            self._declare_condition(condition)
        self._num_known_conds = first + n
        for layer in self._batchnorm_layers or ():
            if first > 1 and layer.num_stats == first:
                for _ in range(n):
                    layer.checkpoint_stats()  # type: ignore[operator]
        self._publish()
        new = [param for param in self._internal_params or () if id(param) not in known]
        if init is not None:
            with torch.no_grad():
                for param in new:
                    init(param)
        return new

    def _condition_owners(self) -> list[HyperNetInterface]:
        """The inner networks that have to know a new condition, too."""
        inner = [part.network for part in self._inclusions]
        return [net for net in inner if isinstance(net, HyperNetInterface) and net._takes_conditions()]

    def _takes_conditions(self) -> bool:
        """Whether something depends on the condition."""
        return self._cond_in_size > 0 or bool(self._conditional)

    def _look_up(self, cond_id: Any) -> dict[str, Tensor]:
        """The internal conditional tensors of some conditions, ``[N, *shape]`` by kind."""
        ids = inputs.parse_cond_id(cond_id, self.num_known_conds)
        values = self._values_by_slot()
        return {
            kind: inputs.select([values.get(slot) for slot in slots], ids) for kind, slots in self._conditional.items()
        }

    def condition_inputs(self, cond_id: Any) -> dict[str, Any]:
        """See :meth:`hypnettorch.hnets.hnet_interface.HyperNetInterface.condition_inputs`."""
        found = self._look_up(cond_id)
        arguments: dict[str, Any] = {}
        if EMBEDDING in found:
            arguments["cond_input"] = found.pop(EMBEDDING)
        if found:
            arguments["weights"] = inputs.join_lists(found)
        return arguments

    def parameters_of_condition(self, cond_id: int) -> list[Tensor]:
        """The internal parameters that belong to one condition, in published order."""
        values = self._values_by_slot()
        return [values[slot] for slot in self._slots if self._table.rows[slot].condition == cond_id and slot in values]

    def condition_embeddings(self) -> Iterator[tuple[int, Tensor]]:
        """Internal input embeddings with the id of their condition."""
        values = self._values_by_slot()
        slots = self._conditional.get(EMBEDDING, [])
        return ((condition, values[slot]) for condition, slot in enumerate(slots) if slot in values)

    def get_cond_in_emb(self, cond_id: int) -> nn.Parameter:
        """The input embedding of a condition.

        Args:
            cond_id: Id of the condition.

        Returns:
            The parameter ``[cond_in_size]`` itself.

        Raises:
            RuntimeError: If the embeddings are not internal or there is no such condition (the class is a
                ``ValueError`` as well).
        """
        return self._conditional_param(EMBEDDING, cond_id)

    def _conditional_param(self, kind: str, cond_id: Any) -> nn.Parameter:
        values = self._values_by_slot()
        slots = self._conditional.get(kind, [])
        if isinstance(cond_id, bool) or not hasattr(cond_id, "__index__"):
            raise checks.StateError(f"cond_id: expected an integer, got {type(cond_id).__name__}")
        if not 0 <= int(cond_id) < len(slots) or slots[int(cond_id)] not in values:
            raise checks.StateError(
                f"cond_id: expected the id of one of {len([s for s in slots if s in values])} "
                f"internally kept conditions, got {cond_id}"
            )
        return values[slots[int(cond_id)]]

    def _rename_loaded_state(self, state_dict: dict[str, Any], prefix: str) -> None:
        """Bring a file with fewer conditions into this network's numbering (``strict=False`` then loads it)."""
        name = prefix + "_internal_params."
        old = sorted((key for key in state_dict if key.startswith(name)), key=lambda key: int(key[len(name) :]))
        conditions = [self._table.rows[slot].condition for slot in self._slots if not self._table.rows[slot].external]
        for known in range(self.num_known_conds):
            kept = [i for i, condition in enumerate(conditions) if condition is None or condition < known]
            if len(kept) == len(old) < len(conditions):
                moved = [state_dict.pop(key) for key in old]
                state_dict.update({f"{name}{i}": value for i, value in zip(kept, moved, strict=True)})
                return
