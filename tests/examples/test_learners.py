"""Methods of continual learning, without command line and files."""

from __future__ import annotations

import io
import logging
from typing import Any

import numpy as np
import pytest
import torch

from hypnettorch.data import build_task_sequence
from hypnettorch.examples.hypercl.command_line import complete
from hypnettorch.examples.hypercl.evaluation import accuracy
from hypnettorch.examples.hypercl.experiment import make_learner
from hypnettorch.examples.hypercl.learners import (
    HYPERNETWORK_METHODS,
    MAIN_NETWORK_METHODS,
    POSTERIOR_METHODS,
    Learner,
)
from hypnettorch.examples.hypercl.networks import make_model
from hypnettorch.examples.hypercl.options import Options
from hypnettorch.examples.hypercl.procedures import evaluate, load_datasets, train
from hypnettorch.examples.hypercl.procedures import test as run_tests
from hypnettorch.examples.hypercl.tasks import Batch, Task
from hypnettorch.hnets import HMLP
from hypnettorch.mnets import MLP
from hypnettorch.utils.orthogonal_regularizer import orthogonal_regularizer
from tests.examples.settings import TINY

CPU = torch.device("cpu")


def options_of(**changes: Any) -> Options:
    return complete({**TINY, "no_cuda": True, **changes})


def tasks_of(options: Options) -> list[Task]:
    data = build_task_sequence(options.cl_exp, "nowhere", options.num_tasks, options.num_classes_per_task)
    return [Task(index, handler, CPU) for index, handler in enumerate(data)]


def learn(learner: Learner, tasks: list[Task], steps: int = 3, stages: int | None = None) -> None:
    for stage in range(len(tasks) if stages is None else stages):
        learner.begin(stage)
        for _ in range(steps):
            learner.step([tasks[index].train_batch(4) for index in learner.tasks_in_stage(stage)])
        learner.end([tasks[index] for index in learner.tasks_in_stage(stage)])


def seeded_learner(options: Options) -> Learner:
    torch.manual_seed(0)
    np.random.seed(0)
    return make_learner(options, [8, 8, 1])


SINGLE_WEIGHTS = [method for method in HYPERNETWORK_METHODS if method not in POSTERIOR_METHODS]
NETWORKS = [(method, hnet_type) for method in SINGLE_WEIGHTS for hnet_type in ("hmlp", "chunked_hmlp")]


@pytest.mark.parametrize(("method", "hnet_type"), [*NETWORKS, *((method, "hmlp") for method in MAIN_NETWORK_METHODS)])
def test_each_method_learns_and_predicts(method: str, hnet_type: str) -> None:
    options = options_of(method=method, hnet_type=hnet_type, ewc_lambda=1.0, si_lambda=0.01)
    tasks, learner = tasks_of(options), seeded_learner(options)
    learn(learner, tasks, steps=40)
    kept = tasks if method in ("separate", "joint") else tasks[-1:]
    assert min(accuracy(learner, task, "test", 64) for task in kept) > 70
    x = torch.rand(5, 64)
    assert learner.predict(x, 1).labels.shape == (5,)
    outputs = learner.logits(x, [0, 2])
    assert outputs.shape == (2, 5, 2)
    assert not outputs.requires_grad
    torch.testing.assert_close(outputs[1], learner.logits(x, [2])[0])
    assert sum(weight.numel() for weight in learner.weights(2)) == learner.parameter_counts()["main_network"]


def first_task(learner: Learner) -> torch.Tensor:
    return torch.cat([weight.flatten() for weight in learner.weights(0)])


def test_the_regulariser_holds_earlier_tasks() -> None:
    moved = {}
    for method in ("hnet", "finetune"):
        options = options_of(method=method, beta=100.0)
        tasks, learner = tasks_of(options), seeded_learner(options)
        learn(learner, tasks, stages=1)
        before = first_task(learner)
        learner.begin(1)
        steps = [learner.step([tasks[1].train_batch(4)]) for _ in range(20)]
        moved[method] = float((first_task(learner) - before).norm())
        assert (steps[0].regularizer == 0).all()
        assert bool(steps[-1].regularizer > 0) == (method == "hnet")
        assert steps[-1].loss == pytest.approx(steps[-1].task_loss + 100 * steps[-1].regularizer)
    assert moved["hnet"] < 0.3 * moved["finetune"]


