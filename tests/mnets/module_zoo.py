"""Every module that is held to the laws of ``test_module_zoo.py``: one line each.

A module added here inherits all laws. What it cannot stands in ``limits`` with the error that says so; a limit that is
gone fails its test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tests.mnets.plain_modules import (
    ConvNet,
    DenseNet,
    Equilibrium,
    Forces,
    FourierOperator,
    GraphNetwork,
    MixtureOfExperts,
    NeuralODE,
    ResNet18,
    ReversibleNet,
    TiedLanguageModel,
    UNet,
    normalised_last,
    weight_normalised,
)


def recompute_children(module: nn.Module, use_reentrant: bool) -> None:
    """Let each child be checkpointed where it has an input with gradients; the module itself if it has no children."""
    for part in list(module.children()) or [module]:
        part.forward = partial(_checkpointed, part.forward, use_reentrant)


def _checkpointed(forward: Callable[..., Any], use_reentrant: bool, *args: Any, **kwargs: Any) -> Any:
    def positional(*values: Any) -> Any:
        return forward(*values[: len(args)], **dict(zip(kwargs, values[len(args) :], strict=True)))

    values = (*args, *kwargs.values())
    if any(isinstance(value, Tensor) and value.requires_grad for value in values):
        return checkpoint(positional, *values, use_reentrant=use_reentrant)
    return forward(*args, **kwargs)


@dataclass(frozen=True)
class Brought:
    """A module, and what it is called with.

    Attributes:
        build: Makes the module.
        inputs: Its keyword arguments, with leading dimensions in front.
        output: The tensor in what it returns.
        recompute: Lets parts of it be evaluated again in the backward pass, called with ``use_reentrant``.
        compiled: Whether it is compiled in the tests, which takes seconds.
        limits: Laws that do not hold, with what the error says, as a regular expression.
    """

    build: Callable[[], nn.Module]
    inputs: Callable[..., dict[str, Tensor]]
    output: Callable[[Any], Tensor] = lambda output: output
    recompute: Callable[..., None] = recompute_children
    compiled: bool = False
    limits: Mapping[str, str] = field(default_factory=dict)


SMALL = {  # of which each kind of model takes what it knows
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 4,
    "vocab_size": 11,
    "max_position_embeddings": 16,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


def from_transformers(kind: str, head: str = "ForCausalLM", **options: Any) -> nn.Module:
    """A tiny model of Hugging Face, drawn at random, without dropout."""
    import transformers

    config = transformers.AutoConfig.for_model(kind, **{**SMALL, **options})
    model = getattr(transformers, f"AutoModel{head}").from_config(config)
    for part in model.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    return model


def recompute_blocks(model: Any, use_reentrant: bool) -> None:
    """As users of Hugging Face do; it has an effect in training only."""
    model.train().gradient_checkpointing_enable({"use_reentrant": use_reentrant})


def tokens(*lead: int) -> Tensor:
    return torch.randint(3, 7, (*lead, 2, 5))


def first(output: Any) -> Tensor:
    return output[0]


def logits(output: Any) -> Tensor:
    return output.logits


def text(*lead: int) -> dict[str, Tensor]:
    return {"input_ids": tokens(*lead)}


def hugging_face(
    kind: str,
    head: str = "ForCausalLM",
    inputs: Callable[..., dict[str, Tensor]] = text,
    output: Callable[[Any], Tensor] = logits,
    **options: Any,
) -> Brought:
    """A row for a model of Hugging Face."""
    return Brought(lambda: from_transformers(kind, head, **options), inputs, output, recompute_blocks)


def from_timm(name: str, size: int, **options: Any) -> Brought:
    """A row for a small model of timm, drawn at random, for images of one size."""

    def build() -> nn.Module:
        import timm

        return timm.create_model(name, pretrained=False, num_classes=5, **options)

    return Brought(build, floats("x", 2, 3, size, size), recompute=recompute_stages)


def recompute_stages(model: Any, use_reentrant: bool) -> None:
    """As users of timm do."""
    from timm.layers import set_reentrant_ckpt

    set_reentrant_ckpt(use_reentrant)
    model.set_grad_checkpointing()


def floats(name: str, *shape: int) -> Callable[..., dict[str, Tensor]]:
    """One argument of normally distributed numbers."""
    return lambda *lead: {name: torch.randn(*lead, *shape)}


def graph(*lead: int) -> dict[str, Tensor]:
    return {
        "x": torch.randn(*lead, 4, 3),
        "edge_index": torch.tensor([[0, 1, 2, 3, 0], [1, 2, 3, 0, 0]]).expand(*lead, 2, 5),
    }


def transformer() -> nn.Module:
    return nn.Transformer(4, 2, 1, 1, 8, dropout=0.0, batch_first=True)


def projected() -> nn.Module:
    return nn.LSTM(3, 4, num_layers=2, bidirectional=True, proj_size=2)


def query_key_value(*lead: int) -> dict[str, Tensor]:
    return {name: torch.randn(*lead, 2, 3, 4) for name in ("query", "key", "value")}


def source_and_target(*lead: int) -> dict[str, Tensor]:
    return {"src": torch.randn(*lead, 2, 5, 4), "tgt": torch.randn(*lead, 2, 3, 4)}


def texts(*lead: int) -> dict[str, Tensor]:
    return {"input_ids": tokens(*lead), "decoder_input_ids": tokens(*lead)}


def text_and_image(*lead: int) -> dict[str, Tensor]:
    return {"input_ids": tokens(*lead), "pixel_values": torch.randn(*lead, 2, 3, 8, 8)}


def sound(*lead: int) -> dict[str, Tensor]:
    return {"input_features": torch.randn(*lead, 2, 4, 12), "decoder_input_ids": tokens(*lead)}


NO_REENTRANT = dict.fromkeys(
    ("reentrant_checkpointing", "reentrant_checkpointing_of_generated_weights"), "incompatible with .grad()"
)
PATCHES = {"image_size": 8, "patch_size": 4}
WINDOWS = {"img_size": 8, "patch_size": 2, "window_size": 2, "embed_dim": 4, "depths": (2, 1), "num_heads": (2, 2)}
T5 = {"d_model": 8, "d_kv": 4, "d_ff": 12, "num_layers": 1, "num_heads": 2, "dropout_rate": 0.0}
CLIP = {"text_config": SMALL, "vision_config": {**SMALL, **PATCHES}, "projection_dim": 4}
WHISPER = {
    "d_model": 8,
    "num_mel_bins": 4,
    "max_source_positions": 6,
    "max_target_positions": 8,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 12,
    "decoder_ffn_dim": 12,
}

ZOO: dict[str, Brought] = {
    "ConvNet": Brought(ConvNet, floats("input", 2, 3, 12, 12), compiled=True),
    "ResNet-18": Brought(ResNet18, floats("x", 2, 3, 32, 32)),
    "DenseNet": Brought(DenseNet, floats("x", 2, 3, 5, 5), recompute=DenseNet.recompute),
    "U-Net": Brought(UNet, floats("x", 2, 1, 8, 8)),
    "FNO": Brought(
        FourierOperator,
        floats("x", 2, 1, 8),
        compiled=True,
        limits={"half_precision": "einsum|complex"},  # torch drops the imaginary parts
    ),
    "graph": Brought(GraphNetwork, graph, compiled=True),
    "neural ODE": Brought(NeuralODE, floats("y", 2, 3), recompute=NeuralODE.recompute),
    "reversible": Brought(ReversibleNet, floats("x", 2, 4), recompute=ReversibleNet.recompute),
    "experts": Brought(MixtureOfExperts, floats("x", 6, 3)),
    "weight norm": Brought(
        weight_normalised, floats("input", 2, 3), limits={"pickle": "only supported through state_dict"}
    ),
    "forces": Brought(
        Forces,
        floats("x", 4, 3),
        limits={**NO_REENTRANT, "inference_mode": "does not require grad"},  # torch has no gradients there
    ),
    "equilibrium": Brought(Equilibrium, floats("x", 2, 3), limits=NO_REENTRANT),
    "normalised last": Brought(normalised_last, floats("input", 2, 3, 5, 5)),
    "attention": Brought(partial(nn.MultiheadAttention, 4, 2, batch_first=True), query_key_value, first),
    "Transformer": Brought(transformer, source_and_target),
    "LSTM": Brought(lambda: nn.LSTM(3, 4), floats("input", 5, 2, 3), first),
    "LSTM with projection": Brought(projected, floats("input", 5, 2, 3), first),
    "tied": Brought(TiedLanguageModel, lambda *lead: {"tokens": tokens(*lead)}),
    "GPT-2": hugging_face("gpt2"),
    "Llama": hugging_face("llama"),
    "Qwen2": hugging_face("qwen2"),
    "Gemma": hugging_face("gemma"),
    "Mixtral": hugging_face("mixtral", num_local_experts=3, intermediate_size=16),
    "T5": hugging_face("t5", "ForSeq2SeqLM", texts, decoder_start_token_id=0, **T5),
    "CLIP": hugging_face("clip", "", text_and_image, lambda output: output.logits_per_image, **CLIP),
    "Whisper": hugging_face("whisper", "ForSpeechSeq2Seq", sound, decoder_start_token_id=1, **WHISPER),
    "ViT": hugging_face("vit", "ForImageClassification", floats("pixel_values", 2, 3, 8, 8), **PATCHES),
    "ViT of timm": from_timm("vit_tiny_patch16_224", 8, img_size=8, patch_size=4, embed_dim=8, depth=2, num_heads=2),
    "Swin of timm": from_timm("swin_tiny_patch4_window7_224", 8, **WINDOWS),
    "ResNet of timm": from_timm("resnet10t", 32, channels=(4, 4, 8, 8), stem_width=4),
    "ConvNeXt of timm": from_timm("convnext_atto", 32, depths=(1, 1, 2, 1), dims=(4, 4, 8, 8)),
}
