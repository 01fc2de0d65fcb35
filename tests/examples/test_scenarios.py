"""Scenarios: heads, task inference, and what is right about an answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from hypnettorch.examples.hypercl import command_line, scenario_table
from hypnettorch.examples.hypercl.command_line import complete
from hypnettorch.examples.hypercl.evaluation import measure
from hypnettorch.examples.hypercl.heads import GrowingHead, SeparateHeads, SharedHead
from hypnettorch.examples.hypercl.learners import HYPERNETWORK_METHODS, METHODS
from hypnettorch.examples.hypercl.scenarios import SCENARIOS, right_answers
from hypnettorch.examples.hypercl.task_inference import Answers, largest_output, least_entropy
from hypnettorch.examples.hypercl.tasks import Batch
from tests.examples.settings import tiny_run
from tests.examples.test_learners import learn, options_of, seeded_learner, tasks_of

X = torch.rand(6, 64, generator=torch.Generator().manual_seed(0))


def batch_of(task: int) -> Batch:
    return Batch(task, X, torch.tensor([0, 1, 0, 1, 1, 0]))


# Task inference


def test_the_most_certain_task_is_inferred() -> None:
    certain, unsure, torn = [0.0, 5.0], [1.0, 0.0], [9.0, 9.0]
    logits = torch.tensor([[unsure, torn, certain], [torn, unsure, torn], [certain, torn, unsure]])
    found = least_entropy(logits)
    assert found.tasks is not None
    assert found.tasks.tolist() == [2, 1, 0]
    assert found.labels.tolist() == [1, 0, 1]


def test_entropy_does_not_depend_on_the_level_of_the_outputs() -> None:
    logits = torch.randn(4, 50, 3, generator=torch.Generator().manual_seed(1))
    shift = torch.tensor([0.0, 100.0, -100.0, 7.0]).view(4, 1, 1)
    for a, b in zip(vars(least_entropy(logits)).values(), vars(least_entropy(logits + shift)).values(), strict=True):
        assert torch.equal(a, b)


def test_the_largest_output_names_task_and_class() -> None:
    logits = torch.tensor([[[1.0, 2.0], [0.0, 3.0]], [[0.0, 5.0], [2.0, 1.0]]])
    found = largest_output(logits)
    assert found.tasks is not None
    assert (found.tasks.tolist(), found.labels.tolist()) == ([1, 0], [1, 1])


# Heads


def test_heads_share_out_the_outputs() -> None:
    outputs = torch.arange(12.0).view(2, 6)
    separate = SeparateHeads(2)
    assert separate.of_tasks(outputs, [2, 0]).tolist() == [[[4, 5], [10, 11]], [[0, 1], [6, 7]]]
    assert GrowingHead(2).of_tasks(outputs, [1]).tolist() == [[[2, 3], [8, 9]]]
    assert torch.equal(SharedHead(6).of_tasks(outputs, [0, 1]), torch.stack([outputs, outputs]))


def test_separate_heads_compare_certainty_and_one_softmax_compares_outputs() -> None:
    logits = torch.tensor([[[9.0, 8.0]], [[0.0, 5.0]]])
    for head, task in ((SeparateHeads(2), 1), (GrowingHead(2), 0)):
        found = head.infer(logits)
        assert found.tasks is not None
        assert found.tasks.tolist() == [task]


def test_a_shared_head_infers_no_task() -> None:
    found = SharedHead(2).infer(torch.tensor([[[1.0, 2.0], [3.0, 0.0]]] * 4))
    assert (found.labels.tolist(), found.tasks) == ([1, 0], None)


CASES: list[tuple[int, bool, range, int, int]] = [
    # scenario, split, outputs in the softmax of task 1, position of class 0 there, outputs in all
    (1, False, range(2, 4), 0, 6),
    (2, False, range(2), 0, 2),
    (3, False, range(4), 2, 6),
    (3, True, range(2, 4), 0, 6),
]


@pytest.mark.parametrize(("scenario", "split", "used", "first", "number"), CASES)
@pytest.mark.parametrize("method", ["ewc", "si"])
def test_only_the_outputs_of_the_scenario_are_trained(
    method: str, scenario: int, split: bool, used: range, first: int, number: int
) -> None:
    options = options_of(method=method, cl_scenario=scenario, split_head_cl3=split, n_fisher=5)
    learner: Any = seeded_learner(options)
    learn(learner, tasks_of(options), stages=1)
    before = [weight.clone() for weight in learner.weights(0)]
    with torch.no_grad():
        outputs = learner._network(X)
    assert outputs.shape == (6, number)
    learner.begin(1)
    step = learner.step([batch_of(1)])
    expected = functional.cross_entropy(outputs[:, used.start : used.stop], batch_of(1).labels + first)
    assert step.task_loss == pytest.approx(expected.item(), abs=1e-6)
    moved = (learner.weights(0)[-1] - before[-1]).abs()
    assert [unit for unit in range(number) if moved[unit] > 0] == list(used)


# Scenarios


def test_what_is_right() -> None:
    batch = Batch(1, torch.zeros(4, 1), torch.tensor([0, 0, 1, 1]))
    right = right_answers(Answers(torch.tensor([0, 1, 1, 0]), torch.tensor([1, 1, 0, 0])), batch)
    assert {name: values.tolist() for name, values in right.items()} == {
        "class_alone": [True, False, True, False],
        "task_inference": [True, True, False, False],
        "task_and_class": [True, False, False, False],
    }
    assert list(right_answers(Answers(torch.tensor([0, 0, 0, 0])), batch)) == ["class_alone"]


class Oracle:
    """Knows the class of every sample, and believes that the task is always task 1."""

    def __init__(self, task: Any) -> None:
        data = task.data
        inputs = data.input_to_torch_tensor(data.get_test_inputs(), task.device)
        self._labels = dict(
            zip(map(tuple, inputs.tolist()), data.get_test_outputs(use_one_hot=False)[:, 0], strict=True)
        )

    def predict(self, x: Tensor, task: int | None = None) -> Answers:
        labels = torch.tensor([self._labels[tuple(row)] for row in x.tolist()])
        return Answers(labels, torch.ones_like(labels) if task is None else None)


@pytest.mark.parametrize(("index", "inferred"), [(0, 0.0), (1, 100.0)])
def test_measures_of_a_learner(index: int, inferred: float) -> None:
    task = tasks_of(options_of())[index]
    learner: Any = Oracle(task)
    assert measure(learner, task, "test", 32) == {"task_given": 100}
    assert measure(learner, task, "test", 32, infer_task=True) == {
        "task_given": 100,
        "class_alone": 100,
        "task_inference": inferred,
        "task_and_class": inferred,
    }


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_in_every_scenario(method: str, scenario: int) -> None:
    options = options_of(method=method, cl_scenario=scenario, n_fisher=5)
    tasks, learner = tasks_of(options), seeded_learner(options)
    learn(learner, tasks)
    found = measure(learner, tasks[1], "test", 64, infer_task=scenario > 1)
    assert SCENARIOS[scenario].accuracy in found
    assert ("task_inference" in found) == (scenario == 3 or (scenario == 2 and method in HYPERNETWORK_METHODS))
    if "task_inference" in found:
        assert found["task_and_class"] <= min(found["task_inference"], found["class_alone"])


@pytest.mark.usefixtures("no_pictures")
def test_a_hypernetwork_learns_the_same_in_all_scenarios(tmp_path: Path) -> None:
    runs = {number: tiny_run(tmp_path / str(number), cl_scenario=number, num_tasks=2) for number in SCENARIOS}
    assert list(runs[1]["measures"]) == ["task_given"]
    assert runs[2]["measures"] == runs[3]["measures"]
    assert runs[3]["measures"]["task_given"] == runs[1]["measures"]["task_given"]
    for number, scenario in SCENARIOS.items():
        assert runs[number]["accuracy_matrix"] == runs[number]["measures"][scenario.accuracy]["matrix"]


def test_options_of_scenarios() -> None:
    assert (complete({}).cl_scenario, complete({}).split_head_cl3) == (1, False)
    with pytest.raises(ValueError, match="--cl_scenario: expected one of 1, 2, 3, got 4"):
        complete({"cl_scenario": 4})
    with pytest.raises(ValueError, match="--split_head_cl3: expected --cl_scenario=3 with it, got 2"):
        complete({"cl_scenario": 2, "split_head_cl3": True, "method": "ewc"})
    split = complete({"cl_scenario": 3, "split_head_cl3": True, "online_ewc": True})
    assert command_line.without_effect(split) == [
        "--online_ewc has no effect with --method=hnet",
        "--split_head_cl3 has no effect with --method=hnet",
    ]


@pytest.mark.usefixtures("no_pictures")
def test_the_screen_shows_task_inference_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from hypnettorch.examples.hypercl.run import run
    from tests.examples.test_run import TINY, as_arguments

    run([*as_arguments({**TINY, "num_tasks": 2, "cl_scenario": 3, "seeds": 2}), f"--out_dir={tmp_path}"])
    shown = capsys.readouterr().out
    assert "splitdigits, CL3: accuracy in percent, seeds 42, 43" in shown
    measures = json.loads((tmp_path / "results.json").read_text())["measures"]
    for words, name in (("task given", "task_given"), ("task inference", "task_inference")):
        line = next(line for line in shown.splitlines() if line.startswith(words))
        assert line.endswith(f"{measures[name]['average']:.2f} ± {measures[name]['std']:.2f}")


# The table


@pytest.mark.usefixtures("no_pictures")
def test_smoke_run_of_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--smoke", "--workers=1", "--seeds=1", "--cl_exp", "splitdigits", "--method", "hnet", "ewc"]
    arguments += [f"--out_dir={tmp_path}"]
    content = scenario_table.run(arguments)
    shown = capsys.readouterr().out
    assert json.loads((tmp_path / "scenario_table.json").read_text()) == content
    text = (tmp_path / "scenario_table.txt").read_text()
    assert text in shown
    assert text == scenario_table.tables(content)
    for method in ("hnet", "ewc"):
        given, inference = (content[part]["splitdigits"][method] for part in ("task_given", "task_inference"))
        assert content["accuracy"]["splitdigits"][method]["CL1"] == given["CL1"]
        assert all(given.values())
        assert [bool(found) for found in inference.values()] == [False, method == "hnet", True]
    assert scenario_table.run([*arguments, "--resume"]) == content