def test_separate_models_do_not_change_each_other() -> None:
    options = options_of(method="separate")
    tasks, learner = tasks_of(options), seeded_learner(options)
    learn(learner, tasks, stages=1)
    before = first_task(learner)
    for stage in (1, 2):
        learner.begin(stage)
        learner.step([tasks[stage].train_batch(4)])
    assert torch.equal(first_task(learner), before)
    single = seeded_learner(options_of(method="hnet"))
    assert learner.parameter_counts()["trainable"] == 3 * single.parameter_counts()["trainable"]


def test_joint_learning_mixes_all_tasks() -> None:
    options = options_of(method="joint")
    learner = seeded_learner(options)
    assert learner.tasks_in_stage(0) == learner.tasks_after(0) == [0, 1, 2]
    learner.begin(0)
    tasks = tasks_of(options)
    batches = [task.train_batch(4) for task in tasks]
    before = [torch.cat([weight.flatten() for weight in learner.weights(task)]) for task in range(3)]
    outcome = learner.step(batches)
    losses = []
    again = seeded_learner(options)
    again.begin(0)
    for batch in batches:
        losses.append(torch.nn.functional.cross_entropy(again.logits(batch.inputs, [batch.task])[0], batch.labels))
    assert outcome.loss == pytest.approx(float(torch.stack(losses).mean()), abs=1e-6)
    after = [torch.cat([weight.flatten() for weight in learner.weights(task)]) for task in range(3)]
    assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_targets_computed_in_each_step_give_the_same_result() -> None:
    found = []
    for online in (False, True):
        options = options_of(method="hnet", calc_hnet_reg_targets_online=online)
        tasks, learner = tasks_of(options), seeded_learner(options)
        learn(learner, tasks)
        found.append(first_task(learner))
    torch.testing.assert_close(found[0], found[1])


def test_part_of_the_earlier_tasks_can_be_regularised() -> None:
    options = options_of(method="hnet", hnet_reg_batch_size=1)
    tasks, learner = tasks_of(options), seeded_learner(options)
    learn(learner, tasks)
    with pytest.raises(ValueError, match="--hnet_reg_batch_size"):
        options_of(hnet_reg_batch_size=0)


STATES: dict[str, dict[str, Any]] = {
    "hnet": {"method": "hnet"},
    "online": {"method": "hnet", "calc_hnet_reg_targets_online": True, "hnet_reg_batch_size": 1},
    "chunked": {"method": "hnet", "hnet_type": "chunked_hmlp", "use_cond_chunk_embs": True},
    "dropout": {"method": "hnet", "dropout_rate": 0.2, "hnet_dropout_rate": 0.1},
    "batchnorm": {"method": "hnet", "batchnorm": True},
    "shared statistics": {"method": "hnet", "batchnorm": True, "bn_no_stats_checkpointing": True},
    "no statistics": {"method": "joint", "batchnorm": True, "bn_no_running_stats": True},
    "separate": {"method": "separate", "batchnorm": True},
    "joint": {"method": "joint", "batchnorm": True},
    "finetune": {"method": "finetune", "weight_decay": 0.1},
    "fisher": {"method": "hnet", "hnet_reg_fisher": True, "n_fisher": 5, "batchnorm": True},
    "fisher, shared statistics": {
        "method": "hnet",
        "hnet_reg_fisher": True,
        "n_fisher": 5,
        "batchnorm": True,
        "bn_no_stats_checkpointing": True,
    },
    "ewc": {"method": "ewc", "n_fisher": 5},
    "online ewc": {"method": "ewc", "online_ewc": True, "ewc_gamma": 0.9, "cl_scenario": 3, "batchnorm": True},
    "si": {"method": "si", "cl_scenario": 2, "weight_decay": 0.1},
    "si, masked": {"method": "si", "mask_fraction": 0.5},
    "ewc, masked": {"method": "ewc", "mask_fraction": 0.5, "n_fisher": 5},
    "hypermask": {"method": "hypermask", "mask_sparsity": 0.3, "shared_reg": 0.01},
    "coresets": {"method": "coresets", "cl_scenario": 3, "coreset_size": 7, "coreset_batch_size": 4},
    "coresets, distilled": {"method": "coresets", "coreset_targets": "outputs", "coreset_size": 7},
}


