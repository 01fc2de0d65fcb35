"""An output layer in pieces is the same function as a whole one."""

from __future__ import annotations

import pytest
import torch

from hypnettorch.hnets import HMLP
from hypnettorch.mnets import MLP

SHAPES = [[3, 4], [3], [2, 3], [2]]


def full(split_head: bool, conditions: int = 3, bias: bool = True) -> HMLP:
    return HMLP(
        SHAPES,
        cond_in_size=2,
        layers=[5],
        num_cond_embs=conditions,
        use_bias=bias,
        split_head=split_head,
        use_batch_norm=True,
        verbose=False,
    ).eval()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("split", [True, False])
def test_files_of_one_form_load_into_the_other(split: bool, bias: bool) -> None:
    saved, loaded = full(split, bias=bias), full(not split, bias=bias)
    loaded.load_state_dict(saved.state_dict())
    for ours, theirs in zip(loaded(cond_id=1), saved(cond_id=1), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("split", [True, False])
def test_a_file_with_fewer_conditions_loads_as_well(split: bool) -> None:
    saved, loaded = full(split, conditions=2), full(not split, conditions=3)
    loaded.load_state_dict(saved.state_dict(), strict=False)
    torch.testing.assert_close(loaded(cond_id=1, ret_format="flattened"), saved(cond_id=1, ret_format="flattened"))


def test_the_table_has_a_weight_and_a_bias_per_target() -> None:
    hnet = full(split_head=True)
    metas, shapes = hnet.param_shapes_meta, hnet.param_shapes
    heads = [i for i, meta in enumerate(metas) if "target" in meta]
    assert [metas[i]["target"] for i in heads] == [0, 1, 2, 3]
    assert [shapes[i] for i in heads] == [[12, 5], [3, 5], [6, 5], [2, 5]]
    assert [shapes[i + 1] for i in heads] == [[12], [3], [6], [2]]
    assert len({metas[i + j]["layer"] for i in heads for j in (0, 1)}) == 1


def test_training_writes_no_gradient_larger_than_a_target() -> None:
    hnet = full(split_head=True)
    sum(w.square().sum() for w in hnet(cond_id=0)).backward()
    assert max(p.grad.shape[0] for p in hnet.internal_params if p.grad is not None) == 12


@pytest.mark.parametrize("split", [True, False])
def test_hyperfan_gives_both_forms_the_same_distribution(split: bool) -> None:
    torch.manual_seed(0)
    mnet = MLP(n_in=200, n_out=100, hidden_layers=[100], no_weights=True, verbose=False)
    hnet = HMLP(mnet.hyper_shapes_learned, cond_in_size=50, layers=[200], split_head=split, verbose=False)
    hnet.apply_hyperfan_init(mnet=mnet)
    with torch.no_grad():
        weights = hnet(cond_input=torch.randn(30, 50), ret_format="stacked")
    assert [w.square().mean().item() for w in weights[::2]] == pytest.approx([1 / 200, 1 / 100], rel=0.1)


def test_spectral_norm_is_refused() -> None:
    with pytest.raises(ValueError, match="split_head: expected False, since spectral norm"):
        HMLP(SHAPES, split_head=True, use_spectral_norm=True, verbose=False)
