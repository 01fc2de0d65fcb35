"""Networks that research code derived from the old package keep working: lists, overridden methods, old names."""

from __future__ import annotations

import copy
import io
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from hypnettorch.hnets import HMLP
from hypnettorch.hyper_model import HyperModel
from hypnettorch.mnets.mlp import MLP
from hypnettorch.mnets.mnet_interface import MainNetInterface
from hypnettorch.testing import check_hypernetwork, check_main_network
from hypnettorch.utils.hnet_regularizer import calc_fix_target_reg, get_current_targets
from tests.mnets.old_style_networks import RBF, OldNamesRBF, ScaledHMLP, TwoHeads

Build = Callable[[], Any]

INTERNAL: dict[str, Build] = {
    "rbf": RBF,
    "rbf-old-names": OldNamesRBF,
    "two-heads": TwoHeads,
    "two-heads-by-hand": lambda: TwoHeads(by_hand=True),
    "two-heads-norm": lambda: TwoHeads(use_batch_norm=True),
    "two-heads-dropout": lambda: TwoHeads(dropout_rate=0.2, activation_fn=nn.Tanh(), out_fn=nn.Sigmoid()),
}
EXTERNAL: dict[str, Build] = {
    "rbf": lambda: RBF(no_weights=True),
    "rbf-interface-first": lambda: RBF(no_weights=True, module_first=False),
    "rbf-old-names": lambda: OldNamesRBF(no_weights=True),
    "two-heads": lambda: TwoHeads(no_weights=True),
    "two-heads-by-hand": lambda: TwoHeads(no_weights=True, by_hand=True),
    "two-heads-norm": lambda: TwoHeads(no_weights=True, use_batch_norm=True, distill_bn_stats=True),
    "two-heads-modulated": lambda: TwoHeads(
        no_weights=True, use_context_mod=True, context_mod_no_weights=True, no_last_layer_context_mod=True
    ),
}

LIMITS = {
    "forms_of_weights_agree": "old classes take lists only",
    "batched_takes_forms_of_weights": "old classes take lists only",
    "wrong_weights_are_refused": "old classes unpack lists without a check",
    "missing_weights_are_refused": "old classes unpack lists without a check",
    "distilled_tensors_replace_computed_ones": "old classes ignore distilled tensors that they do not know",
}

HYPERNETWORKS: dict[str, dict[str, Any]] = {
    "plain": {},
    "linear": {"layers": ()},
    "norm": {"use_batch_norm": True},
    "uncond-input": {"uncond_in_size": 2},
    "external": {"no_uncond_weights": True, "no_cond_weights": True},
    "no-bias": {"use_bias": False, "dropout_rate": 0.2, "activation_fn": nn.Tanh()},
}


def build(make: Build) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return make()


@pytest.mark.parametrize(
    "make", [*INTERNAL.values(), *EXTERNAL.values()], ids=[*INTERNAL, *(f"{k}-external" for k in EXTERNAL)]
)
def test_main_network_keeps_the_contract(make: Build) -> None:
    check_main_network(build(make), torch.randn(5, 3), limits=LIMITS)


@pytest.mark.parametrize("options", HYPERNETWORKS.values(), ids=HYPERNETWORKS)
def test_hypernetwork_keeps_the_contract(options: dict[str, Any]) -> None:
    settings = {"cond_in_size": 3, "layers": (5, 4), "num_cond_embs": 3, "verbose": False, **options}
    check_hypernetwork(ScaledHMLP([[4, 3], [4]], **settings))


def test_overridden_forward_is_what_runs() -> None:
    """``batched_forward`` of a class with its own ``forward`` is not that of its base."""
    settings = {"cond_in_size": 3, "layers": (5,), "num_cond_embs": 2, "verbose": False}
    hnet = ScaledHMLP([[4, 3], [4]], **settings)
    base = HMLP([[4, 3], [4]], **settings)
    base.load_state_dict(hnet.state_dict())
    weights = [torch.stack([p.detach(), 2 * p.detach()]) for p in hnet.internal_params]
    own = hnet.batched_forward(cond_id=[0, 1], weights=weights, ret_format="flattened")
    torch.testing.assert_close(own, 0.5 * base.batched_forward(cond_id=[0, 1], weights=weights, ret_format="flattened"))
    targets = get_current_targets(1, hnet)
    torch.testing.assert_close(calc_fix_target_reg(hnet, 1, targets=targets), torch.tensor(0.0))


