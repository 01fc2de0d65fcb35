"""Pickles of plain values: all of these are read, and nothing else happens."""

from __future__ import annotations

import argparse
import copyreg
import os
import pickle
import random
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypnettorch.utils import pickled_numbers, plain_pickle
from hypnettorch.utils.pickled_numbers import number_names
from hypnettorch.utils.plain_pickle import TooLargeError, UnknownNameError
from tests.utils.crafted import (
    BUILD,
    CALL,
    EMPTY,
    END,
    MARK,
    PROTOCOL,
    get,
    name,
    nested_lists,
    number,
    put,
    text,
    values,
)

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
MEBI = 2**20

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
keys = st.integers() | st.text() | st.tuples(st.integers(), st.text())
plain_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=20,
)


def loads(content: bytes, max_bytes: int = MEBI) -> Any:
    return plain_pickle.loads(content, number_names(), max_bytes)


@given(plain_values, st.sampled_from(PROTOCOLS))
def test_plain_values_are_what_they_were(value: Any, protocol: int) -> None:
    found = loads(pickle.dumps(value, protocol))
    assert found == value
    assert repr(found) == repr(value)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("dtype", ["bool", "int8", "uint64", "float16", ">i4", "float64", "complex64"])
def test_arrays_are_what_they_were(dtype: str, protocol: int) -> None:
    array = np.arange(6).reshape(2, 3).astype(dtype)
    for wanted in (array, np.asfortranarray(array), array[:, 1:], array[:0]):
        found = loads(pickle.dumps({"a": [wanted, wanted[:1]]}, protocol))["a"]
        assert (found[0].dtype, found[0].tolist()) == (wanted.dtype, wanted.tolist())
        assert found[1].tolist() == wanted[:1].tolist()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_numbers_of_numpy_are_numbers(protocol: int) -> None:
    found = loads(pickle.dumps([np.float32(0.5), np.int64(3), np.bool_(True)], protocol))
    assert found == [0.5, 3, True]
    assert [type(value) for value in found] == [float, int, bool]


def test_texts_of_python_2() -> None:
    assert loads(b"(dp0\nS'data'\np1\nS'\\x00\\xff'\np2\ns.") == {"data": "\x00\xff"}
    assert loads(b"\x80\x02}U\x04dataU\x02\x00\xffs.") == {"data": "\x00\xff"}


def test_what_is_shared_stays_shared() -> None:
    inner: list[int] = [1]
    found = loads(pickle.dumps([inner, inner]))
    assert found[0] is found[1]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "value", [print, os.mkdir, argparse.Namespace(a=1), Fraction(1, 2), np.dtype("O"), np.array([print]), object()]
)
def test_other_objects_are_refused(value: Any, protocol: int) -> None:
    with pytest.raises((UnknownNameError, pickle.UnpicklingError)):
        loads(pickle.dumps([value], protocol))


# What others have made

REFUSALS = (pickle.UnpicklingError, ValueError, TypeError, LookupError, AttributeError, RecursionError)


def deep_key(depth: int) -> bytes:
    """A tuple in a tuple in a tuple ... as a key, whose hash would overflow the stack of the process."""
    return PROTOCOL + b"}N" + b"\x85" * depth + b"Ns" + END


HARMFUL: dict[str, bytes] = {
    "patches a class": name("numpy", "dtype") + values(b"N", b"}" + text("name") + number(1) + b"s") + BUILD + END,
    "patches a function": name("_codecs", "encode") + values(b"N", b"}" + text("make") + b"Ns") + BUILD + END,
    "patches a list": EMPTY + b"}" + text("append") + b"Nsb.",
    "encodes what is no text": name("_codecs", "encode") + values(EMPTY) + CALL + END,
    "encodes by another codec": name("_codecs", "encode") + values(text("x"), text("hex_codec")) + CALL + END,
    "an array of objects": name("numpy", "dtype") + values(text("O8")) + CALL + END,
    "an array of texts": name("numpy", "dtype") + values(text("S1")) + CALL + END,
    "calls a text": text("print") + values(text("x")) + CALL + END,
    "calls with a list": name("numpy", "dtype") + EMPTY + CALL + END,
    "a name with dots": name("numpy", "ndarray.__init__.__globals__") + END,
    "a registered extension": b"\x82\x01.",
    "a persistent object": b"N" + b"Q.",
    "a deep key": deep_key(150_000),
    "a list as a key": b"}" + EMPTY + b"Ns.",
    "holds itself": EMPTY + put(0) + get(0) + b"a.",
    "a large memory": b"Nr" + b"\xff\xff\xff\x7f" + b"j\xff\xff\xff\x7e.",
    "nothing on the stack": b"0.",
    "no mark": b"t.",
    "tuple of too few": b"N\x87.",
    "appends to a number": number(1) + b"Na.",
    "a byte array that is not there": b"\x80\x05\x96" + b"\xff" * 7 + b"\x3f.",
    "a text that is not there": b"\x8d" + b"\xff" * 7 + b"\x3f.",
    "a deep list": EMPTY * 100_000 + b"a" * 99_999 + END,
    "the name alone": name("numpy", "dtype") + END,
    "the end is missing": EMPTY,
    "is empty": b"",
}


