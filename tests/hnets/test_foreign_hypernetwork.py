"""A hypernetwork that implements the interface by itself, by filling the protected lists."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from hypnettorch.hnets.hnet_helpers import get_conditional_parameters, init_conditional_embeddings
from hypnettorch.hnets.hnet_interface import HyperNetInterface
from hypnettorch.hyper_model import HyperModel
from hypnettorch.mnets import MLP
from hypnettorch.testing import check_hypernetwork
from hypnettorch.utils.hnet_regularizer import calc_fix_target_reg, get_current_targets


class Bilinear(nn.Module, HyperNetInterface):
    """``W e`` with one embedding per condition, and the matrix in the middle of the list of parameters."""

    def __init__(
        self, target_shapes: list[list[int]], size: int = 3, num_conds: int = 2, no_weights: bool = False
    ) -> None:
        nn.Module.__init__(self)
        HyperNetInterface.__init__(self)
        self._target_shapes = target_shapes
        self._num_known_conds = num_conds
        self._param_shapes = [[size], [self.num_outputs, size], *[[size] for _ in range(num_conds - 1)]]
        embeddings = [nn.Parameter(torch.randn(size)) for _ in range(num_conds)]
        matrix = nn.Parameter(torch.randn(self.num_outputs, size))
        params = [embeddings[0], *([] if no_weights else [matrix]), *embeddings[1:]]
        self._internal_params = nn.ParameterList(params)
        positions = [i for i in range(num_conds + 1) if not (no_weights and i == 1)]
        self._param_shapes_meta = [
            {
                "name": "weight" if i == 1 else "embedding",
                "index": positions.index(i) if i in positions else -1,
                "layer": int(i == 1),
            }
            for i in range(num_conds + 1)
        ]
        if no_weights:
            self._hyper_shapes_learned = [self._param_shapes[1]]
            self._hyper_shapes_learned_ref = [1]
        self._unconditional_param_shapes_ref = [1]
        self._has_bias, self._mask_fc_out = False, False
        self._has_fc_out = self._has_linear_out = True
        self._layer_weight_tensors = nn.ParameterList([] if no_weights else [matrix])
        self._layer_bias_vectors = nn.ParameterList()
        self._is_properly_setup()

    def forward(
        self,
        uncond_input: Any = None,
        cond_input: Any = None,
        cond_id: Any = None,
        weights: Any = None,
        distilled_params: Any = None,
        condition: Any = None,
        ret_format: str = "squeezed",
    ) -> Any:
        _, embeddings, (matrix,), _ = self._preprocess_forward_args(
            uncond_input=uncond_input,
            cond_input=cond_input,
            cond_id=cond_id,
            weights=weights,
            distilled_params=distilled_params,
            condition=condition,
            ret_format=ret_format,
        )
        return self._flat_to_ret_format(embeddings @ matrix.T, ret_format)

    def distillation_targets(self) -> None:
        return None


TARGETS = [[4, 3], [4], [2, 4], [2]]


@pytest.mark.parametrize("no_weights", [False, True])
def test_contract(no_weights: bool) -> None:
    check_hypernetwork(Bilinear(TARGETS, no_weights=no_weights))


def test_what_follows_from_the_lists() -> None:
    hnet = Bilinear(TARGETS, num_conds=3)
    matrix = hnet.internal_params[1]
    assert hnet.unconditional_params_ref == [1]
    assert hnet.unconditional_params[0] is matrix
    assert hnet.conditional_param_shapes_ref == [0, 2, 3]
    assert len(hnet.conditional_params) == 3
    assert Bilinear(TARGETS, no_weights=True).unconditional_params is None
    assert get_conditional_parameters(hnet, 2)[0] is hnet.internal_params[3]
    init_conditional_embeddings(hnet, init_fct=lambda emb, cond_id: nn.init.constant_(emb, cond_id))
    torch.testing.assert_close(hnet(cond_id=2, ret_format="flattened")[0], 2 * matrix.sum(1))
    assert "36 unconditional" not in str(hnet)
    assert f"{matrix.numel()} unconditional" in str(hnet)


def test_it_drives_a_main_network() -> None:
    model = HyperModel(Bilinear(TARGETS), MLP(n_in=3, n_out=2, hidden_layers=[4], no_weights=True, verbose=False))
    x = torch.randn(2, 5, 3)
    torch.testing.assert_close(model(x, cond_id=[0, 1])[1], model(x[1], cond_id=1))
    model(x[0], cond_id=0).sum().backward()
    assert model.hnet.conditional_params[1].grad is None


def test_it_is_regularised() -> None:
    hnet = Bilinear(TARGETS, num_conds=3)
    targets = get_current_targets(2, hnet)
    before = torch.cat([w.flatten() for target in targets for w in target])
    with torch.no_grad():
        hnet.internal_params[1].add_(0.1)
    now = hnet(cond_id=[0, 1], ret_format="flattened").flatten()
    torch.testing.assert_close(calc_fix_target_reg(hnet, 2, targets=targets), (now - before).square().sum() / 2)


def test_it_knows_no_way_to_add_conditions() -> None:
    with pytest.raises(NotImplementedError, match="Bilinear"):
        Bilinear(TARGETS).add_conditions(1)


@pytest.mark.parametrize(
    ("change", "error", "name"),
    [
        ({"_target_shapes": None}, TypeError, "_target_shapes"),
        ({"_num_known_conds": None}, TypeError, "_num_known_conds"),
        ({"_num_known_conds": -1}, ValueError, "_num_known_conds"),
        ({"_unconditional_param_shapes_ref": None}, TypeError, "_unconditional_param_shapes_ref"),
        ({"_unconditional_param_shapes_ref": [1, 1]}, ValueError, "_unconditional_param_shapes_ref"),
        ({"_unconditional_param_shapes_ref": [3]}, ValueError, r"_unconditional_param_shapes_ref\[0\]"),
        ({"_internal_params": None}, ValueError, "_internal_params"),
    ],
)
def test_wrong_lists_are_refused(change: dict[str, Any], error: type[Exception], name: str) -> None:
    hnet = Bilinear(TARGETS)
    for attribute, value in change.items():
        setattr(hnet, attribute, value)
    with pytest.raises(error, match=name):
        hnet._is_properly_setup()


def test_own_lookup_of_conditions() -> None:
    """``_preprocess_forward_args`` leaves the look-up to a function, where one tensor per condition is not the rule."""

    class Shared(Bilinear):
        def forward(self, cond_id: Any = None, ret_format: str = "squeezed", **kwargs: Any) -> Any:
            names = ("uncond_input", "cond_input", "weights", "distilled_params", "condition")
            _, embeddings, (matrix,), _ = self._preprocess_forward_args(
                _parse_cond_id_fct=lambda net, ids, params: torch.stack([params[i // 2] for i in ids]),
                cond_id=cond_id,
                ret_format=ret_format,
                **{name: kwargs.get(name) for name in names},
            )
            return self._flat_to_ret_format(embeddings @ matrix.T, ret_format)

    hnet = Shared(TARGETS)
    hnet._num_known_conds = 4
    rows = hnet(cond_id=[0, 1, 2], ret_format="flattened")
    assert torch.equal(rows[0], rows[1])
    assert not torch.equal(rows[0], rows[2])
    with pytest.raises(ValueError, match="cond_id"):
        hnet(cond_id=4)


def test_conditions_without_one_tensor_each() -> None:
    hnet = Bilinear(TARGETS)
    hnet._num_known_conds = 4
    with pytest.raises(RuntimeError, match="cond_id"):
        hnet(cond_id=0)
    with pytest.raises(NotImplementedError, match="Bilinear"):
        get_conditional_parameters(hnet, 0)
    with pytest.raises(NotImplementedError, match="Bilinear"):
        init_conditional_embeddings(hnet)
    assert hnet.condition_inputs(1) == {"cond_id": 1}


def test_a_call_without_input_may_be_allowed() -> None:
    hnet = Bilinear(TARGETS)
    nothing = dict.fromkeys(("uncond_input", "cond_input", "cond_id", "weights", "distilled_params", "condition"))
    uncond, cond, (matrix,), embeddings = hnet._preprocess_forward_args(
        _input_required=False, ret_format="squeezed", **nothing
    )
    assert uncond is None
    assert cond is None
    assert matrix is hnet.internal_params[1]
    assert len(embeddings) == 2
    with pytest.raises(RuntimeError, match="input"):
        hnet._preprocess_forward_args(ret_format="squeezed", **nothing)
