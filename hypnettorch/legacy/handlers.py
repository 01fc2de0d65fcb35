"""Data handlers that fill the dictionary ``_data`` by hand, as those written for hypnettorch 0.0.4 do.

Such a handler calls the constructor of its base without arguments and then fills the dictionary. The arrays are made of
it when they are first asked for, and again when other arrays stand in it.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnettorch.core import checks
from hypnettorch.data import encoding
from hypnettorch.data.batches import RandomStreams
from hypnettorch.data.dataset import Dataset
from hypnettorch.data.samples import Ids, Samples
from hypnettorch.data.sequential_dataset import SequenceSamples, SequentialDataset
from hypnettorch.legacy import names

KEYS = ("classification", "in_data", "in_shape", "out_data", "out_shape", "train_inds", "test_inds")
"""What there must be; ``num_classes`` and ``is_one_hot`` come with classification, ``val_inds`` where there are any."""

SEED = 42
"""Of the order of batches, as in all handlers."""


def samples_of(handler: Any) -> Samples:
    """The arrays that a handler has put into its dictionary.

    Raises:
        ValueError: If something is missing or does not fit; the message names the entry.
    """
    data: dict[str, Any] = handler._data
    for key in KEYS + (("num_classes",) if data.get("classification") else ()):
        if data.get(key) is None:
            checks.fail(f"_data['{key}']", "a value, before the handler is asked for samples", None)
    if bool(data.get("sequence", False)) != handler.sequence:
        base = "SequentialDataset" if data["sequence"] else "Dataset"
        checks.fail("_data['sequence']", f"{handler.sequence} in this base class ({base} is the one)", data["sequence"])
    inputs = _rows("in_data", data["in_data"])
    if inputs.dtype == np.uint8 and not handler.sequence:  # numbers, not pixels that are to be divided by 255
        inputs = inputs.astype(np.float32)
    outputs = _outputs(data)
    if len(outputs) != len(inputs):
        checks.fail("_data['out_data']", f"a row for each of {len(inputs)} inputs", len(outputs))
    facts: dict[str, Any] = {
        "inputs": inputs,
        "outputs": outputs,
        "in_shape": tuple(checks.integers("_data['in_shape']", data["in_shape"], 1)),
        "num_classes": data["num_classes"] if data["classification"] else None,
        **{f"{split}_ids": _ids(f"{split}_inds", data, len(inputs)) for split in ("train", "test", "val")},
    }
    if handler.sequence:
        for key in ("in_seq_lengths", "out_seq_lengths"):
            facts[key.replace("_seq", "")] = _lengths(key, data, len(inputs))
        facts["out_width"] = 1 if data["classification"] else math.prod(data["out_shape"])
        return SequenceSamples(**facts)
    if inputs.shape[1] != math.prod(facts["in_shape"]):
        checks.fail("_data['in_shape']", f"the shape of {inputs.shape[1]} numbers", list(facts["in_shape"]))
    return Samples(**facts)


def _rows(key: str, values: Any) -> NDArray:
    array = np.asarray(values)
    if array.ndim != 2:
        checks.fail(f"_data['{key}']", "an array with 2 dimensions", f"shape {array.shape}")
    return array


def _outputs(data: dict[str, Any]) -> NDArray:
    """Values to predict, or class labels as integers."""
    outputs = _rows("out_data", data["out_data"])
    if not data["classification"]:
        return outputs
    if data.get("is_one_hot"):
        labels = encoding.to_labels(outputs, data["num_classes"])
    else:
        labels = outputs.astype(np.int64)
        if not np.array_equal(labels, outputs):
            checks.fail("_data['out_data']", "integers, since they are class labels", "other numbers")
    outputs.setflags(write=False)  # whoever changes them in place would wait for an effect
    return labels


def _ids(key: str, data: dict[str, Any], num_rows: int) -> Ids:
    found = data.get(key)
    ids = np.zeros(0, dtype=np.int64) if found is None else np.asarray(found, dtype=np.int64).ravel()
    if ids.size and not 0 <= ids.min() <= ids.max() < num_rows:
        checks.fail(f"_data['{key}']", f"rows between 0 and {num_rows - 1}", f"{ids.min()} ... {ids.max()}")
    return ids


def _lengths(key: str, data: dict[str, Any], num_rows: int) -> NDArray[np.int64]:
    if data.get(key) is None:
        checks.fail(f"_data['{key}']", "the number of time steps of each sample", None)
    lengths = np.asarray(data[key], dtype=np.int64).ravel()
    if len(lengths) != num_rows:
        checks.fail(f"_data['{key}']", f"a number for each of {num_rows} samples", len(lengths))
    return lengths


def _made(handler: Any) -> tuple[Samples, RandomStreams]:
    """Arrays and random streams of the dictionary as it is now."""
    data: dict[str, Any] = handler._data
    known = handler.__dict__.get("_made")
    if known is None or known[0].keys() != data.keys() or any(known[0][key] is not data[key] for key in data):
        samples = samples_of(handler)
        known = handler.__dict__["_made"] = (dict(data), samples, RandomStreams(samples, SEED))
        own, told = list(handler.out_shape), list(data["out_shape"])
        if own != told:
            del handler.__dict__["_made"]
            checks.fail("_data['out_shape']", str(own), told)
    return known[1], known[2]


def _to_one_hot(self: Any, labels: NDArray, reverse: bool = False) -> NDArray:
    """Class labels ``[N, T]`` as one-hot vectors ``[N, T * num_classes]``, or the reverse."""
    data = self.__dict__.get("_data")
    num_classes = self.num_classes if data is None else data["num_classes"]
    return encoding.to_labels(labels, num_classes) if reverse else encoding.to_one_hot(labels, num_classes)


def _allow_no_arguments(cls: Any) -> None:
    """Let a subclass call the constructor without arguments, after which it has a dictionary to be filled."""
    construct = cls.__init__

    @functools.wraps(construct)
    def constructing(self: Any, *args: Any, **options: Any) -> None:
        if args or options or type(self) is cls:
            construct(self, *args, **options)
            return
        self._data = {}
        self._identifier = type(self).__name__
        self.preprocessing = None

    cls.__init__ = constructing


def install() -> None:
    """Give the bases of all handlers what such handlers expect."""
    for cls in (Dataset, SequentialDataset):
        _allow_no_arguments(cls)
    of_dictionary = {
        "_samples": lambda handler: _made(handler)[0],
        "_random": lambda handler: _made(handler)[1],
        "_one_hot": lambda handler: bool(handler._data.get("is_one_hot", False)),
    }
    names.install(Dataset, of_dictionary)
    Dataset._to_one_hot = _to_one_hot  # type: ignore[attr-defined]


install()