@pytest.mark.parametrize("case", HARMFUL)
def test_harmful_streams_are_refused(case: str) -> None:
    modules = (plain_pickle, pickled_numbers)
    before = [{name: repr(value) for name, value in vars(module).items()} for module in modules]
    with pytest.raises(REFUSALS):
        loads(HARMFUL[case])
    assert [{name: repr(value) for name, value in vars(module).items()} for module in modules] == before


def test_registered_extensions_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    copyreg.add_extension("os", "getcwd", 0x70)
    try:
        with pytest.raises(pickle.UnpicklingError, match="EXT1"):
            loads(b"\x82\x70" + values() + CALL + END)
    finally:
        copyreg.remove_extension("os", "getcwd", 0x70)


GROWING: dict[str, bytes] = {
    "lists": PROTOCOL + nested_lists(9) + END,
    "texts": PROTOCOL + text("x" * 100_000) + put(0) + EMPTY + MARK + get(0) * 1000 + b"e" + END,
    "tuples": PROTOCOL + b")" + b"2\x86" * 40 + END,
    "arrays": PROTOCOL
    + pickle.dumps(np.zeros(100_000, dtype=np.uint8), 2)[2:-1]
    + put(90)
    + EMPTY
    + MARK
    + get(90) * 1000
    + b"e"
    + END,
}


@pytest.mark.parametrize("case", GROWING)
def test_streams_that_grow_are_refused(case: str) -> None:
    assert len(GROWING[case]) < 500_000
    with pytest.raises(TooLargeError, match="more than 1048576 bytes"):
        loads(GROWING[case])


def test_the_limit_is_what_counts() -> None:
    content = pickle.dumps([1] * 1000)
    assert len(loads(content, max_bytes=8 * 1001)) == 1000
    with pytest.raises(TooLargeError):
        loads(content, max_bytes=8 * 1001 - 1)


def test_what_is_encoded_many_times_is_there_once() -> None:
    call = name("_codecs", "encode") + get(0) + b"\x85" + CALL
    content = PROTOCOL + text("x" * 10_000) + put(0) + b"0" + MARK + call * 50 + b"t."
    found = loads(content)
    assert {id(value) for value in found} == {id(found[0])}


def mutations(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.randint(1, 6)):
        position = rng.randrange(len(changed))
        change: Callable[[], object] = rng.choice(
            [
                lambda at=position: changed.__setitem__(at, rng.randrange(256)),
                lambda at=position: changed.insert(at, rng.randrange(256)),
                lambda at=position: changed.__delitem__(slice(at, at + rng.randint(1, 5))),
            ]
        )
        change()
    return bytes(changed[: rng.randint(1, len(changed))] if rng.random() < 0.2 else changed)


def test_damaged_streams_give_values_or_errors() -> None:
    rng = random.Random(0)
    content = {"a": [1, "x", (None, 2.5)], "b": np.arange(3), "c": {1, 2}, "d": np.float32(1)}
    streams = [pickle.dumps(content, protocol) for protocol in PROTOCOLS]
    plain = (
        dict,
        list,
        tuple,
        set,
        frozenset,
        str,
        bytes,
        bytearray,
        int,
        float,
        bool,
        complex,
        type(None),
        np.ndarray,
    )
    refused = 0
    for _ in range(3000):
        try:
            found = loads(mutations(rng.choice(streams), rng))
        except Exception:
            refused += 1
        else:
            assert isinstance(found, plain)
    assert 1000 < refused < 3000
