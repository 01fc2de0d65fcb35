"""Networks in a folder: what a file says about one, besides its tensors.

``model.safetensors`` holds the tensors by name and, as one text in its metadata, the description: a dictionary that
JSON can hold. As they are one file, they cannot disagree. ``config.json`` shows the same description to people and to
model hubs; nobody reads it back.

A description has the ``kind`` of the network, the name of its class, and the ``arguments`` of the constructor by name.
A value that JSON does not have is a dictionary with a ``kind``, too:

=================  ==================================================================================================
kind               it stands for
=================  ==================================================================================================
name of a class    another network, with its ``arguments``
``activation``     a nonlinearity: the ``name`` of its class in ``torch.nn``, with its ``options``
``GluedChunks``    an assembly function that concatenates: for each piece ``[chunks, tensor, dim]``
``tensor``         a tensor of this ``shape``, whose values are among the tensors of the file
``tuple``          a tuple of ``items``; an array of JSON is a list
``items``          a dictionary with keys that are no texts: its ``items`` are pairs
``given``          a function or a module, which who reads the file has to give: a file holds no code
=================  ==================================================================================================
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypnettorch.common import checks
from hypnettorch.common.files import FileError, FilePath, write_atomically, write_json
from hypnettorch.common.gluing import Gluing

WEIGHTS = "model.safetensors"
CONFIG = "config.json"

VERSION = 1
"""Of the form of descriptions; a reader refuses later ones."""

GLUED = "GluedChunks"

_KEY = "hypnettorch"
"""Under which the description stands in the metadata."""

ACTIVATIONS: Mapping[str, tuple[str, ...]] = {
    "ReLU": (),
    "Tanh": (),
    "Sigmoid": (),
    "SiLU": (),
    "Identity": (),
    "GELU": ("approximate",),
    "ELU": ("alpha",),
    "LeakyReLU": ("negative_slope",),
    "Softplus": ("beta", "threshold"),
}
"""Nonlinearities that a description can name, with their options."""

Description = dict[str, Any]


@dataclass(frozen=True)
class Activation:
    """A nonlinearity.

    Attributes:
        name: The name of its class in ``torch.nn``, one of :data:`ACTIVATIONS`.
        options: Its options by name.
    """

    name: str
    options: tuple[tuple[str, Any], ...] = ()


def describe(value: Any) -> Any:
    """A value as a description holds it."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return _describe_mapping(value)
    name = type(value).__name__
    if name in ACTIVATIONS and type(value).__module__.startswith("torch.nn."):
        return describe(Activation(name, tuple((key, getattr(value, key)) for key in ACTIVATIONS[name])))
    if isinstance(value, Activation):
        return {"kind": "activation", "name": value.name, "options": dict(value.options)}
    if isinstance(value, Gluing):
        return {"kind": GLUED, "pieces": value.numbers}
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return {"kind": "tensor", "shape": list(value.shape)}
    if isinstance(value, tuple):
        return {"kind": "tuple", "items": [describe(entry) for entry in value]}
    if isinstance(value, list) or name == "ParameterList":
        return [describe(entry) for entry in value]
    return {"kind": "given"}


def _describe_mapping(value: Mapping[Any, Any]) -> Description:
    described = {key: describe(entry) for key, entry in value.items()}
    if all(isinstance(key, str) for key in described) and "kind" not in described:
        return described
    return {"kind": "items", "items": [[key, entry] for key, entry in described.items()]}


def restore(description: Any, make: Callable[[str, Description, str], Any], place: str = "") -> Any:
    """The value that a description stands for.

    Args:
        description: What :func:`describe` returned.
        make: Called with kind, description and place to make what is of a kind of its own.
        place: Where the description stands: names of arguments, joined by dots.
    """
    if isinstance(description, list):
        return [restore(entry, make, f"{place}.{i}") for i, entry in enumerate(description)]
    if not isinstance(description, dict):
        return description
    kind = description.get("kind")
    if kind is None:
        return {key: restore(entry, make, join(place, key)) for key, entry in description.items()}
    if kind == "tuple":
        return tuple(restore(description["items"], make, place))
    if kind == "items":
        pairs = enumerate(description["items"])
        return {key: restore(entry, make, f"{place}.{i}") for i, (key, entry) in pairs}
    return make(kind, description, place)


def join(place: str, name: str) -> str:
    """The place of an argument, from that of the network that has it."""
    return f"{place}.{name}" if place else name


def places_of_given(description: Any) -> list[str]:
    """Where functions and modules stand that a file cannot hold."""
    found: list[str] = []

    def visit(kind: str, described: Description, place: str) -> None:
        if kind == "given":
            found.append(place)
        restore(described.get("arguments"), visit, place)

    restore(description, visit)
    return found


def check_given(description: Description, given: Mapping[str, Any]) -> None:
    """Raise unless exactly those functions and modules are given that a description leaves open."""
    wanted = places_of_given(description)
    if sorted(wanted) != sorted(given):
        checks.fail("given", f"functions or modules for {wanted}, which a file does not hold", sorted(given))


def write(folder: FilePath, description: Description, serialize: Callable[[dict[str, str]], bytes]) -> None:
    """Write a folder; at any moment the old or the new network is in it.

    Args:
        folder: It is made if there is none.
        description: The description.
        serialize: Called with the metadata, returns the content of a file of safetensors.

    Raises:
        OSError: If a file cannot be written.
    """
    text = json.dumps(description)
    blob = serialize({_KEY: text})
    write_atomically(Path(folder, WEIGHTS), lambda file: file.write(blob))
    write_json(Path(folder, CONFIG), description)


def read(folder: FilePath) -> tuple[Description, bytes]:
    """The description in a folder, and the content of the file of safetensors.

    Raises:
        FileNotFoundError: If there is no file.
        FileError: If it is damaged, or no network is described in it.
    """
    path = Path(folder, WEIGHTS)
    blob = path.read_bytes()
    try:
        header = json.loads(blob[8 : 8 + int.from_bytes(blob[:8], "little")])
        text = header.get("__metadata__", {}).get(_KEY)
        description = None if text is None else json.loads(text)
    except (ValueError, AttributeError) as error:
        raise FileError(f"{path}: it is damaged ({error})") from error
    if not isinstance(description, dict) or not {"kind", "arguments", "version"} <= description.keys():
        raise FileError(f"{path}: expected a network that save_pretrained wrote, got a file without a description")
    if description["version"] != VERSION:
        raise FileError(f"{path}: expected version {VERSION}, got {description['version']}")
    return description, blob
