"""Laws about what a network says of itself: shapes, roles, sources, flags.

A law is a function of a case that raises if it does not hold; the first line of its docstring is the law.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import nn

from hypnettorch.core.table import ROLES
from hypnettorch.mnets.module_net import ModuleNet
from hypnettorch.mnets.network import is_network
from hypnettorch.testing.cases import Case, Law, draw, refused, require, same


def shapes_are_integers(case: Case) -> None:
    """``param_shapes`` is a list of lists of integers, and ``num_params`` counts the elements of these tensors."""
    shapes = case.net.param_shapes
    require(isinstance(shapes, list), f"param_shapes is a {type(shapes).__name__}")
    for i, shape in enumerate(shapes):
        require(isinstance(shape, list) and all(isinstance(n, int) for n in shape), f"param_shapes[{i}] is {shape!r}")
    count = case.net.shapes_to_num_weights(shapes)
    require(case.net.num_params == count, f"num_params is {case.net.num_params}, the shapes have {count} elements")


def internal_params_are_registered(case: Case) -> None:
    """``internal_params`` are a ``ParameterList``, among ``parameters()``, and counted by ``num_internal_params``."""
    params = case.net.internal_params
    if params is None:
        return
    require(isinstance(params, nn.ParameterList), f"internal_params is a {type(params).__name__}")
    known = {id(param) for param in case.net.parameters()}
    for i, param in enumerate(params):
        require(id(param) in known, f"internal_params[{i}] is not among parameters()")
    count, expected = case.net.num_internal_params, sum(param.numel() for param in params)
    require(count == expected, f"num_internal_params is {count}, the tensors have {expected} elements")


def every_parameter_has_one_source(case: Case) -> None:
    """Every tensor of ``param_shapes`` is either in ``internal_params`` or in ``hyper_shapes_learned``."""
    net = case.net
    internal, learned = net.internal_params, net.hyper_shapes_learned
    require(internal is not None or learned is not None, "neither internal_params nor hyper_shapes_learned is set")
    count = len(internal or ()) + len(learned or ())
    require(
        count == len(net.param_shapes) or net.hyper_shapes_distilled is not None,
        f"{len(internal or ())} internal and {len(learned or ())} learned tensors for {len(net.param_shapes)} shapes",
    )
    meta, refs = case.meta(), case.learned_refs()
    if meta is None or refs is None or -1 in refs:
        return
    for position, entry in enumerate(meta):
        sources = (entry["index"] >= 0) + (position in refs)
        require(
            sources == 1 or net.hyper_shapes_distilled is not None, f"param_shapes[{position}] has {sources} sources"
        )


def meta_describes_every_shape(case: Case) -> None:
    """``param_shapes_meta`` has the keys ``name``, ``index`` and ``layer`` for every entry of ``param_shapes``."""
    meta, net = case.meta(), case.net
    if meta is None:
        return
    require(len(meta) == len(net.param_shapes), f"{len(meta)} entries for {len(net.param_shapes)} shapes")
    internal = [] if net.internal_params is None else list(net.internal_params)
    for i, entry in enumerate(meta):
        require({"name", "index", "layer"} <= set(entry), f"entry {i} has the keys {sorted(map(str, entry))}")
        require(entry["name"] in ROLES, f"the name of entry {i} is {entry['name']!r}")
        require(
            isinstance(entry["layer"], int) and entry["layer"] >= -1, f"the layer of entry {i} is {entry['layer']!r}"
        )
        index = entry["index"]
        require(index == -1 or 0 <= index < len(internal), f"entry {i} points at internal_params[{index}]")
        if index >= 0:
            found = list(internal[index].shape)
            require(
                found == net.param_shapes[i], f"entry {i} is {net.param_shapes[i]}, internal_params[{index}] {found}"
            )


def internal_params_ref_inverts_the_meta(case: Case) -> None:
    """``internal_params_ref`` says where each tensor of ``internal_params`` stands in ``param_shapes``."""
    meta, net = case.meta(), case.net
    if meta is None:
        return
    refs = net.internal_params_ref
    require((refs is None) == (net.internal_params is None), f"internal_params_ref is {refs}")
    if refs is None:
        return
    require(len(refs) == len(net.internal_params), f"{len(refs)} entries for {len(net.internal_params)} tensors")
    for i, ref in enumerate(refs):
        require(-1 <= ref < len(meta), f"entry {i} is {ref}")
        require(ref == -1 or meta[ref]["index"] == i, f"entry {i} is {ref}, whose index is {meta[ref]['index']}")


def learned_refs_point_at_their_shapes(case: Case) -> None:
    """``hyper_shapes_learned_ref`` says where each of ``hyper_shapes_learned`` stands; it is ``None`` without them."""
    net, refs = case.net, case.learned_refs()
    if refs is None:
        return
    learned = net.hyper_shapes_learned
    require((learned is None) == (net.hyper_shapes_learned_ref is None), "one of the two lists is None")
    require(len(refs) == len(learned or ()), f"{len(refs)} entries for {len(learned or ())} shapes")
    for i, ref in enumerate(refs):
        require(-1 <= ref < len(net.param_shapes), f"entry {i} is {ref}")
        found = learned[i] if ref == -1 else net.param_shapes[ref]
        require(list(found) == list(learned[i]), f"entry {i} is {learned[i]}, but param_shapes[{ref}] is {found}")


def flags_are_booleans(case: Case) -> None:
    """``has_bias``, ``has_fc_out``, ``mask_fc_out`` and ``has_linear_out`` are ``bool``."""
    for name in ("has_bias", "has_fc_out", "mask_fc_out", "has_linear_out"):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                value = getattr(case.net, name)
        except RuntimeError:  # the documented answer of a network whose layers differ
            continue
        require(isinstance(value, bool), f"{name} is {value!r}")


def layer_tensors_are_internal(case: Case) -> None:
    """``layer_weight_tensors`` and ``layer_bias_vectors`` are parallel lists of tensors from ``internal_params``."""
    require_internal_layer_tensors(case.net)


def require_internal_layer_tensors(net: Any) -> None:
    """Raise unless the lists of layer tensors refer to ``internal_params``."""
    known = {id(param) for param in net.internal_params or ()}
    weights, biases = net.layer_weight_tensors, net.layer_bias_vectors
    for name, values in (("layer_weight_tensors", weights), ("layer_bias_vectors", biases)):
        require(isinstance(values, nn.ParameterList), f"{name} is a {type(values).__name__}")
        for i, value in enumerate(values):
            require(value is None or id(value) in known, f"{name}[{i}] is not among internal_params")
    require(
        len(biases) in (0, len(weights)), f"{len(biases)} layer_bias_vectors for {len(weights)} layer_weight_tensors"
    )


def output_masks_select_units(case: Case) -> None:
    """``get_output_weight_mask`` selects rows of the last tensors, or is refused without ``mask_fc_out``."""
    net = case.net
    if not (net.has_fc_out and net.mask_fc_out):
        refused(NotImplementedError, "", "get_output_weight_mask()", net.get_output_weight_mask)
        return
    masks = net.get_output_weight_mask([0])
    require(len(masks) == len(net.param_shapes), f"{len(masks)} masks for {len(net.param_shapes)} shapes")
    chosen = [i for i, mask in enumerate(masks) if mask is not None]
    require(chosen and chosen == list(range(chosen[0], len(masks))), f"masks at the positions {chosen}")
    for i in chosen:
        expected = torch.zeros(net.param_shapes[i], dtype=torch.bool)
        expected[0] = True
        require(masks[i].dtype == torch.bool and torch.equal(masks[i].cpu(), expected), f"mask {i} for unit 0 is wrong")
    refused(ValueError, "out_inds", "an output unit that does not exist", net.get_output_weight_mask, [10**9])


def weights_is_deprecated(case: Case) -> None:
    """The property ``weights`` is ``internal_params`` and warns that it is deprecated."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = case.net.weights
    require(found is case.net.internal_params, "it is something else")
    require(any(w.category is DeprecationWarning for w in caught), "there is no DeprecationWarning")


