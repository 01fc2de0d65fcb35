"""Low-rank updates in the files of PEFT, Hugging Face's library of adapters.

A folder with ``adapter_config.json`` and ``adapter_model.safetensors`` is what ``peft.PeftModel.from_pretrained`` reads
and ``save_pretrained`` writes. Needs the extra ``adapters``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hypnettorch.common.extras import require
from hypnettorch.core import checks
from hypnettorch.core.low_rank import Key, LowRank
from hypnettorch.mnets.layer_types import AdapterForm, adapter_form_of
from hypnettorch.mnets.module_net import ModuleNet
from hypnettorch.mnets.weight_updates import parse_weights
from hypnettorch.utils.safe_files import FileError, FilePath, write_atomically, write_json

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."

_NEUTRAL: dict[str, Sequence[Any]] = {
    "peft_type": ("LORA",),
    "bias": ("none",),
    "init_lora_weights": (True, False, "gaussian", "orthogonal", "eva"),
    **dict.fromkeys(["use_dora", "lora_bias", "use_qalora", "use_bdlora"], (False,)),
    **dict.fromkeys(["modules_to_save", "layer_replication", "trainable_token_indices", "target_parameters"], ()),
    **dict.fromkeys(["alora_invocation_tokens", "arrow_config", "kasa_config", "monteclora_config"], ()),
}
"""Entries of a configuration with the values, besides none at all, for which the adapter is the sum of ``B A``."""


def save_peft_adapter(
    folder: FilePath, adapter: Mapping[Key, Sequence[Tensor]], net: ModuleNet, base_model: str | None = None
) -> None:
    """Write one adapter as a LoRA of PEFT.

    ``peft.PeftModel.from_pretrained(model, folder)``, with another copy of the module of ``net``, computes what ``net``
    computes with the adapter. The scale is a part of ``B``, so PEFT is told ``lora_alpha = r``.

    Args:
        folder: Where to; it is made if there is none.
        adapter: ``{key: (A, B)}``, as ``hnet.factors(cond_id=0)``.
        net: The network that the adapter is for.
        base_model: Name or path of the base model, for those who read the file.

    Raises:
        ValueError: If the adapter does not fit, or PEFT has no LoRA for a layer (grouped convolutions, for instance).
        ImportError: If ``safetensors`` is not installed.

    Example:
        >>> import tempfile
        >>> from torch import nn
        >>> net = ModuleNet(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), include='0.weight')
        >>> adapter = {'0.weight': (torch.ones(2, 4), torch.ones(3, 2))}
        >>> folder = tempfile.mkdtemp()
        >>> save_peft_adapter(folder, adapter, net)
        >>> sorted(path.name for path in Path(folder).iterdir())
        ['adapter_config.json', 'adapter_model.safetensors']
        >>> load_peft_adapter(folder, net)['0.weight'].rank
        2
    """
    safetensors = require("safetensors.torch", "PEFT adapters", "adapters")
    layers = _layers(net)
    ranks: dict[str, int] = {}
    tensors: dict[str, Tensor] = {}
    for name, pair in parse_weights(adapter, net.selected_shapes, {}, stacked=False).items():
        if not isinstance(pair, LowRank):
            raise TypeError(f"adapter['{name}']: expected a pair (A, B), got a tensor")
        if not layers[name]:
            checks.fail(f"adapter['{name}']", "the weight of a layer that PEFT has a LoRA for", "another parameter")
        for place in layers[name]:
            ranks[place] = pair.rank
            tensors |= _write_pair(net, place, pair)
    config = _config(net, ranks, base_model)
    folder = Path(folder)
    (folder / CONFIG).unlink(missing_ok=True)  # there never is an old one beside new weights
    content = safetensors.save(tensors, metadata={"format": "pt"})
    write_atomically(folder / WEIGHTS, lambda file: file.write(content))
    write_json(folder / CONFIG, config)


def load_peft_adapter(folder: FilePath, net: ModuleNet) -> dict[Key, LowRank]:
    """Read a LoRA of PEFT as low-rank updates. Nothing in the files is executed.

    Args:
        folder: Where the files are.
        net: The network that the adapter is for; it must have selected the weights that the adapter changes.

    Returns:
        ``{name: (A, B)}`` with the scale, ``lora_alpha / r``, in ``B``, in the dtype of the file.

    Raises:
        FileNotFoundError: If a file is missing.
        FileError: If a file is damaged, or the adapter does more than to add products.
        ValueError: If the adapter does not fit the network.
        ImportError: If ``safetensors`` is not installed.
    """
    safetensors = require("safetensors.torch", "PEFT adapters", "adapters")
    layers = _layers(net)
    config = _read_config(Path(folder, CONFIG))
    path = Path(folder, WEIGHTS)
    try:
        tensors = safetensors.load(path.read_bytes())
    except OSError:
        raise
    except Exception as error:  # whatever a damaged file makes of the reader
        raise FileError(f"{path}: it is damaged ({error})") from error
    pairs = _read_pairs(tensors, net, config)

    adapter: dict[Key, LowRank] = {}
    for name, own in zip(net.selected_shapes, net.initial_weights(), strict=True):
        found = [pairs.pop(place, None) for place in layers[name]]
        first = found[0] if found else None
        if first is None and not any(found):
            continue
        if first is None or not all(pair is not None and _equal(pair, first) for pair in found):
            checks.fail(
                "adapter", f"one and the same update for the layers {layers[name]}, which share a weight", "others"
            )
        adapter[name] = LowRank(first.A.to(own.device), first.B.to(own.device))
    if pairs:
        checks.fail("adapter", f"weights that net has selected, {list(net.selected_shapes)}", f"also {sorted(pairs)}")
    return dict(parse_weights(adapter, net.selected_shapes, {}, stacked=False))  # type: ignore[arg-type]


def _layers(net: ModuleNet) -> dict[str, list[str]]:
    """For each selected parameter the layers whose ``weight`` it is; none if it is anything else somewhere."""
    checks.instance("net", net, ModuleNet)
    layers: dict[str, list[str]] = {}
    for name in net.selected_shapes:
        owners = [alias.rpartition(".")[::2] for alias in net.names_of(name)]
        distinct = {id(net.module.get_submodule(place)): place for place, _ in reversed(owners)}
        layers[name] = list(distinct.values()) if all(key == "weight" for _, key in owners) else []
    return layers


def _form_of(net: ModuleNet, place: str) -> AdapterForm:
    layer = net.module.get_submodule(place)
    form = adapter_form_of(layer) if place else None
    if form is None:
        checks.fail("net", "layers that PEFT has a LoRA for", f"{type(layer).__name__} at '{place}'")
    return form


def _write_pair(net: ModuleNet, place: str, pair: LowRank) -> dict[str, Tensor]:
    """The tensors of a layer, with their names in a file."""
    form = _form_of(net, place)
    written = form.write(net.module.get_submodule(place), pair)
    return {
        f"{_PREFIX}{place}.{suffix}": tensor.detach().cpu().contiguous().clone()
        for suffix, tensor in zip(form.names, written, strict=True)
    }


def _config(net: ModuleNet, ranks: Mapping[str, int], base_model: str | None) -> dict[str, Any]:
    """What PEFT has to know; patterns are anchored, since PEFT looks for them at the end of names."""
    if not ranks:
        checks.fail("adapter", "at least one update", "none")
    largest = max(ranks.values())
    pattern = {f"^{re.escape(place)}$": rank for place, rank in ranks.items() if rank != largest}
    return {
        "peft_type": "LORA",
        "base_model_name_or_path": base_model,
        "target_modules": "|".join(re.escape(place) for place in ranks),
        "r": largest,
        "lora_alpha": largest,
        "rank_pattern": pattern,
        "alpha_pattern": pattern,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": any(_form_of(net, place).transposed for place in ranks),
        "inference_mode": True,
    }


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text())
    except ValueError as error:
        raise FileError(f"{path}: it is damaged ({error})") from error
    if not isinstance(config, dict):
        raise FileError(f"{path}: expected a dictionary in it, got {type(config).__name__}")
    for key, neutral in _NEUTRAL.items():
        if config.get(key) not in (None, [], {}, *neutral):
            raise FileError(f"{path}: expected an adapter that adds products only, got {key} = {config[key]!r}")
    return config


def _read_pairs(tensors: Mapping[str, Tensor], net: ModuleNet, config: Mapping[str, Any]) -> dict[str, LowRank]:
    """The pairs in a file by the name of the layer, with their scales."""
    known = {name for name, _ in net.module.named_modules()}
    pairs: dict[str, LowRank] = {}
    for key in tensors:
        match = re.fullmatch(rf"{re.escape(_PREFIX)}(.+?)\.(lora_.+)", key)
        if match is None or match[1] not in known:
            raise FileError(f"adapter: expected factors of layers of net, got '{key}'")
        place, form = match[1], _form_of(net, match[1])
        names = [f"{_PREFIX}{place}.{suffix}" for suffix in form.names]
        if key not in names or not all(name in tensors for name in names):
            raise FileError(f"adapter: expected the tensors {names}, got '{key}'")
        pair = form.read(*(tensors[name] for name in names))
        pairs[place] = LowRank(pair.A, _scale(config, place, pair.rank) * pair.B)
    return pairs


def _scale(config: Mapping[str, Any], place: str, rank: int) -> float:
    """``α / r``, or ``α / √r``."""
    alpha = config.get("lora_alpha", 8)
    for pattern, value in (config.get("alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", place):
            alpha = value
            break
    return float(alpha / (math.sqrt(rank) if config.get("use_rslora") else rank))


def _equal(one: LowRank, other: LowRank) -> bool:
    return all(a.shape == b.shape and torch.equal(a, b) for a, b in zip(one, other, strict=True))
