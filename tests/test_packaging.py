"""What is installed is complete: a wheel built from the sources holds every module, the marker and the metadata."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest
import yaml

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
    assert found == expected | {"hypnettorch/py.typed", "hypnettorch/sklearn/weights.safetensors"}


UNSHIPPED = shutil.ignore_patterns(
    *(".git", ".venv*", "__pycache__", "*.py[co]", ".*_cache", ".hypothesis", "*.egg-info", "build", "dist"),
    *("_build", "gallery", "pictures", "datasets", "out", ".gitignore", "shared"),
)


def test_source_distribution_holds_the_whole_project(tmp_path: Path) -> None:
    """Who unpacks it can run the tests and build the documentation and the wheel."""
    tree = tmp_path / "project"
    shutil.copytree(ROOT, tree, ignore=UNSHIPPED)
    expected = {str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file()}
    assert {"Makefile", "CHANGELOG.md", "tests/test_packaging.py", "docs/index.rst", "docs/conf.py"} <= expected
    program = "from setuptools import build_meta; build_meta.build_sdist('dist')"
    subprocess.run([sys.executable, "-c", program], cwd=tree, check=True, capture_output=True)
    (path,) = (tree / "dist").glob("*.tar.gz")
    with tarfile.open(path) as archive:
        found = {member.name.partition("/")[2] for member in archive if member.isfile()}
    made = {"PKG-INFO", "setup.cfg"} | {name for name in found if name.startswith("hypnettorch.egg-info/")}
    assert found - made == expected


def extras_asked_for() -> set[str]:
    """The extras that calls of ``require(module, purpose, extra)`` name."""
    sources = [path.read_text() for path in (ROOT / "hypnettorch").rglob("*.py")]
    trees = [ast.parse(source) for source in sources if "from hypnettorch.common.extras import require" in source]
    calls = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]
    arguments = [call.args for call in calls if isinstance(call.func, ast.Name) and call.func.id == "require"]
    return {args[2].value if len(args) > 2 else "experiments" for args in arguments}


def test_wheel_metadata(wheel: zipfile.ZipFile) -> None:
    info = f"hypnettorch-{hypnettorch.__version__}.dist-info"
    metadata = HeaderParser().parsestr(wheel.read(f"{info}/METADATA").decode())
    assert metadata["Version"] == hypnettorch.__version__
    assert set(metadata.get_all("Provides-Extra", [])) == extras_asked_for() | {"dev", "docs", "test"}
    required = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert sorted(re.split("[<>=]", line)[0] for line in required) == ["numpy", "scipy", "torch"]
    urls = dict(line.split(", ") for line in metadata.get_all("Project-URL", []))
    assert {"Homepage", "Paper"} <= set(urls)
    versions = {line.rpartition(" ")[2] for line in metadata.get_all("Classifier", []) if ":: Python ::" in line}
    assert min(version for version in versions if "." in version) == metadata["Requires-Python"].removeprefix(">=")
    entry_points = wheel.read(f"{info}/entry_points.txt").decode()
    assert "hypnettorch = hypnettorch.__main__:main" in entry_points
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


def test_oldest_versions_are_those_declared(wheel: zipfile.ZipFile) -> None:
    """What ``make test-oldest`` installs are the lower bounds, on the oldest Python."""
    metadata = HeaderParser().parsestr(wheel.read(f"hypnettorch-{hypnettorch.__version__}.dist-info/METADATA").decode())
    bounds = dict(re.findall(r"^([\w-]+)>=([\d.]+)", "\n".join(metadata.get_all("Requires-Dist", [])), re.MULTILINE))
    lines = (ROOT / "constraints-oldest.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    assert bounds.keys() - UNTESTED <= pins.keys()
    assert all(f"{pins[name]}.".startswith(f"{bounds[name]}.") for name in bounds.keys() - UNTESTED)
    oldest = metadata["Requires-Python"].removeprefix(">=")
    assert f"PYTHON=python{oldest} CONSTRAINTS=constraints-oldest.txt" in (ROOT / "Makefile").read_text()


UNTESTED = {"sphinx"}
"""What only the documentation needs."""


def test_conda_recipe_agrees_with_the_wheel(wheel: zipfile.ZipFile) -> None:
    """It has the versions, dependencies and commands of the project, and names the archive that setuptools makes."""
    recipe = yaml.safe_load((ROOT / "conda" / "recipe.yaml").read_text())
    info = f"hypnettorch-{hypnettorch.__version__}.dist-info"
    metadata = HeaderParser().parsestr(wheel.read(f"{info}/METADATA").decode())
    assert recipe["context"] == {
        "version": metadata["Version"],
        "python_min": metadata["Requires-Python"].removeprefix(">="),
    }
    assert recipe["source"]["path"] == "../dist/hypnettorch-${{ version }}.tar.gz"
    required = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    asked = {line.replace(" ", "").replace("pytorch", "torch") for line in recipe["requirements"]["run"]}
    assert asked == {*required, "python>=${{python_min}}"}
    build = (ROOT / "pyproject.toml").read_text().partition("\n\n")[0]
    assert f'requires = ["{recipe["requirements"]["host"][-1].replace(" ", "")}"]' in build
    commands = wheel.read(f"{info}/entry_points.txt").decode().splitlines()[1:]
    assert recipe["build"]["python"]["entry_points"] == [line for line in commands if line]
    assert recipe["about"]["summary"] == metadata["Summary"]
    assert recipe["about"]["license"] == metadata["License-Expression"]
