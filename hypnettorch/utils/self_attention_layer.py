"""The documented path of :mod:`hypnettorch.layers.self_attention_layer`."""

from hypnettorch.layers.self_attention_layer import (
    AttentionWeights,
    SelfAttnLayer,
    SelfAttnLayerV2,
    attention_shapes,
    self_attention,
    self_attention_with_map,
)

__all__ = [
    "AttentionWeights",
    "SelfAttnLayer",
    "SelfAttnLayerV2",
    "attention_shapes",
    "self_attention",
    "self_attention_with_map",
]
