"""Every tutorial is run as a reader runs it who downloads its notebook: by itself, elsewhere, without a screen."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sphinx_gallery.notebook import python_to_jupyter_cli

ROOT = Path(__file__).parents[2]
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("plot_*.py"))

ELSEWHERE = {
    "PYTHONPATH": str(ROOT),
    "MPLBACKEND": "agg",
    "OMP_NUM_THREADS": "1",
    "PYTHONWARNINGS": "ignore:`torch.jit.script` is deprecated",  # forward mode of PyTorch 2.14 calls it
}

CELLS = """
import json, sys
names = {"__name__": "__main__"}
for number, cell in enumerate(json.load(open(sys.argv[1]))["cells"]):
    if cell["cell_type"] == "code":
        exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
"""
"""Executes the cells of a notebook one after another, as Jupyter does."""


def run(script: str, folder: Path) -> tuple[subprocess.CompletedProcess[str], Path]:
    """Make a notebook of a script, and execute it in an empty folder."""
    made, empty = folder / "tutorial.py", folder / "empty"
    made.write_text(script)
    empty.mkdir()
    python_to_jupyter_cli([str(made)])
    ended = subprocess.run(
        [sys.executable, "-c", CELLS, made.with_suffix(".ipynb")],
        cwd=empty,
        env={**os.environ, **ELSEWHERE},
        capture_output=True,
        text=True,
        timeout=300,
    )
    return ended, empty


@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda path: path.stem)
def test_tutorial_does_what_it_claims(tutorial: Path, tmp_path: Path) -> None:
    """It ends with a check of its claims, which raises. Pages leave that out, and notebooks that they offer."""
    result, folder = run(tutorial.read_text(), tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Warning" not in result.stderr, "the page would show it"
    assert not list(folder.iterdir()), "a tutorial leaves nothing behind"


@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda path: path.stem)
def test_tutorial_checks_a_claim_and_draws_a_figure(tutorial: Path) -> None:
    script = tutorial.read_text()
    assert script.startswith(('"""', 'r"""'))
    assert "raise RuntimeError(" in script
    assert "plt.subplots(" in script


def test_a_claim_that_does_not_hold_fails(tmp_path: Path) -> None:
    """A hypernetwork that hardly learns predicts no better than shared weights, and the tutorial says so."""
    script = (ROOT / "docs" / "tutorials" / "plot_neural_ode.py").read_text()
    trained = "train(hnet.parameters(), generated_weights)"
    assert trained in script
    hardly = "train(hnet.parameters(), generated_weights, steps=1)"
    result, _ = run(script.replace(trained, hardly).replace("steps=200", "steps=60"), tmp_path)
    assert result.returncode != 0
    assert "RuntimeError: expected generated weights to predict better" in result.stderr
