"""What a copy task is like: its options, and which of them go together."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

from hypnettorch.core import checks


@dataclass(frozen=True)
class CopyOptions:
    """The options of :class:`~hypnettorch.data.timeseries.copy_data.CopyTask` that say what samples look like.

    Raises:
        ValueError: If an option is out of range, or options exclude each other.
    """

    min_input_len: int
    max_input_len: int
    seq_width: int = 7
    out_width: int = -1
    pat_len: int = -1
    scatter_pattern: bool = False
    permute_width: bool = False
    permute_time: bool = False
    permute_xor: bool = False
    permute_xor_iter: int = 1
    permute_xor_separate: bool = False
    random_pad: bool = False
    pad_after_stop: bool = False
    pairwise_permute: bool = False
    revert_output_seq: bool = False

    def __post_init__(self) -> None:
        low = checks.integer("min_input_len", self.min_input_len, 1)
        checks.integer("max_input_len", self.max_input_len, low)
        width = checks.integer("seq_width", self.seq_width, 1)
        if self.out_width != -1:
            checks.integer("out_width", self.out_width, 1, width)
        if self.pat_len != -1:
            checks.integer("pat_len", self.pat_len, 1)
        checks.integer("permute_xor_iter", self.permute_xor_iter, 1)
        self._check_padding()
        self._check_scattering()
        self._check_permutation()

    def _check_padding(self) -> None:
        if not self.pad_after_stop:
            return
        if self.pat_len == -1:
            checks.fail("pat_len", "a number of time steps, since pad_after_stop is set", -1)
        if self.scatter_pattern:
            checks.fail("scatter_pattern", "False, since pad_after_stop is set", True)
        if self.random_pad:
            raise checks.Unavailable("random_pad: padding after the stop flag is always zero")

    def _check_scattering(self) -> None:
        if not self.scatter_pattern:
            return
        if self.pat_len == -1 or self.pat_len > self.min_input_len:
            checks.fail("pat_len", f"between 1 and {self.min_input_len}, since scatter_pattern is set", self.pat_len)
        if not self.constant_length:
            warnings.warn(
                f"scatter_pattern: input lengths vary; only the first {self.min_input_len} steps are scattered",
                stacklevel=5,
            )

    def _check_permutation(self) -> None:
        if self.revert_output_seq and self.permutes:
            checks.fail("revert_output_seq", "False, since outputs are permuted", True)
        if self.permute_width and self.num_outputs < self.seq_width:
            raise checks.Unavailable("permute_width: needs as many outputs as inputs, out_width is less than seq_width")
        if self.pairwise_permute and self.permute_width:
            raise checks.Unavailable("pairwise_permute: swaps time steps and does not go with permute_width")
        if self.pairwise_permute and not self.permute_time:
            warnings.warn("pairwise_permute: changes nothing without permute_time", stacklevel=5)
        if self.permute_xor_separate and not self.permute_xor:
            warnings.warn("permute_xor_separate: changes nothing without permute_xor", stacklevel=5)
        if self.permute_xor and not self.permutes:
            warnings.warn("permute_xor: changes nothing without a permutation", stacklevel=5)
        if self.permutes:
            self.check_permutable()

    def check_permutable(self) -> None:
        """Raise ``ValueError`` unless patterns have a common length."""
        if not self.constant_length:
            got = f"{self.min_input_len} and {self.max_input_len}"
            checks.fail("min_input_len, max_input_len", "equal lengths, since outputs are permuted", got)
        if self.pat_len > self.min_input_len:
            checks.fail("pat_len", f"at most {self.min_input_len}, since outputs are permuted", self.pat_len)

    @property
    def permutes(self) -> bool:
        """Whether a permutation is drawn."""
        return self.permute_time or self.permute_width

    @property
    def constant_length(self) -> bool:
        """Whether all inputs have the same length."""
        return self.min_input_len == self.max_input_len

    @property
    def num_outputs(self) -> int:
        """Number of outputs per time step."""
        return self.seq_width if self.out_width == -1 else self.out_width

    @property
    def num_steps(self) -> int:
        """Number of time steps of all samples, padding included: longest input, stop flag, longest output."""
        return self.max_input_len + 1 + (self.max_input_len if self.pat_len == -1 else self.pat_len)

    @property
    def pattern_steps(self) -> int:
        """Number of time steps of a pattern, where it is the same for all samples."""
        return self.min_input_len if self.pat_len == -1 else min(self.pat_len, self.min_input_len)
