"""Checkpoints: what is written, what is kept, what is found."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hypnettorch.utils import safe_files
from hypnettorch.utils.torch_ckpts import get_best_ckpt_path, load_checkpoint, make_ckpt_list, save_checkpoint

HOUR = 3600.0


def save(path: Path, score: Any, number: int | None = None, value: float = 0.0, **options: Any) -> None:
    net = nn.Linear(1, 1, bias=False)
    nn.init.constant_(net.weight, value)
    save_checkpoint({"state_dict": net.state_dict(), "number": number}, path, score, number, **options)


def kept(path: Path) -> list[str]:
    """The visible files of a folder."""
    return sorted(file.name for file in path.parent.iterdir() if not file.name.startswith("."))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "m"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the checkpoints that are read."""
    names: list[str] = []
    load = safe_files.load
    monkeypatch.setattr(safe_files, "load", lambda file, *args: (names.append(Path(file).name), load(file, *args))[1])
    return names


def test_round_trip(path: Path) -> None:
    net, other = nn.Linear(3, 2), nn.Linear(3, 2)
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    ckpt = {"state_dict": net.state_dict(), "optim": optimizer.state_dict(), "step": np.int64(7)}
    save_checkpoint(ckpt, path, 0.5, train_iter=3)
    assert list(ckpt) == ["state_dict", "optim", "step"]
    loaded, score = load_checkpoint(f"{path}_3", other, ret_performance_score=True)
    assert score == 0.5
    assert list(loaded) == ["state_dict", "optim", "step"]
    assert torch.equal(other.weight, net.weight)
    torch.optim.Adam(other.parameters()).load_state_dict(loaded["optim"])
    assert load_checkpoint(f"{path}_3", other)["step"] == 7


def test_file_without_number_or_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save(Path("net"), 1.0)
    assert (tmp_path / "net").is_file()
    assert get_best_ckpt_path("net") == "net"
    save(Path("new/folder/net"), 1.0)
    assert (tmp_path / "new" / "folder" / "net").is_file()


@pytest.mark.parametrize(
    "score", [2, 2.0, np.float32(2), np.array([2.0]), np.array(2), torch.tensor(2.0), torch.tensor([[2]])]
)
def test_scores_of_any_type(path: Path, score: Any) -> None:
    save(path, score)
    assert load_checkpoint(path, nn.Linear(1, 1, bias=False), ret_performance_score=True)[1] == 2.0


def test_newest_and_best_are_kept(path: Path) -> None:
    for number, score in enumerate([0.3, 0.9, 0.1, 0.8, 0.2, 0.5]):
        save(path, score, number, max_ckpts_to_keep=3)
    assert kept(path) == ["m_1", "m_3", "m_5"]
    save(path, 0.0, 6, max_ckpts_to_keep=1)
    assert kept(path) == ["m_6"]


def test_scores_that_are_no_numbers_are_the_worst(path: Path) -> None:
    for number, score in enumerate([math.nan, -math.inf, 0.0]):
        save(path, score, number)
    make_ckpt_list(path)
    lines = (path.parent / "score_list_m.txt").read_text().splitlines()
    assert lines[0] == "m_2, 0.000000"
    for number in range(3, 6):
        save(path, -1e9, number, max_ckpts_to_keep=3)
    assert kept(path) == ["m_2", "m_4", "m_5", "score_list_m.txt"]


def test_best_of_each_period_becomes_permanent(path: Path) -> None:
    scores = {0.0: 0.1, 0.5: 0.7, 1.9: 0.3, 2.1: 0.9, 3.0: 0.95, 4.5: 0.2, 4.6: 0.1, 4.7: 0.3}
    for number, (hours, score) in enumerate(scores.items()):
        save(path, score, number, max_ckpts_to_keep=2, keep_cktp_every=2, timestamp=1000 + hours * HOUR)
    permanent = {name: safe_files.load(path.with_name(name))["_ckpt_internal"]["permanent"] for name in kept(path)}
    assert permanent == {"m_1": True, "m_3": False, "m_4": True, "m_7": False}
    assert json.loads((path.parent / ".m_meta").read_text())["init_ts"] == 1000


