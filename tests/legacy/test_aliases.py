"""A network's tensors have one name each in files, whatever else they are called in memory."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hypnettorch.legacy import aliases as state
from hypnettorch.hnets import ChunkedHMLP
from hypnettorch.mnets import MLP


def mlp(**options: object) -> MLP:
    return MLP(n_in=3, n_out=2, hidden_layers=[4], use_batch_norm=True, verbose=False, **options)


def test_aliases_know_the_first_name() -> None:
    net = mlp()
    names = state.aliases(net)
    assert names["_layer_weight_tensors.0"] == "_internal_params.2"
    assert names["_batchnorm_layers.0.scale"] == "_internal_params.0"
    assert all(name.startswith("_internal_params.") for name in names.values())
    assert not set(names) & set(net.state_dict())


def test_names_in_a_file() -> None:
    buffers = {"mean_0", "var_0", "_num_stats"}
    expected = {f"_internal_params.{i}" for i in range(6)} | {f"_batchnorm_layers.0.{name}" for name in buffers}
    assert set(mlp().state_dict()) == expected
    hnet = ChunkedHMLP([[4, 3]], chunk_size=5, num_cond_embs=2, layers=[3], verbose=False)
    assert set(hnet.state_dict()) == {f"_internal_params.{i}" for i in range(len(hnet.internal_params))}


def test_names_inside_of_another_module() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = mlp(), mlp()

    model, other = Model(), Model()
    assert all(name.split(".")[1] in ("_internal_params", "_batchnorm_layers") for name in model.state_dict())
    other.load_state_dict(model.state_dict(), strict=True)
    x = torch.randn(5, 3)
    assert torch.equal(other.eval().second(x), model.eval().second(x))


def old_names(net: MLP) -> dict[str, torch.Tensor]:
    """The file that version 0.0.4 wrote: every name of every tensor."""
    tensors = dict(net.named_parameters(remove_duplicate=False)) | dict(net.named_buffers(remove_duplicate=False))
    tensors |= {f"_weights.{i}": param for i, param in enumerate(net.internal_params)}
    layer = net.batchnorm_layers[0]
    tensors |= {"_batchnorm_layers.0._weights.0": layer.scale, "_batchnorm_layers.0._weights.1": layer.bias}
    return {name: value.detach().clone() for name, value in tensors.items()}


def test_old_names_load() -> None:
    net, other = mlp(), mlp()
    other.load_state_dict(old_names(net), strict=True)
    x = torch.randn(5, 3)
    assert torch.equal(other.eval()(x), net.eval()(x))


def test_second_names_alone_load() -> None:
    net, other = mlp(), mlp()
    tensors = {name: value for name, value in old_names(net).items() if not name.startswith(("_internal", "_weights"))}
    other.load_state_dict(tensors, strict=True)
    x = torch.randn(5, 3)
    assert torch.equal(other.eval()(x), net.eval()(x))


def test_loading_leaves_the_dictionary_as_it_is() -> None:
    net = mlp()
    tensors = old_names(net)
    before = dict(tensors)
    mlp().load_state_dict(tensors, strict=True)
    assert tensors.keys() == before.keys()


@pytest.mark.parametrize("change", ["missing", "unexpected", "shape"])
def test_strict_loading_is_strict(change: str) -> None:
    tensors = dict(mlp().state_dict())
    if change == "missing":
        del tensors["_internal_params.1"]
    elif change == "unexpected":
        tensors["_internal_params.9"] = torch.zeros(1)
    else:
        tensors["_internal_params.1"] = torch.zeros(3)
    with pytest.raises(RuntimeError, match=r"_internal_params\.[19]"):
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
