"""Every wrong argument of a main network is refused with a message that names it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from hypnettorch.mnets import MLP

X = torch.zeros(5, 3)
XS = torch.zeros(2, 5, 3)
ONE = torch.zeros(1)


def mlp(**options: Any) -> MLP:
    return MLP(**{"n_in": 3, "n_out": 2, "hidden_layers": (4,), "verbose": False, **options})


SHAPES = mlp().param_shapes
STACKED = [torch.zeros(2, *shape) for shape in SHAPES]


@pytest.mark.parametrize(
    ("options", "error", "name"),
    [
        ({"n_in": 0}, ValueError, "n_in"),
        ({"n_in": 2.5}, TypeError, "n_in"),
        ({"n_out": -1}, ValueError, "n_out"),
        ({"n_out": "2"}, TypeError, "n_out"),
        ({"hidden_layers": 5}, TypeError, "hidden_layers"),
        ({"hidden_layers": "45"}, TypeError, "hidden_layers"),
        ({"hidden_layers": (4, 0)}, ValueError, r"hidden_layers\[1\]"),
        ({"hidden_layers": (4, "5")}, TypeError, r"hidden_layers\[1\]"),
        ({"activation_fn": "relu"}, TypeError, "activation_fn"),
        ({"activation_fn": nn.ReLU}, TypeError, "activation_fn"),
        ({"use_bias": 1}, TypeError, "use_bias"),
        ({"init_weights": 3}, TypeError, "init_weights"),
        ({"init_weights": [ONE]}, ValueError, "init_weights"),
        ({"init_weights": [ONE] * 4}, ValueError, r"init_weights\[0\]"),
        ({"init_weights": [1, 2, 3, 4]}, TypeError, r"init_weights\[0\]"),
        ({"init_weights": [ONE], "no_weights": True}, ValueError, "init_weights"),
        ({"dropout_rate": 1.5}, ValueError, "dropout_rate"),
        ({"dropout_rate": -0.5}, ValueError, "dropout_rate"),
        ({"dropout_rate": None}, TypeError, "dropout_rate"),
        ({"use_batch_norm": True, "distill_bn_stats": True, "bn_track_stats": False}, ValueError, "distill_bn_stats"),
        ({"context_mod_gain_offset": True, "context_mod_gain_softplus": True}, ValueError, "context_mod_gain_softplus"),
        ({"out_fn": 3}, TypeError, "out_fn"),
    ],
)
def test_constructor(options: dict[str, Any], error: type[Exception], name: str) -> None:
    with pytest.raises(error, match=name):
        mlp(**options)


@pytest.mark.parametrize(
    ("options", "arguments", "error", "name"),
    [
        ({}, {"x": [[0.0] * 3]}, TypeError, "x"),
        ({}, {"x": torch.zeros(5, 4)}, ValueError, "x"),
        ({}, {"x": torch.zeros(())}, ValueError, "x"),
        ({}, {"weights": 3}, TypeError, "weights"),
        ({}, {"weights": [ONE]}, ValueError, "weights"),
        ({}, {"weights": {"mod_weights": []}}, ValueError, "weights"),
        ({"no_weights": True}, {}, ValueError, "weights"),
        ({"use_context_mod": True, "context_mod_no_weights": True}, {}, ValueError, "mod_weights"),
        ({}, {"distilled_params": [ONE]}, ValueError, "distilled_params"),
        ({"use_batch_norm": True}, {"distilled_params": [torch.zeros(4)] * 2}, ValueError, "distilled_params"),
        (
            {"use_batch_norm": True, "distill_bn_stats": True},
            {"distilled_params": [ONE]},
            ValueError,
            "distilled_params",
        ),
        (
            {"use_batch_norm": True, "distill_bn_stats": True},
            {"distilled_params": [torch.zeros(4), ONE]},
            ValueError,
            r"distilled_params\[1\]",
        ),
        ({}, {"condition": "0"}, TypeError, "condition"),
        ({}, {"condition": 0.5}, TypeError, "condition"),
        ({}, {"condition": [0]}, TypeError, "condition"),
        ({}, {"condition": -1}, ValueError, "condition"),
        ({}, {"condition": {}}, ValueError, "condition"),
        ({}, {"condition": {"stats_id": 0}}, ValueError, "condition"),
        ({"use_batch_norm": True}, {"condition": 1}, ValueError, "condition"),
        ({"use_batch_norm": True}, {"condition": {"bn_stats_id": 1}}, ValueError, "condition"),
        ({"use_context_mod": True}, {"condition": {"cmod_ckpt_id": 1}}, ValueError, "ckpt_id"),
        ({"use_context_mod": True}, {"condition": {"cmod_ckpt_id": "0"}}, TypeError, "condition"),
    ],
)
def test_forward(options: dict[str, Any], arguments: dict[str, Any], error: type[Exception], name: str) -> None:
    with pytest.raises(error, match=name):
        mlp(**options)(**{"x": X, **arguments})


@pytest.mark.parametrize(
    ("arguments", "error", "name"),
    [
        ({"weights": None}, ValueError, "weights"),
        ({"weights": 3}, TypeError, "weights"),
        ({"weights": STACKED[:-1]}, ValueError, "weights"),
        ({"weights": [value[0] for value in STACKED]}, ValueError, r"weights\[0\]"),
        ({"weights": [*STACKED[:-1], STACKED[-1][:1]]}, ValueError, "weights"),
        ({"x": X}, ValueError, "x"),
        ({"x": XS[:1]}, ValueError, "x"),
        ({"x": XS[..., :2]}, ValueError, "x"),
        ({"x": None}, TypeError, "x"),
        ({"condition": [0]}, ValueError, "condition"),
        ({"condition": [0, 0.5]}, TypeError, "condition"),
        ({"condition": [0, -1]}, ValueError, "condition"),
        ({"condition": {"stats_id": 0}}, ValueError, "condition"),
        ({"condition": [0, 1]}, ValueError, "condition"),
        ({"distilled_params": [ONE]}, ValueError, "distilled_params"),
    ],
)
def test_batched_forward(arguments: dict[str, Any], error: type[Exception], name: str) -> None:
    net = mlp(use_batch_norm=True)
    weights = [torch.zeros(2, *shape) for shape in net.param_shapes[:2]] + STACKED
    if isinstance(arguments.get("weights"), list):
        arguments = {**arguments, "weights": weights[:2] + arguments["weights"]}
        name = name.replace(r"\[0\]", r"\[2\]")
    with pytest.raises(error, match=name):
        net.batched_forward(**{"x": XS, "weights": weights, **arguments})


@pytest.mark.parametrize(
    ("method", "arguments", "error", "name"),
    [
        ("overwrite_internal_params", {"new_params": None}, TypeError, "new_params"),
        ("overwrite_internal_params", {"new_params": [ONE]}, ValueError, "new_params"),
        ("overwrite_internal_params", {"new_params": [ONE] * 4}, ValueError, r"new_params\[0\]"),
        ("overwrite_internal_params", {"new_params": ["w"] * 4}, TypeError, r"new_params\[0\]"),
        ("get_output_weight_mask", {"out_inds": 1}, TypeError, "out_inds"),
        ("get_output_weight_mask", {"out_inds": [2]}, ValueError, r"out_inds\[0\]"),
        ("get_output_weight_mask", {"out_inds": [0, -1]}, ValueError, r"out_inds\[1\]"),
        ("get_output_weight_mask", {"out_inds": [0.5]}, TypeError, r"out_inds\[0\]"),
        ("flatten_params", {"params": [1.0]}, TypeError, r"params\[0\]"),
        ("flatten_params", {"params": ONE, "unflatten": True}, ValueError, "param_shapes"),
        ("flatten_params", {"params": ONE, "param_shapes": [[2]], "unflatten": True}, ValueError, "params"),
        ("flatten_params", {"params": [1.0], "param_shapes": [[1]], "unflatten": True}, TypeError, "params"),
        ("shapes_to_num_weights", {"dims": 3}, TypeError, "dims"),
        ("shapes_to_num_weights", {"dims": [["a"]]}, TypeError, "dims"),
        ("custom_init", {"normal_std": -1.0}, ValueError, "normal_std"),
        ("custom_init", {"normal_std": "a"}, TypeError, "normal_std"),
    ],
)
def test_methods(method: str, arguments: dict[str, Any], error: type[Exception], name: str) -> None:
    with pytest.raises(error, match=name):
        getattr(mlp(), method)(**arguments)


def test_nothing_changes_when_values_are_refused() -> None:
    net = mlp()
    before = [param.detach().clone() for param in net.internal_params]
    with pytest.raises(ValueError, match=r"new_params\[3\]"):
        net.overwrite_internal_params([torch.ones(4, 3), torch.ones(4), torch.ones(2, 4), torch.ones(3)])
    assert all(torch.equal(a, b) for a, b in zip(net.internal_params, before, strict=True))


def test_methods_of_no_use_are_not_implemented() -> None:
    net = mlp()
    net._mask_fc_out = False
    with pytest.raises(NotImplementedError, match="MLP"):
        net.get_output_weight_mask()