@pytest.mark.parametrize("case", STATES)
@pytest.mark.parametrize("stages_before", [1, 2])
@pytest.mark.parametrize("inside", [False, True])
def test_learning_goes_on_from_a_saved_state(case: str, stages_before: int, inside: bool) -> None:
    options = options_of(**STATES[case])

    def rest(learner: Learner) -> list[torch.Tensor]:
        """What follows the moment of saving: the stage (or what is left of it), and predictions."""
        tasks = tasks_of(options)
        torch.manual_seed(5)
        np.random.seed(5)
        if not inside:
            learner.begin(stages_before)
        for _ in range(4):
            learner.step([tasks[index].train_batch(6) for index in learner.tasks_in_stage(stages_before)])
        learner.end([tasks[index] for index in learner.tasks_in_stage(stages_before)])
        return [learner.logits(torch.rand(9, 64), learner.tasks_after(stages_before)), *learner.weights(0)]

    first = seeded_learner(options)
    learn(first, tasks_of(options), stages=stages_before)
    if inside:
        first.begin(stages_before)
        tasks = tasks_of(options)
        first.step([tasks[index].train_batch(4) for index in first.tasks_in_stage(stages_before)])
    state = first.state_dict()
    state = torch.load(saved(state), weights_only=True)
    expected = rest(first)
    torch.manual_seed(9)
    second = make_learner(options, [8, 8, 1])
    second.load_state_dict(state)
    assert all(torch.equal(a, b) for a, b in zip(expected, rest(second), strict=True))


def saved(state: dict[str, Any]) -> io.BytesIO:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return file


def running_means(learner: Learner) -> list[torch.Tensor]:
    return [
        layer.get_stats(task)[0] for layer in learner._model.mnet.batchnorm_layers for task in range(layer.num_stats)
    ]


def test_batch_norm_statistics_per_task() -> None:
    options = options_of(method="hnet", batchnorm=True)
    tasks, learner = tasks_of(options), seeded_learner(options)
    learn(learner, tasks, stages=1)
    kept = [mean.clone() for mean in running_means(learner)]
    learner.begin(1)
    learner.step([tasks[1].train_batch(8)])
    means = running_means(learner)
    assert len(means) == 2
    assert torch.equal(means[0], kept[0])
    assert not torch.equal(means[1], means[0])


def test_batch_norm_statistics_can_be_shared() -> None:
    options = options_of(method="hnet", batchnorm=True, bn_no_stats_checkpointing=True)
    tasks, learner = tasks_of(options), seeded_learner(options)
    learn(learner, tasks, stages=2)
    assert len(running_means(learner)) == 1


@pytest.mark.parametrize("act", ["linear", "sigmoid", "relu", "elu", "tanh"])
def test_options_of_the_networks(act: str) -> None:
    options = options_of(net_act=act, hnet_net_act=act, no_bias=True, hnet_no_bias=True, specnorm=True)
    model = make_model(options, [8, 8, 1])
    assert not model.mnet.has_bias
    assert not model.hnet.has_bias
    assert model(torch.rand(3, 64), cond_id=0).shape == (3, 2)


