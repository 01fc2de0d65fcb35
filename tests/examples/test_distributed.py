"""Two processes learn what one learns, and one of them may be lost."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hypnettorch.core.collectives import world_size
from hypnettorch.examples.hypercl import distributed, plots
from hypnettorch.examples.hypercl.checkpoint import CheckpointError
from hypnettorch.examples.hypercl.command_line import complete
from hypnettorch.examples.hypercl.evaluation import measure
from hypnettorch.examples.hypercl.experiment import Experiment
from hypnettorch.examples.hypercl.folder import RunFolder
from hypnettorch.examples.hypercl.options import Options
from hypnettorch.examples.hypercl.run import execute
from tests.examples.settings import TINY, tiny_run
from tests.examples.test_run import ENVIRONMENT, PowerFailure, as_arguments, assert_same_run
from tests.processes import of_two_processes

STEPS = (4, 4, 4, 8)  # of each stage, 20 in all
COMMON: dict[str, Any] = {**TINY, "num_tasks": len(STEPS), "beta": 1.0, "batch_size": 9}
CASES: dict[str, dict[str, Any]] = {
    "hnet": {},
    "targets of some tasks": {"hnet_reg_batch_size": 2},
    "targets computed anew": {"calc_hnet_reg_targets_online": True, "hnet_type": "chunked_hmlp"},
    "fisher": {"hnet_reg_fisher": True, "n_fisher": 5, "beta": 100.0},
    "batch norm": {"batchnorm": True},
    "joint": {"method": "joint", "batchnorm": True},
    "separate": {"method": "separate"},
    "ewc": {"method": "ewc", "n_fisher": 5},
    "si": {"method": "si"},
    "several labels": {"cl_exp": "permcopy", "srnn_rec_layers": "8"},
}
WITH_ADAM = ("hnet", "ewc", "si")


def first_steps(options: dict[str, Any]) -> list[Tensor]:
    """After each step the gradients, the parameters, and the losses; at the end accuracies on the test set."""
    return trace(Experiment(complete({**COMMON, **options})))


def first_exact_steps(options: dict[str, Any], adam: bool = False) -> list[Tensor]:
    """The same in double precision, and without Adam, which turns rounding errors into steps of full size."""

    def gradient_descent(parameters: Any, lr: float, **_: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr)

    with pytest.MonkeyPatch.context() as patch:
        if not adam:
            patch.setattr(torch.optim, "Adam", gradient_descent)
        torch.set_default_dtype(torch.float64)
        try:
            experiment = Experiment(complete({**COMMON, **({} if adam else {"lr": 0.002}), **options}))
            for task in experiment.tasks:
                task.data.preprocessing = lambda x, mode, rng: x.double()
            return trace(experiment)
        finally:
            torch.set_default_dtype(torch.float32)


def trace(experiment: Experiment) -> list[Tensor]:
    learner, found = experiment.learner, []
    for stage, steps in enumerate(STEPS):
        learner.begin(stage)
        tasks = [experiment.tasks[index] for index in learner.tasks_in_stage(stage)]
        with distributed.random_numbers_of_its_own():
            for _ in range(steps):
                outcome = learner.step([task.train_batch(9) for task in tasks]).of_all_processes()
                [group] = learner._optimizer.param_groups
                used = [param for param in group["params"] if param.grad is not None]
                found.append(torch.cat([param.grad.flatten() for param in used]))
                found.append(torch.cat([param.detach().flatten() for param in group["params"]]))
                found.append(torch.stack([outcome.loss, outcome.task_loss, outcome.regularizer]))
        learner.end(tasks)
    shares = [measure(learner, task, "test", 32, infer_task=True) for task in experiment.tasks]
    return [*found, torch.tensor([share["task_and_class"] for share in shares])]


def work(rank: int, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {case: first_exact_steps(options) for case, options in CASES.items()}
    found |= {f"{case}, Adam": first_exact_steps(CASES[case], adam=True) for case in WITH_ADAM}
    found["dropout"] = first_steps({"dropout_rate": 0.5, "hnet_dropout_rate": 0.2})
    found["tools"] = tools(rank)
    files = RunFolder(folder / f"disk_{rank}", Options())
    files.save({})  # the first process writes, on a disk of its own
    with pytest.raises(CheckpointError, match="a folder that all processes see, but process 1 does not"):
        files.load(torch.device("cpu"))
    return {**found, "results": whole_and_interrupted_run(folder)}


def whole_and_interrupted_run(folder: Path) -> list[dict[str, Any]]:
    """Results of a run, and of one like it that ends in its second task and is resumed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "draw", lambda path: [])
        whole = tiny_run(folder / "whole")
        validate, calls = Experiment._validate, iter(range(100))

        def fails_once(*arguments: Any) -> None:
            if next(calls) == 5:
                raise PowerFailure
            validate(*arguments)

        patch.setattr(Experiment, "_validate", fails_once)
        with pytest.raises(PowerFailure):
            tiny_run(folder / "parts")
        return [whole, tiny_run(folder / "parts", resume=True)]


