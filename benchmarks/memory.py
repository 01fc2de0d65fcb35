"""The memory that a step takes."""

from __future__ import annotations

from collections.abc import Callable
from unittest import mock

from torch.profiler import ProfilerActivity, profile

from hypnettorch.core import large_tensors


def peak_tensors(step: Callable[[], object]) -> float:
    """Most megabytes in use at once during a step, from the recorded allocations and releases of the CPU.

    Memory of our pool is not recorded, so this step does without it.
    """
    recording = profile(activities=[ProfilerActivity.CPU], profile_memory=True)
    with mock.patch.object(large_tensors, "_pool", None), recording as record:
        step()
    events = [event for event in record.profiler.kineto_results.events() if event.name() == "[memory]"]
    current = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        current += event.nbytes()
        peak = max(peak, current)
    return peak / 2**20
