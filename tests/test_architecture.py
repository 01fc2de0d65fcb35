"""Laws about the source code: imports point downwards, nothing is imported unasked, every module has a page."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "hypnettorch"
API_PAGES = ROOT / "docs" / "api"

# From bottom to top, the groups of each level, each by the patterns of its modules. A module belongs to the first group
# with a matching pattern; it may import from its own group and from all groups on lower levels.
LAYERS = [
    ["core"],
    ["utils.*_layer utils.torch_utils utils.init_utils"],
    ["mnets"],
    ["hnets"],
    ["utils"],
    ["hyper_model"],
    ["testing"],
    ["compat", "data"],
    ["hpsearch"],
    ["examples"],
]

OPTIONAL_DEPENDENCIES = [
    "PIL",
    "arviz_stats",
    "furo",
    "hypothesis",
    "matplotlib",
    "optuna",
    "peft",
    "pooch",
    "pytest",
    "safetensors",
    "sklearn",
    "sphinx",
    "submitit",
    "tensorboard",
    "tensorboardX",
    "torchvision",
    "tqdm",
    "transformers",
]


def module_name(path: Path) -> str:
    """``hypnettorch/mnets/mlp.py`` is ``hypnettorch.mnets.mlp``; ``__init__.py`` is its package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
PUBLIC_MODULES = [
    name
    for name, path in SOURCES.items()
    if path.name != "__init__.py" and not any(part.startswith("_") for part in name.split("."))
]


def group_of(module: str) -> tuple[int, str] | None:
    """Level and group of a module; ``None`` for the package itself and for a subpackage with modules on two levels."""
    local = module.removeprefix("hypnettorch").removeprefix(".")
    if local in ("", "utils"):
        return None
    for level, groups in enumerate(LAYERS):
        for group in groups:
            if any(fnmatchcase(local, name) or fnmatchcase(local, f"{name}.*") for name in group.split()):
                return level, group
    raise AssertionError(f"{module} is in no layer: add it to LAYERS in {Path(__file__).name}")


def may_import(importer: str, imported: str) -> bool:
    source, target = group_of(importer), group_of(imported)
    if source is None or target is None:
        return target is None
    return source == target or target[0] < source[0]


def imports_of(source: str, module: str, is_package: bool) -> Iterator[tuple[int, str]]:
    """Line and full name of each module of this package that a source text imports, at any place in it."""
    package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                base = ".".join([*parents[: len(parents) - node.level + 1], *filter(None, [base])])
            names = [f"{base}.{alias.name}" for alias in node.names]
            names = [name if name in SOURCES else base for name in names]
        else:
            continue
        for name in names:
            if name == "hypnettorch" or name.startswith("hypnettorch."):
                yield node.lineno, name


@pytest.mark.parametrize("module", SOURCES)
def test_imports_point_downwards(module: str) -> None:
    path = SOURCES[module]
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for line, name in imports_of(path.read_text(), module, path.name == "__init__.py")
        if not may_import(module, name)
    ]
    assert not wrong


@pytest.mark.parametrize(
    ("importer", "imported", "allowed"),
    [
        ("hypnettorch.mnets.mlp", "hypnettorch.core.table", True),
        ("hypnettorch.mnets.mlp", "hypnettorch.mnets.mnet_interface", True),
        ("hypnettorch.mnets.stages", "hypnettorch.utils.batchnorm_layer", True),
        ("hypnettorch.utils.batchnorm_layer", "hypnettorch.utils.torch_utils", True),
        ("hypnettorch.utils.hnet_regularizer", "hypnettorch.hnets.hnet_interface", True),
        ("hypnettorch.core.table", "hypnettorch.mnets.mlp", False),
        ("hypnettorch.mnets.mlp", "hypnettorch.hnets.mlp_hnet", False),
        ("hypnettorch.mnets.mlp", "hypnettorch.utils.hnet_regularizer", False),
        ("hypnettorch.utils.batchnorm_layer", "hypnettorch.mnets.mlp", False),
        ("hypnettorch.data.dataset", "hypnettorch.compat.hyperlight", False),
        ("hypnettorch.data.dataset", "hypnettorch.examples.hypercl.run", False),
    ],
)
def test_direction_rule(importer: str, imported: str, allowed: bool) -> None:
    assert may_import(importer, imported) is allowed


