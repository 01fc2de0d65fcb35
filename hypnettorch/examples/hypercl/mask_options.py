"""Options of the method that masks weights."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class OfMasks:
    """Options of ``hypermask``.

    Attributes:
        mask_sparsity: Share of the weights of each tensor that a mask sets to 0.
        shared_reg: Strength of the penalty on changes of the weights that are masked.
    """

    mask_sparsity: float = 0.0
    shared_reg: float = 0.001
