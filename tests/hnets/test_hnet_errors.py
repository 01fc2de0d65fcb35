"""Every wrong argument of a hypernetwork is refused with a message that names it."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import nn

from hypnettorch.hnets import HMLP, ChunkedHMLP
from hypnettorch.mnets import MLP

TARGETS = [[4, 3], [4]]
COND = torch.zeros(2, 3)
UNCOND = torch.zeros(2, 2)


def build(cls: type, **options: Any) -> Any:
    settings: dict[str, Any] = {
        "target_shapes": TARGETS,
        "cond_in_size": 3,
        "layers": (5,),
        "num_cond_embs": 2,
        "verbose": False,
    }
    if cls is ChunkedHMLP:
        settings |= {"chunk_size": 5, "chunk_emb_size": 2}
    return cls(**{**settings, **options})


both = pytest.mark.parametrize("cls", [HMLP, ChunkedHMLP])


@both
@pytest.mark.parametrize(
    ("options", "error", "name"),
    [
        ({"target_shapes": []}, ValueError, "target_shapes"),
        ({"target_shapes": 3}, TypeError, "target_shapes"),
        ({"target_shapes": [[4], 3]}, TypeError, r"target_shapes\[1\]"),
        ({"target_shapes": [[4, -3]]}, ValueError, r"target_shapes\[0\]\[1\]"),
        ({"target_shapes": [["4"]]}, TypeError, r"target_shapes\[0\]\[0\]"),
        ({"uncond_in_size": -1}, ValueError, "uncond_in_size"),
        ({"uncond_in_size": 1.5}, TypeError, "uncond_in_size"),
        ({"cond_in_size": -1}, ValueError, "cond_in_size"),
        ({"cond_in_size": 0, "num_cond_embs": 0}, ValueError, "cond_in_size"),
        ({"layers": 5}, TypeError, "layers"),
        ({"layers": (5, 0)}, ValueError, r"layers\[1\]"),
        ({"activation_fn": "relu"}, TypeError, "activation_fn"),
        ({"use_bias": None}, TypeError, "use_bias"),
        ({"num_cond_embs": -1}, ValueError, "num_cond_embs"),
        ({"num_cond_embs": 2.0}, TypeError, "num_cond_embs"),
        ({"dropout_rate": 2}, ValueError, "dropout_rate"),
        ({"dropout_rate": "0.5"}, TypeError, "dropout_rate"),
    ],
)
def test_constructor(cls: type, options: dict[str, Any], error: type[Exception], name: str) -> None:
    with pytest.raises(error, match=name):
        build(cls, **options)


@pytest.mark.parametrize(
    ("options", "error", "name"),
    [
        ({"chunk_size": 0}, ValueError, "chunk_size"),
        ({"chunk_size": 2.5}, TypeError, "chunk_size"),
        ({"chunk_emb_size": 0}, ValueError, "chunk_emb_size"),
        ({"chunk_emb_size": "2"}, TypeError, "chunk_emb_size"),
        ({"cond_chunk_embs": True, "num_cond_embs": 0}, ValueError, "num_cond_embs"),
    ],
)
def test_constructor_of_the_chunked_one(options: dict[str, Any], error: type[Exception], name: str) -> None:
    with pytest.raises(error, match=name):
        build(ChunkedHMLP, **options)


FORWARD = [
    ({}, {}, RuntimeError, "uncond_input=, cond_input= or cond_id="),
    ({}, {"cond_id": 2}, ValueError, "cond_id"),
    ({}, {"cond_id": -1}, ValueError, "cond_id"),
    ({}, {"cond_id": [0, 2]}, ValueError, "cond_id"),
    ({}, {"cond_id": []}, ValueError, "cond_id"),
    ({}, {"cond_id": "0"}, TypeError, "cond_id"),
    ({}, {"cond_id": 0.0}, TypeError, "cond_id"),
    ({}, {"cond_id": True}, TypeError, "cond_id"),
    ({}, {"cond_id": {0: 1}}, TypeError, "cond_id"),
    ({}, {"cond_id": [[0]]}, TypeError, "cond_id"),
    ({}, {"cond_id": torch.zeros(1)}, TypeError, "cond_id"),
    ({}, {"cond_id": torch.zeros(1, 1).long()}, ValueError, "cond_id"),
    ({}, {"cond_id": 0, "cond_input": COND}, ValueError, "cond_input"),
    ({}, {"cond_input": COND[0]}, ValueError, "cond_input"),
    ({}, {"cond_input": COND[:, :2]}, ValueError, "cond_input"),
    ({}, {"cond_input": [[0.0] * 3]}, TypeError, "cond_input"),
    ({}, {"cond_id": 0, "uncond_input": UNCOND}, ValueError, "uncond_input"),
    ({"uncond_in_size": 2}, {"cond_id": 0}, ValueError, "uncond_input"),
    ({"uncond_in_size": 2}, {"uncond_input": UNCOND}, ValueError, "cond_input"),
    ({"uncond_in_size": 2}, {"cond_id": 0, "uncond_input": UNCOND[0]}, ValueError, "uncond_input"),
    ({"uncond_in_size": 2}, {"cond_id": 0, "uncond_input": COND}, ValueError, "uncond_input"),
    ({"uncond_in_size": 2}, {"cond_id": 0, "uncond_input": 0.0}, TypeError, "uncond_input"),
    ({"uncond_in_size": 2}, {"cond_id": [0, 1], "uncond_input": torch.zeros(3, 2)}, RuntimeError, "cond_id"),
    ({"uncond_in_size": 2}, {"cond_input": COND, "uncond_input": torch.zeros(3, 2)}, RuntimeError, "cond_input"),
    ({}, {"cond_id": 0, "ret_format": "dense"}, ValueError, "ret_format"),
    ({}, {"cond_id": 0, "distilled_params": []}, ValueError, "distilled_params"),
    ({"use_batch_norm": True}, {"cond_id": [0, 1], "condition": 1}, ValueError, "condition"),
    ({"use_batch_norm": True}, {"cond_id": [0, 1], "condition": "0"}, TypeError, "condition"),
    ({}, {"cond_id": 0, "weights": 3}, TypeError, "weights"),
    ({}, {"cond_id": 0, "weights": {}}, ValueError, "weights"),
    ({}, {"cond_id": 0, "weights": {"theta": []}}, ValueError, "weights"),
    ({}, {"cond_id": 0, "weights": [COND]}, ValueError, "weights"),
    ({}, {"cond_id": 0, "weights": {"cond_weights": [COND]}}, ValueError, "cond_weights"),
    ({}, {"cond_id": 0, "weights": {"cond_weights": [COND, COND]}}, ValueError, r"cond_weights'\]\[0\]"),
    ({}, {"cond_id": 0, "weights": {"cond_weights": COND}}, TypeError, "cond_weights"),
    ({"no_uncond_weights": True}, {"cond_id": 0}, ValueError, "uncond_weights"),
    ({"no_cond_weights": True}, {"cond_id": 0}, ValueError, "cond_weights"),
]


@both
@pytest.mark.parametrize(("options", "arguments", "error", "name"), FORWARD)
def test_forward(
    cls: type, options: dict[str, Any], arguments: dict[str, Any], error: type[Exception], name: str
) -> None:
    with pytest.raises(error, match=name) as info:
        build(cls, **options)(**arguments)
    assert isinstance(info.value, (ValueError, TypeError))


@both
def test_batch_norm_wants_more_than_one_row(cls: type) -> None:
    hnet = build(cls, use_batch_norm=True, target_shapes=[[4]], **({"chunk_size": 4} if cls is ChunkedHMLP else {}))
    with pytest.raises(ValueError, match="1"):
        hnet(cond_id=0)
    hnet.eval()(cond_id=0)


@both
@pytest.mark.parametrize(
    ("arguments", "error", "name"),
    [
        ({}, ValueError, "weights"),
        ({"cond_id": 0, "weights": 3}, TypeError, "weights"),
        ({"cond_id": 0, "weights": "all but one"}, ValueError, "weights"),
        ({"cond_id": 0, "weights": "different sizes"}, ValueError, "weights"),
        ({"weights": "all"}, RuntimeError, "cond_id"),
        ({"weights": "all", "cond_id": 2}, ValueError, "cond_id"),
        ({"weights": "all", "cond_id": 0, "condition": [0]}, ValueError, "condition"),
        ({"weights": "all", "cond_id": 0, "ret_format": "dense"}, ValueError, "ret_format"),
        ({"weights": "all", "cond_input": COND}, ValueError, "cond_input"),
        ({"weights": "all", "cond_input": COND[None].expand(3, 2, 3)}, ValueError, "cond_input"),
        ({"weights": "all", "cond_input": torch.zeros(2, 1, 2)}, ValueError, "cond_input"),
        ({"weights": "all", "cond_id": 0, "uncond_input": torch.zeros(2, 1, 2)}, ValueError, "uncond_input"),
    ],
)
def test_batched_forward(cls: type, arguments: dict[str, Any], error: type[Exception], name: str) -> None:
    hnet = build(cls)
    stacked = [torch.stack([param.detach()] * 2) for param in hnet.internal_params]
    choices = {
        "all": stacked,
        "all but one": stacked[:-1],
        "different sizes": [*stacked[:-1], stacked[-1][:1]],
    }
    if isinstance(arguments.get("weights"), str):
        arguments = {**arguments, "weights": choices[arguments["weights"]]}
    with pytest.raises(error, match=name):
        hnet.batched_forward(**arguments)


@both
@pytest.mark.parametrize(
    ("options", "method", "arguments", "error", "name"),
    [
        ({}, "condition_inputs", {"cond_id": 2}, ValueError, "cond_id"),
        ({}, "condition_inputs", {"cond_id": "0"}, TypeError, "cond_id"),
        ({"no_cond_weights": True}, "condition_inputs", {"cond_id": 0}, ValueError, "cond_id"),
        ({}, "add_conditions", {"n": 0}, ValueError, "n"),
        ({}, "add_conditions", {"n": "1"}, TypeError, "n"),
        ({}, "add_conditions", {"n": 1, "init": 3}, TypeError, "init"),
        ({}, "add_to_uncond_params", {"dparams": 3}, TypeError, "dparams"),
        ({}, "add_to_uncond_params", {"dparams": [COND]}, ValueError, "dparams"),
        ({}, "add_to_uncond_params", {"dparams": [COND], "params": [UNCOND]}, ValueError, r"dparams\[0\]"),
        ({"no_uncond_weights": True}, "add_to_uncond_params", {"dparams": [COND]}, ValueError, "params"),
        ({}, "get_task_emb", {"task_id": 2}, ValueError, "task_id"),
        (
            {},
            "convert_out_format",
            {"hnet_out": COND, "src_format": "flattened", "trgt_format": "a"},
            ValueError,
            "trgt",
        ),
        ({}, "convert_out_format", {"hnet_out": COND, "src_format": "a", "trgt_format": "stacked"}, ValueError, "src"),
        (
            {},
            "convert_out_format",
            {"hnet_out": COND, "src_format": "flattened", "trgt_format": "stacked"},
            ValueError,
            "hnet_out",
        ),
    ],
)
def test_methods(
    cls: type, options: dict[str, Any], method: str, arguments: dict[str, Any], error: type[Exception], name: str
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with pytest.raises(error, match=name):
            getattr(build(cls, **options), method)(**arguments)


@both
def test_conditions_cannot_be_added_where_nothing_is_conditional(cls: type) -> None:
    hnet = build(cls, cond_in_size=0, uncond_in_size=2, num_cond_embs=0)
    with pytest.raises(RuntimeError, match="add_conditions"):
        hnet.add_conditions(1)


@both
def test_task_embeddings_need_one_tensor_per_condition(cls: type) -> None:
    with pytest.warns(DeprecationWarning, match="get_task_embs"), pytest.raises(RuntimeError, match="get_task_embs"):
        build(cls, no_cond_weights=True).get_task_embs()


INITIALISATIONS = {HMLP: "apply_hyperfan_init", ChunkedHMLP: "apply_chunked_hyperfan_init"}


@both
@pytest.mark.parametrize(
    ("arguments", "error", "name"),
    [
        ({"method": "fan_in"}, ValueError, "method"),
        ({"uncond_var": -1.0}, ValueError, "uncond_var"),
        ({"uncond_var": "1"}, TypeError, "uncond_var"),
        ({"cond_var": -1.0}, ValueError, "cond_var"),
        ({"mnet": nn.Linear(3, 4)}, TypeError, "mnet"),
    ],
)
def test_initialisation(cls: type, arguments: dict[str, Any], error: type[Exception], name: str) -> None:
    with pytest.raises(error, match=name):
        getattr(build(cls), INITIALISATIONS[cls])(**arguments)


@both
def test_initialisation_needs_internal_parameters(cls: type) -> None:
    with pytest.raises(ValueError, match="internal"):
        getattr(build(cls, no_uncond_weights=True), INITIALISATIONS[cls])()


@both
def test_initialisation_refuses_another_main_network(cls: type) -> None:
    with pytest.raises(ValueError, match="mnet"):
        getattr(build(cls), INITIALISATIONS[cls])(cond_var=0.01, mnet=MLP(verbose=False))


@pytest.mark.parametrize(
    ("arguments", "error", "name"),
    [
        ({name: value}, error, name)
        for name in ("w_val", "w_var", "b_val", "b_var")
        for value, error in (
            (3, TypeError),
            ([1.0], ValueError),
            (["a", 0.0], TypeError),
            ({"kernel": 1.0}, ValueError),
        )
    ]
    + [({name: [-1.0, 0.0]}, ValueError, name) for name in ("w_var", "b_var")],
)
def test_prescribed_moments(arguments: dict[str, Any], error: type[Exception], name: str) -> None:
    with pytest.raises(error, match=name):
        build(HMLP).apply_hyperfan_init(**arguments)


def test_neutral_values_need_a_bias() -> None:
    mnet = MLP(n_in=3, n_out=2, use_batch_norm=True, no_weights=True, verbose=False)
    hnet = HMLP(mnet.hyper_shapes_learned, use_bias=False, verbose=False)
    with pytest.raises(ValueError, match="b_val"):
        hnet.apply_hyperfan_init(mnet=mnet)
    hnet.apply_hyperfan_init(mnet=mnet, w_var={"bn_scale": 1.0})


@pytest.mark.parametrize(
    ("options", "arguments", "error", "name"),
    [
        ({}, {"eps": -1.0}, ValueError, "eps"),
        ({}, {"eps": None}, TypeError, "eps"),
        ({}, {"target_vars": 3}, TypeError, "target_vars"),
        ({}, {"target_vars": [1.0]}, ValueError, "target_vars"),
        ({}, {"target_vars": [1.0, -1.0]}, ValueError, r"target_vars\[1\]"),
        ({}, {"target_vars": {"kernel": 1.0}}, ValueError, "target_vars"),
        ({"use_batch_norm": True}, {}, RuntimeError, "batch norm"),
        ({"no_cond_weights": True}, {"cond_var": None}, ValueError, "cond_var"),
        ({"uncond_in_size": 5}, {"cond_var": None, "uncond_var": 100.0}, ValueError, "uncond_var"),
    ],
)
def test_chunked_initialisation(
    options: dict[str, Any], arguments: dict[str, Any], error: type[Exception], name: str
) -> None:
    with pytest.raises(error, match=name):
        build(ChunkedHMLP, **options).apply_chunked_hyperfan_init(**arguments)
