"""The copy task: see a random pattern, then a stop flag, then repeat the pattern."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from hypnettorch.core import checks
from hypnettorch.data.batches import Seed
from hypnettorch.data.draws import random_state
from hypnettorch.data.samples import consecutive_ids
from hypnettorch.data.sequential_dataset import Lengths, SequenceSamples, SequentialDataset, show_steps
from hypnettorch.data.timeseries.copy_options import CopyOptions
from hypnettorch.data.timeseries.copy_patterns import CopyPatterns, Steps, draw_patterns, join_patterns
from hypnettorch.data.timeseries.pattern_manipulation import PatternManipulation, Permutation, permutation_of_pattern


class CopyTask(SequentialDataset):
    """Random binary patterns that are to be repeated after a stop flag, possibly changed.

    The input of a sample is ``x_0 ... x_{L-1}``, the stop flag, zeros; its output is zero up to and including the step
    of the flag, then the pattern. Arrays of outputs have the pattern as it was shown; permutations, exclusive or and
    reversal are done by :meth:`output_to_torch_tensor`. What a network answers counts only at the steps of
    :meth:`get_out_pattern_bounds`.

    Args:
        min_input_len: Least number of steps before the stop flag.
        max_input_len: Largest number of them; each is as likely.
        seq_width: Number of bits per step; the input has one more, the stop flag.
        out_width: The first that many bits are to be repeated; -1 for all.
        num_train: Number of training samples.
        num_test: Number of test samples.
        num_val: Number of validation samples.
        pat_len: Only the first that many input steps are the pattern, the others are padding; -1 for all.
        scatter_pattern: The pattern is at ``pat_len`` random input steps, the same for all samples.
        permute_width: Permute features of the output, at every step alike.
        permute_time: Permute steps of the output. Together with ``permute_width``: mix all its entries.
        permute_xor: The output is the exclusive or of the pattern and the permuted pattern.
        permute_xor_iter: How often this is done.
        permute_xor_separate: Each time with a permutation of its own, of the original pattern.
        random_pad: Padded input steps have random bits instead of zeros.
        pad_after_stop: Padding comes after the stop flag, before the output.
        pairwise_permute: With ``permute_time``: swap neighbouring steps.
        revert_output_seq: The output is the pattern in reverse order. If patterns differ in length,
            :meth:`output_to_torch_tensor` needs ``sample_ids``.
        rseed: Of bits and lengths; ``None`` for numpy's global generator.
        rseed_permute: Of permutations, likewise.
        rseed_scatter: Of the steps of scattered patterns, likewise.
        seed: Of the order of batches.
        manipulation: What is done with the pattern, instead of drawing it.
        scatter_steps: Sorted input steps of scattered patterns, instead of drawing them.
        patterns: The inputs of all samples, instead of drawing them.

    Raises:
        ValueError: If an option is out of range, or options exclude each other.

    References:
        B. Ehret, C. Henning et al., "Continual learning in recurrent neural networks", ICLR 2021,
        https://arxiv.org/abs/2006.12109.

    Example:
        >>> data = CopyTask(2, 2, seq_width=1, num_train=1, num_test=0, rseed=0)
        >>> x, y = data.get_train_inputs(), data.get_train_outputs()
        >>> data.input_to_torch_tensor(x).squeeze(1).tolist()
        [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [0.0, 0.0]]
        >>> data.output_to_torch_tensor(y).flatten().tolist()
        [0.0, 0.0, 0.0, 1.0, 1.0]
    """

    def __init__(
        self,
        min_input_len: int,
        max_input_len: int,
        seq_width: int = 7,
        out_width: int = -1,
        num_train: int = 100,
        num_test: int = 100,
        num_val: int | None = None,
        pat_len: int = -1,
        scatter_pattern: bool = False,
        permute_width: bool = False,
        permute_time: bool = False,
        permute_xor: bool = False,
        permute_xor_iter: int = 1,
        permute_xor_separate: bool = False,
        random_pad: bool = False,
        pad_after_stop: bool = False,
        pairwise_permute: bool = False,
        revert_output_seq: bool = False,
        rseed: int | None = None,
        rseed_permute: int | None = None,
        rseed_scatter: int | None = None,
        *,
        seed: Seed = 42,
        manipulation: PatternManipulation | None = None,
        scatter_steps: ArrayLike | None = None,
        patterns: CopyPatterns | None = None,
    ) -> None:
        self._options = options = CopyOptions(
            min_input_len=min_input_len,
            max_input_len=max_input_len,
            seq_width=seq_width,
            out_width=out_width,
            pat_len=pat_len,
            scatter_pattern=scatter_pattern,
            permute_width=permute_width,
            permute_time=permute_time,
            permute_xor=permute_xor,
            permute_xor_iter=permute_xor_iter,
            permute_xor_separate=permute_xor_separate,
            random_pad=random_pad,
            pad_after_stop=pad_after_stop,
            pairwise_permute=pairwise_permute,
            revert_output_seq=revert_output_seq,
        )
        self._manipulation = manipulation or _draw_manipulation(options, random_state(rseed_permute))
        drawn_steps = _draw_scatter_steps(options, random_state(rseed_scatter))
        self._scatter_steps = drawn_steps if scatter_steps is None else _checked_steps(options, scatter_steps)
        sizes = _split_sizes(num_train, num_test, num_val)
        if patterns is None:
            rng = random_state(rseed)
            patterns = join_patterns([draw_patterns(options, size, rng) for size in sizes.values()])
        self._patterns = patterns
        super().__init__(_samples(options, sizes, patterns, self._scatter_steps), identifier="Copy", seed=seed)

    @property
    def permutation(self) -> Permutation | list[Permutation] | None:
        """Index array over the flattened pattern; a list of them if ``permute_xor_separate`` is set."""
        return None if self._manipulation is None else self._manipulation.permutation

    @property
    def permutation_(self) -> Permutation | list[Permutation] | None:
        """Another name of :attr:`permutation`."""
        return self.permutation

    @property
    def scatter_steps(self) -> Steps | None:
        """The input steps of the pattern, if ``scatter_pattern`` is set."""
        return self._scatter_steps

    @property
    def patterns(self) -> CopyPatterns:
        """The inputs of all samples, which other copy tasks can share."""
        return self._patterns

    def get_out_pattern_bounds(self, sample_ids: ArrayLike) -> tuple[Lengths, Lengths]:
        """Where the answers of a network count.

        Args:
            sample_ids: Ids of samples ``[B]``.

        Returns:
            The first step after the stop flag, and the number of steps from there to the end of the sample; each
            ``[B]``.
        """
        ids = np.asarray(sample_ids, dtype=np.int64)
        return self._patterns.stop[ids] + 1, self._patterns.answered[ids]

    def get_zeroed_ts(self, sample_ids: ArrayLike) -> Lengths:
        """Number of input steps before the stop flag that do not belong to the pattern, ``[B]``."""
        ids = np.asarray(sample_ids, dtype=np.int64)
        return self._patterns.stop[ids] - self._patterns.shown[ids]

    @staticmethod
    def create_permutation_matrix(
        permute_time: bool,
        permute_width: bool,
        pat_len_perm: int,
        seq_width: int,
        rstate_permute: np.random.RandomState,
        pairwise_permute: bool = False,
        revert_output_seq: bool = False,
    ) -> Permutation | None:
        """Draw a permutation, see :func:`~hypnettorch.data.timeseries.pattern_manipulation.permutation_of_pattern`."""
        return permutation_of_pattern(
            permute_time,
            permute_width,
            pat_len_perm,
            seq_width,
            rstate_permute,
            pairwise_permute=pairwise_permute,
            revert_output_seq=revert_output_seq,
        )

    def _prepare_outputs(self, steps: Tensor, sample_ids: ArrayLike | None) -> Tensor:
        """The pattern after all manipulations; ``sample_ids`` are needed to reverse patterns of different length."""
        if self._manipulation is not None:
            return self._manipulate(steps, self._manipulation)
        return self._reverse(steps, sample_ids) if self._options.revert_output_seq else steps

    def _manipulate(self, target: Tensor, manipulation: PatternManipulation) -> Tensor:
        """Manipulate the pattern of targets ``[T, B, O]``; it is at the same steps in all samples."""
        steps = self._options.pattern_steps
        start = int(self._patterns.pattern_start[0])
        pattern = target[start : start + steps].transpose(0, 1)
        changed = manipulation(pattern.flatten(1)).view_as(pattern)
        return torch.cat([target[:start], changed.transpose(0, 1), target[start + steps :]])

    def _reverse(self, target: Tensor, sample_ids: ArrayLike | None) -> Tensor:
        """Reverse patterns of different length in targets ``[T, B, O]``."""
        if sample_ids is None:
            checks.fail("sample_ids", "the ids of the samples, since patterns differ in length", None)
        ids = np.asarray(sample_ids, dtype=np.int64)
        start, shown = self._patterns.pattern_start[ids], self._patterns.shown[ids]
        step = np.arange(len(target))[:, None]
        inside = (step >= start) & (step < start + shown)
        source = torch.from_numpy(np.where(inside, 2 * start + shown - 1 - step, step)).to(target.device)
        return target.gather(0, source[:, :, None].expand_as(target))

    def _plot_sample(
        self,
        fig: Any,
        inner_grid: Any,
        num_inner_plots: int,
        ind: int,
        inputs: NDArray,
        outputs: NDArray | None = None,
        predictions: NDArray | None = None,
        equalize_size: bool = False,
        mask_predictions: bool = False,
        sample_ids: ArrayLike | None = None,
        **kwargs: Any,
    ) -> None:
        """Draw inputs, outputs and predictions over time.

        Args:
            equalize_size: Give outputs and predictions as many rows as inputs.
            mask_predictions: Leave out predictions at steps that do not count; needs ``sample_ids``.
            sample_ids: Ids of all samples of the figure.

        Raises:
            ValueError: If ``sample_ids`` are needed and missing.
        """
        if mask_predictions and sample_ids is None:
            checks.fail("sample_ids", "the ids of the samples, since mask_predictions is set", None)
        in_width, out_width = self.in_shape[0], self.out_shape[0]
        panels = [("input", np.asarray(inputs).reshape(-1, in_width))]
        for name, array in (("output", outputs), ("prediction", predictions)):
            if array is not None:
                panels.append((name, np.asarray(array, dtype=float).reshape(-1, out_width)))
        for cell, (name, steps) in zip(inner_grid, panels, strict=False):
            if name == "prediction" and mask_predictions:
                start, length = self.get_out_pattern_bounds([np.asarray(sample_ids)[ind]])
                step = np.arange(len(steps))[:, None]
                steps = np.where((step >= start) & (step < start + length), steps, 0.0)
            if equalize_size and name != "input":
                steps = np.pad(steps, ((0, 0), (0, in_width - out_width)))
            axes = fig.add_subplot(cell)
            show_steps(axes, steps)
            axes.set_ylabel(name, fontsize=7)


def _draw_manipulation(options: CopyOptions, rng: np.random.RandomState) -> PatternManipulation | None:
    """The permutations that the options ask for."""
    reverses = options.revert_output_seq and options.constant_length
    if not (options.permutes or reverses):
        return None
    mixes = options.permute_xor and not reverses
    separate = mixes and options.permute_xor_separate
    permutations = [
        permutation_of_pattern(
            options.permute_time,
            options.permute_width,
            options.pattern_steps,
            options.num_outputs,
            rng,
            pairwise_permute=options.pairwise_permute,
            revert_output_seq=options.revert_output_seq,
        )
        for _ in range(options.permute_xor_iter if separate else 1)
    ]
    drawn = tuple(permutation for permutation in permutations if permutation is not None)
    return PatternManipulation(drawn, options.permute_xor_iter if mixes else 0, separate)


def _draw_scatter_steps(options: CopyOptions, rng: np.random.RandomState) -> Steps | None:
    if not options.scatter_pattern:
        return None
    return np.sort(rng.choice(np.arange(options.min_input_len), options.pat_len, replace=False))


def _checked_steps(options: CopyOptions, scatter_steps: ArrayLike) -> Steps:
    """Steps that a user gave."""
    if not options.scatter_pattern:
        checks.fail("scatter_steps", "None, since scatter_pattern is not set", scatter_steps)
    steps = np.asarray(checks.integers("scatter_steps", scatter_steps, 0))
    if len(steps) != options.pat_len or len(np.unique(steps)) < len(steps) or steps.max() >= options.min_input_len:
        expected = f"{options.pat_len} different steps below {options.min_input_len}"
        checks.fail("scatter_steps", expected, steps.tolist())
    return steps


def _split_sizes(num_train: int, num_test: int, num_val: int | None) -> dict[str, int]:
    return {
        "train": checks.integer("num_train", num_train, 0),
        "test": checks.integer("num_test", num_test, 0),
        "val": 0 if num_val is None else checks.integer("num_val", num_val, 0),
    }


def _samples(
    options: CopyOptions, sizes: dict[str, int], patterns: CopyPatterns, scatter_steps: Steps | None
) -> SequenceSamples:
    lengths = patterns.stop + 1 + patterns.answered
    return SequenceSamples(
        inputs=patterns.inputs.reshape(len(patterns.inputs), -1),
        outputs=patterns.targets(options.num_outputs, scatter_steps).reshape(len(patterns.inputs), -1),
        in_shape=(options.seq_width + 1,),
        num_classes=None,
        in_lengths=lengths,
        out_lengths=lengths,
        out_width=options.num_outputs,
        **consecutive_ids(**sizes),
    )
