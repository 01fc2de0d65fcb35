"""Elastic weight consolidation against loops over samples, and what it stores."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hypnettorch.hnets import HMLP
from hypnettorch.mnets import MLP, ModuleNet, SimpleRNN
from hypnettorch.testing.cases import HyperCase
from hypnettorch.utils import ewc_regularizer as ewc_module
from hypnettorch.utils.ewc_regularizer import compute_fisher, context_mod_forward, ewc_regularizer, fisher_estimates
from hypnettorch.utils.hnet_regularizer import calc_fix_target_reg, get_current_targets
from hypnettorch.utils.stored_tensors import prepare_to_load
from tests.conformance.registry import HYPERNETWORKS, TARGETS, Entry, target_network
from tests.utils import plain_fisher
from tests.utils.plain_fisher import NUM_IN, NUM_OUT, add, data_set, leaves, mean_over, rows

CPU = torch.device("cpu")
SMALL = {"n_in": NUM_IN, "n_out": NUM_OUT, "hidden_layers": [4], "verbose": False}
KINDS = {
    "empirical": (plain_fisher.empirical, {}),
    "exact": (plain_fisher.exact, {"empirical_fisher": False}),
    "empirical-regression": (plain_fisher.empirical_regression, {"regression": True}),
    "exact-regression": (plain_fisher.exact_regression, {"regression": True, "empirical_fisher": False}),
}


def network(**options: Any) -> Any:
    return MLP(**{**SMALL, "activation_fn": nn.Tanh(), **options}).double()


def fisher_of(net: Any, count: int, suffix: str = "_task_0") -> list[Tensor]:
    return [getattr(net, f"ewc_fisher_estimate{suffix}_weights_{i}") for i in range(count)]


def shift(params: Any) -> None:
    with torch.no_grad():
        for param in params:
            param.add_(0.1 * torch.randn_like(param))


# The Fisher information


@pytest.mark.parametrize("kind", KINDS)
def test_equals_a_loop_over_samples(kind: str) -> None:
    of_sample, options = KINDS[kind]
    net, data = network(), data_set("regression" in kind)
    params = list(net.internal_params)
    compute_fisher(0, data, params, CPU, net, **options)
    expected = mean_over(of_sample, lambda x: net(x), data, params)
    torch.testing.assert_close(fisher_of(net, len(params)), expected)


@pytest.mark.parametrize("empirical", [True, False])
def test_variance_of_a_regression(empirical: bool) -> None:
    net, data = network(), data_set(regression=True)
    params = list(net.internal_params)
    compute_fisher(0, data, params, CPU, net, regression=True, regression_lvar=0.3, empirical_fisher=empirical)
    of_sample = plain_fisher.empirical_regression if empirical else plain_fisher.exact_regression
    expected = mean_over(of_sample, lambda x: net(x), data, params, variance=0.3)
    torch.testing.assert_close(fisher_of(net, len(params)), expected)


@pytest.mark.parametrize("regression", [True, False])
def test_drawn_labels(regression: bool) -> None:
    net, data = network(), data_set(regression)
    params = list(net.internal_params)
    compute_fisher(0, data, params, CPU, net, empirical_fisher=False, mc_samples=500, regression=regression)
    drawn = fisher_of(net, len(params))
    compute_fisher(0, data, params, CPU, net, empirical_fisher=False, regression=regression)
    for few, all_of_them in zip(drawn, fisher_of(net, len(params)), strict=True):
        torch.testing.assert_close(few, all_of_them, rtol=0.25, atol=0.03 * all_of_them.max().item())
        assert not torch.equal(few, all_of_them)


def test_output_units_of_a_task() -> None:
    net, data = network(n_out=5), data_set()
    params = list(net.internal_params)
    for empirical, of_sample in ((True, plain_fisher.empirical), (False, plain_fisher.exact)):
        compute_fisher(0, data, params, CPU, net, allowed_outputs=[1, 3], empirical_fisher=empirical)
        expected = mean_over(of_sample, lambda x: net(x)[:, [1, 3]], data, params)
        torch.testing.assert_close(fisher_of(net, len(params)), expected)
        assert fisher_of(net, len(params))[-1][[0, 2, 4]].eq(0).all()


def test_one_hot_data_and_labels_alike() -> None:
    net = network()
    params = list(net.internal_params)
    results = []
    for one_hot in (True, False):
        compute_fisher(0, data_set(one_hot=one_hot), params, CPU, net)
        results.append(fisher_of(net, len(params)))
    torch.testing.assert_close(*results)


def test_part_of_the_samples() -> None:
    """The mean over the first ones, or an estimate of the sum over all."""
    net, data = network(), data_set(size=8)
    data.set_shuffled("train", False)
    params = list(net.internal_params)
    inputs, labels = rows(data)
    sums = [torch.zeros_like(param) for param in params]
    for x, label in zip(inputs[:2], labels[:2], strict=True):
        sums = add(sums, plain_fisher.empirical(net(x[None]), label, params))
    data.next_train_batch(3)
    compute_fisher(0, data, params, CPU, net, n_max=2)
    torch.testing.assert_close(fisher_of(net, len(params)), [s / 2 for s in sums])
    compute_fisher(0, data, params, CPU, net, n_max=2, proper_scaling=True)
    torch.testing.assert_close(fisher_of(net, len(params)), [s * 4 for s in sums])
    compute_fisher(0, data, params, CPU, net, n_max=100)
    torch.testing.assert_close(
        fisher_of(net, len(params)), mean_over(plain_fisher.empirical, lambda x: net(x), data, params)
    )


@pytest.mark.parametrize("empirical", [True, False])
def test_time_series(empirical: bool) -> None:
    """The steps of a sequence are independent given the inputs."""
    net = SimpleRNN(n_in=3, rnn_layers=[4], fc_layers=[3], verbose=False).double()
    params = list(net.internal_params)
    x, labels = torch.randn(4, 5, 3).double(), torch.randint(3, (4, 5))
    compute_fisher(0, Sequences(x, labels), params, CPU, net, time_series=True, empirical_fisher=empirical)
    expected = [torch.zeros_like(param) for param in params]
    for n in range(5):
        log_p = net(x[:, [n]])[:, 0].log_softmax(1)
        if empirical:
            total = log_p[range(4), labels[:, n]].sum()
            expected = add(expected, plain_fisher.squares(total, params), 1 / 5)
            continue
        for step in log_p:
            for value in step:
                expected = add(expected, plain_fisher.squares(value, params), value.exp().item() / 5)
    torch.testing.assert_close(fisher_of(net, len(params)), expected)


class Sequences:
    """A data set of sequences, ``[T, N, ...]``, all batches in order."""

    classification = True
    is_one_hot = True

    def __init__(self, x: Tensor, labels: Tensor) -> None:
        self.x, self.y = x, nn.functional.one_hot(labels).double()
        self.num_train_samples = x.shape[1]
        self.position = 0

    def reset_batch_generator(self, train: bool = True, test: bool = True, val: bool = True) -> None:
        self.position = 0

    def next_train_batch(self, batch_size: int, use_one_hot: bool | None = None, return_ids: bool = False) -> Any:
        ids = torch.arange(self.position, self.position + batch_size).numpy()
        self.position += batch_size
        return ids, ids, ids

    def input_to_torch_tensor(self, x: Any, device: Any, mode: str, sample_ids: Any) -> Tensor:
        return self.x[:, x]

    def output_to_torch_tensor(self, y: Any, device: Any, mode: str, sample_ids: Any) -> Tensor:
        return self.y[:, y]


# Networks


def needs_only_a_task(entry: Entry) -> bool:
    """Whether all parameters are internal, and weights for a task need no further input."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        hnet = entry.build()
    case = HyperCase(hnet)
    return bool(hnet.unconditional_params) and case.weights is None and set(case.inputs) == {"cond_id"}


