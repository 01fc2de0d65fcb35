"""Which parameters of a hypernetwork all conditions share, and which belong to one."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

from torch import nn

from hypnettorch.core import checks
from hypnettorch.mnets.extension_protocol import Shapes
from hypnettorch.mnets.mnet_interface import MainNetInterface

UNKNOWN_CONDITION = -1
"""The condition of a conditional tensor whose class does not say which one it is."""


class ConditionalParameters(MainNetInterface):
    """A network some of whose parameters are *unconditional*, and the others *conditional*."""

    def __init__(self) -> None:
        super().__init__()
        self._num_known_conds: int | None = None
        self._unconditional_param_shapes_ref: list[int] | None = None
        self._unconditional_params_ref: list[int] | None = None

    @property
    def num_known_conds(self) -> int:
        """Number of conditions that the hypernetwork knows by id."""
        return self._num_known_conds  # type: ignore[return-value]

    @property
    def unconditional_param_shapes_ref(self) -> list[int]:
        """Positions in ``param_shapes`` of the unconditional parameters."""
        return self._unconditional_param_shapes_ref  # type: ignore[return-value]

    @property
    def unconditional_param_shapes(self) -> Shapes:
        """Shapes of the unconditional parameters, internal or not."""
        return [self.param_shapes[i] for i in self.unconditional_param_shapes_ref]

    @property
    def conditional_param_shapes_ref(self) -> list[int]:
        """Positions in ``param_shapes`` of the conditional parameters."""
        unconditional = set(self.unconditional_param_shapes_ref)
        return [i for i in range(len(self.param_shapes)) if i not in unconditional]

    @property
    def conditional_param_shapes(self) -> Shapes:
        """Shapes of the conditional parameters, internal or not."""
        return [self.param_shapes[i] for i in self.conditional_param_shapes_ref]

    @property
    def unconditional_params_ref(self) -> list[int] | None:
        """Positions in ``internal_params`` of the unconditional parameters; ``None`` if none is internal."""
        return self._unconditional_params_ref

    @property
    def unconditional_params(self) -> list[nn.Parameter] | None:
        """Internal parameters that all conditions share; ``None`` if there are none."""
        if self.unconditional_params_ref is None or self._internal_params is None:
            return None
        return [self._internal_params[i] for i in self.unconditional_params_ref]

    @property
    def conditional_params(self) -> list[nn.Parameter] | None:
        """Internal parameters that belong to single conditions.

        An empty list if there are none; ``None`` only if the network has no ``internal_params`` at all.
        """
        if self._internal_params is None:
            return None
        unconditional = set(self.unconditional_params_ref or ())
        return [param for i, param in enumerate(self._internal_params) if i not in unconditional]

    def get_task_embs(self) -> list[nn.Parameter] | None:
        """Deprecated: use :attr:`conditional_params`."""
        warnings.warn("'get_task_embs' is deprecated, use 'conditional_params'", DeprecationWarning, stacklevel=2)
        return self._task_embs()

    def get_task_emb(self, task_id: int) -> nn.Parameter:
        """Deprecated: use :attr:`conditional_params`."""
        warnings.warn("'get_task_emb' is deprecated, use 'conditional_params'", DeprecationWarning, stacklevel=2)
        embeddings = self._task_embs() or []
        return embeddings[checks.integer("task_id", task_id, 0, len(embeddings) - 1)]

    def _task_embs(self) -> list[nn.Parameter] | None:
        params = self.conditional_params
        if params is None or len(params) != self.num_known_conds:
            raise checks.StateError(
                f"get_task_embs: expected one conditional tensor per condition ({self.num_known_conds}), "
                f"got {0 if params is None else len(params)}"
            )
        return params

    def _condition_of(self, position: int) -> int | None:
        conditional = self.conditional_param_shapes_ref
        if position not in conditional:
            return None
        return conditional.index(position) if len(conditional) == self.num_known_conds else UNKNOWN_CONDITION

    def _weight_parts(self, modulation: frozenset[int]) -> Mapping[str, tuple[int, ...]]:
        return {
            "uncond_weights": tuple(self.unconditional_param_shapes_ref),
            "cond_weights": tuple(self.conditional_param_shapes_ref),
        }