@pytest.mark.parametrize("hyper_class", [HMLP, ScaledHMLP])
@pytest.mark.parametrize("make", EXTERNAL.values(), ids=EXTERNAL)
def test_driven_by_a_hypernetwork(make: Build, hyper_class: type[HMLP]) -> None:
    """One condition, many at once, a checkpoint of both networks, a copy and a pickle."""
    mnet = build(make)
    model = HyperModel(hyper_class(mnet.hyper_shapes_learned, num_cond_embs=3, layers=[6], verbose=False), mnet).eval()
    x = torch.randn(2, 5, 3)
    expected = [model(x[b], cond_id=b) for b in range(2)]
    heads = isinstance(expected[0], tuple)
    both = model(x, cond_id=[0, 1])
    for k, output in enumerate(both if heads else [both]):
        torch.testing.assert_close(output, torch.stack([e[k] if heads else e for e in expected]))
    sum(output.sum() for output in (both if heads else [both])).backward()
    assert all(param.grad is not None for param in model.hnet.unconditional_params)
    assert model.hnet.conditional_params[2].grad is None

    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    mnet_again = build(make)
    hnet_again = hyper_class(mnet_again.hyper_shapes_learned, num_cond_embs=3, layers=[6], verbose=False)
    loaded = HyperModel(hnet_again, mnet_again)
    loaded.load_state_dict(torch.load(file, weights_only=True))
    for other in (loaded.eval(), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        torch.testing.assert_close(other(x, cond_id=[0, 1]), both)


@pytest.mark.parametrize("make", INTERNAL.values(), ids=INTERNAL)
def test_learns_by_itself(make: Build) -> None:
    """What goes to the optimiser is what the network computes with."""
    net = build(make)
    x, target = torch.randn(16, 3), torch.randn(16, 2)

    def loss() -> torch.Tensor:
        outputs = net(x)
        return sum((y - target).square().mean() for y in (outputs if isinstance(outputs, tuple) else [outputs]))

    optimizer = torch.optim.Adam(net.internal_params, lr=0.05)
    first = loss().item()
    for _ in range(40):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    assert loss().item() < 0.9 * first


def test_old_names_warn_and_are_mirrored() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        net = OldNamesRBF(no_weights=True)
    assert {w.category for w in caught} == {DeprecationWarning}
    assert {str(w.message).split("'")[1] for w in caught} == {"_all_shapes", "_hyper_shapes"}
    assert net.param_shapes is net._all_shapes is net._param_shapes
    assert net.hyper_shapes_learned is net._hyper_shapes is net._hyper_shapes_learned
    with pytest.warns(DeprecationWarning, match="_all_shapes"):
        net = OldNamesRBF()
    assert net.internal_params is net._weights


def test_unknown_facts_are_not_implemented() -> None:
    net = build(lambda: OldNamesRBF(no_weights=True))
    for name in ("param_shapes_meta", "hyper_shapes_learned_ref"):
        with pytest.raises(NotImplementedError, match="OldNamesRBF"):
            getattr(net, name)
    net = build(OldNamesRBF)
    with pytest.raises(NotImplementedError, match="OldNamesRBF"):
        net.internal_params_ref  # noqa: B018
    assert net.hyper_shapes_learned_ref is None


def test_protected_names_of_an_mlp() -> None:
    net = MLP(
        n_in=3, n_out=2, use_batch_norm=True, use_context_mod=True, no_weights=True, out_fn=torch.tanh, verbose=False
    )
    assert net._hyper_shapes is net._hyper_shapes_learned
    assert net._all_shapes is net._param_shapes
    assert (net._no_weights, net._use_batch_norm, net._bn_track_stats) == (True, True, True)
    assert (net._use_context_mod, net._context_mod_no_weights, net._num_context_mod_shapes()) == (True, False, 6)
    assert net._out_fn is torch.tanh
    assert isinstance(net._a_fun, nn.ReLU)
    assert net._dropout_rate == -1
    x = torch.randn(3)
    assert torch.equal(net.train()._dropout(x), x)


def test_protected_names_of_an_hmlp() -> None:
    hnet = HMLP([[3]], uncond_in_size=2, cond_in_size=4, dropout_rate=0.5, verbose=False)
    assert (hnet._uncond_in_size, hnet._cond_in_size, hnet._use_batch_norm) == (2, 4, False)
    assert hnet._dropout_rate == hnet._dropout.p == 0.5
    assert isinstance(hnet._act_fn, nn.ReLU)
    assert hnet.batchnorm_layers is None


class Incomplete(nn.Module, MainNetInterface):
    """Fills the lists of a network with one layer, some of them wrongly."""

    def __init__(self, **lists: Any) -> None:
        nn.Module.__init__(self)
        MainNetInterface.__init__(self)
        param = nn.Parameter(torch.zeros(2, 3))
        filled = {
            "_param_shapes": [[2, 3]],
            "_internal_params": nn.ParameterList([param]),
            "_param_shapes_meta": [{"name": "weight", "index": 0, "layer": 0}],
            "_has_bias": False,
            "_has_fc_out": True,
            "_mask_fc_out": True,
            "_has_linear_out": True,
            "_layer_weight_tensors": nn.ParameterList([param]),
            "_layer_bias_vectors": nn.ParameterList(),
        }
        for name, value in {**filled, **lists}.items():
            setattr(self, name, value)
        self._is_properly_setup()

    def forward(self, x: torch.Tensor, weights: Any = None) -> torch.Tensor:
        return x @ (self.internal_params if weights is None else weights)[0].T

    def distillation_targets(self) -> None:
        return None


def test_complete_lists_are_accepted() -> None:
    assert Incomplete()(torch.zeros(1, 3)).shape == (1, 2)


@pytest.mark.parametrize(
    ("lists", "error", "name"),
    [
        ({"_param_shapes": None}, TypeError, "_param_shapes"),
        ({"_internal_params": None}, ValueError, "_internal_params"),
        ({"_internal_params": nn.ParameterList()}, ValueError, "_internal_params"),
        ({"_param_shapes_meta": []}, ValueError, "_param_shapes_meta"),
        ({"_param_shapes_meta": [{"name": "weight", "index": 0}]}, ValueError, r"_param_shapes_meta\[0\]"),
        ({"_param_shapes_meta": [{"name": "kernel", "index": 0, "layer": 0}]}, ValueError, "name"),
        ({"_param_shapes_meta": [{"name": "weight", "index": 1, "layer": 0}]}, ValueError, "index"),
        ({"_param_shapes_meta": [{"name": "weight", "index": 0, "layer": -2}]}, ValueError, "layer"),
        (
            {"_hyper_shapes_learned": [], "_hyper_shapes_learned_ref": [1]},
            ValueError,
            r"_hyper_shapes_learned_ref\[0\]",
        ),
        ({"_has_fc_out": None}, TypeError, "_has_fc_out"),
        ({"_mask_fc_out": 1}, TypeError, "_mask_fc_out"),
        ({"_has_linear_out": None}, TypeError, "_has_linear_out"),
        ({"_has_bias": None}, TypeError, "_has_bias"),
        ({"_has_bias": True}, ValueError, "_layer_bias_vectors"),
        ({"_layer_weight_tensors": None}, TypeError, "_layer_weight_tensors"),
        ({"_layer_bias_vectors": None}, TypeError, "_layer_bias_vectors"),
        ({"_weights": nn.ParameterList()}, ValueError, "_weights"),
    ],
)
def test_wrong_lists_are_refused(lists: dict[str, Any], error: type[Exception], name: str) -> None:
    with pytest.raises(error, match=name):
        Incomplete(**lists)


def test_bias_flag_may_stay_unchecked() -> None:
    class Unchecked(Incomplete):
        def _is_properly_setup(self) -> None:
            MainNetInterface._is_properly_setup(self, check_has_bias=False)

    assert Unchecked(_has_bias=None).has_bias is None


def test_repeated_setup_changes_nothing() -> None:
    net = TwoHeads(use_batch_norm=True)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    net._is_properly_setup()
    net._is_properly_setup()
    assert net.state_dict().keys() == before.keys()
    net.load_state_dict(before, strict=True)


def test_interfaces_are_no_modules() -> None:
    assert not issubclass(MainNetInterface, nn.Module)
    with pytest.raises(TypeError, match="abstract"):
        MainNetInterface()


def test_context_modulation_arguments_are_completed() -> None:
    options = {"context_mod_inputs": True, "n_out": 3, "context_mod_apply_pixel_wise": True}
    assert MainNetInterface._parse_context_mod_args(options) == ["context_mod_apply_pixel_wise"]
    assert options["context_mod_inputs"] is True
    assert options["use_context_mod"] is False
    assert options["no_last_layer_context_mod"] is False


@pytest.mark.parametrize("kind", ["mlp", "conv", "recurrent"])
def test_using_and_materialize_for_one_set_and_many(kind: str) -> None:
    from hypnettorch.mnets import LeNet, SimpleRNN

    net, shape = {
        "mlp": lambda: (MLP(n_in=4, n_out=2, no_weights=True, verbose=False), (5, 4)),
        "conv": lambda: (LeNet(no_weights=True, verbose=False), (2, 784)),
        "recurrent": lambda: (SimpleRNN(n_in=4, rnn_layers=[3], no_weights=True, verbose=False), (5, 2, 4)),
    }[kind]()
    x = torch.randn(shape)
    many = [0.1 * torch.randn(3, *s) for s in net.hyper_shapes_learned]
    for given in (
        many,
        dict(zip(net.table.learned_names, many, strict=True)),
        torch.cat([w.flatten(1) for w in many], 1),
    ):
        plains = net.materialize(given)
        with net.using(given):
            batched = net(x.expand(3, *shape))
        for b, plain in enumerate(plains):
            one = [w[b] for w in many]
            expected = net(x, weights=one)
            torch.testing.assert_close(plain(x), expected)
            torch.testing.assert_close(batched[b], expected, rtol=1e-4, atol=1e-5)
            with net.using(one) as function:
                torch.testing.assert_close(function(x), expected)
    with pytest.raises(ValueError, match="weights"), net.using(many[:-1]):
        pass
    with pytest.raises(ValueError, match="weights"):
        net.materialize([w[:, :1] for w in many])
