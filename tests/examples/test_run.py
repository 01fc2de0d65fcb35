"""Whole runs: what they leave behind, and going on after an interruption."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from hypnettorch.examples.hypercl import checkpoint, compression_curve, demo, plots
from hypnettorch.examples.hypercl.checkpoint import CheckpointError
from hypnettorch.examples.hypercl.experiment import Experiment
from hypnettorch.examples.hypercl.run import execute, main, run
from hypnettorch.hpsearch.summary import read_summary
from tests.examples.settings import TINY, numbers, tiny_run

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}


def as_arguments(options: dict[str, Any]) -> list[str]:
    return [f"--{name}" if value is True else f"--{name}={value}" for name, value in options.items()]


def test_what_a_run_leaves_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run([*as_arguments(TINY), f"--out_dir={tmp_path}", "--tensorboard"])
    names = {"options.json", "results.json", "latest.pt", "logfile.txt", "accuracy.png", "forgetting.png", "summary"}
    names |= {"progress.jsonl", "performance_summary.txt"}
    assert set(os.listdir(tmp_path)) == names | {f"task_{task}.pt" for task in range(3)}
    stored = json.loads((tmp_path / "results.json").read_text())
    assert [[found is not None for found in row] for row in stored["accuracy_matrix"]] == [
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ]
    assert stored["final_average"] == pytest.approx(sum(stored["accuracy_matrix"][2]) / 3)
    counts = stored["parameters"]
    assert counts["main_network"] == 64 * 12 + 12 + 12 * 2 + 2
    assert counts["compression_ratio"] == counts["hypernetwork"] / counts["main_network"]
    assert (stored["seed"], stored["options"]["n_iter"], stored["versions"]["torch"]) == (42, 12, torch.__version__)
    shown = capsys.readouterr()
    assert "after task 2" in shown.out
    assert str(tmp_path / "accuracy.png") in shown.out
    assert "task 2 (3/3)" in shown.err
    assert "accuracy=" in shown.err
    assert "validation set" in (tmp_path / "logfile.txt").read_text()
    plots.draw(tmp_path)


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("method", ["hnet", "joint"])
def test_what_a_search_for_hyperparameters_reads(tmp_path: Path, method: str) -> None:
    stored = tiny_run(tmp_path, method=method)
    lines = [json.loads(line) for line in (tmp_path / "progress.jsonl").read_text().splitlines()]
    assert [line["task"] for line in lines] == [0, 1, 2]
    names = ("final_average", "during_average", "forgetting", "backward_transfer")
    assert lines[-1]["metrics"] == {name: stored[name] for name in names}
    assert lines[0]["metrics"]["final_average"] is not None
    found = read_summary(tmp_path / "performance_summary.txt", [*names, "finished"])
    assert found["finished"] == ["1"]
    assert found["forgetting"] == ["nan" if method == "joint" else str(stored["forgetting"])]


@pytest.mark.usefixtures("no_pictures")
def test_curves_for_tensorboard(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tiny_run(tmp_path, tensorboard=True, num_tasks=2)
    events = EventAccumulator(str(tmp_path / "summary")).Reload()
    train = {f"train/task_{t}/{name}" for t in (0, 1) for name in ("loss", "loss_task", "regularizer", "accuracy")}
    assert set(events.Tags()["scalars"]) == train | {
        "eval/task_0/accuracy",
        "eval/task_1/accuracy",
        "test/task_0/accuracy",
        "test/task_1/accuracy",
    }
    assert set(events.Tags()["histograms"]) == {f"train/task_{t}/predicted_weights" for t in (0, 1)}
    assert [event.step for event in events.Scalars("test/task_0/accuracy")] == [1, 2]


@pytest.mark.usefixtures("no_pictures")
def test_same_seed_same_numbers(tmp_path: Path) -> None:
    tiny_run(tmp_path / "a", num_tasks=2)
    torch.rand(7)
    tiny_run(tmp_path / "b", num_tasks=2)
    tiny_run(tmp_path / "c", num_tasks=2, random_seed=1)
    assert numbers(tmp_path / "a") == numbers(tmp_path / "b")
    weights = [first_weights(tmp_path / name) for name in "abc"]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def first_weights(path: Path) -> torch.Tensor:
    return next(iter(checkpoint.load(path / "task_1.pt")["learner"]["model"].values()))


@pytest.mark.usefixtures("no_pictures")
def test_validation_sets_can_be_tested(tmp_path: Path) -> None:
    results = tiny_run(tmp_path, num_tasks=1, test_with_val_set=True)
    assert (results["final"][0] / 10).is_integer()  # ten validation samples


def test_several_seeds(tmp_path: Path) -> None:
    results = tiny_run(tmp_path, num_tasks=2, seeds=2)
    assert results["seeds"] == [42, 43]
    single = [numbers(tmp_path / f"seed_{seed}") for seed in (42, 43)]
    mean = sum(run["final_average"] for run in single) / 2
    assert results["final_average"] == pytest.approx(mean)
    assert results["over_seeds"]["final_average"]["std"] >= 0
    assert {"accuracy.png", "forgetting.png", "results.json"} <= set(os.listdir(tmp_path))
    tiny_run(tmp_path / "alone", num_tasks=2, random_seed=43)
    assert numbers(tmp_path / "alone")["accuracy_matrix"] == single[1]["accuracy_matrix"]
    assert tiny_run(tmp_path, num_tasks=2, seeds=2, resume=True) == results


def all_tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    children = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [tensor for child in children for tensor in all_tensors(child)]


def assert_same_run(found: Path, expected: Path) -> None:
    assert numbers(found) == numbers(expected)
    for name in ("latest.pt", "task_0.pt", "task_1.pt", "task_2.pt"):
        first, second = checkpoint.load(found / name), checkpoint.load(expected / name)
        tensors = list(zip(all_tensors(first), all_tensors(second), strict=True))
        assert len(tensors) > 5
        assert all(torch.equal(a, b) for a, b in tensors)
        assert first["data"] == second["data"]
        assert first["random"]["numpy"] == second["random"]["numpy"]


POSTERIORS: dict[str, Any] = {"train_samples": 2, "test_samples": 3, "implicit_samples": 4, "implicit_arch": "3"}
REPLAY: dict[str, Any] = {"replay_enc_arch": "5", "replay_dec_arch": "5", "replay_latent_size": 2, "replay_emb_size": 2}
COPY: dict[str, Any] = {"cl_exp": "permcopy", "srnn_rec_layers": "5", "clip_grad_norm": 0.1, "n_fisher": 5}
INTERRUPTED: dict[str, dict[str, Any]] = {
    "hnet": {"dropout_rate": 0.1, "hnet_reg_batch_size": 1},
    "batchnorm": {"batchnorm": True, "hnet_type": "chunked_hmlp", "calc_hnet_reg_targets_online": True},
    "separate": {"method": "separate"},
    "joint": {"method": "joint", "batchnorm": True},
    "fisher": {"hnet_reg_fisher": True, "n_fisher": 10, "cl_scenario": 3},
    "ewc": {"method": "ewc", "n_fisher": 10, "cl_scenario": 3, "dropout_rate": 0.1},
    "online ewc": {"method": "ewc", "n_fisher": 10, "online_ewc": True, "cl_scenario": 2},
    "si": {"method": "si"},
    "hnet_tir": {"method": "hnet_tir", **REPLAY},
    "hnet_r": {"method": "hnet_r", **REPLAY, "cl_scenario": 3},
    "avb": {"method": "avb", **POSTERIORS},
    "bbb": {"method": "bbb", "posterior_distance": "w2", **POSTERIORS},
    "several labels": COPY,
    "several labels, online ewc": {**COPY, "method": "ewc", "online_ewc": True},
}


class PowerFailure(BaseException):
    """Ends a run at once."""


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("case", INTERRUPTED)
def test_going_on_after_interruptions_gives_the_same_numbers(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = INTERRUPTED[case]
    tiny_run(tmp_path / "whole", **options)
    step, count = Experiment._validate, 0

    def fails_now_and_then(self: Experiment, *arguments: Any) -> None:
        nonlocal count
        count += 1
        if count % 4 == 0:
            raise PowerFailure
        step(self, *arguments)

    monkeypatch.setattr(Experiment, "_validate", fails_now_and_then)
    interruptions = 0
    while not (tmp_path / "parts" / "results.json").is_file():
        try:
            tiny_run(tmp_path / "parts", **options, resume=interruptions > 0)
        except PowerFailure:
            interruptions += 1
    assert interruptions >= 2
    assert_same_run(tmp_path / "parts", tmp_path / "whole")


def test_going_on_after_sigkill_gives_the_same_numbers(tmp_path: Path) -> None:
    options = {**TINY, "n_iter": 200, "ckpt_iter": 7, "val_set_size": 0}
    found, expected = tmp_path / "found", tmp_path / "expected"
    command = [sys.executable, "-m", "hypnettorch.examples.hypercl", *as_arguments(options), f"--out_dir={found}"]
    process = subprocess.Popen(command, cwd=tmp_path, env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not (found / "task_0.pt").is_file() and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert (found / "latest.pt").is_file()
    assert not (found / "results.json").exists()
    run([f"--out_dir={found}", "--resume"])
    tiny_run(expected, **{name: options[name] for name in ("n_iter", "ckpt_iter", "val_set_size")})
    assert_same_run(found, expected)


@pytest.mark.usefixtures("no_pictures")
def test_a_run_killed_before_its_first_checkpoint_starts_again(tmp_path: Path) -> None:
    tiny_run(tmp_path / "expected", num_tasks=1)
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / ".options.json.part").write_text("{")
    tiny_run(empty, num_tasks=1, resume=True)
    assert numbers(empty) == numbers(tmp_path / "expected")


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir() if file.is_file()}


def test_a_folder_with_files_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_text("valuable")
    before = contents(tmp_path)
    with pytest.raises(FileExistsError, match=r"--out_dir: .* is not empty"):
        tiny_run(tmp_path)
    with pytest.raises(CheckpointError, match="it belongs to another program"):
        tiny_run(tmp_path, resume=True)
    (tmp_path / "options.json").write_text('{"lr": 1}')
    with pytest.raises(CheckpointError, match="expected the options of a run"):
        tiny_run(tmp_path, resume=True)
    (tmp_path / "options.json").unlink()
    assert contents(tmp_path) == before


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that stopped after its first task."""
    path = tmp_path_factory.mktemp("unfinished") / "run"
    tiny_run(path, num_tasks=2)
    (path / "results.json").unlink()
    state = checkpoint.load(path / "task_0.pt")
    checkpoint.save(path / "latest.pt", state)
    return path