OF_TASKS = [entry for entry in HYPERNETWORKS if needs_only_a_task(entry)]


@pytest.mark.filterwarnings("ignore:has_bias is False", "ignore:There is a performance drop")
@pytest.mark.parametrize("entry", OF_TASKS, ids=lambda entry: entry.name)
def test_every_hypernetwork(entry: Entry) -> None:
    """The unconditional parameters of a hypernetwork, through what it produces for a task."""
    hnet = entry.build().double()
    mnet = target_network(hnet.target_shapes).double()
    params, data, task = hnet.unconditional_params, data_set(size=3), hnet.num_known_conds - 1
    compute_fisher(task, data, params, CPU, mnet, hnet, empirical_fisher=False)
    assert hnet.training
    hnet.eval()
    expected = mean_over(plain_fisher.exact, lambda x: mnet(x, weights=hnet(cond_id=task)), data, params)
    torch.testing.assert_close(fisher_of(hnet, len(params), f"_task_{task}"), expected, rtol=1e-6, atol=1e-12)
    assert any(fisher.gt(0).any() for fisher in expected)
    assert not any(name.startswith("ewc_") for name, _ in mnet.named_buffers())


def test_kinds_of_hypernetworks() -> None:
    kinds = {entry.name.partition("-")[0] for entry in OF_TASKS}
    assert kinds >= {"HMLP", "ChunkedHMLP", "StructuredHMLP", "HDeconv", "ChunkedHDeconv", "HContainer", "HResidual"}


