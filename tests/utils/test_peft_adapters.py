"""Adapters in the files of PEFT: what we write computes the same there, and what it writes computes the same here."""

from __future__ import annotations

import copy
import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hypnettorch.core.low_rank import LowRank, sum_of_stacked
from hypnettorch.hnets import HMLP, HLowRank
from hypnettorch.mnets.module_net import ModuleNet
from hypnettorch.utils.peft_adapters import CONFIG, WEIGHTS, load_peft_adapter, save_peft_adapter
from hypnettorch.utils.safe_files import FileError

IDS = torch.tensor([[3, 0, 5, 3], [1, 6, 2, 0]])


class Mixed(nn.Module):
    """A layer of each kind, with names that end alike."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(9, 8)
        self.conv = nn.Conv2d(1, 3, 3, padding=1, stride=2)
        self.blocks = nn.Sequential(nn.Conv1d(2, 4, 3), nn.Tanh(), nn.ModuleDict({"conv": nn.Linear(10, 5)})["conv"])
        self.out = nn.Sequential(nn.Linear(5, 5), nn.Linear(5, 2, bias=False))

    def forward(self, tokens: Tensor) -> Tensor:
        h = self.conv(self.embedding(tokens).unsqueeze(1)).tanh()
        return self.out(self.blocks(h.flatten(1).view(len(tokens), 2, 12)))


def gpt2() -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = {"vocab_size": 12, "n_positions": 8, "n_embd": 8, "n_layer": 2, "n_head": 2, "bos_token_id": 0}
    off = {"use_cache": False, "attn_implementation": "eager", "resid_pdrop": 0, "embd_pdrop": 0, "attn_pdrop": 0}
    return GPT2LMHeadModel(GPT2Config(**sizes, **off, eos_token_id=1))


MODELS: dict[str, tuple[Callable[[], nn.Module], dict[str, int], list[str]]] = {
    "mixed": (Mixed, {"*conv.weight": 1, "out.1.*": 2, "*": 3}, ["embedding", "conv", "blocks.0", "blocks.2", "out.1"]),
    "gpt2": (gpt2, {"*c_attn*": 4, "*c_proj*": 2}, ["c_attn", "mlp.c_proj"]),
}


def build(name: str) -> tuple[nn.Module, ModuleNet]:
    """A module, and a network around a copy of it."""
    torch.manual_seed(2)
    module = MODELS[name][0]().eval()
    return module, ModuleNet(copy.deepcopy(module), include=list(MODELS[name][1]), exclude=lambda n, p: p.dim() < 2)


def logits(output: Any) -> Tensor:
    return output if isinstance(output, Tensor) else output.logits


def close(got: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


def generated(name: str, net: ModuleNet) -> dict[Any, LowRank]:
    hnet = HLowRank(lambda shapes: HMLP(shapes, layers=[8], verbose=False), net, MODELS[name][1], 5.0, verbose=False)
    nn.init.constant_(hnet.gates, 0.7)
    return hnet.factors(cond_id=0)


def in_peft(module: nn.Module, folder: Path) -> nn.Module:
    import peft

    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # missing or unexpected weights, wrong fan_in_fan_out
        return peft.PeftModel.from_pretrained(copy.deepcopy(module), folder).eval()


@pytest.mark.parametrize("name", MODELS)
def test_ours_in_peft(name: str, tmp_path: Path) -> None:
    module, net = build(name)
    adapter = generated(name, net)
    save_peft_adapter(tmp_path, adapter, net, base_model="some/model")
    expected = logits(net(IDS, weights=adapter))
    assert not torch.allclose(expected, logits(module(IDS)), atol=1e-3)
    model = in_peft(module, tmp_path)
    close(logits(model(IDS)), expected)
    close(logits(model.merge_and_unload()(IDS)), expected)
    config = json.loads((tmp_path / CONFIG).read_text())
    assert config["base_model_name_or_path"] == "some/model"
    assert config["fan_in_fan_out"] is (name == "gpt2")
    again = load_peft_adapter(tmp_path, net)
    for key, pair in adapter.items():
        torch.testing.assert_close(again[key], pair, rtol=0, atol=0)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("use_rslora", [False, True])
def test_theirs_in_ours(name: str, use_rslora: bool, tmp_path: Path) -> None:
    import peft

    module, net = build(name)
    layers = MODELS[name][2]
    config = peft.LoraConfig(
        r=3,
        lora_alpha=7,
        target_modules=layers,
        rank_pattern={layers[0]: 2, layers[1]: 1},
        alpha_pattern={layers[0]: 5},
        init_lora_weights=False,
        fan_in_fan_out=name == "gpt2",
        use_rslora=use_rslora,
    )
    model = peft.get_peft_model(copy.deepcopy(module), config).eval()
    model.save_pretrained(tmp_path)
    adapter = load_peft_adapter(tmp_path, net)
    expected = logits(model(IDS))
    assert not torch.allclose(expected, logits(module(IDS)), atol=1e-3)
    close(logits(net(IDS, weights=adapter)), expected)
    close(logits(net.materialize(adapter)(IDS)), expected)
    second = tmp_path / "second"
    save_peft_adapter(second, adapter, net)
    close(logits(in_peft(module, second)(IDS)), expected)


def test_tied_weights(tmp_path: Path) -> None:
    """They change in all their places; PEFT would also change them in one of them, which is refused."""
    module = gpt2().eval()
    net = ModuleNet(copy.deepcopy(module), include="transformer.wte.weight")
    adapter = {"transformer.wte.weight": LowRank(torch.randn(2, 8), torch.randn(12, 2))}
    save_peft_adapter(tmp_path, adapter, net)
    import peft

    with pytest.warns(UserWarning, match="tie"):
        model = peft.PeftModel.from_pretrained(copy.deepcopy(module), tmp_path).eval()
    close(model(IDS).logits, net(IDS, weights=adapter).logits)
    torch.testing.assert_close(load_peft_adapter(tmp_path, net), adapter)
    tensors = load_file(tmp_path / WEIGHTS)
    half = {key: value for key, value in tensors.items() if "lm_head" not in key}
    assert len(half) == 2
    save_file(half, tmp_path / WEIGHTS)
    with pytest.raises(ValueError, match="share a weight"):
        load_peft_adapter(tmp_path, net)


def test_sums_of_adapters_are_adapters(tmp_path: Path) -> None:
    module, net = build("mixed")
    hnet = HLowRank(lambda s: HMLP(s, num_cond_embs=3, verbose=False), net, 2, verbose=False)
    nn.init.ones_(hnet.gates)
    both = sum_of_stacked(hnet.factors(cond_id=[0, 2]))
    save_peft_adapter(tmp_path, both, net)
    close(in_peft(module, tmp_path)(IDS), net(IDS, weights=both))


def test_files_are_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, net = build("mixed")
    adapter = generated("mixed", net)
    save_peft_adapter(tmp_path, adapter, net)

    def fail(*paths: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        save_peft_adapter(tmp_path, {"conv.weight": LowRank(torch.ones(5, 9), torch.ones(3, 5))}, net)
    assert [path.name for path in tmp_path.iterdir()] == [WEIGHTS]
    assert len(load_file(tmp_path / WEIGHTS)) == 2 * len(adapter)


def edited(folder: Path, **entries: Any) -> None:
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({**config, **entries}))


def with_tensors(change: Callable[[dict[str, Tensor]], None]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        tensors = load_file(folder / WEIGHTS)
        change(tensors)
        save_file(tensors, folder / WEIGHTS)

    return spoil


OUT = "base_model.model.out.0.lora_"
KEY = "base_model.model.conv.lora_A.weight"

SPOILED: dict[str, tuple[Callable[[Path], object], type[Exception], str]] = {
    "no config": (lambda f: (f / CONFIG).unlink(), FileNotFoundError, CONFIG),
    "no weights": (lambda f: (f / WEIGHTS).unlink(), FileNotFoundError, WEIGHTS),
    "damaged config": (lambda f: (f / CONFIG).write_text("{"), FileError, "damaged"),
    "config of another kind": (lambda f: (f / CONFIG).write_text("[]"), FileError, "dictionary"),
    "damaged weights": (lambda f: (f / WEIGHTS).write_bytes(b"\0" * 40), FileError, "damaged"),
    "another method": (lambda f: edited(f, peft_type="LOHA"), FileError, "peft_type = 'LOHA'"),
    "dora": (lambda f: edited(f, use_dora=True), FileError, "use_dora"),
    "biases": (lambda f: edited(f, bias="all"), FileError, "bias"),
    "further modules": (lambda f: edited(f, modules_to_save=["out"]), FileError, "modules_to_save"),
    "changed base": (lambda f: edited(f, init_lora_weights="pissa"), FileError, "pissa"),
    "half of a pair": (with_tensors(lambda tensors: tensors.__delitem__(KEY)), FileError, "conv.lora_A.weight"),
    "unknown layer": (
        with_tensors(lambda t: t.update({KEY.replace("conv", "convolution"): torch.ones(1)})),
        FileError,
        "convolution",
    ),
    "shape": (with_tensors(lambda t: t.update({KEY: torch.ones(1, 1, 3, 4)})), ValueError, "conv.weight"),
    "weights that are not selected": (
        with_tensors(lambda t: t.update({f"{OUT}A.weight": torch.ones(1, 5), f"{OUT}B.weight": torch.ones(5, 1)})),
        ValueError,
        r"also \['out.0'\]",
    ),
}


@pytest.mark.parametrize(("spoil", "error", "message"), SPOILED.values(), ids=SPOILED)
def test_wrong_files(spoil: Callable[[Path], object], error: type[Exception], message: str, tmp_path: Path) -> None:
    net = ModuleNet(Mixed(), include=["conv.weight", "out.1.weight"])
    save_peft_adapter(tmp_path, {"conv.weight": LowRank(torch.ones(1, 9), torch.ones(3, 1))}, net)
    spoil(tmp_path)
    with pytest.raises(error, match=message):
        load_peft_adapter(tmp_path, net)


WRONG: dict[str, tuple[Any, Callable[[], nn.Module], type[Exception], str]] = {
    "empty": ({}, lambda: nn.Sequential(nn.Linear(2, 1)), ValueError, "tensors for"),
    "tensor": ({0: torch.ones(1, 2)}, lambda: nn.Sequential(nn.Linear(2, 1)), TypeError, "pair"),
    "several": (
        {0: (torch.ones(2, 1, 2), torch.ones(2, 1, 1))},
        lambda: nn.Sequential(nn.Linear(2, 1)),
        ValueError,
        r"\(r, 2\)",
    ),
    "groups": (
        {0: (torch.ones(1, 1), torch.ones(2, 1))},
        lambda: nn.Sequential(nn.Conv2d(2, 2, 1, groups=2)),
        ValueError,
        "Conv2d at '0'",
    ),
    "other layers": (
        {0: (torch.ones(1, 1), torch.ones(2, 1))},
        lambda: nn.Sequential(nn.ConvTranspose2d(2, 1, 1)),
        ValueError,
        "ConvTranspose2d at '0'",
    ),
    "the model itself": (
        {0: (torch.ones(1, 2), torch.ones(1, 1))},
        lambda: nn.Linear(2, 1),
        ValueError,
        "Linear at ''",
    ),
    "a part of a layer": (
        {0: (torch.ones(1, 2), torch.ones(6, 1))},
        lambda: nn.Sequential(nn.GRU(2, 2)),
        ValueError,
        "0.weight_ih_l0",
    ),
}


@pytest.mark.parametrize(("adapter", "module", "error", "message"), WRONG.values(), ids=WRONG)
def test_wrong_adapters(
    adapter: Any, module: Callable[[], nn.Module], error: type[Exception], message: str, tmp_path: Path
) -> None:
    folder = tmp_path / "adapter"
    with pytest.raises(error, match=message):
        save_peft_adapter(folder, adapter, ModuleNet(module(), include=lambda name, p: p.dim() > 1))
    assert not folder.exists()
