"""Workers as jobs, and what is said where an optional package is missing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import submitit

from hypnettorch.hpsearch import hpsearch, jobs
from hypnettorch.hpsearch.table import read_csv


def test_jobs_of_this_machine(search: Callable[..., Path]) -> None:
    folder = search('{"x": [1, 2]}', "--run_cluster", "--scheduler=local", "--num_jobs=1")
    assert len(read_csv(folder / "search_results.csv")) == 2
    assert len(list((folder / "jobs").glob("*_submitted.pkl"))) == 1


def test_slurm_gets_the_options(search: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[str, dict, int]] = []

    class Executor:
        def __init__(self, folder: Path, cluster: str) -> None:
            made.append((cluster, {}, 0))

        def update_parameters(self, **parameters: object) -> None:
            made[-1][1].update(parameters)

        def submit(self, worker: jobs.JobWorker) -> submitit.helpers.DelayedSubmission:
            worker()
            made[-1] = (*made[-1][:2], made[-1][2] + 1)
            raise StopIteration

    monkeypatch.setattr(submitit, "AutoExecutor", Executor)
    options = ["--run_cluster", "--num_hours=2", "--num_threads=3", "--slurm_partition=gpu", "--slurm_gres="]
    with pytest.raises(StopIteration):
        search('{"x": [1]}', *options)
    assert made == [
        (
            "slurm",
            {"name": "hpsearch", "timeout_min": 120, "cpus_per_task": 3, "slurm_mem": "8G", "slurm_partition": "gpu"},
            1,
        )
    ]


def test_parameters_are_known_to_submitit(tmp_path: Path) -> None:
    names = jobs.slurm_parameters(
        {"num_hours": 1, "num_threads": 1}
        | {f"slurm_{name}": "x" for name in ("mem", "gres", "partition", "qos", "constraint")}
    )
    submitit.AutoExecutor(folder=tmp_path, cluster="debug").update_parameters(**names)
    own = {name.removeprefix("slurm_") for name in names if name.startswith("slurm_")}
    assert own <= submitit.SlurmExecutor._valid_parameters()


def test_job_at_its_time_limit_is_submitted_again(tmp_path: Path) -> None:
    worker = jobs.JobWorker(tmp_path)
    assert worker.checkpoint().function is worker


@pytest.mark.parametrize(
    ("module", "arguments", "message"),
    [
        ("optuna", [], r"hpsearch: needs optuna, run: pip install 'hypnettorch\[search\]'"),
        ("submitit", ["--run_cluster"], r"--run_cluster: needs submitit, run: pip install 'hypnettorch\[cluster\]'"),
    ],
)
def test_missing_extras(
    configure: Callable[..., str], monkeypatch: pytest.MonkeyPatch, module: str, arguments: list[str], message: str
) -> None:
    name = configure('{"x": [1]}')
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=message):
        hpsearch.run([f"--grid_module={name}", "--out_dir=out", *arguments])
    assert not Path("out").exists()


def test_several_workers_need_submitit(configure: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    name = configure('{"x": [1]}')
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ImportError, match=r"several workers: needs submitit, run: pip install 'hypnettorch\[search\]'"):
        hpsearch.run([f"--grid_module={name}", "--out_dir=out", "--visible_gpus=-1", "--num_workers=2"])
    assert not Path("out").exists()


def test_message_in_a_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["hpsearch", "--grid_module=m", "--num_hours=0"])
    with pytest.raises(SystemExit, match="hpsearch: --num_hours: expected an integer"):
        hpsearch.main()


@pytest.mark.parametrize("arguments", [["--scheduler=lsf"], ["--resources=rusage[mem=8000]"]])
def test_lsf_is_no_choice(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        hpsearch.run(["--grid_module=m", *arguments])
    assert arguments[0].partition("=")[0] in capsys.readouterr().err