def test_one_of_each_period_becomes_permanent(path: Path, opened: list[str]) -> None:
    for number, hours in enumerate([0, 0.1, 0.2, 2.5, 5, 7, 7.1]):
        save(path, number, number, max_ckpts_to_keep=9, timestamp=hours * HOUR)
    assert opened == ["m_2", "m_3", "m_4"], "once each, to be written anew"
    permanent = [name for name in kept(path) if safe_files.load(path.with_name(name))["_ckpt_internal"]["permanent"]]
    assert permanent == ["m_2", "m_3", "m_4"]


def test_no_permanent_checkpoints(path: Path) -> None:
    for number in range(5):
        save(path, -number, number, max_ckpts_to_keep=1, keep_cktp_every=None, timestamp=number * 10 * HOUR)
    assert kept(path) == ["m_4"]


def test_networks_with_similar_names(tmp_path: Path) -> None:
    """``m2`` and ``m_2`` are other networks than ``m``, whatever the order in which they are saved."""
    for name in ("m", "m2", "m_2", "m_best", "m.old"):
        for number in (None, 1, 5):
            save(tmp_path / name, 1.0 if name == "m" else 2.0, number, max_ckpts_to_keep=3)
    for number in range(10, 20):
        save(tmp_path / "m", 0.0, number, max_ckpts_to_keep=2)
    expected = [f"{name}{end}" for name in ("m2", "m_2", "m_best", "m.old") for end in ("", "_1", "_5")]
    assert set(kept(tmp_path / "m")) == {*expected, "m_5", "m_19"}
    assert get_best_ckpt_path(tmp_path / "m") == str(tmp_path / "m_5")
    assert Path(str(get_best_ckpt_path(tmp_path / "m_2"))).name.startswith("m_2")


def test_scores_are_not_read_from_the_files(path: Path, opened: list[str]) -> None:
    for number in range(4):
        save(path, number, number)
    assert get_best_ckpt_path(path) == f"{path}_3"
    make_ckpt_list(path)
    assert not opened


def test_lost_index_is_restored(path: Path) -> None:
    save(path, 0.9, 0, max_ckpts_to_keep=1, timestamp=0)
    save(path, 0.1, 1, max_ckpts_to_keep=1, timestamp=3 * HOUR)
    (path.parent / ".m_meta").unlink()
    assert get_best_ckpt_path(path) == f"{path}_0"
    save(path, 0.0, 2, max_ckpts_to_keep=1, timestamp=3.5 * HOUR)
    assert kept(path) == ["m_0", "m_2"], "the permanent one is known as such"


@pytest.mark.parametrize("content", ['{"init_ts": 0, "checkp', "[]", '{"init_ts": 0, "checkpoints": {"m_0": 3}}'])
def test_damaged_index_is_restored(path: Path, content: str) -> None:
    save(path, 0.9, 0)
    (path.parent / ".m_meta").write_text(content)
    with pytest.warns(UserWarning, match=r"\.m_meta: damaged, read from the checkpoints instead"):
        assert get_best_ckpt_path(path) == f"{path}_0"


def test_damaged_checkpoint_does_not_stop_training(path: Path) -> None:
    save(path, 0.9, 0, timestamp=0)
    path.with_name("m_0").write_bytes(b"")
    with pytest.warns(UserWarning, match="m_0: it is damaged.*; it is left as it is"):
        save(path, 0.1, 1, timestamp=3 * HOUR)
    assert kept(path) == ["m_0", "m_1"]


def test_foreign_files_are_left_alone(path: Path) -> None:
    (path.parent / "m_7").write_text("notes")
    with pytest.warns(UserWarning, match="m_7: no checkpoint, it is left alone"):
        save(path, 0.5, 0)
    with pytest.warns(UserWarning, match="m_7"):
        save(path, 0.5, 1, max_ckpts_to_keep=1)
    assert kept(path) == ["m_1", "m_7"]


