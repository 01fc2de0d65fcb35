"""The README is run: its Python blocks as one program, its commands as a user types them (``make`` excepted)."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.rst").read_text()
EXPERIMENTS = ("python -m hypnettorch.examples.", "hypnettorch-hypercl")


def blocks(language: str, text: str = README) -> list[str]:
    """The code blocks of a language in a reStructuredText file."""
    found = re.findall(rf"^\.\. code-block:: {language}\n\n((?:(?:    .*)?\n)+)", text, flags=re.MULTILINE)
    return [textwrap.dedent(block).strip() for block in found]


def commands() -> list[str]:
    """The commands of the console blocks, without their prompt."""
    lines = [line for block in blocks("console") for line in block.splitlines()]
    return [line.removeprefix("$ ") for line in lines]


RUNNABLE = [command for command in commands() if not command.startswith("make ")]


def test_every_code_block_is_found() -> None:
    assert README.count(".. code-block::") == len(blocks("python")) + len(blocks("console"))
    assert blocks("python")
    assert RUNNABLE
    assert {"make demo", "make test"} <= set(commands())


def test_python_blocks() -> None:
    """Later statements use the names of earlier ones; a comment such as ``# [32, 10]`` is the shape of the result."""
    namespace: dict[str, torch.Tensor] = {}
    shapes = 0
    for block in blocks("python"):
        for statement in ast.parse(block).body:
            exec(compile(ast.Module([statement], []), "README.rst", "exec"), namespace)
            told = re.search(r"^(\w+) = .*# (\[[\d, ]+\])$", block.splitlines()[statement.lineno - 1])
            if told:
                assert str(list(namespace[told[1]].shape)) == told[2], block.splitlines()[statement.lineno - 1]
                shapes += 1
    assert shapes >= 2


@pytest.mark.parametrize("command", RUNNABLE)
def test_command(command: str, tmp_path: Path) -> None:
    """Experiments run with ``--smoke``, which ends them within seconds."""
    assert command.startswith(EXPERIMENTS), "tell this test how to run it"
    program, *arguments = shlex.split(command)
    result = subprocess.run(
        [Path(sys.executable).with_name(program), *arguments, "--smoke"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert list(tmp_path.glob("out/*/**/results.json")), "the README says that results are under out/"