def test_external_parameters_of_a_hypernetwork() -> None:
    mnet = target_network().double()
    hnet = HMLP(TARGETS, cond_in_size=3, num_cond_embs=2, no_uncond_weights=True, verbose=False).double()
    params, data = leaves(torch.randn(shape).double() for shape in hnet.unconditional_param_shapes), data_set()
    compute_fisher(0, data, params, CPU, mnet, hnet)
    expected = mean_over(
        plain_fisher.empirical,
        lambda x: mnet(x, weights=hnet(cond_id=0, weights={"uncond_weights": params})),
        data,
        params,
    )
    torch.testing.assert_close(fisher_of(hnet, len(params)), expected)


def test_any_module() -> None:
    net = ModuleNet(nn.Sequential(nn.Linear(NUM_IN, 4), nn.Tanh(), nn.Linear(4, NUM_OUT))).double()
    params, data = leaves(net.initial_weights()), data_set()
    compute_fisher(0, data, params, CPU, net, empirical_fisher=False)
    expected = mean_over(plain_fisher.exact, lambda x: net(x, weights=params), data, params)
    torch.testing.assert_close(fisher_of(net, len(params)), expected)
    assert ewc_regularizer(1, params, net).item() == 0
    shift(params)
    assert ewc_regularizer(1, params, net).item() > 0


def test_modules_keep_their_modes_and_gradients() -> None:
    net = network(dropout_rate=0.5)
    net.train()
    params = list(net.internal_params)
    compute_fisher(0, data_set(), params, CPU, net)
    assert net.training
    assert all(param.grad is None for param in params)
    net.eval()
    expected = mean_over(plain_fisher.empirical, lambda x: net(x), data_set(), params)
    torch.testing.assert_close(fisher_of(net, len(params)), expected)


@pytest.mark.parametrize("generated", [True, False])
def test_modulated_networks(generated: bool) -> None:
    """Internal weights are protected; the modulation is given, or comes from a hypernetwork."""
    mnet = network(use_context_mod=True, context_mod_no_weights=True)
    hnet = HMLP(mnet.hyper_shapes_learned, cond_in_size=3, num_cond_embs=2, verbose=False).double()
    params, data = list(mnet.internal_params), data_set()
    modulation = [tensor.detach() for tensor in hnet(cond_id=1)]
    expected = mean_over(plain_fisher.empirical, lambda x: mnet(x, weights=modulation), data, params)
    if generated:
        compute_fisher(1, data, params, CPU, mnet, hnet, custom_forward=context_mod_forward())
    else:
        compute_fisher(1, data, params, CPU, mnet, custom_forward=context_mod_forward(mod_weights=modulation))
    torch.testing.assert_close(fisher_of(hnet if generated else mnet, len(params), "_task_1"), expected)


# Functions of users


class Recorder:
    """A custom function that remembers its last arguments."""

    def __init__(self, function: Any) -> None:
        self.function, self.arguments = function, ()

    def __call__(self, *arguments: Any) -> Any:
        self.arguments = arguments
        return self.function(*arguments)


def test_custom_forward() -> None:
    net, data = network(), data_set()
    params = list(net.internal_params)
    forward = Recorder(lambda mnet, params, x: 2 * mnet.forward(x, weights=list(params)))
    compute_fisher(0, data, params, CPU, net, custom_forward=forward)
    assert forward.arguments[2].shape == (1, NUM_IN)
    expected = mean_over(plain_fisher.empirical, lambda x: 2 * net(x), data, params)
    torch.testing.assert_close(fisher_of(net, len(params)), expected)


