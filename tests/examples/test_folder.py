"""The folder of a run: one run at a time, nothing lost, nothing overwritten, one line for what does not fit."""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hypnettorch.examples.hypercl import checkpoint, demo, folder, plots
from hypnettorch.examples.hypercl.checkpoint import CheckpointError
from hypnettorch.examples.hypercl.errors import UsageError
from hypnettorch.examples.hypercl.run import execute, main
from hypnettorch.utils.locks import InUseError
from tests.examples.settings import TINY, numbers, tiny_run

pytestmark = pytest.mark.usefixtures("no_pictures")


def contents(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


# One run at a time


def test_runs_of_the_same_second_have_folders_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(time, "strftime", lambda form, *_: form.replace("%Y-%m-%d_%H-%M-%S", "now"))
    with folder.claimed_new("run") as first, folder.claimed_new("run") as second:
        assert (str(first), str(second)) == ("out/run_now", "out/run_now_2")
        assert execute({**TINY, "num_tasks": 1})["options"]["out_dir"] == "out/run_now_3"
    assert os.listdir("out") == ["run_now_3"], "the others were not used"
    with folder.claimed_new("run") as again:
        assert str(again) == "out/run_now"


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    tiny_run(tmp_path / "run", num_tasks=1)
    lock = tmp_path / "run" / ".lock"
    lock.write_text(json.dumps({"host": platform.node(), "number": os.getppid(), "start": ""}))
    before = contents(tmp_path)
    with pytest.raises(InUseError, match=rf"run' is in use by process {os.getppid()} on .*delete '.*\.lock'"):
        tiny_run(tmp_path / "run", num_tasks=1, resume=True)
    assert contents(tmp_path) == before


def test_what_a_killed_run_has_left_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.mkdir()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (path / ".lock").write_text(json.dumps({"host": platform.node(), "number": ended.pid, "start": "1"}))
    (path / f".latest.pt~{platform.node()}~{ended.pid}~00ff.part").write_text("half")
    tiny_run(path, num_tasks=1)
    assert not [name for name in os.listdir(path) if name.startswith(".")]


def test_refused_runs_leave_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for options in ({"out_dir": "a/b/c"}, {}):
        with pytest.raises(UsageError, match="--num_tasks"):
            execute({**TINY, "num_tasks": 6, **options})
    assert not os.listdir(tmp_path)


# Nothing lost


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "draw", lambda folder: [])
        tiny_run(path)
    return path


def copy_of(whole: Path, path: Path, without: tuple[str, ...]) -> Path:
    path.mkdir()
    for name, content in contents(whole).items():
        if name not in ("results.json", *without):
            (path / name).write_bytes(content)
    return path


