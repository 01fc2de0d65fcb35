"""The equation of recurrent networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from hypnettorch.core import checks
from hypnettorch.mnets.main_network import MainNetwork
from hypnettorch.mnets.mnet_interface import MainNetInterface
from hypnettorch.mnets.recurrent_steps import RecurrentSteps
from hypnettorch.mnets.sequences import TIME
from hypnettorch.mnets.old_stages import Run


class RecurrentNetwork(RecurrentSteps):
    """Fully connected layers, recurrent layers, fully connected layers: everything but the declaration.

    A subclass sets ``_n_in``, ``_max_steps`` (``None`` for no limit) and the attributes of
    :class:`~hypnettorch.mnets.recurrent_steps.RecurrentSteps`.
    """

    _condition_keys = ("cmod_ckpt_id",)
    _n_in: int
    _max_steps: int | None

    def forward(
        self,
        x: Tensor,
        weights: Any = None,
        distilled_params: Sequence[Tensor] | None = None,
        condition: int | Mapping[str, int] | None = None,
        return_hidden: bool = False,
        return_hidden_int: bool = False,
    ) -> Any:
        """Compute the outputs of all time steps.

        Args:
            x: The input ``[T, N, n_in]``.
            weights: External weights, see :meth:`MainNetwork.forward
                <hypnettorch.mnets.main_network.MainNetwork.forward>`.
            distilled_params: Must be ``None``.
            condition: Id of the checkpointed modulation that replaces internal gains and shifts, or a dictionary with
                the key ``cmod_ckpt_id``. Ignored where there are none, or others are passed.
            return_hidden: Whether to return the outputs of the hidden layers, too.
            return_hidden_int: Whether to return the internal states of the hidden layers, too.

        Returns:
            The output ``[T, N, n_out]``; with ``return_hidden`` a tuple of it and a list with one output ``[T, N, n]``
            for each layer but the last; with ``return_hidden_int`` a third entry, a parallel list with the cell states
            of an LSTM or the states ``h_t`` of an Elman layer, and ``None`` for fully connected layers.

        Raises:
            ValueError: If the input or the weights have the wrong shape, external weights are missing, or there are
                more time steps than modulations.
            TypeError: If an argument has the wrong type.
        """
        checks.tensor("x", x)
        self._check_distilled(distilled_params)
        int_weights, cm_weights = self.split_weights(weights)
        _, ckpt_id = self._parse_condition(condition)
        x = self._prepare_input(x, None)
        return self._run_layers(x, int_weights, cm_weights, ckpt_id, return_hidden, return_hidden_int)

    def batched_forward(
        self,
        x: Tensor,
        weights: Any,
        share_input: bool = False,
        condition: int | Sequence[int] | None = None,
        distilled_params: Sequence[Tensor] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Evaluate the network with ``B`` weight sets as one batched recurrence.

        Args:
            x: The input ``[B, T, N, n_in]``; with ``share_input`` without the ``B``.
            weights: As for :meth:`forward`, each tensor ``[B, *shape]``.
            share_input: Whether all sets see the same input.
            condition: Id of the checkpointed modulation, or one for each set.
            distilled_params: Must be ``None``.
            **kwargs: ``return_hidden`` and ``return_hidden_int``, see :meth:`forward`.

        Returns:
            What :meth:`forward` returns with a leading ``B`` on every tensor.

        Raises:
            ValueError: As :meth:`forward`, or if the number of sets differs between arguments.
        """
        evaluate = MainNetInterface.batched_forward if self._overridden else MainNetwork.batched_forward
        return evaluate(self, x, weights, share_input, condition, distilled_params, **kwargs)

    def _compute(self, x: Tensor, run: Run, return_hidden: bool = False, return_hidden_int: bool = False) -> Any:
        values, given = [run.values[slot] for slot in self._slots], [run.given[slot] for slot in self._slots]
        return self._run_layers(x, *self._separate(values, given), run.ckpt_id, return_hidden, return_hidden_int)

    def _prepare_input(self, x: Tensor, sets: int | None) -> Tensor:
        dims = 3 if sets is None else 4
        if x.dim() != dims or x.shape[-1] != self._n_in or x.shape[TIME] == 0:
            layout = "[T, N, {}]" if sets is None else "[B, T, N, {}]"
            checks.fail("x", f"shape {layout.format(self._n_in)}", tuple(x.shape))
        if self._max_steps is not None and x.shape[TIME] > self._max_steps:
            checks.fail("x", f"at most {self._max_steps} time steps (context_mod_num_ts)", x.shape[TIME])
        return x

    def _run_layers(
        self,
        x: Tensor,
        int_weights: Sequence[Tensor],
        cm_weights: Sequence[Tensor] | None,
        ckpt_id: Any,
        return_hidden: bool,
        return_hidden_int: bool,
    ) -> Any:
        if return_hidden_int and not return_hidden:
            checks.fail("return_hidden_int", "False, since return_hidden is False", True)
        pre_w, pre_b, rec_weights, fc_w, fc_b = self.split_internal_weights(int_weights)
        cm_in, cm_pre, cm_rec, cm_fc, num_cm_rec, ckpt_id = self.split_cm_weights(cm_weights, ckpt_id, x.shape[TIME])
        if cm_in is not None:
            x = self._modulate(x, 0, cm_in)
        offset = self._num_cm[0]
        x, hidden = self.compute_fc_outputs(x, pre_w, pre_b, len(cm_pre), cm_pre, offset, ckpt_id, False, True)
        internal: list[Tensor | None] = [None] * len(hidden)
        for d, (weights, modulation) in enumerate(zip(rec_weights, cm_rec, strict=True)):
            x, states = self.compute_hidden_states(x, d, weights, modulation, ckpt_id)
            hidden.append(x)
            internal.append(states)
        offset += len(cm_pre) + num_cm_rec
        x, outputs = self.compute_fc_outputs(x, fc_w, fc_b, len(cm_fc), cm_fc, offset, ckpt_id, True, True)
        hidden, internal = [*hidden, *outputs][:-1], [*internal, *[None] * len(outputs)][:-1]
        if return_hidden_int:
            return x, hidden, internal
        return (x, hidden) if return_hidden else x
