"""Checkpoints that only a trusted reader can read become files of tensors and plain values."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from hypnettorch.utils import safe_files
from hypnettorch.utils.convert_checkpoint import main
from hypnettorch.utils.torch_ckpts import load_checkpoint


@pytest.mark.parametrize("archive", [True, False])
def test_conversion(tmp_path: Path, archive: bool, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    net, other = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
    internal = {"permanent": False, "score": np.float64(0.5), "ts": 10.0}
    content = {"state_dict": net.state_dict(), "kinds": np.array(["a", "b"]), "_ckpt_internal": internal}
    torch.save(content, old, _use_new_zipfile_serialization=archive)
    with pytest.raises(safe_files.FileError, match="cannot be read without running code"):
        safe_files.load(old)
    main([str(old), str(new)])
    assert capsys.readouterr().out.strip() == str(new)
    loaded, score = load_checkpoint(new, other, ret_performance_score=True)
    assert (loaded["kinds"], score) == (["a", "b"], 0.5)
    assert torch.equal(other.weight, net.weight)


def test_what_cannot_be_converted(tmp_path: Path) -> None:
    torch.save({"x": Path("a")}, tmp_path / "objects")
    torch.save([1], tmp_path / "list")
    (tmp_path / "text").write_text("hello")
    for name, message in (("objects", r"content\['x'\]: expected tensors"), ("list", "expected a dictionary")):
        with pytest.raises(SystemExit, match=f"convert_checkpoint: .*{name}: {message}"):
            main([str(tmp_path / name), str(tmp_path / "new")])
    for name in ("text", "missing"):
        with pytest.raises(SystemExit, match=f"convert_checkpoint: .*{name}: "):
            main([str(tmp_path / name), str(tmp_path / "new")])
    assert "new" not in os.listdir(tmp_path)


def test_help_says_what_is_trusted(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "code in it is run" in capsys.readouterr().out
