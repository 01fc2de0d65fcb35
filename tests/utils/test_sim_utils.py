"""The number of training steps, and what an experiment starts from."""

from __future__ import annotations

import argparse
import io
import json
import os
import pickle
import pty
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hypnettorch.utils import cli_args, environment
from hypnettorch.utils.sim_utils import calc_train_iter, setup_environment


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"num_iter": 10}, (10, -1)),
        ({"epochs": 3}, (12, 4)),
        ({"num_iter": 10, "epochs": 2}, (8, 4)),
        ({"epochs": 1, "batch_size": 100}, (1, 1)),
        ({"epochs": 1, "batch_size": 25}, (4, 4)),
    ],
)
def test_calc_train_iter(arguments: dict[str, int], expected: tuple[int, int]) -> None:
    assert calc_train_iter(**{"num_train_samples": 100, "batch_size": 32, **arguments}) == expected


@pytest.mark.parametrize(
    ("arguments", "named"),
    [({}, "num_iter"), ({"epochs": 0}, "epochs"), ({"epochs": 1, "batch_size": 0}, "batch_size")],
)
def test_calc_train_iter_errors(arguments: dict[str, int], named: str) -> None:
    with pytest.raises(ValueError, match=f"^{named}: "):
        calc_train_iter(**{"num_train_samples": 100, "batch_size": 32, **arguments})


@pytest.fixture
def settings() -> Iterator[None]:
    """Put settings of the process back."""
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark, torch.are_deterministic_algorithms_enabled()
    yield
    cudnn.deterministic, cudnn.benchmark = before[:2]
    torch.use_deterministic_algorithms(before[2])


def config(out_dir: Path, *argv: str, **options: Any) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    cli_args.miscellaneous_args(parser, dout_dir=str(out_dir), **options)
    return parser.parse_args(argv)


def draws() -> tuple[float, float, float]:
    return torch.rand(1).item(), float(np.random.rand()), random.random()


@pytest.mark.usefixtures("settings")
def test_environment(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "run"
    given = config(folder, "--random_seed=3")
    device, writer, logger = setup_environment(given, "test_environment")
    first = draws()
    writer.add_scalar("loss", 1.0, 0)
    writer.close()
    logger.debug("here")
    assert device.type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert logger.name == "test_environment"
    assert sorted(os.listdir(folder)) == ["config.json", "config.pickle", "logfile.txt", "summary"]
    assert json.loads((folder / "config.json").read_text()) == vars(given)
    assert pickle.loads((folder / "config.pickle").read_bytes()) == given
    assert "here" in (folder / "logfile.txt").read_text()
    assert os.listdir(folder / "summary")
    assert not torch.backends.cudnn.deterministic

    setup_environment(config(tmp_path / "again", "--random_seed=3", "--deterministic_run"))[1].close()
    assert draws() == first
    assert torch.backends.cudnn.deterministic
    assert not torch.backends.cudnn.benchmark
    assert torch.are_deterministic_algorithms_enabled()


def test_writer_takes_options_of_any_type(tmp_path: Path) -> None:
    """As published experiments call it, with all of their options."""
    given = config(tmp_path / "run", "--random_seed=3")
    writer = setup_environment(given)[1]
    options = {**vars(given), "grid": [-9, 9], "layers": (10, 10), "rate": np.float32(0.5), "seed": np.int64(4)}
    options |= {"nothing": None, "table": {"a": 1}, "path": tmp_path, "net": torch.tensor(2.0)}
    options |= {"array": np.arange(2), "tensor": torch.ones(1)}
    writer.add_hparams(options, {})
    writer.add_hparams(hparam_dict={"grid": [1]}, metric_dict={"accuracy": 0.5}, run_name="second")
    writer.close()
    logged = hyperparameters(tmp_path / "run" / "summary")
    assert len(logged) == 2
    first, second = sorted(logged, key=len, reverse=True)
    assert (first["grid"], first["layers"], first["table"]) == ("[-9, 9]", "(10, 10)", "{'a': 1}")
    assert (first["rate"], first["seed"], first["net"], first["path"]) == (0.5, 4.0, 2.0, str(tmp_path))
    assert (first["array"], first["tensor"]) == ("[0, 1]", 1.0)
    assert (first["random_seed"], first["no_cuda"]) == (3.0, False)
    assert second == {"grid": "[1]"}


def hyperparameters(folder: Path) -> list[dict[str, Any]]:
    """What TensorBoard reads from the files of a run."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    found = []
    for file in folder.rglob("events*"):
        for event in EventFileLoader(str(file)).Load():
            for value in event.summary.value:
                if value.tag == "_hparams_/session_start_info":
                    content = HParamsPluginData.FromString(value.metadata.plugin_data.content)
                    values = content.session_start_info.hparams
                    found.append({name: getattr(v, v.WhichOneof("kind")) for name, v in values.items()})
    return found


@pytest.mark.parametrize(
    ("available", "argv", "options", "expected"),
    [
        (True, [], {}, "cuda:0"),
        (True, ["--no_cuda"], {}, "cpu"),
        (True, [], {"no_cuda": True}, "cpu"),
        (True, ["--use_cuda"], {"no_cuda": True}, "cuda:0"),
        (False, ["--use_cuda"], {"no_cuda": True}, "cpu"),
    ],
)
def test_device(available: bool, argv: list[str], options: dict[str, Any], expected: str) -> None:
    given = config(Path("unused"), *argv, **options)
    assert environment.choose_device(given, available) == torch.device(expected)


def test_one_option_chooses_the_device(tmp_path: Path) -> None:
    for names in ({}, {"no_cuda": False, "use_cuda": False}):
        given = argparse.Namespace(out_dir=str(tmp_path / "run"), random_seed=1, **names)
        with pytest.raises(ValueError, match="config: expected one of no_cuda and use_cuda"):
            setup_environment(given)
    assert not os.listdir(tmp_path)


def test_missing_tensorboard_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ImportError, match=r"pip install 'hypnettorch\[experiments\]'"):
        setup_environment(config(tmp_path / "run"))
    assert not os.listdir(tmp_path)


def test_results_are_not_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    (tmp_path / "results").write_text("old")
    with pytest.raises(FileExistsError, match="exists and is not empty"):
        environment.require_empty(tmp_path)
    with pytest.raises(FileExistsError, match="results"):
        environment.require_empty(tmp_path / "results")
    assert (tmp_path / "results").read_text() == "old"
    (tmp_path / "results").unlink()
    environment.require_empty(tmp_path)


@pytest.mark.parametrize(("answer", "deleted"), [("y\n", True), ("n\n", False), ("", False)])
def test_user_at_a_terminal_is_asked(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answer: str,
    deleted: bool,
) -> None:
    (tmp_path / "results").write_text("old")
    controller, terminal = pty.openpty()
    monkeypatch.setattr(environment, "SECONDS_TO_ANSWER", 0.2 if answer == "" else 10)
    with os.fdopen(terminal) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        os.write(controller, answer.encode())
        if deleted:
            environment.require_empty(tmp_path)
        else:
            with pytest.raises(FileExistsError):
                environment.require_empty(tmp_path)
    os.close(controller)
    assert "Delete them? [y/n]" in capsys.readouterr().out
    assert (tmp_path / "results").exists() is not deleted
