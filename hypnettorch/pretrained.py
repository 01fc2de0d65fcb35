"""Hypernetworks in folders: tensors as safetensors, and a description of the network that holds no code.

The description is what the constructor was called with (:mod:`hypnettorch.common.descriptions`), as far as it still
holds: conditions may have been added, and a network inside of another is described as it is. :mod:`hypnettorch.jax`
reads and writes the same folders.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial, wraps
from typing import Any

import torch
from torch import nn

from hypnettorch.common import checks, descriptions
from hypnettorch.common.descriptions import Description
from hypnettorch.common.extras import require
from hypnettorch.common.files import FileError, FilePath


def record_arguments(cls: Any) -> None:
    """Let the constructor of a class describe what it is called with, in ``_arguments``; nothing passed is kept."""
    init = vars(cls).get("__init__")
    if init is None:
        return
    signature = inspect.signature(init)

    @wraps(init)
    def recording(self: Any, *args: Any, **kwargs: Any) -> None:
        if "_arguments" not in self.__dict__:  # the constructor of the class itself, not of a base
            self.__dict__["_arguments"] = _described(signature, (self, *args), kwargs)
        init(self, *args, **kwargs)

    cls.__init__ = recording


def _described(signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Description | None:
    """Arguments by name; ``None`` if they do not fit the signature, which the call will say."""
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError:
        return None
    bound.apply_defaults()
    _, *names = bound.arguments
    passed = {name: bound.arguments[name] for name in names}
    if hasattr(passed.get("base"), "initial_weights"):
        passed["base"] = passed["base"].initial_weights()
    return {name: descriptions.describe(value) for name, value in passed.items()}


_CURRENT: Mapping[str, Callable[[Any], Any]] = {
    "num_cond_embs": lambda hnet: hnet._num_known_conds,
    "hnet": lambda hnet: description_of(hnet.internal_hnet),
    "hnets": lambda hnet: [description_of(inner) for inner in hnet.internal_hnets],
    "target": lambda hnet: _describe_targets(hnet.target_keys, hnet.target_shapes),
    "rank": lambda hnet: getattr(hnet, "_ranks", None) or hnet.rank,
    "alpha": lambda hnet: hnet._alphas,
    "feature_size": lambda hnet: hnet._feature_size,
    "mnet": lambda hnet: None,
    "verbose": lambda hnet: False,
}
"""Arguments that are described as the network is, not as they were passed."""


def description_of(hnet: Any) -> Description:
    """The class of a network, and with which arguments it can be made again."""
    recorded = getattr(hnet, "_arguments", None)
    if recorded is None:
        raise TypeError(
            f"hnet: expected a hypernetwork whose constructor noted its arguments, got {type(hnet).__name__}"
        )
    arguments = {name: _CURRENT[name](hnet) if name in _CURRENT else described for name, described in recorded.items()}
    return {"kind": type(hnet).__name__, "arguments": arguments}


def _describe_targets(keys: list[Any], shapes: list[list[int]]) -> Any:
    """Target shapes, by key if the keys are more than positions."""
    return shapes if keys == list(range(len(shapes))) else dict(zip(keys, shapes, strict=True))


def save(hnet: Any, folder: FilePath, base: Any = None) -> None:
    """Write a hypernetwork (see :meth:`hypnettorch.hnets.hypernetwork.HyperNetwork.save_pretrained`)."""
    safetensors = require("safetensors.torch", "networks in folders", "adapters")
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in hnet.state_dict().items()}
    description = {**description_of(hnet), "version": descriptions.VERSION}
    if base is not None:
        description["base"] = describe_base(base)
    descriptions.write(folder, description, lambda metadata: safetensors.save(tensors, metadata))


def describe_base(base: Any) -> Description:
    """What tells a base model from others: its name, and shapes and a hash of the weights that are adapted.

    The hash is that of the weights in ``bfloat16``, so that the same model in another precision is the same base.

    Args:
        base: The :class:`~hypnettorch.mnets.module_net.ModuleNet` around it.
    """
    content = hashlib.sha256()
    for weight in base.initial_weights():
        rounded = weight.to(torch.bfloat16) if weight.is_floating_point() else weight
        content.update(rounded.cpu().contiguous().view(torch.uint8).numpy().data)
    name = getattr(base.module, "name_or_path", None) or type(base.module).__name__
    return {"name": name, "shapes": base.selected_shapes, "hash": content.hexdigest()}


def _check_base(description: Description, base: Any) -> None:
    """Raise unless a network was written beside this base model; its name is told, but does not count."""
    known = description.get("base")
    if known is None:
        checks.fail("base", "None, since the network was written without its base", type(base.module).__name__)
    own = describe_base(base)
    for what in ("shapes", "hash"):
        if own[what] != known[what]:
            other = "other shapes" if what == "shapes" else "other values of the same shapes"
            checks.fail("base", f"the model that the network was written beside, {known['name']}", f"one with {other}")


def load(
    cls: Any, kinds: Mapping[str, type], folder: FilePath, given: Mapping[str, Any] | None, base: Any = None
) -> Any:
    """Read a hypernetwork (see :meth:`hypnettorch.hnets.hypernetwork.HyperNetwork.from_pretrained`).

    Args:
        cls: The class that the network must have.
        kinds: Classes by name: all that may be made.
        folder: Where from.
        given: What a description leaves open.
        base: The base model beside which it must have been written.
    """
    safetensors = require("safetensors.torch", "networks in folders", "adapters")
    description, blob = descriptions.read(folder)
    try:
        tensors = safetensors.load(blob)
    except Exception as error:  # whatever a damaged file makes of the reader
        raise FileError(f"{folder}: it is damaged ({error})") from error
    if base is not None:
        _check_base(description, base)
    given = {} if given is None else given
    descriptions.check_given(description, given)
    with torch.random.fork_rng(devices=[]), torch.device("meta"):  # what is drawn, if anything, is replaced
        hnet = descriptions.restore(description, partial(_make, kinds, given))
    if not isinstance(hnet, cls):
        checks.fail("folder", f"one with a network of class {cls.__name__}", f"a {type(hnet).__name__}")
    hnet.load_state_dict(tensors, assign=True)
    return hnet.eval()


def _make(kinds: Mapping[str, type], given: Mapping[str, Any], kind: str, description: Description, place: str) -> Any:
    """What a description with a ``kind`` stands for."""
    if kind == "given":
        return given[place]
    if kind == "activation":
        checks.one_of("activation", description["name"], descriptions.ACTIVATIONS)
        return getattr(nn, description["name"])(**description["options"])
    if kind == "tensor":
        return torch.zeros(description["shape"])
    checks.one_of("kind", kind, kinds)
    cls: Any = kinds[kind]
    if kind == descriptions.GLUED:
        return cls.of(description["pieces"])
    arguments = descriptions.restore(description["arguments"], partial(_make, kinds, given), place)
    signature = inspect.signature(cls)
    if "verbose" in signature.parameters:
        arguments["verbose"] = False
    bound = inspect.BoundArguments(signature, arguments)
    return cls(*bound.args, **bound.kwargs)
