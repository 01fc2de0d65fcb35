"""What stands below the networks can be imported by the paths of 0.0.4."""

from __future__ import annotations

import importlib

import pytest


@pytest.mark.parametrize(
    ("documented", "module"),
    [
        ("batchnorm_layer.BatchNormLayer", "layers.batchnorm_layer"),
        ("batchnorm_layer.share_statistics", "layers.batchnorm_layer"),
        ("context_mod_layer.ContextModLayer", "layers.context_mod_layer"),
        ("local_conv2d_layer.LocalConv2dLayer", "layers.local_conv2d_layer"),
        ("self_attention_layer.SelfAttnLayer", "layers.self_attention_layer"),
        ("self_attention_layer.SelfAttnLayerV2", "layers.self_attention_layer"),
        ("init_utils.calc_fan_in_and_out", "core.initialisation"),
        ("torch_utils.init_params", "core.initialisation"),
        ("torch_utils.keep_large_blocks", "core.memory"),
    ],
)
def test_documented_path(documented: str, module: str) -> None:
    path, _, name = documented.partition(".")
    found = getattr(importlib.import_module(f"hypnettorch.utils.{path}"), name)
    assert found is getattr(importlib.import_module(f"hypnettorch.{module}"), name)
    assert found.__module__ == f"hypnettorch.{module}"
