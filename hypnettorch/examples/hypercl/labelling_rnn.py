"""A recurrent network that reads a sample step by step and says its labels in the last steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from hypnettorch.core import checks
from hypnettorch.core.values import Values
from hypnettorch.mnets.simple_rnn import TIME, SimpleRNN


class LabellingRNN(SimpleRNN):
    """A :class:`~hypnettorch.mnets.simple_rnn.SimpleRNN` between rows and logits.

    The input ``[N, T * F]`` is a sequence of ``T`` steps; the outputs of the last ``P`` of them are the logits of
    ``P * O`` labels with ``C`` outputs each: ``[N, P * O, C]``, or ``[N, C]`` if there is one label.

    Args:
        in_shape: Shape of a sample, of which the first dimension is time, ``[T, ...]``.
        label_shape: ``[P, O]``, or ``[P]`` if each step says one label.
        num_outputs: Outputs per label, ``C``.
        rnn_layers: Sizes of the recurrent layers.
        fc_layers: Sizes of the hidden layers between them and the output.
        kwargs: Further arguments of ``SimpleRNN``.

    Raises:
        ValueError: If there are more steps to be answered than in the input, or an argument makes no sense.

    Example:
        >>> import torch
        >>> net = LabellingRNN([11, 8], [5, 7], num_outputs=2, rnn_layers=[16], verbose=False)
        >>> net(torch.randn(3, 88)).shape
        torch.Size([3, 35, 2])
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        label_shape: Sequence[int],
        num_outputs: int,
        rnn_layers: Sequence[int] = (10,),
        fc_layers: Sequence[int] = (),
        **kwargs: Any,
    ) -> None:
        self._num_steps, *features = checks.integers("in_shape", in_shape, 1)
        self._answered, *labels = checks.integers("label_shape", label_shape, 1)
        if self._answered > self._num_steps:
            checks.fail("label_shape", f"at most {self._num_steps} steps, those of the input", self._answered)
        self._labels_per_step = math.prod(labels)
        outputs = self._labels_per_step * num_outputs
        super().__init__(math.prod(features), rnn_layers, fc_layers=[*fc_layers, outputs], **kwargs)

    def prepare(self, x: Tensor, sets: int | None) -> Tensor:
        """Rows ``[..., N, T * F]`` as sequences ``[..., T, N, F]``."""
        width = self._num_steps * self._n_in
        if x.shape[-1] != width:
            checks.fail("x", f"rows of {self._num_steps} steps with {self._n_in} inputs", tuple(x.shape))
        return super().prepare(x.unflatten(-1, (self._num_steps, self._n_in)).movedim(-2, TIME), sets)

    def compute(self, x: Tensor, values: Values, return_hidden: bool = False, return_hidden_int: bool = False) -> Any:
        """The logits of the labels, and what the options ask for."""
        outputs = super().compute(x, values, return_hidden, return_hidden_int)
        if isinstance(outputs, tuple):
            return self._logits(outputs[0]), *outputs[1:]
        return self._logits(outputs)

    def _logits(self, outputs: Tensor) -> Tensor:
        """Outputs ``[..., T, N, O * C]`` as logits ``[..., N, P * O, C]``."""
        answers = outputs.movedim(TIME, -2)[..., -self._answered :, :]
        logits = answers.unflatten(-1, (self._labels_per_step, -1)).flatten(-3, -2)
        return logits.squeeze(-2) if logits.shape[-2] == 1 else logits