def test_list_of_scores(path: Path) -> None:
    assert get_best_ckpt_path(path) is None
    for number, score in enumerate([0.3, 0.9, 0.5]):
        save(path, score, number)
    make_ckpt_list(path)
    assert (path.parent / "score_list_m.txt").read_text() == "m_1, 0.900000\nm_2, 0.500000\nm_0, 0.300000\n"
    save(path, 1.0, 3)
    assert get_best_ckpt_path(path) == f"{path}_1", "the list is what counts"
    (path.parent / "m_1").unlink()
    assert get_best_ckpt_path(path) == f"{path}_2"


def test_saving_again_replaces(path: Path) -> None:
    save(path, 0.1, value=1.0)
    save(path, 0.2, value=2.0)
    net = nn.Linear(1, 1, bias=False)
    assert load_checkpoint(path, net, ret_performance_score=True)[1] == 0.2
    assert net.weight.item() == 2.0


def test_interrupted_save_keeps_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(path, 0.1, value=1.0)
    monkeypatch.setattr(torch, "save", lambda content, file: (file.write(b"half"), 1 / 0))
    with pytest.raises(ZeroDivisionError):
        save(path, 0.2, value=2.0)
    net = nn.Linear(1, 1, bias=False)
    load_checkpoint(path, net)
    assert net.weight.item() == 1.0


def test_files_of_others(path: Path) -> None:
    net = nn.Linear(1, 1, bias=False)
    with pytest.raises(FileNotFoundError):
        load_checkpoint(path, net)
    torch.save(net.state_dict(), path)
    with pytest.raises(ValueError, match=r"m: expected a checkpoint with a 'state_dict', got the keys \['weight'\]"):
        load_checkpoint(path, net)
    torch.save({"state_dict": net.state_dict()}, path)
    load_checkpoint(path, net)
    with pytest.raises(ValueError, match="m: it has no score"):
        load_checkpoint(path, net, ret_performance_score=True)
    path.unlink()
    save(path, 0.5)
    with pytest.raises(RuntimeError, match="size mismatch"):
        load_checkpoint(path, nn.Linear(2, 1, bias=False))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="m: it is damaged"):
        load_checkpoint(path, net)


def test_file_of_the_reference(path: Path) -> None:
    """Its scores may be NumPy numbers, its index holds only the beginning."""
    net = nn.Linear(1, 1, bias=False)
    for number, score in enumerate([0.2, 0.4]):
        internal = {"permanent": False, "score": np.float64(score), "ts": 10.0}
        torch.save({"state_dict": net.state_dict(), "_ckpt_internal": internal}, f"{path}_{number}")
    (path.parent / ".m_meta").write_text(json.dumps({"init_ts": 5.0}))
    assert get_best_ckpt_path(path) == f"{path}_1"
    save(path, 0.1, 2, max_ckpts_to_keep=2, timestamp=20.0)
    assert kept(path) == ["m_1", "m_2"]
    assert json.loads((path.parent / ".m_meta").read_text())["init_ts"] == 5.0


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"ckpt_dict": {"net": 1}}, ValueError, r"ckpt_dict: expected the key 'state_dict', got \['net'\]"),
        ({"ckpt_dict": [1]}, TypeError, "ckpt_dict: expected a dictionary"),
        ({"performance_score": torch.ones(2)}, ValueError, "performance_score: expected one number"),
        ({"performance_score": "good"}, TypeError, "performance_score: expected a number, got str"),
        ({"train_iter": -1}, ValueError, "train_iter"),
        ({"max_ckpts_to_keep": 0}, ValueError, "max_ckpts_to_keep"),
        ({"keep_cktp_every": 0}, ValueError, "keep_cktp_every: expected a number of hours above 0"),
    ],
)
def test_wrong_arguments(path: Path, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        save_checkpoint(**{"ckpt_dict": {"state_dict": {}}, "file_path": path, "performance_score": 0.0, **options})
    assert not kept(path)