CONVOLUTIONAL: dict[str, tuple[dict[str, Any], list[int]]] = {
    "lenet": ({"net_type": "lenet"}, [28, 28, 1]),
    "resnet": ({"net_type": "resnet", "batchnorm": True, "resnet_block_depth": 1}, [32, 32, 3]),
    "wrn": ({"net_type": "wrn", "batchnorm": True, "wrn_block_depth": 1, "wrn_widening_factor": 1}, [32, 32, 3]),
}


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_convolutional_main_networks(name: str) -> None:
    changes, in_shape = CONVOLUTIONAL[name]
    options = options_of(**changes, hnet_type="chunked_hmlp", chmlp_chunk_size=2000)
    learner = make_learner(options, in_shape)
    for stage in range(2):
        learner.begin(stage)
        learner.step([Batch(stage, torch.rand(4, int(np.prod(in_shape))), torch.tensor([0, 1, 0, 1]))])
    assert learner.logits(torch.rand(3, int(np.prod(in_shape))), [0, 1]).shape == (2, 3, 2)


def test_networks_that_do_not_fit_the_images_are_refused() -> None:
    with pytest.raises(ValueError, match="in_shape"):
        make_learner(options_of(net_type="lenet"), [8, 8, 1])


def test_a_learner_needs_no_number_of_tasks() -> None:
    options = options_of(method="hnet", num_tasks=1)
    learner, tasks = seeded_learner(options), tasks_of(options_of())
    learn(learner, tasks)
    assert learner.logits(torch.rand(2, 64), [2]).shape == (1, 2, 2)


def test_the_documented_functions(caplog: pytest.LogCaptureFixture) -> None:
    config = options_of(n_iter=60)
    log = logging.getLogger("documented functions")
    handlers = load_datasets(config, log, None)
    mnet = MLP(64, 2, (12,), no_weights=True, verbose=False)
    hnet = HMLP(mnet.param_shapes, layers=(6,), cond_in_size=4, num_cond_embs=3, verbose=False)
    with caplog.at_level("INFO"):
        for task_id, data in enumerate(handlers):
            train(task_id, data, mnet, hnet, CPU, config, log, None)
        assert 0 <= evaluate(0, handlers[0], mnet, hnet, CPU, config, log, None, 1) <= 100
    assert "task 2 was learned" in caplog.text
    assert min(run_tests(handlers, mnet, hnet, CPU, config, None, None)) > 70


def test_batches_have_the_shapes_of_the_task() -> None:
    options = options_of()
    batch: Batch = tasks_of(options)[1].train_batch(5)
    assert (batch.task, batch.inputs.shape, batch.labels.shape, batch.labels.dtype) == (1, (5, 64), (5,), torch.int64)