def tools(rank: int) -> dict[str, Any]:
    """What the single functions say in a process."""
    found: dict[str, Any] = {"by_first": distributed.by_first(lambda: rank)}
    try:
        distributed.by_first(lambda: 1 // rank)
    except (distributed.FirstProcessError, ZeroDivisionError) as error:
        found["error"] = type(error).__name__
    found["samples"] = distributed.share_of_samples(torch.arange(5)).tolist()
    found["items"] = list(distributed.share_of("abcde"))
    found["counts"] = dict(distributed.total_counts(Counter({"right": rank, "wrong": 0})))
    found["world_size"] = world_size()
    torch.manual_seed(3)
    with distributed.random_numbers_of_its_own():
        found["own"] = torch.rand(rank + 1)[0].item()
    found["shared"] = torch.rand(1).item()
    try:
        Experiment(complete({**COMMON, "batch_size": 1}))
    except ValueError as error:
        found["too few"] = str(error)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("processes")


@pytest.fixture(scope="module")
def both(folder: Path) -> list[dict[str, Any]]:
    """What each of two processes found."""
    return of_two_processes(work, folder)


@pytest.mark.parametrize("case", CASES)
def test_two_processes_take_the_steps_of_one(case: str, both: list[dict[str, Any]]) -> None:
    for found, expected in zip(both[0][case], first_exact_steps(CASES[case]), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("case", WITH_ADAM)
def test_two_processes_take_the_steps_of_one_with_adam(case: str, both: list[dict[str, Any]]) -> None:
    for found, expected in zip(both[0][f"{case}, Adam"], first_exact_steps(CASES[case], adam=True), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("case", [*CASES, "dropout"])
def test_processes_have_the_same_parameters_bit_by_bit(case: str, both: list[dict[str, Any]]) -> None:
    assert all(torch.equal(a, b) for a, b in zip(both[0][case], both[1][case], strict=True))


def test_what_belongs_to_a_process(both: list[dict[str, Any]]) -> None:
    first, second = (found["tools"] for found in both)
    assert (first["by_first"], second["by_first"]) == (0, 0)
    assert (first["error"], second["error"]) == ("ZeroDivisionError", "FirstProcessError")
    assert (first["samples"], second["samples"]) == ([0, 1, 2], [3, 4])
    assert (first["items"], second["items"]) == (["a", "c", "e"], ["b", "d"])
    assert first["counts"] == second["counts"] == {"right": 1, "wrong": 0}
    assert first["world_size"] == second["world_size"] == 2
    assert first["own"] != second["own"]
    assert first["shared"] == second["shared"]
    assert "--batch_size: expected a sample per task for each of 2 processes, got 1" in first["too few"]


@pytest.mark.usefixtures("no_pictures")
def test_a_run_of_two_processes(both: list[dict[str, Any]], folder: Path, tmp_path: Path) -> None:
    assert both[0]["results"] == both[1]["results"]
    assert_same_run(folder / "parts", folder / "whole")
    log = (folder / "whole" / "logfile.txt").read_text()
    assert all(log.count(f"after task {task}:") == 1 for task in range(3))
    assert len((folder / "whole" / "progress.jsonl").read_text().splitlines()) == 3
    alone = tiny_run(tmp_path / "alone")
    assert both[0]["results"][0]["accuracy_matrix"] == alone["accuracy_matrix"]


LOST = """
import os, signal, threading, time

def end_with(file):
    while not os.path.exists(file):
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)

if os.environ.get("RANK") == "1" and "LOST_WITH" in os.environ:
    threading.Thread(target=end_with, args=[os.environ["LOST_WITH"]], daemon=True).start()
"""


@pytest.mark.usefixtures("no_pictures")
def test_a_run_goes_on_after_a_process_was_lost(tmp_path: Path) -> None:
    (tmp_path / "lost.py").write_text(LOST)
    options = {**TINY, "num_tasks": 2, "n_iter": 150, "ckpt_iter": 20, "val_iter": 100, "task_module": "lost"}
    out = tmp_path / "out"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    command = [*launcher, "-m", "hypnettorch.examples.hypercl", *as_arguments(options), f"--out_dir={out}"]
    environment = {**ENVIRONMENT, "LOST_WITH": str(out / "latest.pt")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode != 0
    assert "hypercl: process 0 of 2" in done.stderr
    assert "--resume with the same --out_dir goes on" in done.stderr
    assert not (out / "results.json").exists()

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        patch.setattr(sys, "path", [*sys.path])
        resumed = execute({"out_dir": str(out), "resume": True})
    alone = tiny_run(tmp_path / "alone", **{**options, "task_module": ""})
    assert resumed["final"] == pytest.approx(alone["final"], abs=1)
    assert "going on after 0 of 2 tasks" in (out / "logfile.txt").read_text()
