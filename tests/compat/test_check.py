from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hypnettorch.compat.check.command import main
from hypnettorch.compat.check.successors import Kind, judge


def check(tmp_path: Path, source: str, *options: str, name: str = "program.py") -> Path:
    path = tmp_path / name
    path.write_text(source)
    main([str(path), *options])
    return path


def said(capsys: pytest.CaptureFixture[str], path: Path) -> list[str]:
    """The lines about a file, without its name."""
    lines = capsys.readouterr().out.splitlines()
    return [line.removeprefix(f"{path}:") for line in lines if line.startswith(f"{path}:")]


FORMS = {
    "import hypnettorch.mnets as m; m.mlp.MLP": ["1: hypnettorch.mnets works", "1: hypnettorch.mnets.mlp.MLP works"],
    "import hypnettorch.hnets\nhypnettorch.hnets.HMLP.forward": [
        "1: hypnettorch.hnets works",
        "2: hypnettorch.hnets.HMLP.forward works",
    ],
    "from hypnettorch.mnets.mlp import MLP as Net\nNet.nothing": [
        "1: hypnettorch.mnets.mlp.MLP works",
        "2: hypnettorch.mnets.mlp.MLP.nothing is gone: hypnettorch.mnets.mlp.MLP has no such name",
    ],
    "from hypnettorch.utils import hnet_regularizer as hreg\nhreg.get_current_target": [
        "1: hypnettorch.utils.hnet_regularizer works",
        "2: hypnettorch.utils.hnet_regularizer.get_current_target is gone: no such name; did you mean "
        "hypnettorch.utils.hnet_regularizer.get_current_targets?",
    ],
    "from hypnettorch.hnets import *\nHMLP()\nHELP()": [
        "1: hypnettorch.hnets works",
        "2: hypnettorch.hnets.HMLP works",
    ],
    "import hyperlight as hl\nhl.HyperNet": [
        "1: hyperlight works with another import: hypnettorch.compat.hyperlight",
        "2: hyperlight.HyperNet works with another import: hypnettorch.compat.hyperlight.HyperNet",
    ],
    "from hyperlight.some.file import HyperNet": [
        "1: hyperlight.some.file.HyperNet works with another import: hypnettorch.compat.hyperlight.HyperNet",
    ],
    "import hyperlight\nhyperlight.some_file.HyperNet": [
        "1: hyperlight works with another import: hypnettorch.compat.hyperlight",
        "2: hyperlight.some_file.HyperNet is gone: it is hypnettorch.compat.hyperlight.HyperNet now",
    ],
    "from hypernn.jax import JaxHyperNetwork": [
        "1: hypernn.jax.JaxHyperNetwork is gone: this package has no JAX half; hypnettorch.compat.hypernn.torch has "
        "the same classes for PyTorch",
    ],
    "import importlib\nimportlib.import_module('torchhyper.model')": [
        "2: torchhyper.model works with another import: hypnettorch.compat.torchhyper.model",
    ],
    "from hypnettorch.data import __main__\n__main__.main": [
        "1: hypnettorch.data.__main__ works",
        "2: hypnettorch.data.__main__.main works",
    ],
    "from . import hyperlight\nfrom .hypnettorch import mnets\nhyperlight.x": [],
    "import torch, hyperlights\nhyperlights.x": [],
}


@pytest.mark.parametrize("source", FORMS)
def test_forms_of_imports(source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, check(tmp_path, source)) == FORMS[source]


SCOPES = {
    "a parameter": "from hypnettorch.mnets import mlp\ndef f(mlp): mlp.x\nlambda mlp: mlp.y",
    "a local variable": "from hypnettorch.mnets import mlp\ndef f():\n  mlp = g()\n  mlp.x",
    "a variable of the module": "from hypnettorch.mnets import mlp\nfor mlp in g(): mlp.x",
    "another import": "def f():\n  from hypnettorch.mnets import mlp\ndef g():\n  from mine import mlp\n  mlp.x",
    "a method's class": "class C:\n  from hypnettorch.mnets import mlp\n  def f(self): mlp.x",
    "a comprehension": "from hypnettorch.mnets import mlp\n[mlp.x for mlp in g()]",
    "a pattern": "from hypnettorch.mnets import mlp\ndef f(x):\n  match x:\n    case {'a': [*_], **mlp}: mlp.x",
    "a part of a pattern": "from hypnettorch.mnets import mlp\ndef f(x):\n  match x:\n    case [1, mlp]: mlp.x",
    "the rest of a pattern": "from hypnettorch.mnets import mlp\ndef f(x):\n  match x:\n    case [*mlp]: mlp.x",
    "a relative import": "from hypnettorch.mnets import mlp\ndef f():\n  from .mine import mlp\n  mlp.x",
}


