"""Each law of the public contract rejects a network that breaks it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hypnettorch.hnets import HMLP
from hypnettorch.mnets import MLP
from hypnettorch.testing import ContractViolation, check_hypernetwork, check_main_network
from hypnettorch.testing.cases import Broken
from hypnettorch.testing.hypernetwork_laws import LAWS as HYPERNETWORK_LAWS
from hypnettorch.testing.main_network_laws import LAWS as MAIN_NETWORK_LAWS

X = torch.linspace(-1, 1, 15).view(5, 3)


def mlp(**options: Any) -> Any:
    torch.manual_seed(1)
    return MLP(n_in=3, n_out=2, hidden_layers=[4], verbose=False, **options)


def hmlp(**options: Any) -> Any:
    torch.manual_seed(1)
    return HMLP([[4, 3], [4]], cond_in_size=3, layers=[5], num_cond_embs=3, verbose=False, **options)


def broken(net: Any, **members: Any) -> Any:
    """The network as an instance of a subclass with other members, set after construction."""
    net.__class__ = type("Broken", (type(net),), members)
    return net


def own(net: Any, name: str) -> Any:
    """What the property of the class would say, had :func:`broken` not replaced it."""
    return getattr(super(type(net), net), name)


def changed(name: str, change: Callable[..., Any]) -> dict[str, Any]:
    """A method that calls ``change(original, self, *args, **kwargs)``."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return change(getattr(super(type(self), self), name), self, *args, **kwargs)

    return {name: method}


def forward(change: Callable[..., Any], **options: Any) -> Any:
    """An MLP with ``forward(x, weights, **options)`` changed."""
    return broken(mlp(**options), **changed("forward", change))


def batched(change: Callable[..., Any], **options: Any) -> Any:
    """An MLP with ``batched_forward(x, weights, **options)`` changed."""
    return broken(mlp(**options), **changed("batched_forward", change))


def generated(change: Callable[..., Any], **options: Any) -> Any:
    """An HMLP with ``forward(**arguments)`` changed."""
    return broken(hmlp(**options), **changed("forward", change))