def test_imports_are_found_in_every_form() -> None:
    source = (
        "import hypnettorch.core\n"
        "from . import checks\n"
        "from ..mnets import mlp\n"
        "def f():\n"
        "    from hypnettorch.hnets.mlp_hnet import HMLP\n"
        "import torch\n"
    )
    found = list(imports_of(source, "hypnettorch.core.table", is_package=False))
    assert sorted(found) == [
        (1, "hypnettorch.core"),
        (2, "hypnettorch.core.checks"),
        (3, "hypnettorch.mnets.mlp"),
        (5, "hypnettorch.hnets.mlp_hnet"),
    ]


@pytest.mark.parametrize("module", SOURCES)
def test_no_assert_statement(module: str) -> None:
    path = SOURCES[module]
    lines = [node.lineno for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Assert)]
    assert not lines, f"{path.relative_to(ROOT)}: assert in lines {lines}; raise ValueError or TypeError"


@pytest.mark.parametrize("module", [name for name in SOURCES if not name.endswith(".__main__")])
def test_every_module_imports(module: str) -> None:
    """The collection of docstring examples passes over modules that do not import, so this is tested by itself."""
    importlib.import_module(module)


def modules_after(statement: str) -> set[str]:
    """Names of the modules that a fresh interpreter holds after a statement, which has to print nothing."""
    code = f"{statement}\nimport sys\nprint('\\n'.join(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert not result.stderr
    return set(result.stdout.splitlines())


@pytest.fixture(scope="module")
def runtime_modules() -> set[str]:
    return modules_after("import torch, numpy, scipy")


@pytest.mark.parametrize(
    "modules",
    [
        pytest.param(["hypnettorch"], id="hypnettorch"),
        pytest.param(["hypnettorch.hnets"], id="hnets"),
        pytest.param(["hypnettorch.data"], id="data"),
        pytest.param([module for module in SOURCES if module.startswith("hypnettorch.utils.")], id="utils"),
    ],
)
def test_import_takes_nothing_optional(modules: list[str], runtime_modules: set[str]) -> None:
    added = modules_after(f"import {', '.join(modules)}") - runtime_modules
    assert not {name.partition(".")[0] for name in added}.intersection(OPTIONAL_DEPENDENCIES)
    assert "hypnettorch.compat" not in added


def test_import_of_the_package_alone_takes_no_torch() -> None:
    assert "torch" not in modules_after("import hypnettorch")


def test_import_changes_nothing_global() -> None:
    """No seeding, no configuration of logging or of default types, nothing printed."""
    code = """
import logging, random, warnings
import numpy, torch

def state():
    return (
        random.getstate(),
        [part.tolist() if hasattr(part, "tolist") else part for part in numpy.random.get_state()],
        torch.get_rng_state().tolist(),
        torch.get_default_dtype(),
        torch.get_num_threads(),
        torch.is_grad_enabled(),
        torch.are_deterministic_algorithms_enabled(),
        list(logging.root.handlers),
        logging.root.level,
        list(warnings.filters),
    )

before = state()
import hypnettorch.hnets, hypnettorch.mnets
print([i for i, (a, b) in enumerate(zip(before, state(), strict=True)) if a != b])
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert result.stdout.strip() == "[]"
    assert not result.stderr


@pytest.mark.parametrize("module", PUBLIC_MODULES)
def test_public_module_has_an_api_page(module: str) -> None:
    page = API_PAGES / f"{module}.rst"
    assert page.exists(), "run `python docs/api_pages.py`"
    assert f".. automodule:: {module}\n" in page.read_text()


def test_api_page_has_a_module() -> None:
    pages = {path.stem for path in API_PAGES.glob("*.rst")} - {"index"}
    assert not pages - set(PUBLIC_MODULES), "run `python docs/api_pages.py`: it removes pages without a module"
