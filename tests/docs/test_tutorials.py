"""Every tutorial is run as a reader runs it: by itself, elsewhere, without a screen."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("plot_*.py"))


def run(script: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Execute a script in an empty folder."""
    return subprocess.run(
        [sys.executable, script],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda path: path.stem)
def test_tutorial_does_what_it_claims(tutorial: Path, tmp_path: Path) -> None:
    """The script ends with a check of its claims, which raises."""
    result = run(tutorial, tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Warning" not in result.stderr, "the page would show it"
    assert not list(tmp_path.iterdir()), "a tutorial leaves nothing behind"


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
    changed = tmp_path / "plot_neural_ode.py"
    hardly = "train(hnet.parameters(), generated_weights, steps=1)"
    changed.write_text(script.replace(trained, hardly).replace("steps=200", "steps=60"))
    result = run(changed, tmp_path)
    assert result.returncode != 0
    assert "RuntimeError: expected generated weights to predict better" in result.stderr
