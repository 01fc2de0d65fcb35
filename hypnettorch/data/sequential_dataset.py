"""The interface of data sets whose samples are sequences in time."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from hypnettorch.core import checks
from hypnettorch.data import encoding
from hypnettorch.data.dataset import Dataset
from hypnettorch.data.preprocessing import Mode
from hypnettorch.data.samples import Samples

Lengths = NDArray[np.int64]


@dataclass(frozen=True, eq=False, kw_only=True)
class SequenceSamples(Samples):
    """Rows that are sequences: all time steps of a sample one after the other, padded to a common length.

    Attributes:
        inputs: ``[N, T_in * prod(in_shape)]``.
        outputs: ``[N, T_out * out_width]``; class labels are ``[N, T_out]``.
        in_shape: Shape of one time step.
        in_lengths: Number of time steps of each input without padding, ``[N]``.
        out_lengths: Number of time steps of each output without padding, ``[N]``.
        out_width: Number of entries of one time step of an output.
    """

    in_lengths: Lengths
    out_lengths: Lengths
    out_width: int = 1

    def rows(self, keep: NDArray[np.bool_]) -> SequenceSamples:
        """The rows where ``keep`` (``[N]``) is true, in their order and with new ids."""
        kept = super().rows(keep)
        return dataclasses.replace(kept, in_lengths=self.in_lengths[keep], out_lengths=self.out_lengths[keep])


class SequentialDataset(Dataset):
    """Sequences in memory; tensors are time-major, ``[T, B, ...]``.

    ``in_shape`` and ``out_shape`` are the shapes of one time step. Arrays have a row per sample, in which entry
    ``t * F + f`` is feature ``f`` at time ``t``.

    Args:
        samples: The arrays and the lengths of the sequences.
        use_one_hot: Whether class labels are given as one-hot vectors unless something else is asked for.
        kwargs: Further arguments of :class:`~hypnettorch.data.dataset.Dataset`.

    Example:
        >>> samples = SequenceSamples(
        ...     inputs=np.arange(12.0).reshape(2, 6), outputs=np.array([[0, 1, 1], [1, 0, 0]]), in_shape=(2,),
        ...     num_classes=2, train_ids=np.arange(2), in_lengths=np.array([3, 2]), out_lengths=np.array([3, 2]))
        >>> data = SequentialDataset(samples, use_one_hot=True)
        >>> data.in_shape, data.out_shape, data.max_num_ts_in
        ([2], [2], 3)
        >>> x, y = data.next_train_batch(2)
        >>> data.input_to_torch_tensor(x).shape, data.output_to_torch_tensor(y).shape
        (torch.Size([3, 2, 2]), torch.Size([3, 2, 2]))
        >>> data.get_in_seq_lengths([1])
        array([2])
    """

    _samples: SequenceSamples

    def __init__(self, samples: Samples, use_one_hot: bool = False, **kwargs: Any) -> None:
        checks.instance("samples", samples, SequenceSamples)
        super().__init__(samples, use_one_hot, **kwargs)

    def derive(self, samples: Samples | None = None, **changes: Any) -> SequentialDataset:
        """A data set like this one with other samples, and with batches of its own.

        Args:
            samples: Its arrays (:class:`SequenceSamples`); by default those of this one, which are shared.
            changes: Other arguments of the constructor of :class:`SequentialDataset`.
        """
        derived = copy.copy(self)
        same = {"use_one_hot": self._one_hot, "identifier": self._identifier, "preprocessing": self.preprocessing}
        SequentialDataset.__init__(derived, samples or self._samples, **{**same, **changes})
        return derived

    @property
    def sequence(self) -> bool:
        """Whether samples are sequences in time."""
        return True

    @property
    def out_shape(self) -> list[int]:
        """Shape of one time step of an output: ``[num_classes]`` for one-hot vectors, ``[1]`` for labels."""
        return [self._class_count() if self._one_hot else self._samples.out_width]

    @property
    def max_num_ts_in(self) -> int:
        """Number of time steps of inputs, padding included."""
        return self._samples.inputs.shape[1] // math.prod(self._samples.in_shape)

    @property
    def max_num_ts_out(self) -> int:
        """Number of time steps of outputs, padding included."""
        return self._samples.outputs.shape[1] // self._samples.out_width

    def get_in_seq_lengths(self, sample_ids: ArrayLike) -> Lengths:
        """Number of time steps of inputs without padding.

        Args:
            sample_ids: Ids of samples, as batches give them with ``return_ids=True``.
        """
        return self._samples.in_lengths[np.asarray(sample_ids, dtype=np.int64)]

    def get_out_seq_lengths(self, sample_ids: ArrayLike) -> Lengths:
        """Number of time steps of outputs without padding, as :meth:`get_in_seq_lengths`."""
        return self._samples.out_lengths[np.asarray(sample_ids, dtype=np.int64)]

    def input_to_torch_tensor(
        self,
        x: ArrayLike,
        device: torch.device | str = "cpu",
        mode: Mode = "inference",
        force_no_preprocessing: bool = False,
        sample_ids: ArrayLike | None = None,
    ) -> Tensor:
        """Inputs as a float32 tensor ``[T, B, *torch_in_shape]``; preprocessing, if there is any, is one of time steps.

        Args:
            x: ``[B, T * prod(in_shape)]`` as a batch contains them.
            device: Where the tensor goes.
            mode: ``'train'`` augments, if this data set does.
            force_no_preprocessing: Leave the values as they are.
            sample_ids: Ids of the samples; only data sets whose tensors depend on lengths look at them.
        """
        rows = np.asarray(x)
        steps = self._flatten_array(rows, reverse=True, feature_shape=[math.prod(self.in_shape)])
        flat = steps.reshape(-1, steps.shape[-1])
        tensor = super().input_to_torch_tensor(flat, device, mode, force_no_preprocessing, sample_ids)
        shape = self.in_shape if force_no_preprocessing else self.torch_in_shape
        return time_major(tensor.reshape(len(rows), steps.shape[1] * math.prod(shape)), shape)

    def output_to_torch_tensor(
        self,
        y: ArrayLike,
        device: torch.device | str = "cpu",
        mode: Mode = "inference",
        force_no_preprocessing: bool = False,
        sample_ids: ArrayLike | None = None,
    ) -> Tensor:
        """Outputs as a float32 tensor ``[T, B, *out_shape]``, see :meth:`input_to_torch_tensor`."""
        rows = super().output_to_torch_tensor(y, device, mode, force_no_preprocessing, sample_ids)
        return self._prepare_outputs(time_major(rows, self.out_shape), sample_ids)

    def _prepare_outputs(self, steps: Tensor, sample_ids: ArrayLike | None) -> Tensor:
        """What a handler makes of outputs ``[T, B, *out_shape]`` before a network sees them."""
        return steps

    @staticmethod
    def _flatten_array(
        arr: ArrayLike,
        ts_dim_first: bool = False,
        reverse: bool = False,
        feature_shape: Sequence[int] | None = None,
    ) -> NDArray:
        """Turn sequences into rows, or rows into sequences.

        Args:
            arr: Sequences ``[B, T, *feature_shape]``; with ``reverse`` rows ``[B, T * prod(feature_shape)]``.
            ts_dim_first: Sequences are ``[T, B, *feature_shape]``.
            reverse: Turn rows into sequences.
            feature_shape: Shape of one time step, needed with ``reverse``.

        Raises:
            ValueError: If ``feature_shape`` is missing or ``arr`` does not have the right number of dimensions.
        """
        array = np.asarray(arr)
        if not reverse:
            if array.ndim < 2:
                checks.fail("arr", "at least 2 dimensions", f"shape {array.shape}")
            batch_first = array.swapaxes(0, 1) if ts_dim_first else array
            return batch_first.reshape(len(batch_first), math.prod(batch_first.shape[1:]))
        if feature_shape is None:
            checks.fail("feature_shape", "the shape of one time step, since reverse is set", None)
        if array.ndim != 2:
            checks.fail("arr", "rows, an array with 2 dimensions", f"shape {array.shape}")
        sequences = array.reshape(len(array), _num_steps("arr", array.shape[1], feature_shape), *feature_shape)
        return sequences.swapaxes(0, 1) if ts_dim_first else sequences

    def _inputs_of(self, ids: NDArray) -> NDArray:
        return self._samples.inputs[ids]  # bytes, if there are any, are no pixels

    # Pictures

    @property
    def _one_label(self) -> bool:
        """Whether a sample has the same label at all times, so that pictures tell it in the title."""
        outputs = self._samples.outputs
        return self.classification and bool((outputs == outputs[:, :1]).all())

    def _plot_steps(self, answer: NDArray) -> NDArray:
        """An output or a prediction ``[1, ...]`` as ``[T, features]``; labels become one-hot vectors."""
        steps = np.asarray(answer).reshape(self.max_num_ts_out, -1)
        if self.classification and steps.shape[1] == 1:
            return encoding.to_one_hot(steps.astype(np.int64), self._class_count())
        return steps

    def _plot_labels(self, outputs: NDArray) -> NDArray:
        one_hot = outputs.shape[1] == self.max_num_ts_out * self._class_count() > self.max_num_ts_out
        return encoding.to_labels(outputs, self._class_count()) if one_hot else outputs

    def _plot_config(
        self, inputs: NDArray, outputs: NDArray | None = None, predictions: NDArray | None = None
    ) -> dict[str, Any]:
        config = super()._plot_config(inputs, outputs, predictions)
        plots = 1 if self._one_label else sum(array is not None for array in (inputs, outputs, predictions))
        return {**config, "num_inner_rows": plots, "num_inner_plots": plots}

    def _plot_sample(
        self,
        fig: Any,
        inner_grid: Any,
        num_inner_plots: int,
        ind: int,
        inputs: NDArray,
        outputs: NDArray | None = None,
        predictions: NDArray | None = None,
        **kwargs: Any,
    ) -> None:
        """Draw features over time, one image for each of inputs, outputs and predictions."""
        panels = [("input", np.asarray(inputs).reshape(-1, math.prod(self.in_shape)))]
        if not self._one_label:
            answers = (("output", outputs), ("prediction", predictions))
            panels += [(name, self._plot_steps(array)) for name, array in answers if array is not None]
        for cell, (name, steps) in zip(inner_grid, panels, strict=False):
            axes = fig.add_subplot(cell)
            show_steps(axes, steps)
            axes.set_ylabel(name, fontsize=7)
        if self._one_label:
            label = None if outputs is None else outputs[:, :1]
            axes.set_title(self._caption(label, predictions), fontsize=8)


def time_major(rows: Tensor, feature_shape: Sequence[int]) -> Tensor:
    """Rows ``[B, T * prod(feature_shape)]`` as ``[T, B, *feature_shape]``."""
    num_steps = _num_steps("rows", rows.shape[1], feature_shape)
    return rows.view(len(rows), num_steps, *feature_shape).transpose(0, 1).contiguous()


def _num_steps(name: str, width: int, feature_shape: Sequence[int]) -> int:
    """Number of time steps in a row with that many entries."""
    num_steps, rest = divmod(width, math.prod(feature_shape))
    if rest:
        checks.fail(name, f"rows of time steps with shape {tuple(feature_shape)}", f"{width} entries")
    return num_steps


def show_steps(axes: Any, steps: NDArray) -> None:
    """Draw a sequence ``[T, F]``: time from left to right, features from top to bottom."""
    axes.imshow(steps.T, aspect="auto", interpolation="nearest", cmap="gray_r")
    axes.set_xticks([])
    axes.set_yticks([])
