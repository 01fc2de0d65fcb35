"""The abstract hypernetwork of hypnettorch 0.0.4, for classes that implement the interface by themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import Tensor, nn

from hypnettorch.core import checks, formats
from hypnettorch.core.table import ALL
from hypnettorch.core.values import Values, resolve
from hypnettorch.hnets import inputs
from hypnettorch.hnets.chunked_hypernetwork import ChunkedHyperNetwork
from hypnettorch.hnets.hypernetwork import HyperNetwork, by_vmap
from hypnettorch.legacy import lists, names
from hypnettorch.legacy.main_network import MainNetInterface
from hypnettorch.mnets.network import Network, Shapes

LISTS = ("_target_shapes", "_num_known_conds", "_unconditional_param_shapes_ref", "_unconditional_params_ref")
"""What a subclass of ``HyperNetInterface`` sets in addition."""

VIEWS: dict[str, Callable[[Any], Any]] = {
    "_unconditional_param_shapes_ref": lambda net: net.unconditional_param_shapes_ref,
    "_unconditional_params_ref": lambda net: net.unconditional_params_ref,
}


def _preprocess_forward_args(
    self: Any, _input_required: bool = True, _parse_cond_id_fct: Callable[..., Any] | None = None, **kwargs: Any
) -> tuple[Tensor | None, Tensor | None, list[Tensor], list[Tensor]]:
    """Parse the arguments of ``forward``, for subclasses that implement it themselves.

    Args:
        self: The hypernetwork.
        _input_required: Whether a call without any input is an error.
        _parse_cond_id_fct: Called with the network, a list of ids and the conditional tensors; returns
            ``cond_input``. By default the conditional tensors with these ids are stacked.
        **kwargs: All arguments of ``forward``.

    Returns:
        ``uncond_input``, ``cond_input``, the unconditional and the conditional tensors. Inputs are at least 2-D
        and of one batch size.

    Raises:
        ValueError: If an argument is wrong.
    """
    checks.one_of("ret_format", kwargs["ret_format"], formats.FORMATS)
    uncond_input, cond_input, cond_id = kwargs["uncond_input"], kwargs["cond_input"], kwargs["cond_id"]
    inputs.check_combination(uncond_input, cond_input, cond_id, required=_input_required)
    tensors, given = resolve(self.table, kwargs["weights"], self, stacked=False)
    Network.check_complete(self, tensors, kwargs["weights"])
    values = Values(tensors, given)
    uncond_weights = [values.of(row) for row in self.table.shared]
    rows = [row for row in self.table.rows if row.kind is not None]
    cond_weights = [values.of(row) for row in rows]
    if cond_id is not None:
        ids = inputs.parse_cond_id(cond_id, self.num_known_conds)
        if _parse_cond_id_fct is not None:
            cond_input = _parse_cond_id_fct(self, ids, cond_weights)
        elif len(rows) == 1 and rows[0].condition == ALL:
            cond_input = inputs.read_rows(cond_weights[0], ids)
        elif len(cond_weights) != self.num_known_conds:
            raise checks.StateError(
                f"cond_id: expected one conditional tensor per condition ({self.num_known_conds}), "
                f"got {len(cond_weights)}"
            )
        else:
            cond_input = inputs.select(cond_weights, ids)
    uncond_input, cond_input = inputs.join_batches({"uncond_input": uncond_input, "cond_input": cond_input})
    return uncond_input, cond_input, uncond_weights, cond_weights


def _flat_to_ret_format(self: Any, flat_out: Tensor, ret_format: str) -> Any:
    """Bring flat weights ``[N, num_outputs]`` into a return format."""
    return formats.from_flat(flat_out, self.target_shapes, ret_format)


class HyperNetInterface(MainNetInterface):
    """What every hypernetwork can be asked, besides what every network can be asked.

    A class that implements the interface by itself fills ``_target_shapes``, ``_num_known_conds`` and
    ``_unconditional_param_shapes_ref``, too. A new hypernetwork derives from
    :class:`hypnettorch.hnets.hypernetwork.HyperNetwork` instead.
    """

    _target_shapes: Any
    _num_known_conds: Any
    _unconditional_param_shapes_ref: Any
    _unconditional_params_ref: Any

    def __init__(self) -> None:
        super().__init__()
        if not isinstance(self, Network):
            for name in (
                "_target_shapes",
                "_num_known_conds",
                "_unconditional_param_shapes_ref",
                "_unconditional_params_ref",
            ):
                self.__dict__.setdefault(name, None)

    def _is_properly_setup(self, check_has_bias: bool = True) -> None:
        """Check the lists and make the table of them; the last call of a constructor.

        Raises:
            ValueError: If a list is missing or two of them contradict each other; the message names it.
        """
        checks.instance("_target_shapes", self._target_shapes, list)
        checks.integer("_num_known_conds", self._num_known_conds, 0)
        refs: Any = self._unconditional_param_shapes_ref
        checks.instance("_unconditional_param_shapes_ref", refs, list)
        if len(set(refs)) != len(refs):
            checks.fail("_unconditional_param_shapes_ref", "different positions", refs)
        if self._internal_params is None and getattr(self, "_weights", None) is None:
            checks.fail("_internal_params", "a ParameterList (it may be empty)", None)
        super()._is_properly_setup(check_has_bias)
        for i, ref in enumerate(refs):
            checks.integer(("_unconditional_param_shapes_ref", i), ref, 0, len(self.param_shapes) - 1)
        if self._unconditional_params_ref is None:
            indices = [self.param_shapes_meta[ref]["index"] for ref in refs]
            self._unconditional_params_ref = [index for index in indices if index >= 0] or None

    @property
    def target_shapes(self) -> Shapes:
        """Shapes of the tensors that the hypernetwork produces."""
        return self._target_shapes

    @property
    def num_known_conds(self) -> int:
        """Number of conditions that the hypernetwork knows by id."""
        return self._num_known_conds

    @property
    def unconditional_param_shapes_ref(self) -> list[int]:
        """Positions in ``param_shapes`` of the unconditional parameters."""
        return self._unconditional_param_shapes_ref

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
        """Internal parameters that belong to single conditions; ``None`` only without ``internal_params``."""
        if self._internal_params is None:
            return None
        unconditional = set(self.unconditional_params_ref or ())
        return [param for i, param in enumerate(self._internal_params) if i not in unconditional]

    def add_conditions(self, n: int, init: Callable[[Tensor], Any] | None = None) -> list[nn.Parameter]:
        """Let the hypernetwork know ``n`` more conditions.

        Raises:
            NotImplementedError: If the class cannot take more conditions.
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement add_conditions")

    def takes_conditions(self) -> bool:
        """Whether something depends on the condition, so that :meth:`add_conditions` concerns this network.

        Raises:
            NotImplementedError: If so, but the class cannot take more conditions.
        """
        if self.num_known_conds > 0 and type(self).add_conditions is HyperNetInterface.add_conditions:
            raise NotImplementedError(f"{type(self).__name__} does not implement add_conditions")
        return self.num_known_conds > 0

    def condition_inputs(self, cond_id: Any) -> dict[str, Any]:
        """Look conditions up, as arguments of ``forward`` that replace ``cond_id``.

        Returns:
            Keyword arguments of ``forward``; ``cond_id`` itself where the class does not say how to look it up.
        """
        params = self.conditional_params or []
        if len(params) != self.num_known_conds:
            return {"cond_id": cond_id}
        return {"cond_input": inputs.select(params, inputs.parse_cond_id(cond_id, self.num_known_conds))}

    def parameters_of_condition(self, cond_id: int) -> list[Tensor]:
        """The internal parameters that belong to one condition.

        Raises:
            NotImplementedError: If the class does not say which parameters belong to which condition.
        """
        return [self._one_per_condition("parameters_of_condition")[cond_id]]

    def condition_embeddings(self) -> Iterator[tuple[int, Tensor]]:
        """Internal input embeddings with the id of their condition.

        Raises:
            NotImplementedError: If the class does not say which of its tensors are embeddings.
        """
        return iter(enumerate(self._one_per_condition("condition_embeddings")))

    def _one_per_condition(self, method: str) -> list[nn.Parameter]:
        params = self.conditional_params or []
        if len(params) != self.num_known_conds:
            raise NotImplementedError(f"{type(self).__name__} does not implement {method}")
        return params

    def chunk_embeddings(self) -> Iterator[tuple[Tensor, int, int | None]]:
        """Internal chunk embeddings with the id of the chunk and, if they belong to one, of the condition."""
        return iter(())

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
        """Evaluate the hypernetwork with ``B`` sets of its own parameters, by ``torch.func.vmap`` of ``forward``.

        See :meth:`hypnettorch.hnets.hypernetwork.HyperNetwork.batched_forward`.
        """
        arguments = {"uncond_input": uncond_input, "cond_input": cond_input, "weights": weights}
        return by_vmap(self, arguments, cond_id, share_input, condition, ret_format)

    def start_at(self, wanted: Any, plan: Any) -> None:
        """Initialise such that each target starts as the main network wants it.

        Raises:
            NotImplementedError: The class has no such initialisation.
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement a hyperfan initialisation")

    def start_at_zero(self) -> None:
        """Change as little as it takes to produce zeros, in such a way that gradients change that.

        Raises:
            NotImplementedError: The class has no such start.
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement a start at zero")

    # ------------------------------------------------------------------------------- as every hypernetwork does it

    parts = HyperNetwork.parts
    num_outputs = HyperNetwork.num_outputs
    makes_updates = HyperNetwork.makes_updates
    factors = HyperNetwork.factors
    get_task_embs = HyperNetwork.get_task_embs
    get_task_emb = HyperNetwork.get_task_emb
    _task_embs = HyperNetwork._task_embs
    add_to_uncond_params = HyperNetwork.add_to_uncond_params
    convert_out_format = HyperNetwork.convert_out_format
    _preprocess_forward_args = _preprocess_forward_args
    _flat_to_ret_format = _flat_to_ret_format
    __str__ = HyperNetwork.__str__


HyperNetInterface.register(HyperNetwork)
lists.install_views(HyperNetwork, VIEWS)
names.install(HyperNetwork, {"_num_cond_embs": lambda net: net.num_known_conds})
names.install(
    ChunkedHyperNetwork,
    {"_cemb_shape": lambda net: [net.num_chunks, net.chunk_emb_size], "_hnet": lambda net: net.hnet},
)
HyperNetwork._preprocess_forward_args = _preprocess_forward_args  # type: ignore[attr-defined]
HyperNetwork._flat_to_ret_format = _flat_to_ret_format  # type: ignore[attr-defined]
