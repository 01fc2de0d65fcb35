"""The interface of all hypernetworks.

A hypernetwork ``h(e; θ)`` is a network whose output is the weights of another network, the main (or target) network
(Ha et al., "HyperNetworks", 2016, https://arxiv.org/abs/1609.09106). Its parameters are *unconditional* (θ, shared by
all conditions) or *conditional* (they belong to one condition, as an embedding ``e`` does).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import Tensor, nn

from hypnettorch.core import checks, formats
from hypnettorch.core.low_rank import Key, LowRank
from hypnettorch.hnets import inputs
from hypnettorch.hnets.conditional_parameters import ConditionalParameters
from hypnettorch.hnets.hypernetwork import HyperNetwork
from hypnettorch.mnets.batched import map_sets, set_conditions, writes_statistics
from hypnettorch.mnets.extension_protocol import Shapes


class HyperNetInterface(ConditionalParameters):
    """What every hypernetwork can be asked, besides what every network can be asked.

    A class that implements the interface by itself fills ``_target_shapes``, ``_num_known_conds``,
    ``_unconditional_param_shapes_ref`` and the lists of
    :class:`~hypnettorch.mnets.extension_protocol.HandFilledLists`, and calls ``_is_properly_setup()``.
    """

    def __init__(self) -> None:
        super().__init__()
        self._target_shapes: Shapes | None = None

    @abstractmethod
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute weights of the target network.

        The documented signature is ``forward(uncond_input=None, cond_input=None, cond_id=None, weights=None,
        distilled_params=None, condition=None, ret_format='squeezed')``.

        Args:
            uncond_input: Unconditional input ``[N, uncond_in_size]``, e.g. noise.
            cond_input: Conditional input ``[N, cond_in_size]``, e.g. embeddings that are kept elsewhere.
            cond_id: Which internally kept conditions to use: an int, a list of ints or a 1-D ``LongTensor``. Excludes
                ``cond_input``. Under ``torch.compile`` and ``vmap`` a tensor is an index into all conditions: one
                graph for all values, no check of the range, and zero gradients instead of ``None`` for the others.
            weights: External parameters: a list that fits ``hyper_shapes_learned`` or ``param_shapes``, or a
                dictionary with the keys ``uncond_weights`` and/or ``cond_weights``.
            distilled_params: See ``MainNetInterface.forward``.
            condition: See ``MainNetInterface.forward``.
            ret_format: ``'squeezed'``, ``'sequential'``, ``'flattened'`` or ``'stacked'``
                (:mod:`hypnettorch.core.formats`).

        Returns:
            The weights in the format that was asked for.
        """

    @property
    def target_shapes(self) -> Shapes:
        """Shapes of the tensors that the hypernetwork produces."""
        return self._target_shapes  # type: ignore[return-value]

    @property
    def num_outputs(self) -> int:
        """Number of weights that the hypernetwork produces."""
        return formats.num_elements(self.target_shapes)

    def add_to_uncond_params(self, dparams: Sequence[Tensor], params: Sequence[Tensor] | None = None) -> list[Tensor]:
        """Add changes to the unconditional parameters.

        Args:
            dparams: The changes.
            params: What to add them to (default: :attr:`unconditional_params`).

        Returns:
            The sums; the parameters themselves stay as they are.

        Raises:
            ValueError: If there are no parameters to add to, or the numbers or shapes of tensors differ.
        """
        own: Sequence[Tensor] | None = self.unconditional_params if params is None else params
        if own is None:
            checks.fail("params", "tensors, since no unconditional parameter is internal", None)
        checks.length("dparams", dparams, len(own))
        for i, (param, dparam) in enumerate(zip(own, dparams, strict=True)):
            checks.shape(("dparams", i), dparam, param.shape)
        return [param + dparam for param, dparam in zip(own, dparams, strict=True)]

    def add_conditions(self, n: int, init: Callable[[Tensor], Any] | None = None) -> list[nn.Parameter]:
        """Let the hypernetwork know ``n`` more conditions.

        Parameters that exist stay the same objects, so an optimiser keeps its state.

        Args:
            n: Number of new conditions.
            init: Fills each new tensor in place (default: as the constructor does).

        Returns:
            The new parameters, for ``optimizer.add_param_group``; empty if they are external.

        Raises:
            NotImplementedError: If the class cannot take more conditions.
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement add_conditions")

    def _start_at(self, destinations: Sequence[Any], plan: Any) -> None:
        """Initialise such that each target starts as the main network wants it.

        Args:
            destinations: For each target where it ends up (:mod:`hypnettorch.hnets.partwise_hyperfan`).
            plan: Which initialisation (:class:`hypnettorch.hnets.targets.Plan`).

        Raises:
            NotImplementedError: If the class has no such initialisation.
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement a hyperfan initialisation")

    def _start_at_zero(self) -> None:
        """Change as little as it takes to produce zeros, in such a way that gradients change that.

        Raises:
            NotImplementedError: If the class has no such start.
        """
        raise NotImplementedError(f"{type(self).__name__} does not implement a start at zero")

    def _takes_conditions(self) -> bool:
        """Whether something depends on the condition, so that :meth:`add_conditions` concerns this network.

        Raises:
            NotImplementedError: If so, but the class cannot take more conditions.
        """
        if self.num_known_conds > 0 and type(self).add_conditions is HyperNetInterface.add_conditions:
            raise NotImplementedError(f"{type(self).__name__} does not implement add_conditions")
        return self.num_known_conds > 0

    def condition_inputs(self, cond_id: Any) -> dict[str, Any]:
        """Look conditions up, as arguments of ``forward`` that replace ``cond_id``.

        ``hnet(**hnet.condition_inputs(ids))`` equals ``hnet(cond_id=ids)``. Done outside of a compiled region, it
        leaves one graph for all conditions, checks the ids and keeps the gradients of other conditions ``None``.

        Args:
            cond_id: As for ``forward``.

        Returns:
            Keyword arguments of ``forward``; ``cond_id`` itself where the class does not say how to look it up.

        Raises:
            ValueError: If an id is out of range, or conditional parameters are external.
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
        params = self.conditional_params or []
        if len(params) != self.num_known_conds:
            raise NotImplementedError(f"{type(self).__name__} does not implement parameters_of_condition")
        return [params[cond_id]]

    def condition_embeddings(self) -> Iterator[tuple[int, Tensor]]:
        """Internal input embeddings with the id of their condition.

        Raises:
            NotImplementedError: If the class does not say which of its tensors are embeddings.
        """
        params = self.conditional_params or []
        if len(params) != self.num_known_conds:
            raise NotImplementedError(f"{type(self).__name__} does not implement condition_embeddings")
        return iter(enumerate(params))

    def chunk_embeddings(self) -> Iterator[tuple[Tensor, int, int | None]]:
        """Internal chunk embeddings with the id of the chunk and, if they belong to one, of the condition."""
        return iter(())

    def factors(self, *args: Any, **kwargs: Any) -> dict[Key, LowRank]:
        """Weights as products of thin matrices (:class:`hypnettorch.hnets.low_rank_hnet.HLowRank`).

        Raises:
            NotImplementedError: If the class does not produce such. What changes inputs belongs inside of ``HLowRank``.
        """
        raise checks.Unavailable(
            f"{type(self).__name__} produces no factors: expected an HLowRank, or an HResidual around one"
        )

    def convert_out_format(self, hnet_out: Any, src_format: str, trgt_format: str) -> Any:
        """Convert generated weights from one return format to another.

        Args:
            hnet_out: Weights in the format ``src_format``.
            src_format: Format of ``hnet_out``; a ``'squeezed'`` list of tensors is one weight set.
            trgt_format: Wanted format.

        Returns:
            The weights in the format ``trgt_format``; views where possible.

        Raises:
            ValueError: If a format is unknown or the weights do not fit it.
        """
        return formats.convert(hnet_out, self.target_shapes, src_format, trgt_format)

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
        """Evaluate the hypernetwork with ``B`` sets of its own parameters at once.

        Args:
            uncond_input: As for ``forward`` with a leading dimension ``[B, N, ...]``; without it if ``share_input``.
            cond_input: Likewise.
            cond_id: As for ``forward``, shared by all sets.
            weights: As for ``forward``, each tensor ``[B, *shape]``.
            share_input: Whether all sets see the same inputs.
            condition: One condition, or ``B`` of them.
            ret_format: ``'flattened'``: ``[B, N, D]``; ``'stacked'``: a list of ``[B, N, *shape]``; ``'sequential'``:
                ``N`` lists of ``[B, *shape]``; ``'squeezed'``: as sequential, the inner list itself if ``N == 1``.

        Returns:
            The weights, equal to a loop over the sets.

        Raises:
            ValueError: If the number of sets differs between arguments.
        """
        checks.one_of("ret_format", ret_format, formats.FORMATS)
        sets = inputs.count_stacked(weights)
        for name, value in (("uncond_input", uncond_input), ("cond_input", cond_input)):
            inputs.check_sets(name, value, sets, share_input)

        def one_set(condition: Any, **arguments: Any) -> Tensor:
            flat: Tensor = self.forward(**arguments, cond_id=cond_id, condition=condition, ret_format="flattened")
            return flat

        arguments = {"uncond_input": uncond_input, "cond_input": cond_input, "weights": weights}
        mapped = {
            "uncond_input": uncond_input is not None and not share_input,
            "cond_input": cond_input is not None and not share_input,
            "weights": True,
        }
        flat = map_sets(one_set, arguments, mapped, set_conditions(condition, sets), loop=writes_statistics(self))
        return formats.from_flat(flat, self.target_shapes, ret_format)

    def _is_properly_setup(self, check_has_bias: bool = True) -> None:
        """Check the lists and complete the set-up; the last call of a constructor.

        Raises:
            ValueError: If a list is missing or two of them contradict each other; the message names it.
        """
        checks.instance("_target_shapes", self._target_shapes, list)
        checks.integer("_num_known_conds", self._num_known_conds, 0)
        refs = self._unconditional_param_shapes_ref
        checks.instance("_unconditional_param_shapes_ref", refs, list)
        if len(set(refs or ())) != len(refs or ()):
            checks.fail("_unconditional_param_shapes_ref", "different positions", refs)
        if self._internal_params is None and getattr(self, "_weights", None) is None:
            checks.fail("_internal_params", "a ParameterList (it may be empty)", None)
        super()._is_properly_setup(check_has_bias)
        for i, ref in enumerate(refs or ()):
            checks.integer(("_unconditional_param_shapes_ref", i), ref, 0, len(self.param_shapes) - 1)
        if self._unconditional_params_ref is None:
            indices = [self.param_shapes_meta[ref]["index"] for ref in refs or ()]
            self._unconditional_params_ref = [index for index in indices if index >= 0] or None

    def _preprocess_forward_args(
        self, _input_required: bool = True, _parse_cond_id_fct: Callable[..., Any] | None = None, **kwargs: Any
    ) -> tuple[Tensor | None, Tensor | None, list[Tensor], list[Tensor]]:
        """Parse the arguments of ``forward``, for subclasses that implement it themselves.

        Args:
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
        conditional = self.conditional_param_shapes_ref
        optional = frozenset(conditional) if cond_id is None else frozenset()
        resolved = self._resolve_weights(kwargs["weights"], optional=optional)
        uncond_weights = [resolved.values[i] for i in self.unconditional_param_shapes_ref]
        cond_weights = [resolved.values[i] for i in conditional]
        if cond_id is not None:
            ids = inputs.parse_cond_id(cond_id, self.num_known_conds)
            if _parse_cond_id_fct is not None:
                cond_input = _parse_cond_id_fct(self, ids, cond_weights)
            elif len(cond_weights) != self.num_known_conds:
                raise checks.StateError(
                    f"cond_id: expected one conditional tensor per condition ({self.num_known_conds}), "
                    f"got {len(cond_weights)}"
                )
            else:
                cond_input = inputs.select(cond_weights, ids)
        uncond_input, cond_input = inputs.join_batches({"uncond_input": uncond_input, "cond_input": cond_input})
        return uncond_input, cond_input, uncond_weights, cond_weights

    def _flat_to_ret_format(self, flat_out: Tensor, ret_format: str) -> Any:
        """Bring flat weights ``[N, num_outputs]`` into a return format."""
        return formats.from_flat(flat_out, self.target_shapes, ret_format)

    def __str__(self) -> str:
        uncond, cond = self.unconditional_param_shapes, self.conditional_param_shapes
        internal = {
            "uncond": sum(p.numel() for p in self.unconditional_params or ()),
            "cond": sum(p.numel() for p in self.conditional_params or ()),
        }
        ratio = self.num_params / max(self.num_outputs, 1)
        return (
            f"{type(self).__name__} with {self.num_params} weights for {self.num_outputs} outputs "
            f"(compression ratio {ratio:.2f}): "
            f"{formats.num_elements(uncond)} unconditional ({internal['uncond']} internal), "
            f"{formats.num_elements(cond)} conditional ({internal['cond']} internal)"
        )


HyperNetInterface.register(HyperNetwork)