@pytest.mark.parametrize("lost", [("latest.pt", "task_1.pt", "task_2.pt"), ("latest.pt", "task_2.pt"), ("latest.pt",)])
def test_a_run_without_its_last_state_goes_on_from_its_last_task(
    whole: Path, tmp_path: Path, lost: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    path = copy_of(whole, tmp_path / "run", lost)
    tiny_run(path, resume=True)
    assert numbers(path) == numbers(whole)
    assert f"task_{3 - len(lost)}.pt: going on after {4 - len(lost)} of 3 tasks and 0 steps" in caplog.text
    first, second = (checkpoint.load(place / "task_2.pt") for place in (path, whole))
    assert str(first["learner"]) == str(second["learner"])


def test_a_run_that_has_lost_all_its_states_does_not_begin_again(whole: Path, tmp_path: Path) -> None:
    path = copy_of(whole, tmp_path / "run", ("latest.pt", "task_0.pt", "task_1.pt", "task_2.pt"))
    before = contents(path)
    with pytest.raises(CheckpointError, match=r"latest\.pt: it is missing, but tasks were learned\."):
        tiny_run(path, resume=True)
    assert contents(path) == before


@pytest.mark.parametrize(("keep", "kept"), [(0, []), (1, [2]), (2, [1, 2]), (5, [0, 1, 2]), (-1, [0, 1, 2])])
def test_checkpoints_are_kept_as_far_as_wanted(whole: Path, tmp_path: Path, keep: int, kept: list[int]) -> None:
    results = tiny_run(tmp_path / "run", keep_checkpoints=keep)
    assert sorted(name for name in os.listdir(tmp_path / "run") if name.startswith("task_")) == [
        f"task_{task}.pt" for task in kept
    ]
    assert checkpoint.load(tmp_path / "run" / "latest.pt")["stage"] == 3
    assert results["final"] == json.loads((whole / "results.json").read_text())["final"]


def test_how_many_checkpoints_are_kept_may_change(whole: Path, tmp_path: Path) -> None:
    path = copy_of(whole, tmp_path / "run", ("latest.pt", "task_2.pt"))
    tiny_run(path, resume=True, keep_checkpoints=1)
    assert [name for name in os.listdir(path) if name.startswith("task_")] == ["task_2.pt"]
    assert numbers(path)["accuracy_matrix"] == numbers(whole)["accuracy_matrix"]


def test_options_of_older_versions_are_completed(whole: Path, tmp_path: Path) -> None:
    path = copy_of(whole, tmp_path / "run", ())
    options = json.loads((path / "options.json").read_text())
    del options["keep_checkpoints"]
    (path / "options.json").write_text(json.dumps(options))
    assert tiny_run(path, resume=True)["options"]["keep_checkpoints"] == -1


# Files that do not fit


def changed_options(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        options = json.loads((path / "options.json").read_text())
        (path / "options.json").write_text(json.dumps(change(options)))

    return write


def changed_state(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        torch.save(change(checkpoint.load(path / "latest.pt")), path / "latest.pt")

    return write


def written(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda path: (path / name).write_bytes(content) and None


FOREIGN: dict[str, tuple[str, Callable[[Path], None]]] = {
    **{
        f"options with {name} {value!r}": (
            rf"options\.json: .*--{name}",
            changed_options(lambda options, name=name, value=value: {**options, name: value}),
        )
        for name, value in {
            "lr": "fast",
            "n_iter": 2.5,
            "batch_size": None,
            "mlp_arch": [10],
            "batchnorm": 1,
            "cl_exp": {},
            "num_tasks": True,
        }.items()
    },
    "options that are a list": (r"options\.json: expected the options of a run", changed_options(list)),
    "options with others": (r"options\.json: .*others", changed_options(lambda options: {**options, "x": 1})),
    "options without some": (r"options\.json: .*none for some", changed_options(lambda options: {"n_iter": 3})),
    "options that are no text": (r"options\.json: ", written("options.json", b"\xff\xfe\x00")),
    "options that are deep": (r"options\.json: ", written("options.json", b"[" * 100_000)),
    "options with a large number": ("--n_iter: ", changed_options(lambda options: {**options, "n_iter": 2**63})),
    "options with NUL": (
        "--",
        changed_options(lambda options: {**options, "data_dir": "a\0b", "cl_exp": "splitmnist"}),
    ),
    "results of others": (r"results\.json: expected the results of a run", written("results.json", b'{"a": 1}')),
    "results that are a list": (r"results\.json: ", written("results.json", b"[]")),
    "results that are no JSON": (r"results\.json: ", written("results.json", b"{")),
    "results that are no text": (r"results\.json: ", written("results.json", b"\xff")),
    **{
        f"a state without {key}": (
            r"latest\.pt: ",
            changed_state(lambda state, key=key: {name: value for name, value in state.items() if name != key}),
        )
        for key in ("format", "version", "options", "stage", "step", "matrices", "learner", "data", "random")
    },
    **{
        f"a state with {key} {value!r}": (
            r"latest\.pt: ",
            changed_state(lambda state, key=key, value=value: {**state, key: value}),
        )
        for key, value in {
            "version": [2],
            "options": 3,
            "stage": 4,
            "step": -1,
            "matrices": {"task_given": [[1.0]]},
            "learner": {"num_known": 1},
            "data": [],
            "random": {"python": 1},
        }.items()
    },
    "a state with stage 2.5": (r"latest\.pt: ", changed_state(lambda state: {**state, "stage": 2.5})),
    "a state of another network": (
        r"latest\.pt: ",
        changed_state(
            lambda state: {**state, "learner": {**state["learner"], "model": {"weight": torch.zeros(2)}}},
        ),
    ),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_files_that_do_not_fit_are_named(whole: Path, tmp_path: Path, case: str) -> None:
    message, change = FOREIGN[case]
    path = copy_of(whole, tmp_path / "run", ())
    change(path)
    before = contents(path)
    with pytest.raises(UsageError, match=message) as caught:
        tiny_run(path, resume=True)
    assert "\n" not in str(caught.value)
    assert contents(path) == before


def test_pictures_of_other_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    (tmp_path / "results.json").write_text('{"accuracy_matrix": 3}')
    with pytest.raises(CheckpointError, match=r"results\.json: expected the results of a run"):
        plots.draw(tmp_path)


# What a user types

WRONG: dict[str, dict[str, Any]] = {
    "--batch_size: expected an integer between": {"batch_size": 2**63},
    "--mlp_arch: expected positive numbers": {"mlp_arch": f"{2**63}"},
    "--random_seed: expected": {"random_seed": 2**32},
    "--batch_size: expected 2 samples per task": {"batch_size": 1, "batchnorm": True},
    "--out_dir: expected a text without NUL": {"out_dir": "a\0b"},
    "--data_dir: expected a text without NUL": {"data_dir": "a\0b"},
    "(?i)overflow|memory": {"mlp_arch": f"{2**62}"},
    "(?i)overflow|memory|large": {"hmlp_arch": f"{2**40}", "method": "separate"},
}


@pytest.mark.parametrize("message", WRONG)
def test_options_that_nothing_can_be_made_of(tmp_path: Path, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        execute({**TINY, "out_dir": str(tmp_path / "run"), **WRONG[message]})
    assert "\n" not in str(caught.value)
    assert not os.listdir(tmp_path)


def test_batch_norm_of_one_set_with_fisher_information(tmp_path: Path) -> None:
    options = {"hnet_reg_fisher": True, "n_fisher": 10, "batchnorm": True, "bn_no_stats_checkpointing": True}
    assert None not in tiny_run(tmp_path / "run", num_tasks=2, **options)["final"]


@pytest.mark.parametrize("limit", [0, 2, 30, 60])
@pytest.mark.parametrize("option", ["--seeds=1", "--tensorboard"])
def test_a_full_disk_is_one_line(
    tmp_path: Path, limit: int, option: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = [f"--{name}={value}" for name, value in {**TINY, "num_tasks": 2, "mlp_arch": "60"}.items()]
    monkeypatch.setattr(sys, "argv", ["hypercl", *arguments, "--no_cuda", option, f"--out_dir={tmp_path / 'run'}"])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit * 1024, before[1]))
    try:
        with pytest.raises(SystemExit, match=rf"^hypercl: \[Errno 27\] File too large: '{tmp_path}/run/.*'$"):
            main()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "Traceback" not in capfd.readouterr().err
    left = os.listdir(tmp_path / "run") if (tmp_path / "run").is_dir() else []
    assert not [name for name in left if name.startswith(".")]


WITHOUT_EXTRAS = """
import runpy, sys
sys.modules.update(dict.fromkeys(["matplotlib", "tqdm", "tensorboard", "sklearn", "optuna", "PIL", "pooch"]))
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("program", ["demo", "compression_curve", "scenario_table", "plots", "__main__"])
def test_programs_without_optional_packages_end_with_one_line(tmp_path: Path, program: str) -> None:
    (tmp_path / "results.json").write_bytes(b"")
    arguments = {"plots": [str(tmp_path)], "scenario_table": ["--smoke", "--workers=1"]}.get(program, ["--smoke"])
    command = [sys.executable, "-c", WITHOUT_EXTRAS, f"hypnettorch.examples.hypercl.{program}", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "hypnettorch[experiments]" in done.stderr or program == "plots"
    assert os.listdir(tmp_path) == ["results.json"]


def test_the_demo_claims_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    seen = []

    def lists_files(options: dict[str, Any]) -> dict[str, Any]:
        seen.append(os.listdir(Path(options["out_dir"]).parent))
        return {"options": options}

    monkeypatch.setattr(demo, "execute", lists_files)
    monkeypatch.setattr(demo.report, "averages_table", lambda results: "")
    demo.run(["--smoke"])
    assert seen == [[".lock"], [".lock"]]
    assert np.size(os.listdir(tmp_path)) == 0
