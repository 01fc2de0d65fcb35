"""Recurrent networks that learn tasks whose samples have several labels each."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hypnettorch.data.timeseries.copy_bits import CopyBits
from hypnettorch.data.timeseries.permuted_copy import PermutedCopyList
from hypnettorch.examples.hypercl.command_line import complete
from hypnettorch.examples.hypercl.evaluation import accuracy, measure
from hypnettorch.examples.hypercl.experiment import make_learner
from hypnettorch.examples.hypercl.labelling_rnn import LabellingRNN
from hypnettorch.examples.hypercl.learners import METHODS, POSTERIOR_METHODS, Learner
from hypnettorch.examples.hypercl.networks import make_model
from hypnettorch.examples.hypercl.options import Options
from hypnettorch.examples.hypercl.scenarios import SCENARIOS, right_answers
from hypnettorch.examples.hypercl.task_inference import Answers, largest_output, least_entropy
from hypnettorch.examples.hypercl.tasks import Batch, Task
from hypnettorch.mnets.simple_rnn import SimpleRNN
from tests.examples.test_learners import learn

TINY: dict[str, Any] = {
    "cl_exp": "permcopy",
    "n_iter": 12,
    "batch_size": 8,
    "srnn_rec_layers": "8",
    "hmlp_arch": "6",
    "cond_emb_size": 4,
    "chunk_emb_size": 4,
    "chmlp_chunk_size": 100,
    "n_fisher": 5,
    "val_set_size": 10,
    "ckpt_iter": 5,
    "val_iter": 4,
    "no_cuda": True,
}


def small_tasks() -> list[Task]:
    """Two bits, one per step, that are to be repeated and to be exchanged."""
    data = PermutedCopyList([None, [1, 0]], 2, seq_width=1, num_train=16, num_test=16, rseed=0)
    return [Task(index, CopyBits(copy), torch.device("cpu")) for index, copy in enumerate(data)]


def small_learner(options: Options) -> Learner:
    torch.manual_seed(0)
    data = small_tasks()[0].data
    return make_learner(options, data.torch_in_shape, data.label_shape)


# The network


def test_the_last_steps_of_a_recurrent_network_are_the_logits() -> None:
    torch.manual_seed(0)
    net = LabellingRNN([6, 3], [2, 4], 5, rnn_layers=[7], no_weights=True, verbose=False)
    plain = SimpleRNN(3, [7], fc_layers=[20], no_weights=True, verbose=False)
    assert net.param_shapes == plain.param_shapes
    weights = [torch.randn(2, *shape, requires_grad=True) for shape in net.param_shapes]
    x = torch.randn(9, 6, 3)
    first = [weight[0] for weight in weights]
    logits = net(x.flatten(1), weights=first)
    steps = plain(x.transpose(0, 1), weights=first)
    assert logits.shape == (9, 8, 5)
    torch.testing.assert_close(logits[3, 5], steps[5, 3].view(4, 5)[1])
    both = net.batched_forward(x.flatten(1), weights, share_input=True)
    torch.testing.assert_close(both[0], logits)
    torch.testing.assert_close(net(x.flatten(1), weights=first, return_hidden=True)[0], logits)
    gradients = torch.autograd.grad(both.square().sum(), weights)
    assert all(gradient.flatten(1).any(1).all() for gradient in gradients)


def test_one_label_is_said_at_the_end() -> None:
    net = LabellingRNN([8, 8, 1], [1], 3, rnn_layers=[5], verbose=False)
    assert net(torch.rand(4, 64)).shape == (4, 3)


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="label_shape: expected at most 3 steps"):
        LabellingRNN([3, 1], [4, 1], 2, verbose=False)
    with pytest.raises(ValueError, match="x: expected rows of 3 steps with 1 inputs"):
        LabellingRNN([3, 1], [2, 1], 2, verbose=False)(torch.rand(4, 5))
    with pytest.raises(ValueError, match="--net_type: expected simple_rnn"):
        make_model(complete({**TINY, "net_type": "mlp"}), [11, 8], [5, 7])
    with pytest.raises(ValueError, match="--std_normal_emb: expected 1 with --use_cond_chunk_embs"):
        complete({**TINY, "use_cond_chunk_embs": True})


def test_chunk_embeddings_start_as_small_as_asked_for() -> None:
    hnet = make_model(complete({**TINY, "std_normal_emb": 1e-3}), [11, 8], [5, 7]).hnet
    sizes = [float(embedding.detach().norm()) for embedding, *_ in hnet.chunk_embeddings()]
    assert sizes
    assert max(sizes) < 0.1


# Learners


OF_IMAGES = ["hnet_tir", "hnet_r"]  # their replay draws images
OF_SEQUENCES = [method for method in METHODS if method not in OF_IMAGES]


@pytest.mark.parametrize("method", OF_IMAGES)
def test_replay_of_sequences_is_refused(method: str) -> None:
    with pytest.raises(ValueError, match="--method: expected one without replay, since samples are sequences"):
        small_learner(complete({**TINY, "method": method}))


# What learns distributions starts with a noise in which a few steps do not yet show.
@pytest.mark.parametrize("method", [method for method in OF_SEQUENCES if method not in POSTERIOR_METHODS])
def test_each_method_learns(method: str) -> None:
    options = complete({**TINY, "method": method, "online_ewc": True, "lr": 0.02, "clip_grad_norm": -1.0})
    tasks, learner = small_tasks(), small_learner(options)
    learn(learner, tasks, steps=80, stages=1)
    assert accuracy(learner, tasks[0], "test", 5) > 95


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("method", ["hnet", "ewc", "si"])
def test_each_scenario_asks_for_all_labels(method: str, scenario: int) -> None:
    tasks, learner = small_tasks(), small_learner(complete({**TINY, "method": method, "cl_scenario": scenario}))
    learn(learner, tasks, steps=2)
    found = measure(learner, tasks[1], "test", 5, infer_task=True)
    assert (scenario != 2 or method == "hnet") == ("task_inference" in found)
    assert learner.predict(torch.rand(4, 10)).labels.shape == (4, 2)
    assert learner.predict(torch.rand(4, 10), 1).labels.shape == (4, 2)
    assert found["task_given"] * 32 / 100 == pytest.approx(round(found["task_given"] * 32 / 100))


def test_the_hypernetwork_does_not_forget() -> None:
    final = {}
    for method in ("hnet", "finetune"):
        options = complete({**TINY, "method": method, "lr": 0.02, "clip_grad_norm": -1.0})
        tasks, learner = small_tasks(), small_learner(options)
        learn(learner, tasks, steps=80)
        assert accuracy(learner, tasks[1], "test", 5) > 95
        final[method] = accuracy(learner, tasks[0], "test", 5)
    assert final["hnet"] > 95 > final["finetune"]


@pytest.mark.parametrize("method", OF_SEQUENCES)
def test_a_gradient_is_not_longer_than_allowed(method: str) -> None:
    lengths = []
    for limit in (-1.0, 1e-3):
        learner = small_learner(complete({**TINY, "method": method, "clip_grad_norm": limit}))
        learn(learner, small_tasks(), steps=1, stages=1)
        state = vars(learner)["_optimizer"].param_groups[0]["params"]
        lengths.append(float(torch.cat([param.grad.flatten() for param in state if param.grad is not None]).norm()))
    assert lengths[0] > 1e-2
    assert lengths[1] == pytest.approx(1e-3, rel=1e-2)


# Answers


def test_the_task_of_a_sample_is_inferred_from_all_of_its_labels() -> None:
    certain, unsure = [0.0, 5.0], [1.0, 0.0]
    logits = torch.tensor([[[unsure, certain, certain]], [[certain, unsure, unsure]]])
    for infer in (least_entropy, largest_output):
        found = infer(logits)
        assert found.tasks is not None
        assert (found.tasks.tolist(), found.labels.tolist()) == ([0], [[0, 1, 1]])


def test_what_is_right_about_several_labels() -> None:
    batch = Batch(1, torch.zeros(2, 4), torch.tensor([[0, 1, 1], [1, 1, 0]]))
    right = right_answers(Answers(torch.tensor([[0, 1, 0], [1, 1, 0]]), torch.tensor([1, 0])), batch)
    assert right["class_alone"].sum() == 5
    assert right["task_inference"].tolist() == [[True] * 3, [False] * 3]
    assert right["task_and_class"].tolist() == [[True, True, False], [False] * 3]