def test_custom_forward_that_reads_values_and_own_parameters() -> None:
    """As written for versions that took gradients from ``param.grad``."""
    net, data = network(), data_set()
    params = list(net.internal_params)

    def forward(mnet: Any, params: Any, x: Tensor) -> Tensor:
        return mnet(x) * (2 if float(x.detach().numpy()[0, 0]) > 0 else 1)

    compute_fisher(0, data, params, CPU, net, custom_forward=forward)
    expected = mean_over(plain_fisher.empirical, lambda x: net(x) * (2 if x[0, 0] > 0 else 1), data, params)
    torch.testing.assert_close(fisher_of(net, len(params)), expected)


@pytest.mark.parametrize("pass_ids", [True, False])
def test_arguments_of_custom_functions(pass_ids: bool) -> None:
    mnet = target_network().double()
    hnet = HMLP(TARGETS, cond_in_size=3, num_cond_embs=2, verbose=False).double()
    params, data = hnet.unconditional_params, data_set(one_hot=True)
    forward = Recorder(
        lambda mnet, hnet, t, params, x, *_: mnet.forward(
            x, weights=hnet.forward(cond_id=t, weights={"uncond_weights": list(params)})
        )
    )
    nll = Recorder(lambda outputs, targets, *_: -(targets * outputs.log_softmax(1)).sum() * 3)
    options = {"custom_forward": forward, "custom_nll": nll, "pass_ids": pass_ids, "allowed_outputs": [1, 0]}
    compute_fisher(1, data, params, CPU, mnet, hnet, **options)
    assert forward.arguments[:3] == (mnet, hnet, 1)
    assert nll.arguments[2:5] == (data, [1, 0], True)
    assert nll.arguments[0].shape == (1, NUM_OUT)
    expected = mean_over(plain_fisher.empirical, lambda x: mnet(x, weights=hnet(cond_id=1))[:, [1, 0]], data, params)
    torch.testing.assert_close(fisher_of(hnet, len(params), "_task_1"), [9 * tensor for tensor in expected])
    if pass_ids:
        x, [same_data, ids] = forward.arguments[4], forward.arguments[5:]
        assert same_data is data
        assert nll.arguments[5] is not None
        assert torch.equal(data.input_to_torch_tensor(data.inputs("train")[data.ids_to_indices("train", ids)]), x)
    else:
        assert len(forward.arguments) == 5
        assert len(nll.arguments) == 5


@pytest.mark.parametrize("options", [{}, {"pass_ids": True}, {"empirical_fisher": False, "mc_samples": 2}])
def test_custom_likelihood_of_the_units_of_a_task(options: dict[str, Any]) -> None:
    """It sees them only; the information of other heads is none."""
    net, data = network(n_out=6), data_set(one_hot=True)
    params = list(net.internal_params)

    def nll(outputs: Tensor, targets: Tensor, data: Any, allowed: Any, empirical: bool, *ids: Any) -> Tensor:
        assert outputs.shape == targets.shape == (1, 2)
        assert allowed == [2, 3]
        return -(targets * outputs.log_softmax(1)).sum()

    compute_fisher(0, data, params, CPU, net, allowed_outputs=[2, 3], custom_nll=nll, **options)
    found = fisher_of(net, len(params))
    expected = mean_over(plain_fisher.empirical, lambda x: net(x)[:, [2, 3]], data, params)
    torch.testing.assert_close(found, expected)
    assert found[-1][[0, 1, 4, 5]].eq(0).all()


def test_names_of_buffers_as_published_programs_read_them() -> None:
    """A posterior from what online EWC stored, ``N(θ*, 1 / F)``; and the same for single tasks."""
    net, data = network(), data_set()
    params = list(net.internal_params)
    compute_fisher(0, data, params, CPU, net, online=True, prior_strength=1.0)
    compute_fisher(2, data, params, CPU, net)
    for i, param in enumerate(params):
        mean_name, fisher_name = ewc_module._ewc_buffer_names(None, i, True)
        assert torch.equal(getattr(net, mean_name), param)
        assert torch.equal(
            getattr(net, fisher_name).pow(-0.5), getattr(net, f"ewc_fisher_estimate_weights_{i}") ** -0.5
        )
        assert ewc_module._ewc_buffer_names(3, i, True) == (mean_name, fisher_name)
        names = ewc_module._ewc_buffer_names(2, i, False)
        assert names == (f"ewc_prev_task_2_weights_{i}", f"ewc_fisher_estimate_task_2_weights_{i}")
        assert all(hasattr(net, name) for name in names)


