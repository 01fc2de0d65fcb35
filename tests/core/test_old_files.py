"""Files with the keys of earlier versions load; a network's tensors have one name each in files of today."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from hypnettorch.hnets import HMLP, ChunkedHMLP, HResidual
from hypnettorch.mnets import MLP
from tests.mnets.old_style_networks import RBF


def mlp(**options: object) -> MLP:
    return MLP(n_in=3, n_out=2, hidden_layers=[4], use_batch_norm=True, verbose=False, **options)


def by_position(net: nn.Module, name: str = "_internal_params") -> dict[str, torch.Tensor]:
    """The tensors of a network under their positions."""
    return {f"{name}.{i}": param.detach().clone() for i, param in enumerate(net.internal_params)}


def old_names(net: MLP) -> dict[str, torch.Tensor]:
    """The file that version 0.0.4 wrote: every name of every tensor."""
    layer = net.batchnorm_layers[0]
    tensors = by_position(net) | by_position(net, "_weights")
    for name, params in (("weight_tensors", net.layer_weight_tensors), ("bias_vectors", net.layer_bias_vectors)):
        tensors |= {f"_layer_{name}.{i}": param for i, param in enumerate(params)}
    for name, value in layer.state_dict().items():
        tensors[f"_batchnorm_layers.0.{name}"] = value
    tensors |= {"_batchnorm_layers.0._weights.0": layer.scale, "_batchnorm_layers.0._weights.1": layer.bias}
    return {name: value.detach().clone() for name, value in tensors.items()}


def test_names_in_a_file() -> None:
    net = mlp()
    buffers = {"norms.0.mean_0", "norms.0.var_0", "norms.0._num_stats"}
    assert set(net.state_dict()) == {*net.param_names, *buffers}
    hnet = ChunkedHMLP([[4, 3]], chunk_size=5, num_cond_embs=2, layers=[3], verbose=False)
    assert list(hnet.state_dict()) == hnet.param_names


def test_names_inside_of_another_module() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = mlp(), mlp()

    model, other = Model(), Model()
    old = {
        f"{key}.{name}": value for key in ("first", "second") for name, value in old_names(getattr(model, key)).items()
    }
    x = torch.randn(5, 3)
    for tensors in (model.state_dict(), old):
        other.load_state_dict(tensors, strict=True)
        for key in ("first", "second"):
            assert torch.equal(getattr(other.eval(), key)(x), getattr(model.eval(), key)(x))


def test_old_names_load() -> None:
    net, other = mlp(), mlp()
    other.load_state_dict(old_names(net), strict=True)
    x = torch.randn(5, 3)
    assert torch.equal(other.eval()(x), net.eval()(x))


def test_loading_leaves_the_dictionary_as_it_is() -> None:
    tensors = old_names(mlp())
    before = dict(tensors)
    mlp().load_state_dict(tensors, strict=True)
    assert tensors.keys() == before.keys()


@pytest.mark.parametrize("change", ["missing", "unexpected", "shape"])
@pytest.mark.parametrize("old", [False, True])
def test_strict_loading_is_strict(change: str, old: bool) -> None:
    tensors = dict(old_names(mlp()) if old else mlp().state_dict())
    key = "_internal_params.1" if old else "norms.0.bias"
    if change == "missing":
        del tensors[key]
    elif change == "unexpected":
        tensors["_internal_params.9" if old else "layers.9.weight"] = torch.zeros(1)
    else:
        tensors[key] = torch.zeros(3)
    with pytest.raises(
        RuntimeError, match="_internal_params" if old and change != "shape" else r"norms\.0\.bias|layers\.9"
    ):
        mlp().load_state_dict(tensors, strict=True)


def test_loading_twice_keeps_one_tensor_per_name() -> None:
    net = mlp()
    tensors = mlp().state_dict()
    for assign in (True, False, True):
        net.load_state_dict(tensors, assign=assign)
        assert net.batchnorm_layers[0].scale is net.internal_params[0]
        assert net.layer_weight_tensors[1] is net.internal_params[4]
    assert len(list(net.parameters())) == len(net.internal_params)


def test_to_empty_keeps_one_tensor_per_name() -> None:
    net = mlp().to("meta").to_empty(device="cpu")
    assert net.batchnorm_layers[0].scale is net.internal_params[0]
    assert len(list(net.parameters())) == len(net.internal_params)


def hmlp(conditions: int, **options: Any) -> HMLP:
    return HMLP([[4, 3], [4]], layers=[5], num_cond_embs=conditions, verbose=False, **options)


@pytest.mark.parametrize("wrap", [lambda hnet: hnet, lambda hnet: HResidual(hnet, verbose=False)], ids=["", "wrapped"])
@pytest.mark.parametrize("table", [False, True])
@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("conditions", [1, 2, 4])
def test_files_of_other_forms_load(wrap: Any, table: bool, split: bool, old: bool, conditions: int) -> None:
    """Other numbers of conditions, a whole head or one in pieces, embeddings by themselves or in a table."""
    written, net = wrap(hmlp(2)), wrap(hmlp(conditions, embedding_table=table, split_head=split))
    tensors = by_position(written) if old else written.state_dict()
    net.load_state_dict(tensors, strict=conditions == 2)
    for condition in range(min(conditions, 2)):
        got, expected = (h(cond_id=condition, ret_format="flattened") for h in (net, written))
        torch.testing.assert_close(got, expected)
    if conditions != 2:
        with pytest.raises(RuntimeError, match="embeddings"):
            net.load_state_dict(tensors, strict=True)


def test_a_hand_filled_class_keeps_each_tensor_once() -> None:
    net, other = RBF(), RBF()
    assert list(net.state_dict()) == net.param_names == [f"_internal_params.{i}" for i in range(4)]
    for assign in (False, True):
        other.load_state_dict(net.state_dict(), strict=True, assign=assign)
        assert other.layer_weight_tensors[0] is other.internal_params[2]
    moved = RBF().to("meta").to_empty(device="cpu")
    moved.load_state_dict(net.state_dict(), strict=True)
    assert moved.layer_bias_vectors[0] is moved.internal_params[3]
    x = torch.randn(5, 3)
    assert torch.equal(moved(x), net(x))
    everything = dict(net.named_parameters(remove_duplicate=False))
    other.load_state_dict({name: value.detach() for name, value in everything.items()}, strict=True)
