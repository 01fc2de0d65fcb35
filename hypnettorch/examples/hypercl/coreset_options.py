"""Options of the methods that keep samples of earlier tasks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class OfCoresets:
    """Options of ``coresets``.

    Attributes:
        coreset_size: Training samples of each earlier task that are kept.
        coreset_batch_size: How many of them a step looks at, those of all earlier tasks together; -1: as many samples
            of each of them as of the task that is learned.
        coreset_reg: How much each earlier task counts, compared with the one that is learned.
        coreset_targets: What kept samples are to give. labels: their classes. outputs: what the network said of them
            when the task began.
    """

    coreset_size: int = 100
    coreset_batch_size: int = -1
    coreset_reg: float = 1.0
    coreset_targets: str = "labels"
