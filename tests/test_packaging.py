"""What is installed is complete: a wheel built from the sources holds every module, the marker and the metadata."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest

import hypnettorch

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def source_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a build reads, so that it leaves nothing behind in the repository."""
    tree = tmp_path_factory.mktemp("source")
    for name in ["pyproject.toml", "setup.py", "README.rst", "LICENSE"]:
        shutil.copy(ROOT / name, tree)
    shutil.copytree(ROOT / "hypnettorch", tree / "hypnettorch", ignore=shutil.ignore_patterns("__pycache__"))
    return tree


@pytest.fixture(scope="module")
def wheel(source_tree: Path) -> zipfile.ZipFile:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", "dist", "."]
    subprocess.run(command, cwd=source_tree, check=True, capture_output=True)
    (path,) = (source_tree / "dist").glob("*.whl")
    return zipfile.ZipFile(path)


def test_wheel_holds_every_file_of_the_package_and_nothing_else(source_tree: Path, wheel: zipfile.ZipFile) -> None:
    expected = {str(path.relative_to(source_tree)) for path in (source_tree / "hypnettorch").rglob("*.py")}
    found = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert found == expected | {"hypnettorch/py.typed"}


def extras_asked_for() -> set[str]:
    """The extras that calls of ``require(module, purpose, extra)`` name."""
    sources = [path.read_text() for path in (ROOT / "hypnettorch").rglob("*.py")]
    trees = [ast.parse(source) for source in sources if "from hypnettorch.core.extras import require" in source]
    calls = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]
    arguments = [call.args for call in calls if isinstance(call.func, ast.Name) and call.func.id == "require"]
    return {args[2].value if len(args) > 2 else "experiments" for args in arguments}


def test_wheel_metadata(wheel: zipfile.ZipFile) -> None:
    info = f"hypnettorch-{hypnettorch.__version__}.dist-info"
    metadata = HeaderParser().parsestr(wheel.read(f"{info}/METADATA").decode())
    assert metadata["Version"] == hypnettorch.__version__
    assert set(metadata.get_all("Provides-Extra", [])) == extras_asked_for() | {"dev", "docs", "test"}
    required = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert sorted(required) == ["numpy", "scipy", "torch>=2.6"]
    entry_points = wheel.read(f"{info}/entry_points.txt").decode()
    assert "hypnettorch-hypercl = hypnettorch.examples.hypercl.run:main" in entry_points


def test_setup_py_answers_old_tools(source_tree: Path) -> None:
    command = [sys.executable, "setup.py", "--version"]
    result = subprocess.run(command, cwd=source_tree, check=True, capture_output=True, text=True)
    assert result.stdout.split()[-1] == hypnettorch.__version__


def test_constraints_pin_every_line() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line.partition(";")[0].strip() for line in lines if line and not line.startswith("#")]
    assert all(pin.count("==") == 1 for pin in pins)
    assert "torch==2.13.0" in pins
