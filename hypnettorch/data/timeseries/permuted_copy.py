"""Copy tasks that differ in how the output is permuted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import ArrayLike

from hypnettorch.core import checks
from hypnettorch.data.batches import Seed
from hypnettorch.data.classes import task_seed
from hypnettorch.data.handler_list import HandlerList
from hypnettorch.data.timeseries.copy_data import CopyTask
from hypnettorch.data.timeseries.copy_patterns import CopyPatterns
from hypnettorch.data.timeseries.pattern_manipulation import given_manipulation

Permutations = Any


class PermutedCopy(CopyTask):
    """A copy task with inputs of one length and with a permutation that somebody else drew.

    Args:
        input_len: Number of steps before the stop flag.
        task_id: Number of the task, to tell handlers apart.
        permutation: Index array over the flattened pattern, ``RandomState(s).permutation(P * O)`` with ``P`` steps
            (``pat_len``, or ``input_len``) of ``O`` bits: entry ``k`` of the output is entry ``permutation[k]`` of the
            pattern. A list of them with ``permute_xor_separate``; ``None`` for none.
        scatter_steps: Input steps of the pattern, with ``scatter_pattern``; drawn by default.
        permute_xor: See :class:`~hypnettorch.data.timeseries.copy_data.CopyTask`; needs a permutation.
        permute_xor_iter: Likewise; by default 1, or the number of permutations.
        permute_xor_separate: Likewise.
        patterns: The inputs of all samples, instead of drawing them.
        kwargs: Other arguments of ``CopyTask``, but ``permute_time`` and ``permute_width``.

    Attributes:
        task_id: As above.

    Raises:
        ValueError: If an option is out of range, options exclude each other, or ``permutation`` does not fit.
        TypeError: If ``permute_time`` or ``permute_width`` is given.

    Example:
        >>> data = PermutedCopy(2, permutation=[1, 0], seq_width=1, num_train=1, num_test=0, rseed=6)
        >>> data.get_train_outputs()
        array([[0., 0., 0., 1., 0.]])
        >>> data.output_to_torch_tensor(data.get_train_outputs()).flatten().tolist()
        [0.0, 0.0, 0.0, 0.0, 1.0]
    """

    def __init__(
        self,
        input_len: int,
        task_id: int | None = None,
        permutation: Permutations = None,
        scatter_steps: ArrayLike | None = None,
        permute_xor: bool = False,
        permute_xor_iter: int | None = None,
        permute_xor_separate: bool = False,
        *,
        patterns: CopyPatterns | None = None,
        **kwargs: Any,
    ) -> None:
        for name in ("permute_time", "permute_width", "manipulation"):
            if name in kwargs:
                raise TypeError(f"{name}: expected no such argument, since the permutation is given from outside")
        super().__init__(input_len, input_len, scatter_steps=scatter_steps, patterns=patterns, **kwargs)
        self._identifier = "PermutedCopy"
        self.task_id = task_id
        if permutation is None:
            return
        if self._options.revert_output_seq:
            checks.fail("revert_output_seq", "False, since outputs are permuted", True)
        self._options.check_permutable()
        num_entries = self._options.pattern_steps * self._options.num_outputs
        self._manipulation = given_manipulation(
            permutation, num_entries, permute_xor, permute_xor_iter, permute_xor_separate
        )


class PermutedCopyList(HandlerList[PermutedCopy]):
    """One :class:`PermutedCopy` per permutation, all of them over the same inputs.

    Each handler keeps its own permutation and its own position in its batches. A slice holds the same handlers.

    Args:
        permutations: One permutation (or list of them, or ``None``) per task.
        input_len: Number of steps before the stop flag.
        scatter_steps_list: Input steps of the pattern for each task.
        show_perm_change_msg: Whether to log (level ``INFO``) when another handler is taken than the time before.
        seed: Task ``i`` gets the seed ``(seed, i)``.
        kwargs: Other arguments of :class:`PermutedCopy`.

    Raises:
        ValueError: As :class:`PermutedCopy`, or if ``scatter_steps_list`` does not have an entry per task.

    Example:
        >>> tasks = PermutedCopyList([None, [1, 2, 0]], input_len=3, seq_width=1, rseed=1)
        >>> [task.task_id for task in tasks]
        [0, 1]
        >>> tasks[0].patterns is tasks[1].patterns
        True
    """

    def __init__(
        self,
        permutations: Sequence[Permutations],
        input_len: int,
        scatter_steps_list: Sequence[ArrayLike] | None = None,
        show_perm_change_msg: bool = True,
        *,
        seed: Seed = 42,
        **kwargs: Any,
    ) -> None:
        steps = [None] * len(permutations) if scatter_steps_list is None else scatter_steps_list
        checks.length("scatter_steps_list", steps, len(permutations))
        patterns: CopyPatterns | None = kwargs.pop("patterns", None)
        handlers = []
        for task, (permutation, scatter_steps) in enumerate(zip(permutations, steps, strict=True)):
            handler = PermutedCopy(
                input_len, task, permutation, scatter_steps, seed=task_seed(seed, task), patterns=patterns, **kwargs
            )
            patterns = handler.patterns
            handlers.append(handler)
        super().__init__(handlers, show_perm_change_msg)