def flattening_is_inverted(case: Case) -> None:
    """``flatten_params(unflatten=True)`` undoes ``flatten_params``."""
    values, shapes = draw(case.net.param_shapes), case.net.param_shapes
    flat = case.net.flatten_params(values)
    require(list(flat.shape) == [case.net.num_params], f"the vector has the shape {tuple(flat.shape)}")
    same(list(case.net.flatten_params(flat, param_shapes=shapes, unflatten=True)), values, "the tensors", rtol=0)


def every_tensor_has_a_name(case: Case) -> None:
    """``param_names`` are parallel to ``param_shapes`` and unique; those of internal tensors are keys of the state."""
    net, names = case.net, list(case.net.param_names)
    require(len(names) == len(net.param_shapes), f"{len(names)} names for {len(net.param_shapes)} shapes")
    twice = [name for name in names if names.count(name) > 1]
    require(not twice, f"several tensors have the name '{twice[0] if twice else ''}'")
    meta = case.meta()
    if meta is None:
        return
    parameters = dict(net.named_parameters(remove_duplicate=False))
    inside = "module." if isinstance(net, ModuleNet) else ""
    for name, entry in zip(names, meta, strict=True):
        if entry["index"] >= 0:
            found = parameters.get(inside + name)
            require(found is not None, f"no key of named_parameters() is '{inside}{name}'")
            require(found is net.internal_params[entry["index"]], f"'{name}' is not internal_params[{entry['index']}]")


ACTIVATIONS = ("_act_fn", "_a_fun", "_activation", "_out_fn")
"""Attributes under which networks keep the activation functions that their users pass."""


def every_parameter_is_declared(case: Case) -> None:
    """All of ``parameters()`` are among ``internal_params``: what is not declared cannot come from outside.

    The only exception are parameters of an activation module that a user passes, as the slope of ``nn.PReLU()``: they
    are the module's own, trained with the network and never produced. They stand under the attribute in which a network
    keeps its activation (``_act_fn`` in the name ``hnet._act_fn.weight``), one of :data:`ACTIVATIONS`.
    """
    declared = {id(param) for param in case.net.internal_params or ()}
    for name, param in case.net.named_parameters():
        require(
            id(param) in declared or not param.requires_grad or _belongs_to_activation(case.net, name),
            f"the parameter '{name}' is declared nowhere, so no hypernetwork can produce it: declare it by "
            f"net.declare(...), net.linear(...) or net.norm(...), or use a ModuleNet",
        )


def _belongs_to_activation(net: nn.Module, name: str) -> bool:
    """Whether a parameter is that of a module which a network, or a part of it that is one, keeps as its activation."""
    path = name.split(".")[:-1]
    return any(key in ACTIVATIONS and is_network(net.get_submodule(".".join(path[:i]))) for i, key in enumerate(path))


LAWS: tuple[Law, ...] = (
    shapes_are_integers,
    every_tensor_has_a_name,
    every_parameter_is_declared,
    internal_params_are_registered,
    every_parameter_has_one_source,
    meta_describes_every_shape,
    internal_params_ref_inverts_the_meta,
    learned_refs_point_at_their_shapes,
    flags_are_booleans,
    layer_tensors_are_internal,
    output_masks_select_units,
    weights_is_deprecated,
    flattening_is_inverted,
)