@pytest.mark.parametrize("case", SCOPES)
def test_what_hides_an_import(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = said(capsys, check(tmp_path, SCOPES[case]))
    assert line.endswith("hypnettorch.mnets.mlp works")


def test_import_is_seen_from_within(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = (
        "def f():\n  import hypnettorch.mnets.mlp as mlp\n"
        "  class C(mlp.MLP):\n    def g(self): return mlp.NONE1\n"
        "@hl.NONE2\nclass D(hl.HyperModule):\n  x = [hl.NONE3 for _ in y]\n"
        "import hyperlight as hl\n"
    )
    lines = said(capsys, check(tmp_path, source))
    assert [line.partition(" (")[0].split()[1] for line in lines] == [
        "hypnettorch.mnets.mlp",
        "hypnettorch.mnets.mlp.MLP",
        "hypnettorch.mnets.mlp.NONE1",
        "hyperlight.NONE2",
        "hyperlight.HyperModule",
        "hyperlight.NONE3",
        "hyperlight",
    ]


SEEN = {
    "a fallback": "try:\n  import hyperlight as hl\nexcept ImportError:\n  hl = None\nhl.NONE",
    "what is deleted": "import hyperlight as hl\nhl.NONE\ndel hl",
    "a comprehension's variable": "import hyperlight as hl\n[hl.x for hl in hl.NONE]\n{hl: hl.y for hl in ()}",
    "a default": "import hyperlight as hl\ndef f(hl=hl.NONE): hl.x\nlambda hl: hl.y",
    "a base": "import hyperlight as hl\nclass C(hl.NONE):\n  hl = 3\n  hl.x",
    "a comprehension within": "import hyperlight as hl\ndef f(): return [a for b in c for a in hl.NONE if a]",
}


@pytest.mark.parametrize("case", SEEN)
def test_import_is_not_hidden_by(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(capsys, check(tmp_path, SEEN[case]))
    assert [line.partition(" (")[0].split()[1] for line in lines] == ["hyperlight", "hyperlight.NONE"]


REWRITTEN = {
    "import hyperlight": "from hypnettorch.compat import hyperlight",
    "import hyperlight as hl": "import hypnettorch.compat.hyperlight as hl",
    "import hypernn.torch": "import hypnettorch.compat.hypernn.torch; from hypnettorch.compat import hypernn",
    "import torch, hyperlight as hl, os": "import torch; import hypnettorch.compat.hyperlight as hl; import os",
    "from  hyperlight  import (HyperNet,  # é\n  voidify as v,\n)": (
        "from  hypnettorch.compat.hyperlight  import (HyperNet,  # é\n  voidify as v,\n)"
    ),
    "from hyperlight import *": "from hypnettorch.compat.hyperlight import *",
    "from hyperlight.old import HyperNet as H, nothing": (
        "from hypnettorch.compat.hyperlight import HyperNet as H; from hyperlight.old import nothing"
    ),
    "from hypernn import torch as ht": "from hypnettorch.compat.hypernn import torch as ht",
    "from \\\n hyperlight import voidify": "from hypnettorch.compat.hyperlight import voidify",
    "if é: import hyperlight # hyperlight": "if é: from hypnettorch.compat import hyperlight # hyperlight",
    "s = 'é'; from hyperlight import voidify; 'import hyperlight'": (
        "s = 'é'; from hypnettorch.compat.hyperlight import voidify; 'import hyperlight'"
    ),
    "from hypernn.jax import JaxHyperNetwork": "from hypernn.jax import JaxHyperNetwork",
    "from hypnettorch.mnets.mlp import MLP": "from hypnettorch.mnets.mlp import MLP",
}


@pytest.mark.parametrize("source", REWRITTEN)
def test_rewriting(source: str, tmp_path: Path) -> None:
    around = "#!/usr/bin/env python\n{}\n\nx = [1,2]   \n"
    path = check(tmp_path, around.format(source), "--rewrite")
    assert path.read_text() == around.format(REWRITTEN[source])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_bytes_around_an_import_stay(encoding: str, newline: str, tmp_path: Path) -> None:
    lines = ["# -*- coding: latin-1 -*-" if encoding == "latin-1" else "#", "é = '\x0c\u00b5'; import {} as hl", ""]
    text = newline.join(lines)
    path = tmp_path / "program.py"
    path.write_bytes(text.format("hyperlight").encode(encoding))
    path.chmod(0o750)
    assert main([str(path), "--rewrite"]) == 0
    assert path.read_bytes() == text.format("hypnettorch.compat.hyperlight").encode(encoding)
    assert path.stat().st_mode & 0o777 == 0o750
    assert os.listdir(tmp_path) == ["program.py"]


def test_nothing_to_rewrite_leaves_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    path.write_text("from hypnettorch.mnets import MLP\n")
    path.chmod(0o400)
    before = path.stat()
    assert main([str(path), "--rewrite"]) == 0
    assert path.stat().st_ino == before.st_ino


def test_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real.py").write_text("import hyperlight as hl")
    link = tmp_path / "link.py"
    link.symlink_to("real.py")
    assert main([str(link), "--rewrite"]) == 0
    assert link.is_symlink()
    assert (tmp_path / "real.py").read_text() == "import hypnettorch.compat.hyperlight as hl"


def notebook(*cells: str | list[str]) -> str:
    types = [{"cell_type": "code", "metadata": {}, "outputs": [], "source": source} for source in cells]
    text = {"cell_type": "markdown", "source": ["import hyperlight as hl\n", "é"]}
    return json.dumps({"metadata": {"source": "import hyperlight as hl\n"}, "cells": [text, *types]}, indent=1)


def test_notebook(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cells = [
        ["%matplotlib inline\n", "import hyperlight as hl\n", "s = 'é'"],
        "!pip install hyperlight\nfrom torchhyper.model import (\n  HyperNetwork as H)",
        ["%%bash\n", "import hyperlight"],
        ["x = (5\n", "  % 3)\n"],
        ["from hyperlight.old import (voidify,\n", "  nothing)\n", "hl.HyperNet"],
    ]
    path = tmp_path / "intro.ipynb"
    path.write_text(notebook(*cells))
    assert main([str(path), "--rewrite"]) == 1
    assert [line.partition(" works")[0].partition(" is")[0] for line in said(capsys, path)] == [
        "cell 2:2: hyperlight",
        "cell 3:2: torchhyper.model.HyperNetwork",
        "cell 6:1: hyperlight.old.nothing",
        "cell 6:1: hyperlight.old.voidify",
        "cell 6:3: hyperlight.HyperNet",
        " 3 import statements changed",
    ]
    cells[0][1] = "import hypnettorch.compat.hyperlight as hl\n"
    cells[1] = cells[1].replace("from torchhyper", "from hypnettorch.compat.torchhyper")
    cells[4][:2] = ["from hypnettorch.compat.hyperlight import voidify; from hyperlight.old import nothing", "\n"]
    assert path.read_text() == notebook(*cells)


def test_folder_and_relative_paths(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("b/two.py", "a/one.py", ".git/three.py", "a/__pycache__/four.py", "a/five.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("import torchhyper\n")
    monkeypatch.chdir(tmp_path)
    assert main(["a", "b/two.py"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[:2] == [f"{p}:1: torchhyper works with another import: hypnettorch.compat.torchhyper" for p in (
        "a/one.py", "b/two.py")]  # fmt: skip
    assert out[2:] == ["2 files, 2 names", *["     0 works", "     2 works with another import"],
                       "     0 is gone", "     0 cannot be told"]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("old.py", b"import hyperlight\nprint 'x'\n", "old.py:2: Missing parentheses"),
        ("null.py", b"x = 1\0\n", "null.py:1: source code string cannot contain null bytes"),
        ("bytes.py", b"x = '\xff'\n", "bytes.py: expected a program as text, got SyntaxError"),
        ("text.ipynb", b"import hyperlight", "text.ipynb: expected a program as text, got JSONDecodeError"),
        ("list.ipynb", b"[]", "list.ipynb: expected a program as text, got TypeError"),
    ],
)
def test_no_python(name: str, content: bytes, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be read is said, is not touched, and does not keep the rest from being checked."""
    (tmp_path / name).write_bytes(content)
    (tmp_path / "zzz.py").write_text("import hyperlight")
    assert main([str(tmp_path), "--rewrite"]) == 1
    out = capsys.readouterr().out
    assert f"{tmp_path}/{message}" in out
    assert "zzz.py:1: hyperlight works with another import" in out
    assert (tmp_path / name).read_bytes() == content


def test_bad_cell_leaves_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.ipynb"
    path.write_text(notebook("print 'x'", "import hyperlight as hl"))
    assert main([str(path)]) == 1
    first, second = said(capsys, path)
    assert first.startswith("cell 2:1: Missing parentheses")
    assert second.startswith("cell 3:1: hyperlight works with another import")


def test_nothing_is_run(tmp_path: Path) -> None:
    source = "import hyperlight\nopen(__file__ + '.ran', 'w')\nraise SystemExit(3)\n"
    path = check(tmp_path, source)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["none.py", "a" * 5000, "null\0.py"])
def test_missing_path(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([str(tmp_path / name)])
    assert "there is no" in capsys.readouterr().err


def test_file_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.py"
    path.touch()

    def fail(self: Path) -> bytes:
        raise OSError(errno.EIO, "Input/output error", str(self))

    monkeypatch.setattr(Path, "read_bytes", fail)
    assert main([str(path)]) == 1
    assert f"Input/output error: '{path}'" in capsys.readouterr().out


def test_command(tmp_path: Path) -> None:
    (tmp_path / "p.py").write_text("from hypnettorch.mnets.mlp import MPL\n")
    command = [sys.executable, "-m", "hypnettorch.compat.check", "p.py"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stdout.startswith("p.py:1: hypnettorch.mnets.mlp.MPL is gone")
    assert not result.stderr


def test_module_that_cannot_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        raise ImportError(f"{name} needs more")

    monkeypatch.setattr("importlib.import_module", refuse)
    assert judge("hypnettorch.mnets") == (Kind.UNKNOWN, "hypnettorch needs more")
