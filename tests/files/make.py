"""Write the files of ``tests/files/today``: ``python -m tests.files.make [names]``.

It was run with the version whose files must stay readable. Run again, it would write files of another version; so this
stands here to tell what is in the files.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.files import record
from tests.files.cases import CASES, LARGE, Case, weight

TODAY = Path(__file__).parent / "today"


def main() -> None:
    TODAY.mkdir(exist_ok=True)
    for name in sys.argv[1:] or CASES:
        path = TODAY / f"{name}.pt"
        torch.manual_seed(zlib.crc32(name.encode()))
        written = make(CASES[name])
        torch.save(packed(written), path)
        print(f"{name:40} {path.stat().st_size / 1024:6.1f} kB  {len(written['state_dict'])} tensors", flush=True)
        for what in unnoticed(CASES[name], written):
            print(f"    the outputs do not tell apart: {what}")
    print(f"{sum(path.stat().st_size for path in TODAY.glob('*.pt')) / 2**20:.2f} MiB")


def make(case: Case) -> dict[str, Any]:
    """The file of a network: its state after two steps, what it computes, and what it is after a third step."""
    net = case.build()
    state = {name: start(value) for name, value in net.state_dict().items()}
    net.load_state_dict(state)
    calls = case.calls()
    optimizer = record.adam(net)
    for _ in range(2):
        if optimizer is not None:
            record.step(net, optimizer, calls)
        else:
            record.evaluate(net.train(), calls)
    trained = {
        name: state[name] if torch.equal(value, state[name]) else value.clone()
        for name, value in net.state_dict().items()
    }
    written = {
        "calls": calls,
        "state_dict": trained,
        "outputs": record.outputs(net, calls),
        "optimizer": optimizer and record.copy_of(optimizer.state_dict()),
    }
    if optimizer is not None:
        record.step(net, optimizer, calls)
    return {**written, "fingerprint": record.fingerprint(net), "outputs_after_step": record.outputs(net, calls)}


def start(value: Tensor) -> Tensor:
    """A value at which no parameter is neutral."""
    if not value.is_floating_point():
        return value.clone()
    return weight(value.shape) if value.numel() > LARGE else value + 0.1 * torch.rand(value.shape)


def packed(value: Any) -> Any:
    """The same data with small tensors of one dtype in one piece of memory: each piece costs a file 300 bytes."""
    small = [tensor for tensor in record.tensors(value) if tensor.numel() <= LARGE]
    pieces = {dtype: torch.cat([t.flatten() for t in small if t.dtype == dtype]) for dtype in {t.dtype for t in small}}
    used = dict.fromkeys(pieces, 0)

    def place(tensor: Tensor) -> Tensor:
        if tensor.numel() > LARGE:
            return tensor
        first = used[tensor.dtype]
        used[tensor.dtype] += tensor.numel()
        return pieces[tensor.dtype][first : used[tensor.dtype]].view(tensor.shape)

    return record.map_tensors(place, value)


def unnoticed(case: Case, written: dict[str, Any]) -> Iterator[str]:
    """Pairs of tensors that could be exchanged in the file without any effect."""
    for first, second in pairs(written["state_dict"]):
        state = dict(written["state_dict"])
        state[first], state[second] = state[second], state[first]
        if agrees(case, {**written, "state_dict": state}):
            yield f"{first} and {second}"
    optimizer = written["optimizer"]
    averages = {i: own["exp_avg"] for i, own in optimizer["state"].items()} if optimizer else {}
    for i, j in pairs(averages):
        swapped = {**optimizer["state"], i: optimizer["state"][j], j: optimizer["state"][i]}
        if agrees(case, {**written, "optimizer": {**optimizer, "state": swapped}}):
            yield f"the optimiser's averages of {i} and {j}"


def pairs(values: dict[Any, Tensor]) -> Iterator[tuple[Any, Any]]:
    """Each tensor with the next one of the same shape, unless they are equal."""
    latest: dict[Any, Any] = {}
    for name, value in values.items():
        other = latest.get(value.shape)
        if other is not None and not torch.allclose(value, values[other], rtol=1e-3, atol=1e-5):
            yield other, name
        latest[value.shape] = name


def agrees(case: Case, written: dict[str, Any]) -> bool:
    """Whether a network that loads the file does what the file says."""
    try:
        record.replay(case.build(), written)
    except AssertionError:
        return False
    return True


if __name__ == "__main__":
    main()