def test_custom_likelihood_with_drawn_labels() -> None:
    net, data = network(), data_set()
    params = list(net.internal_params)
    nll = Recorder(lambda outputs, targets, *_: -outputs.log_softmax(1)[0, 0])
    compute_fisher(0, data, params, CPU, net, custom_nll=nll, empirical_fisher=False, mc_samples=3)
    assert nll.arguments[4] is False
    expected = mean_over(lambda outputs, _, p: plain_fisher.empirical(outputs, torch.tensor(0), p), net, data, params)
    torch.testing.assert_close(fisher_of(net, len(params)), expected)


def test_target_manipulator() -> None:
    net, data = network(n_out=3), data_set()
    params = list(net.internal_params)
    compute_fisher(0, data, params, CPU, net, target_manipulator=lambda t: nn.functional.pad(t, (1, 0)))
    expected = mean_over(lambda outputs, y, p: plain_fisher.empirical(outputs, y + 1, p), net, data, params)
    torch.testing.assert_close(fisher_of(net, len(params)), expected)


# The penalty


def test_penalty_of_several_tasks() -> None:
    net = network()
    params = list(net.internal_params)
    terms = []
    for task in range(3):
        compute_fisher(task, data_set(seed=task), params, CPU, net)
        terms.append((fisher_of(net, len(params), f"_task_{task}"), [param.detach().clone() for param in params]))
        shift(params)
    expected = sum(
        0.5 * (f * (param - anchor) ** 2).sum()
        for fisher, anchors in terms
        for f, param, anchor in zip(fisher, params, anchors, strict=True)
    )
    penalty = ewc_regularizer(3, params, net)
    torch.testing.assert_close(penalty, expected)
    grads = [torch.autograd.grad(value, params) for value in (penalty, expected)]
    torch.testing.assert_close(*grads)


def test_online_penalty_decays_and_stores_nothing() -> None:
    net, gamma = network(), 0.7
    params = list(net.internal_params)
    total = [torch.zeros_like(param) for param in params]
    for task in range(3):
        data = data_set(seed=task)
        compute_fisher(task, data, params, CPU, net, online=True, gamma=gamma)
        total = add(mean_over(plain_fisher.empirical, net, data, params), total, gamma)
        torch.testing.assert_close(fisher_of(net, len(params), ""), total)
        anchors = [param.detach().clone() for param in params]
        shift(params)
        before = {name: value.clone() for name, value in net.state_dict().items()}
        expected = sum(0.5 * gamma * (f * (p - a) ** 2).sum() for f, p, a in zip(total, params, anchors, strict=True))
        for _ in range(3):
            torch.testing.assert_close(ewc_regularizer(task + 1, params, net, online=True, gamma=gamma), expected)
        assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not any("task" in name for name, _ in net.named_buffers())


@pytest.mark.parametrize("proper_scaling", [True, False])
def test_prior(proper_scaling: bool) -> None:
    """A precision is added to the sum over samples, whose mean is stored without proper scaling."""
    net, data = network(), data_set()
    params = list(net.internal_params)
    size = data.num_train_samples
    for prior in (0.3, [torch.rand_like(param) for param in params]):
        options: Any = {"online": True, "prior_strength": prior, "proper_scaling": proper_scaling}
        compute_fisher(0, data, params, CPU, net, **options)
        added = [torch.full_like(param, 0.3) for param in params] if prior == 0.3 else prior
        mean = mean_over(plain_fisher.empirical, net, data, params)
        expected = add([size * m for m in mean], added)  # type: ignore[arg-type]
        scale = 1 if proper_scaling else size
        torch.testing.assert_close(fisher_of(net, len(params), ""), [e / scale for e in expected])


def test_second_derivative_of_the_penalty() -> None:
    net = network()
    params = list(net.internal_params)
    compute_fisher(0, data_set(), params, CPU, net)
    shift(params)
    net.requires_grad_(False)
    assert torch.autograd.gradgradcheck(lambda *p: ewc_regularizer(1, p, net), tuple(leaves(params)))


# What is kept


