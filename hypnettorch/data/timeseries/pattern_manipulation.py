"""What a network has to do with a pattern before it repeats it: permute its bits, or mix them by exclusive or."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from hypnettorch.core import checks

Permutation = NDArray[np.int64]


def permutation_of_pattern(
    permute_time: bool,
    permute_width: bool,
    pat_len_perm: int,
    seq_width: int,
    rstate_permute: np.random.RandomState,
    pairwise_permute: bool = False,
    revert_output_seq: bool = False,
) -> Permutation | None:
    """Draw a permutation of the entries of a pattern.

    Args:
        permute_time: Exchange whole time steps; together with ``permute_width`` all entries are mixed.
        permute_width: Exchange features, at every step alike.
        pat_len_perm: Number ``P`` of time steps.
        seq_width: Number ``O`` of features.
        rstate_permute: Where the permutation is drawn from.
        pairwise_permute: With ``permute_time``: swap neighbouring steps, without a draw; an odd last one stays.
        revert_output_seq: Reverse the time steps, without a draw.

    Returns:
        Index array over the flattened pattern ``[P * O]`` with entry ``t * O + f``: entry ``k`` of the result is entry
        ``permutation[k]`` of the pattern; ``None`` if nothing is asked for.

    Example:
        >>> rng = np.random.RandomState(0)
        >>> permutation_of_pattern(True, False, 3, 2, rng)
        array([4, 5, 2, 3, 0, 1])
        >>> permutation_of_pattern(True, False, 3, 2, rng, pairwise_permute=True)
        array([2, 3, 0, 1, 4, 5])
    """
    entries = np.arange(pat_len_perm * seq_width).reshape(pat_len_perm, seq_width)
    if revert_output_seq:
        return entries[::-1].reshape(-1)
    if permute_time and permute_width:
        return rstate_permute.permutation(entries.reshape(-1))
    if permute_time and pairwise_permute:
        partner = np.arange(pat_len_perm) ^ 1
        partner[partner == pat_len_perm] = pat_len_perm - 1
        return entries[partner].reshape(-1)
    if permute_time:
        return rstate_permute.permutation(entries).reshape(-1)
    if permute_width:
        return rstate_permute.permutation(entries.T).T.reshape(-1)
    return None


@dataclass(frozen=True, eq=False)
class PatternManipulation:
    """Permutations of a pattern, and how their results are combined.

    Attributes:
        permutations: Index arrays over the flattened pattern.
        xor_rounds: 0: the result is the permuted pattern. Otherwise bits are mixed in that many rounds,
            ``y ← perm(y) XOR y`` with one permutation.
        separate: Instead round ``k`` is ``y ← perm_k(y_0) XOR y`` with the original pattern ``y_0``, so that a bit of
            the result is the parity of itself and of one bit per permutation.
    """

    permutations: tuple[Permutation, ...]
    xor_rounds: int = 0
    separate: bool = False

    def __call__(self, pattern: Tensor) -> Tensor:
        """Manipulate flattened patterns of zeros and ones, ``[B, P * O]``."""
        if self.xor_rounds == 0:
            return pattern[:, self.permutations[0]]
        result = pattern
        for k in range(self.xor_rounds):
            partner = pattern[:, self.permutations[k]] if self.separate else result[:, self.permutations[0]]
            result = (partner != result).to(pattern.dtype)
        return result

    @property
    def permutation(self) -> Permutation | list[Permutation]:
        """The permutation, or the list of them if they are separate."""
        return list(self.permutations) if self.separate else self.permutations[0]


def given_manipulation(
    permutation: Any,
    num_entries: int,
    xor: bool,
    xor_iter: int | None,
    separate: bool,
) -> PatternManipulation | None:
    """The manipulation with permutations that somebody else drew.

    Args:
        permutation: Index array over the flattened pattern, with ``separate`` a list of them; ``None`` for no
            manipulation at all.
        num_entries: Number of entries of the flattened pattern.
        xor: Mix bits by exclusive or.
        xor_iter: Number of rounds; by default one per permutation.
        separate: Whether each round has a permutation of its own.

    Raises:
        ValueError: If an index array is no permutation of the pattern, or their number is not that of the rounds.
    """
    if permutation is None:
        return None
    given = list(permutation) if xor and separate else [permutation]
    permutations = tuple(
        _checked(("permutation", k) if separate else "permutation", p, num_entries) for k, p in enumerate(given)
    )
    rounds = len(permutations) if xor_iter is None else checks.integer("permute_xor_iter", xor_iter, 1)
    if xor and separate and rounds != len(permutations):
        checks.fail("permutation", f"{rounds} permutations, one per round", len(permutations))
    return PatternManipulation(permutations, rounds if xor else 0, xor and separate)


def _checked(name: checks.Name, permutation: ArrayLike, num_entries: int) -> Permutation:
    indices = np.asarray(permutation)
    if not np.array_equal(np.sort(indices, axis=None), np.arange(num_entries)) or indices.ndim != 1:
        checks.fail(name, f"each of 0 ... {num_entries - 1} once", f"shape {indices.shape}")
    return indices.astype(np.int64)