def lenient(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The result, or zeros if an argument is refused."""
    try:
        return function(*args, **kwargs)
    except (ValueError, TypeError):
        return torch.zeros(5, 2)


def alias_in_state(state_dict: Callable[..., Any], net: Any, *args: Any, **kwargs: Any) -> Any:
    state = state_dict(*args, **kwargs)
    state["alias"] = state["layers.0.weight"]
    return state


def overwrite_by_sharing(_: Any, net: Any, new_params: Any) -> None:
    for param, new in zip(net.internal_params, new_params, strict=True):
        param.data = new


def init_everything(custom_init: Callable[..., Any], net: Any, *args: Any) -> None:
    custom_init(*args)
    for param in net.internal_params:
        nn.init.zeros_(param)


def with_hidden_reference() -> Any:
    """A network that computes with a tensor that it remembers outside of the registry."""
    net = mlp()
    net.__dict__["remembered"] = list(net.internal_params)
    return broken(
        net, **changed("forward", lambda f, net, x, weights=None, **kw: f(x, weights=weights or net.remembered, **kw))
    )


def with_first_weights(f: Callable[..., Any], net: Any, x: Any, weights: Any = None, **kwargs: Any) -> Any:
    """Scales the output by a number that is computed of the weights only once."""
    if weights is not None and "scale" not in vars(net):
        net.scale = weights[0].norm()
    return f(x, weights=weights, **kwargs) * net.scale


def with_undeclared_parameter() -> Any:
    """A network that multiplies its output by a parameter which stands in no table."""
    net = mlp()
    net.gain = nn.Parameter(torch.ones(()))
    return broken(net, **changed("forward", lambda f, net, *args, **kw: net.gain * f(*args, **kw)))


def shallow_copy(net: Any, memo: Any) -> Any:
    return copy.copy(net)


MAIN: dict[str, Callable[[], Any]] = {
    "shapes_are_integers": lambda: broken(
        mlp(), param_shapes=property(lambda net: [tuple(s) for s in own(net, "param_shapes")])
    ),
    "every_tensor_has_a_name": lambda: broken(
        mlp(), param_names=property(lambda net: ["layers.0.weight"] * len(net.param_shapes))
    ),
    "every_parameter_is_declared": with_undeclared_parameter,
    "internal_params_are_registered": lambda: broken(
        mlp(), internal_params=property(lambda net: nn.ParameterList([p.clone() for p in own(net, "internal_params")]))
    ),
    "every_parameter_has_one_source": lambda: broken(
        mlp(),
        hyper_shapes_learned=property(lambda net: net.param_shapes[:1]),
        hyper_shapes_learned_ref=property(lambda net: [0]),
    ),
    "meta_describes_every_shape": lambda: broken(
        mlp(), param_shapes_meta=property(lambda net: own(net, "param_shapes_meta")[:-1])
    ),
    "internal_params_ref_inverts_the_meta": lambda: broken(
        mlp(), internal_params_ref=property(lambda net: [*reversed(range(len(net.param_shapes)))])
    ),
    "learned_refs_point_at_their_shapes": lambda: broken(
        mlp(no_weights=True), hyper_shapes_learned_ref=property(lambda net: [*reversed(range(len(net.param_shapes)))])
    ),
    "flags_are_booleans": lambda: broken(mlp(), has_fc_out=property(lambda net: 1)),
    "layer_tensors_are_internal": lambda: broken(
        mlp(),
        layer_weight_tensors=property(
            lambda net: nn.ParameterList([p.clone() for p in own(net, "layer_weight_tensors")])
        ),
    ),
    "output_masks_select_units": lambda: broken(
        mlp(), get_output_weight_mask=lambda net, out_inds=None, device=None: [None] * len(net.param_shapes)
    ),
    "weights_is_deprecated": lambda: broken(mlp(), weights=property(lambda net: net.internal_params)),
    "output_is_finite": lambda: forward(lambda f, net, *a, **kw: f(*a, **kw) / 0),
    "dtype_is_that_of_the_parameters": lambda: forward(lambda f, net, *a, **kw: f(*a, **kw).float()),
    "evaluation_is_deterministic": lambda: forward(lambda f, net, *a, **kw: f(*a, **kw) + torch.rand(())),
    "earlier_weights_do_not_matter": lambda: forward(with_first_weights, no_weights=True),
    "a_seed_fixes_training": lambda: forward(lambda f, net, *a, **kw: f(*a, **kw) + np.random.rand()),
    "internal_values_may_be_passed": lambda: forward(
        lambda f, net, x, weights=None, **kw: f(x, weights=weights, **kw) + (weights is not None)
    ),
    "passed_values_replace_internal_ones": lambda: forward(lambda f, net, x, weights=None, **kw: f(x, **kw)),
    "forms_of_weights_agree": lambda: forward(
        lambda f, net, x, weights=None, **kw: f(x, weights=weights, **kw) + isinstance(weights, dict)
    ),
    "gradients_reach_passed_weights": lambda: forward(
        lambda f, net, x, weights=None, **kw: f(x, weights=[w.detach() for w in weights], **kw), no_weights=True
    ),
    "wrong_weights_are_refused": lambda: forward(lambda f, net, *a, **kw: lenient(f, *a, **kw)),
    "missing_weights_are_refused": lambda: forward(lambda f, net, *a, **kw: lenient(f, *a, **kw), no_weights=True),
    "overwriting_copies_values": lambda: broken(mlp(), **changed("overwrite_internal_params", overwrite_by_sharing)),
    "flattening_is_inverted": lambda: broken(
        mlp(),
        flatten_params=staticmethod(lambda params, param_shapes=None, unflatten=False: MLP.flatten_params(params)),
    ),
    "custom_init_changes_layers_only": lambda: broken(
        mlp(use_batch_norm=True), **changed("custom_init", init_everything)
    ),
    "state_holds_each_tensor_once": lambda: broken(mlp(), **changed("state_dict", alias_in_state)),
    "state_round_trips": lambda: broken(mlp(), load_state_dict=lambda net, *a, **kw: None),
    "state_may_be_assigned": with_hidden_reference,
    "state_survives_the_meta_device": with_hidden_reference,
    "deep_copies_are_independent": lambda: broken(mlp(), __deepcopy__=shallow_copy),
    "pickles_compute_the_same": lambda: mlp(out_fn=lambda x: x),
    "batched_equals_a_loop": lambda: batched(lambda f, net, *a, **kw: 2 * f(*a, **kw)),
    "batched_shares_an_input": lambda: batched(
        lambda f, net, *a, share_input=False, **kw: f(*a, share_input=share_input, **kw) + share_input
    ),
    "batched_takes_forms_of_weights": lambda: batched(
        lambda f, net, x, weights, **kw: f(x, weights, **kw) + isinstance(weights, dict)
    ),
    "batched_refuses_different_sizes": lambda: batched(lambda f, net, *a, **kw: lenient(f, *a, **kw)),
    "distilled_shapes_match_targets": lambda: broken(mlp(), distillation_targets=lambda net: []),
    "distilled_tensors_replace_computed_ones": lambda: forward(
        lambda f, net, *a, distilled_params=None, **kw: f(*a, **kw), use_batch_norm=True, distill_bn_stats=True
    ),
    "first_condition_is_the_default": lambda: forward(
        lambda f, net, *a, condition=None, **kw: f(*a, **kw) + (condition is not None)
    ),
    "conditions_select_statistics": lambda: forward(
        lambda f, net, *a, condition=None, **kw: f(*a, **kw), use_batch_norm=True
    ),
    "training_updates_selected_statistics": lambda: forward(
        lambda f, net, *a, condition=None, **kw: f(*a, condition=0, **kw), use_batch_norm=True
    ),
    "batched_takes_conditions": lambda: batched(
        lambda f, net, *a, condition=None, **kw: f(*a, **kw), use_batch_norm=True, no_weights=True
    ),
    "batched_takes_distilled_tensors": lambda: batched(
        lambda f, net, *a, distilled_params=None, **kw: f(*a, **kw), use_batch_norm=True, distill_bn_stats=True
    ),
    "batched_training_equals_a_loop": lambda: batched(
        lambda f, net, *a, **kw: (net.eval(), f(*a, **kw), net.train())[1], use_batch_norm=True
    ),
    "batched_refuses_wrong_inputs": lambda: batched(lambda f, net, *a, **kw: lenient(f, *a, **kw)),
}


def select_by_value(f: Callable[..., Any], net: Any, cond_id: Any = None, **kw: Any) -> Any:
    """Takes a tensor for another id."""
    return f(cond_id=0 * cond_id if isinstance(cond_id, torch.Tensor) else cond_id, **kw)


def select_modulo(f: Callable[..., Any], net: Any, cond_id: Any = None, **kw: Any) -> Any:
    """Takes every id for one in range."""
    return f(cond_id=cond_id % 3 if isinstance(cond_id, int) else cond_id, **kw)


def first_input(f: Callable[..., Any], net: Any, cond_id: Any = None, cond_input: Any = None, **kw: Any) -> Any:
    """Ignores one of two inputs that exclude each other."""
    return f(cond_id=cond_id, **({} if cond_id is not None else {"cond_input": cond_input}), **kw)


def touch_all(f: Callable[..., Any], net: Any, *args: Any, **kw: Any) -> Any:
    """Brings every embedding into the graph."""
    return f(*args, **kw) + 0 * torch.stack(net.conditional_params).sum()


def load_what_is_complete(load: Callable[..., Any], net: Any, state: Any, strict: bool = True, **kw: Any) -> Any:
    """Loads nothing from a file that lacks something."""
    complete = all(name in state and len(state[name]) == len(own) for name, own in net.state_dict().items())
    return load(state, strict=strict, **kw) if complete else None


def add_in_place(_: Any, net: Any, dparams: Any, params: Any = None) -> Any:
    own = net.unconditional_params if params is None else params
    return [param.data.add_(change) for param, change in zip(own, dparams, strict=True)]


HYPER: dict[str, Callable[[], Any]] = {
    "targets_are_counted": lambda: broken(hmlp(), num_outputs=property(lambda net: 17)),
    "parameters_are_unconditional_or_conditional": lambda: broken(
        hmlp(), conditional_param_shapes_ref=property(lambda net: [*range(len(net.param_shapes))])
    ),
    "formats_agree": lambda: generated(
        lambda f, net, ret_format="squeezed", **kw: f(
            ret_format="squeezed" if ret_format == "sequential" else ret_format, **kw
        )
    ),
    "formats_convert_into_each_other": lambda: broken(hmlp(), convert_out_format=lambda net, out, source, target: out),
    "forms_of_cond_id_agree": lambda: generated(select_by_value),
    "conditions_do_not_interfere": lambda: generated(
        lambda f, net, ret_format, **kw: (lambda flat: flat - flat.mean(0))(f(ret_format="flattened", **kw))
    ),
    "wrong_cond_ids_are_refused": lambda: generated(select_modulo),
    "inputs_that_do_not_fit_are_refused": lambda: generated(first_input),
    "unselected_conditions_keep_no_gradient": lambda: generated(touch_all),
    "conditions_own_their_parameters": lambda: broken(
        hmlp(), parameters_of_condition=lambda net, cond_id: net.conditional_params
    ),
    "conditions_may_be_looked_up": lambda: broken(
        hmlp(), condition_inputs=lambda net, cond_id: {"cond_input": net.get_cond_in_emb(0).unsqueeze(0)}
    ),
    "conditions_may_be_added": lambda: broken(
        hmlp(), **changed("add_conditions", lambda f, net, n, init=None: f(n, init)[1:])
    ),
    "smaller_checkpoints_load": lambda: broken(hmlp(), **changed("load_state_dict", load_what_is_complete)),
    "changes_may_be_added": lambda: broken(hmlp(), **changed("add_to_uncond_params", add_in_place)),
    "task_embeddings_are_deprecated": lambda: broken(hmlp(), get_task_embs=lambda net: net.conditional_params),
    "batched_formats_agree": lambda: broken(
        hmlp(),
        **changed("batched_forward", lambda f, net, ret_format="squeezed", **kw: f(ret_format="flattened", **kw)),
    ),
}


def enlarge_by_drawing(add_conditions: Callable[..., Any], net: Any, n: int, init: Any = None) -> Any:
    """Draws all rows of a table anew."""
    new = add_conditions(n, init)
    nn.init.normal_(new[0])
    return new


def touching_all(net: Any) -> Any:
    """A zero whose gradient reaches every row of a table."""
    total = net.conditional_params[0].sum()
    return total - total.detach()


TABLES: dict[str, list[Callable[[], Any]]] = {
    "unselected_conditions_keep_no_gradient": [
        lambda: generated(lambda f, net, *a, **kw: f(*a, **kw) + net.conditional_params[0].sum(), embedding_table=True)
    ],
    "conditions_own_their_parameters": [
        lambda: broken(hmlp(embedding_table=True), parameters_of_condition=lambda net, cond_id: net.conditional_params),
        lambda: broken(hmlp(embedding_table=True), num_known_conds=2),
    ],
    "conditions_may_be_looked_up": [
        lambda: broken(
            hmlp(embedding_table=True),
            condition_inputs=lambda net, cond_id: {"cond_input": net.get_cond_in_emb(0).unsqueeze(0)},
        ),
        lambda: broken(
            hmlp(embedding_table=True),
            **changed(
                "condition_inputs",
                lambda f, net, ids: {"cond_input": f(ids)["cond_input"] + touching_all(net)},
            ),
        ),
    ],
    "conditions_may_be_added": [
        lambda: broken(
            hmlp(embedding_table=True), **changed("add_conditions", lambda f, net, n, init=None: f(n, init)[1:])
        ),
        lambda: broken(hmlp(embedding_table=True), **changed("add_conditions", enlarge_by_drawing)),
    ],
    "smaller_checkpoints_load": [
        lambda: broken(hmlp(embedding_table=True), **changed("load_state_dict", load_what_is_complete))
    ],
}
"""The laws that say something else of tables, and what breaks that."""


@pytest.mark.parametrize("law", MAIN)
def test_law_of_main_networks_fires(law: str) -> None:
    net = MAIN[law]()
    others = {other.__name__: "not of interest" for other in MAIN_NETWORK_LAWS if other.__name__ != law}
    with pytest.raises(
        ContractViolation, match=f"^{type(net).__name__} breaks the law '{law}' of its interface"
    ) as info:
        check_main_network(net, X, limits=others)
    assert info.value.law == law
    assert isinstance(info.value.__cause__, Broken) or law == "pickles_compute_the_same"  # pickle refuses by itself


@pytest.mark.parametrize("law", HYPER)
def test_law_of_hypernetworks_fires(law: str) -> None:
    net = HYPER[law]()
    others = {other.__name__: "not of interest" for other in HYPERNETWORK_LAWS if other.__name__ != law}
    with pytest.raises(
        ContractViolation, match=f"^{type(net).__name__} breaks the law '{law}' of its interface"
    ) as info:
        check_hypernetwork(net, limits=others)
    assert info.value.law == law
    assert isinstance(info.value.__cause__, Broken)


@pytest.mark.parametrize(("law", "build"), [(law, build) for law, builds in TABLES.items() for build in builds])
def test_law_of_tables_fires(law: str, build: Callable[[], Any]) -> None:
    others = {other.__name__: "not of interest" for other in HYPERNETWORK_LAWS if other.__name__ != law}
    check_hypernetwork(hmlp(embedding_table=True))
    with pytest.raises(ContractViolation, match=law) as info:
        check_hypernetwork(build(), limits=others)
    assert isinstance(info.value.__cause__, Broken)


def test_every_law_is_tried() -> None:
    assert set(MAIN) == {law.__name__ for law in MAIN_NETWORK_LAWS}
    assert {*MAIN, *HYPER} == {law.__name__ for law in (*MAIN_NETWORK_LAWS, *HYPERNETWORK_LAWS)}


def test_laws_have_a_sentence() -> None:
    for law in (*MAIN_NETWORK_LAWS, *HYPERNETWORK_LAWS):
        assert law.__doc__.splitlines()[0].endswith(".")


def test_check_changes_nothing() -> None:
    torch.manual_seed(3)
    cases = [
        (mlp(use_batch_norm=True, dropout_rate=0.5), lambda net: check_main_network(net, X)),
        (hmlp(use_batch_norm=True), check_hypernetwork),
    ]
    for net, check in cases:
        before = {name: value.clone() for name, value in net.state_dict().items()}
        params, generator = list(net.parameters()), torch.get_rng_state()
        check(net)
        assert net.training
        assert torch.equal(torch.get_rng_state(), generator)
        assert all(a is b for a, b in zip(net.parameters(), params, strict=True))
        assert all(param.grad is None for param in params)
        after = net.state_dict()
        assert before.keys() == after.keys()
        assert all(torch.equal(after[name], value) for name, value in before.items())


def test_check_works_without_grad_mode() -> None:
    with torch.no_grad():
        check_main_network(mlp(), X)
        assert not torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("call", "error", "name"),
    [
        (lambda: check_main_network(nn.Linear(3, 2), X), TypeError, "net"),
        (lambda: check_main_network(mlp(), [1.0]), TypeError, "x"),
        (lambda: check_main_network(mlp(), X, limits={"no_such_law": ""}), ValueError, "limits"),
        (lambda: check_hypernetwork(mlp()), TypeError, "hnet"),
        (lambda: check_hypernetwork(hmlp(), limits={"batched_takes_distilled_tensors": ""}), ValueError, "limits"),
    ],
)
def test_wrong_arguments(call: Callable[[], None], error: type[Exception], name: str) -> None:
    with pytest.raises(error, match=name):
        call()


def test_limits_are_not_tried() -> None:
    net = MAIN["output_is_finite"]()
    with pytest.raises(ContractViolation, match="output_is_finite"):
        check_main_network(net, X)
    everything = {law.__name__: "no law at all" for law in MAIN_NETWORK_LAWS}
    check_main_network(net, X, limits=everything)