def test_epochs_win_over_steps() -> None:
    task = tasks_of(options_of())[0]
    number = task.data.num_train_samples
    assert task.num_steps(options_of(epochs=2, batch_size=50)) == 2 * -(-number // 50)
    assert task.num_steps(options_of()) == TINY["n_iter"]


@pytest.mark.parametrize(("method", "strength"), [("ewc", "ewc_lambda"), ("si", "si_lambda")])
def test_the_penalty_holds_the_weights(method: str, strength: str) -> None:
    moved = {}
    for value in (0.0, 1e4):
        options = options_of(**{"method": method, strength: value}, n_fisher=20)
        tasks, learner = tasks_of(options), seeded_learner(options)
        learn(learner, tasks, stages=1, steps=20)
        trunk = [weight.clone() for weight in learner.weights(0)[:-2]]
        learner.begin(1)
        steps = [learner.step([tasks[1].train_batch(4)]) for _ in range(20)]
        assert steps[0].regularizer == 0
        assert (steps[-1].regularizer > 0) == (value > 0)
        assert steps[-1].loss == pytest.approx(float(steps[-1].task_loss + value * steps[-1].regularizer))
        pairs = zip(learner.weights(0)[:-2], trunk, strict=True)
        moved[value] = sum(float((now - then).square().sum()) for now, then in pairs)
    assert moved[1e4] < 0.5 * moved[0.0]


def test_the_path_integral_takes_the_gradient_of_the_task_loss() -> None:
    options = options_of(method="si", si_lambda=100.0)
    tasks = tasks_of(options)
    learner: Any = seeded_learner(options)
    learn(learner, tasks, stages=1)
    learner.begin(1)
    for _ in range(2):  # the first step starts where the penalty has no gradient
        before, batch = [weight.clone() for weight in learner.weights(0)], tasks[1].train_batch(4)
        shares = {i: path(learner, i).clone() for i in range(4)} if _ else dict.fromkeys(range(4), 0)
        loss = torch.nn.functional.cross_entropy(learner._network(batch.inputs)[:, 2:4], batch.labels)
        gradients = torch.autograd.grad(loss, learner._weights)
        learner.step([batch])
        for i, (gradient, old, new) in enumerate(zip(gradients, before, learner.weights(0), strict=True)):
            torch.testing.assert_close(path(learner, i), shares[i] - gradient * (new - old))


def path(learner: Any, i: int) -> torch.Tensor:
    return getattr(learner._network, f"si_running_omega_weights_{i}")


@pytest.mark.parametrize("options", [{"method": "ewc"}, {"method": "hnet", "hnet_reg_fisher": True}])
def test_fisher_information_of_single_samples_needs_running_statistics(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="--bn_no_running_stats: expected no such option"):
        seeded_learner(options_of(**options, batchnorm=True, bn_no_running_stats=True))


def test_fisher_information_weighs_the_regulariser() -> None:
    options = options_of(method="hnet", hnet_reg_fisher=True)
    learner: Any = seeded_learner(options)
    tasks = tasks_of(options)
    learn(learner, tasks, stages=2, steps=10)
    then = [torch.cat([weight.flatten() for weight in learner.weights(task)]) for task in (0, 1)]
    fisher = [
        torch.cat([getattr(learner._mnet, f"ewc_fisher_estimate_task_{j}_weights_{i}").flatten() for i in range(4)])
        for j in (0, 1)
    ]
    learner.begin(2)
    learner.step([tasks[2].train_batch(4)])
    now = [torch.cat([weight.flatten() for weight in learner.weights(task)]) for task in (0, 1)]
    expected = sum((f * (a - b).square()).sum() for f, a, b in zip(fisher, now, then, strict=True)) / 2
    assert learner.step([tasks[2].train_batch(4)]).regularizer == pytest.approx(float(expected), rel=1e-4)


def test_separate_main_networks_start_as_they_do_and_have_no_hypernetwork() -> None:
    learner: Any = seeded_learner(options_of(method="scratch", num_tasks=2))
    learner.begin(0)
    first = [weight.clone() for weight in learner.weights(0)]
    fan_in = first[0].shape[1]
    assert 0.9 / fan_in**0.5 < first[0].abs().max() <= 1 / fan_in**0.5
    learner.begin(1)
    assert all((a != b).any() for a, b in zip(first, learner.weights(1), strict=True))
    counts = learner.parameter_counts()
    assert (counts["trainable"], counts["hypernetwork"]) == (2 * counts["main_network"], 0)


@pytest.mark.parametrize("method", ["hnet", "scratch", "ewc", "si"])
def test_recurrent_matrices_become_orthogonal(method: str) -> None:
    copying = {"cl_exp": "permcopy", "num_tasks": 2, "srnn_rec_layers": "6"}
    options = options_of(method=method, **copying, orthogonal_hh_reg=1.0, lr=0.02)
    data = build_task_sequence(options.cl_exp, "nowhere", options.num_tasks)
    tasks = [Task(index, handler, CPU) for index, handler in enumerate(data)]
    torch.manual_seed(0)
    learner: Any = make_learner(options, data[0].torch_in_shape, data[0].label_shape)
    learner.begin(0)
    net = learner._models[0].mnet if method == "scratch" else getattr(learner, "_mnet", None) or learner._network
    before = orthogonal_regularizer(net, learner.weights(0)).detach()
    for _ in range(60):
        learner.step([tasks[0].train_batch(4)])
    assert orthogonal_regularizer(net, learner.weights(0)) < 0.3 * before
    with pytest.raises(ValueError, match="--orthogonal_hh_reg: expected 0 with --net_type=mlp"):
        options_of(orthogonal_hh_reg=1.0)
