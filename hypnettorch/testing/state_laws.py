"""Laws about changing, copying, saving and loading a network.

A law is a function of a case that raises if it does not hold; the first line of its docstring is the law.
"""

from __future__ import annotations

import pickle
from typing import Any

import torch
from torch import Tensor, nn

from hypnettorch.testing.cases import Case, Law, copy_of, draw, refused, require, same, state_of
from hypnettorch.testing.table_laws import require_internal_layer_tensors


def overwriting_copies_values(case: Case) -> None:
    """``overwrite_internal_params`` copies values into the same parameters and refuses other numbers and shapes."""
    net = copy_of(case.net)
    own = list(net.internal_params or ())
    if not own:
        return
    values = draw([list(param.shape) for param in own])
    net.overwrite_internal_params(values)
    require(all(a is b for a, b in zip(net.internal_params, own, strict=True)), "the parameters are other objects")
    same([param.detach() for param in own], values, "the parameters", rtol=0)
    values[0].add_(1)
    require(not torch.equal(own[0].detach(), values[0]), "the parameters share memory with the values")
    refused(ValueError, "new_params", "a list too short", net.overwrite_internal_params, values[:-1])
    wrong = [*values[:-1], torch.zeros(*own[-1].shape, 2)]
    refused(ValueError, "new_params", "a tensor of a wrong shape", net.overwrite_internal_params, wrong)


def custom_init_changes_layers_only(case: Case) -> None:
    """``custom_init`` draws layer weights and zeroes biases, and changes nothing else."""
    net = copy_of(case.net)
    before = [param.detach().clone() for param in net.internal_params or ()]
    net.custom_init()
    layers = {id(param) for param in (*net.layer_weight_tensors, *net.layer_bias_vectors) if param is not None}
    for i, (param, old) in enumerate(zip(net.internal_params or (), before, strict=True)):
        require(id(param) in layers or torch.equal(param.detach(), old), f"internal_params[{i}] changed")
    for bias in net.layer_bias_vectors:
        require(bias is None or not bias.any(), "a bias is not 0")


def state_holds_each_tensor_once(case: Case) -> None:
    """``state_dict()`` holds each tensor once, as safetensors requires."""
    seen: dict[int, str] = {}
    for name, value in case.net.state_dict().items():
        if isinstance(value, Tensor) and value.numel():
            other = seen.setdefault(value.untyped_storage().data_ptr(), name)
            require(other == name, f"'{other}' and '{name}' share memory")


def state_round_trips(case: Case) -> None:
    """``load_state_dict(state_dict(), strict=True)`` brings a network with other values to the same outputs."""
    net = _others(case.net)
    net.load_state_dict(state_of(case.net), strict=True)
    _require_one_set_of_tensors(case, net)


def state_may_be_assigned(case: Case) -> None:
    """``load_state_dict(..., assign=True)`` leaves one set of tensors, with which the network computes."""
    net = _others(case.net)
    net.load_state_dict(state_of(case.net), strict=True, assign=True)
    _require_one_set_of_tensors(case, net)


def state_survives_the_meta_device(case: Case) -> None:
    """After ``to('meta')``, ``to_empty`` and loading a ``state_dict`` the network is as before."""
    net = copy_of(case.net).to("meta").to_empty(device="cpu")
    net.load_state_dict(state_of(case.net), strict=True)
    _require_one_set_of_tensors(case, net)


def deep_copies_are_independent(case: Case) -> None:
    """``copy.deepcopy`` gives a network that computes the same and shares no tensor with the original."""
    net = copy_of(case.net)
    own = {id(value) for value in (*case.net.parameters(), *case.net.buffers())}
    require(
        not any(id(value) in own for value in (*net.parameters(), *net.buffers())), "copy and original share tensors"
    )
    _require_one_set_of_tensors(case, net)


def pickles_compute_the_same(case: Case) -> None:
    """A network survives pickling."""
    _require_one_set_of_tensors(case, pickle.loads(pickle.dumps(case.net)))


def _others(net: nn.Module) -> Any:
    """A copy with other values in all parameters and buffers."""
    other = copy_of(net)
    with torch.no_grad():
        for value in (*other.parameters(), *other.buffers()):
            if value.is_floating_point():
                value.uniform_(0.5, 2)
    return other


def _require_one_set_of_tensors(case: Case, net: Any) -> None:
    """Raise unless ``net`` is the network under test and computes with what stands in its ``internal_params``."""
    same(case(net), case(), "the output")
    known = {id(param) for param in net.parameters()}
    require(all(id(param) in known for param in net.internal_params or ()), "internal_params are not in parameters()")
    require_internal_layer_tensors(net)
    if not net.internal_params:
        return
    values = draw([list(param.shape) for param in net.internal_params])
    expected = copy_of(case.net)
    for changed in (net, expected):
        changed.overwrite_internal_params(values)
    same(case(net), case(expected), "the output after changing internal_params")


LAWS: tuple[Law, ...] = (
    overwriting_copies_values,
    custom_init_changes_layers_only,
    state_holds_each_tensor_once,
    state_round_trips,
    state_may_be_assigned,
    state_survives_the_meta_device,
    deep_copies_are_independent,
    pickles_compute_the_same,
)