def test_other_options_are_refused(unfinished: Path) -> None:
    with pytest.raises(ValueError, match=r"--lr: expected 0.005 or nothing"):
        tiny_run(unfinished, num_tasks=2, lr=0.1, resume=True)


@pytest.mark.parametrize("damage", ["cut off", "changed", "foreign", "other options"])
def test_damaged_and_foreign_checkpoints_are_refused(damage: str, unfinished: Path, tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.mkdir()
    for name, content in contents(unfinished).items():
        (path / name).write_bytes(content)
    latest = path / "latest.pt"
    content = latest.read_bytes()
    if damage == "cut off":
        latest.write_bytes(content[: len(content) // 2])
    elif damage == "changed":
        middle = len(content) // 2
        latest.write_bytes(
            content[:middle] + bytes(byte ^ 255 for byte in content[middle : middle + 64]) + content[middle + 64 :]
        )
    elif damage == "foreign":
        torch.save({"weights": torch.zeros(3)}, latest)
    else:
        state = checkpoint.load(latest)
        checkpoint.save(latest, {**state, "options": {**state["options"], "beta": 5.0}})
    before = contents(path)
    with pytest.raises(CheckpointError, match=r"latest\.pt"):
        tiny_run(path, num_tasks=2, resume=True)
    assert contents(path) == before


@pytest.mark.usefixtures("no_pictures")
def test_task_sequence_of_a_users_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "my_own_tasks.py").write_text(
        "import numpy as np\n"
        "from hypnettorch.data import from_arrays, register_task_sequence\n"
        "@register_task_sequence('my_tasks', num_tasks=2, num_classes_per_task=3)\n"
        "def build(data_dir, num_tasks, num_classes_per_task, validation_size, seed):\n"
        "    x, y = np.random.RandomState(0).rand(30, 7), np.arange(30) % num_classes_per_task\n"
        "    return [from_arrays(x + task, y, test=(x, y), seed=(seed, task)) for task in range(num_tasks)]\n"
    )
    options = {**TINY, "cl_exp": "my_tasks", "task_module": "my_own_tasks", "n_iter": 3, "val_set_size": 0}
    del options["num_tasks"]
    results = execute({**options, "out_dir": str(tmp_path / "out")})
    assert len(results["accuracy_matrix"]) == 2
    assert results["options"]["num_classes_per_task"] == 3


def test_impossible_tasks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--cl_exp splitdigits with --num_tasks 6, --num_classes_per_task 2"):
        tiny_run(tmp_path / "a", num_tasks=6)
    with pytest.raises(ValueError, match=r"--val_set_size 1000: validation_size: expected less than"):
        tiny_run(tmp_path / "b", val_set_size=1000)


@pytest.mark.usefixtures("no_pictures")
def test_settings_of_the_process_are_put_back(tmp_path: Path) -> None:
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    tiny_run(tmp_path, num_tasks=1, num_threads=2, deterministic_run=True)
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before


@pytest.mark.usefixtures("no_pictures")
def test_smoke_run_of_the_compression_curve(tmp_path: Path) -> None:
    curve = compression_curve.run(["--smoke", f"--out_dir={tmp_path}"])
    assert len(curve["points"]) == 4
    assert all(point["parameters"] < point["main_network"] for point in curve["points"])
    assert (tmp_path / "compression_curve.png").is_file()
    assert json.loads((tmp_path / "compression_curve.json").read_text()) == curve


def test_messages_for_a_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hypnettorch.core.memory.ask_for_large_blocks", lambda: None)
    monkeypatch.setattr(
        sys, "argv", ["hypercl", "--cl_exp=splitmnist", f"--out_dir={tmp_path}", f"--data_dir={tmp_path}"]
    )
    with pytest.raises(SystemExit, match=r"hypercl: MNIST: expected the file train-images-idx3-ubyte\.gz"):
        main()
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(sys, "argv", ["hypercl", "--beta=-3"])
    with pytest.raises(SystemExit, match="hypercl: --beta: expected a number of at least 0"):
        main()


def test_smoke_run_of_the_program(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hypnettorch.examples.hypercl", "--smoke", f"--out_dir={tmp_path / 'out'}"]
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "after task 4" in done.stdout


def test_smoke_run_of_the_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = demo.run(["--smoke", f"--out_dir={tmp_path / 'out'}"])
    assert [found["options"]["method"] for found in results] == ["hnet", "finetune"]
    shown = capsys.readouterr().out
    assert all(f"{tmp_path / 'out' / method / 'accuracy.png'}" in shown for method in ("hnet", "finetune"))
    assert (tmp_path / "out" / "finetune" / "forgetting.png").is_file()