def test_state_and_copies() -> None:
    net = network()
    params = list(net.internal_params)
    compute_fisher(0, data_set(), params, CPU, net)
    shift(params)
    penalty = ewc_regularizer(1, params, net)
    fresh = network()
    prepare_to_load(fresh, net.state_dict())
    fresh.load_state_dict(net.state_dict())
    for other in (fresh, copy.deepcopy(net)):
        torch.testing.assert_close(ewc_regularizer(1, list(other.internal_params), other), penalty)
    single = net.float()
    assert ewc_regularizer(1, list(single.internal_params), single).dtype == torch.float32


def test_fisher_weighted_regulariser_of_a_hypernetwork() -> None:
    """Weights that a hypernetwork produced are parameters like others."""
    mnet = target_network().double()
    hnet = HMLP(TARGETS, cond_in_size=3, num_cond_embs=3, verbose=False).double()
    targets = get_current_targets(2, hnet)
    for task in range(2):
        weights = leaves(targets[task])
        compute_fisher(task, data_set(seed=task), weights, CPU, mnet, empirical_fisher=False)
    fisher = fisher_estimates(2, weights, mnet)
    assert [len(estimates) for estimates in fisher] == [len(TARGETS)] * 2
    shift(hnet.parameters())
    expected = sum(
        (f * (w - t) ** 2).sum() / 2
        for task in range(2)
        for f, w, t in zip(fisher[task], hnet(cond_id=task), targets[task], strict=True)
    )
    torch.testing.assert_close(calc_fix_target_reg(hnet, 2, targets, fisher_estimates=fisher), expected)


# Errors


WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"task_id": -1}, ValueError, "task_id"),
    ({"params": []}, ValueError, "params"),
    ({"params": [torch.zeros(2)]}, ValueError, r"params\[0\].* requires gradients"),
    ({"params": torch.zeros(2)}, TypeError, "params"),
    ({"mnet": nn.Linear(2, 2)}, TypeError, "mnet"),
    ({"mnet": MLP(**SMALL, out_fn=torch.sigmoid)}, ValueError, "mnet.*linear outputs"),
    ({"hnet": MLP(**SMALL)}, TypeError, "hnet"),
    ({"mc_samples": 3}, ValueError, "mc_samples.*empirical_fisher"),
    ({"mc_samples": 0, "empirical_fisher": False}, ValueError, "mc_samples"),
    ({"custom_nll": lambda *_: 0, "empirical_fisher": False}, ValueError, "mc_samples.*custom_nll"),
    ({"custom_nll": 3}, TypeError, "custom_nll"),
    ({"custom_forward": 3}, TypeError, "custom_forward"),
    ({"target_manipulator": 3}, TypeError, "target_manipulator"),
    ({"prior_strength": 1.0}, ValueError, "prior_strength.*online"),
    ({"prior_strength": [torch.ones(1)], "online": True}, ValueError, "prior_strength"),
    ({"n_max": 0}, ValueError, "n_max"),
    ({"regression": True, "time_series": True}, NotImplementedError, "regression"),
    ({"regression": True, "regression_lvar": 0}, ValueError, "regression_lvar"),
    ({"allowed_outputs": [0, NUM_OUT]}, ValueError, "allowed_outputs"),
    ({"regression": True, "regression_lvar": -1}, ValueError, "regression_lvar"),
    ({"allowed_outputs": [0]}, ValueError, "targets"),
    ({"online": True, "task_id": 1}, ValueError, r"params\[0\].*compute_fisher"),
]


@pytest.mark.parametrize(("wrong", "error", "message"), WRONG)
def test_wrong_arguments(wrong: dict[str, Any], error: type[Exception], message: str) -> None:
    net = MLP(**SMALL).double()
    arguments = {"task_id": 0, "data": data_set(), "params": list(net.internal_params), "device": CPU, "mnet": net}
    with pytest.raises(error, match=message):
        compute_fisher(**{**arguments, **wrong})
    assert not any(name.startswith("ewc_") for name, _ in net.named_buffers())


def test_missing_estimates() -> None:
    net = network()
    params = list(net.internal_params)
    compute_fisher(0, data_set(), params, CPU, net)
    for function in (lambda t: ewc_regularizer(t, params, net), lambda t: fisher_estimates(t, params, net)):
        with pytest.raises(ValueError, match=r"params\[0\].*compute_fisher.*task_1"):
            function(2)
    with pytest.raises(ValueError, match="task_id"):
        ewc_regularizer(0, params, net)
    with pytest.raises(ValueError, match=r"params\[0\]: expected shape"):
        ewc_regularizer(1, params[1:], net)
