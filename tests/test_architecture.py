"""Laws about the source code: imports point downwards, nothing is imported unasked, every module has a page."""

from __future__ import annotations

import ast
import importlib
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import hypnettorch

Graph = dict[str, set[str]]
"""What each node imports."""

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "hypnettorch"
API_PAGES = ROOT / "docs" / "api"

# The packages of each level, from bottom to top. A module may import from its own package and from all on lower levels.
LAYERS = [
    ["common"],
    ["core"],
    ["pretrained", "jax"],
    ["layers"],
    ["mnets"],
    ["hnets"],
    ["utils"],
    ["hyper_model"],
    ["hypnettorch"],
    ["testing", "adapters"],
    ["compat", "data", "sklearn"],
    ["hpsearch"],
    ["examples"],
    ["papers"],
    ["legacy"],
    ["__main__"],
]

# What old programs use stands above all, since it adapts all. They come to it by documented paths: two modules that
# hold nothing else, and a few others that load it.
PATHS_OF_LEGACY = {"hypnettorch.mnets.mnet_interface", "hypnettorch.hnets.hnet_interface"}
DOORS_OF_LEGACY = {
    "hypnettorch.mnets",
    "hypnettorch.hnets",
    "hypnettorch.data",
    "hypnettorch.utils.context_mod_layer",
}

OPTIONAL_DEPENDENCIES = [
    "PIL",
    "arviz_stats",
    "flax",
    "furo",
    "huggingface_hub",
    "hypothesis",
    "jax",
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
DOCUMENTED_MODULES: list[str] = runpy.run_path(str(ROOT / "docs" / "api_pages.py"))["documented_modules"]()


def group_of(module: str) -> tuple[int, str]:
    """Level and package of a module; the root, which loads names when they are asked for, is a package by itself."""
    package = "legacy" if module in PATHS_OF_LEGACY else module.split(".")[1 if "." in module else 0]
    for level, packages in enumerate(LAYERS):
        if package in packages:
            return level, package
    raise AssertionError(f"{module} is in no layer: add it to LAYERS in {Path(__file__).name}")


def may_import(importer: str, imported: str) -> bool:
    source, target = group_of(importer), group_of(imported)
    return source == target or target[0] < source[0] or (importer in DOORS_OF_LEGACY and target[1] == "legacy")


def imports_in(nodes: Iterable[ast.AST], module: str, is_package: bool) -> Iterator[tuple[int, str]]:
    """Line and full name of each module of this package that some statements import."""
    package = module if is_package else module.rpartition(".")[0]
    for node in nodes:
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


def imports_of(source: str, module: str, is_package: bool) -> Iterator[tuple[int, str]]:
    """What a source text imports, at any place in it."""
    return imports_in(ast.walk(ast.parse(source)), module, is_package)


def executed(node: ast.AST) -> Iterator[ast.AST]:
    """The statements that run when a module is imported: not those of functions, nor those for type checkers."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            for other in child.orelse:
                yield from (other, *executed(other))
        elif not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from executed(child)


def file_graph() -> Graph:
    """Which modules each module imports when it is imported itself."""
    return {
        module: {
            name
            for _, name in imports_in(executed(ast.parse(path.read_text())), module, path.name == "__init__.py")
            if name != module
        }
        for module, path in SOURCES.items()
    }


def package_graph() -> Graph:
    """Which packages each package imports, at any place; doors to what old programs use are left out."""
    graph: Graph = {}
    for module, path in SOURCES.items():
        source = group_of(module)[1]
        imported = imports_of(path.read_text(), module, path.name == "__init__.py")
        targets = {group_of(name)[1] for _, name in imported}
        hidden = {"legacy"} if module in DOORS_OF_LEGACY else set()
        graph.setdefault(source, set()).update(targets - {source} - hidden)
    return graph


def staircase(graph: Graph) -> str:
    """One line for each package: the columns, in the order of the lines, are the packages that it imports."""
    packages = [package for packages in LAYERS for package in packages]
    width = max(map(len, packages)) + 2
    lines = []
    for i, package in enumerate(packages):
        marks = ["●" if other in graph[package] else "·" for other in packages[:i]]
        lines.append(f"{package:{width}}" + "".join(f"{mark} " for mark in marks) + "┐")
    return "\n".join(lines)


def find_cycle(graph: Graph) -> list[str]:
    """A cycle of a graph, with its first node once more at the end; empty if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


@pytest.mark.parametrize("graph", [file_graph, package_graph])
def test_no_import_cycle(graph: Callable[[], Graph]) -> None:
    assert " imports ".join(reversed(find_cycle(graph()))) == ""


def test_graphs_have_what_is_imported() -> None:
    files, packages = file_graph(), package_graph()
    assert "hypnettorch.layers.batchnorm_layer" in files["hypnettorch.mnets.network"]
    assert "hypnettorch.mnets" not in files["hypnettorch.mnets.mlp"]
    assert set(files) == set(SOURCES)
    assert "layers" in packages["mnets"]
    assert set(packages) == {package for packages in LAYERS for package in packages}


def test_packages_are_shown_as_they_are() -> None:
    picture = staircase(package_graph())
    assert picture in (ROOT / "CONTRIBUTING.md").read_text(), f"CONTRIBUTING.md should show\n{picture}"


def test_doors_lead_to_what_old_programs_use() -> None:
    for module in DOORS_OF_LEGACY:
        path = SOURCES[module]
        names = [name for _, name in imports_of(path.read_text(), module, path.name == "__init__.py")]
        assert any(group_of(name)[1] == "legacy" for name in names), module


def test_cycles_are_found() -> None:
    assert find_cycle({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    cycle = find_cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}})
    assert cycle[0] == cycle[-1]
    assert set(cycle) == {"b", "c"}


def test_imports_that_do_not_run_make_no_cycle_of_files() -> None:
    source = (
        "from hypnettorch.core import checks\n"
        "if TYPE_CHECKING:\n"
        "    from hypnettorch.core import state\n"
        "else:\n"
        "    from hypnettorch.core import trees\n"
        "try:\n"
        "    from hypnettorch.core import table\n"
        "except ImportError:\n"
        "    pass\n"
        "class A:\n"
        "    from hypnettorch.core import modes\n"
        "    def f(self):\n"
        "        from hypnettorch.core import formats\n"
    )
    found = imports_in(executed(ast.parse(source)), "hypnettorch.core.weights", is_package=False)
    assert [name.rpartition(".")[2] for _, name in found] == ["checks", "trees", "table", "modes"]


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
        ("hypnettorch.mnets.mlp", "hypnettorch.mnets.network", True),
        ("hypnettorch.mnets.mlp", "hypnettorch.mnets.mnet_interface", False),
        ("hypnettorch.mnets.mlp", "hypnettorch.legacy.lists", False),
        ("hypnettorch.mnets.mlp", "hypnettorch", False),
        ("hypnettorch.mnets", "hypnettorch.mnets.mnet_interface", True),
        ("hypnettorch.mnets.mnet_interface", "hypnettorch.legacy.main_network", True),
        ("hypnettorch.legacy.main_network", "hypnettorch.mnets.network", True),
        ("hypnettorch", "hypnettorch.hyper_model", True),
        ("hypnettorch.examples.hypercl.report", "hypnettorch", True),
        ("hypnettorch.layers.stages", "hypnettorch.layers.batchnorm_layer", True),
        ("hypnettorch.layers.batchnorm_layer", "hypnettorch.core.functional", True),
        ("hypnettorch.utils.batchnorm_layer", "hypnettorch.layers.batchnorm_layer", True),
        ("hypnettorch.utils.hnet_regularizer", "hypnettorch.hnets.hypernetwork", True),
        ("hypnettorch.core.table", "hypnettorch.mnets.mlp", False),
        ("hypnettorch.mnets.mlp", "hypnettorch.hnets.mlp_hnet", False),
        ("hypnettorch.mnets.mlp", "hypnettorch.utils.hnet_regularizer", False),
        ("hypnettorch.layers.batchnorm_layer", "hypnettorch.mnets.mlp", False),
        ("hypnettorch.layers.batchnorm_layer", "hypnettorch.utils.torch_utils", False),
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
    assert "torch" not in modules_after("import hypnettorch; dir(hypnettorch)")


def test_the_package_has_the_names_that_most_programs_need() -> None:
    names = ("ChunkedHMLP", "HLowRank", "HMLP", "HResidual", "HSetInput", "HyperModel", "MLP", "ModuleNet", "Siren")
    named = {name: getattr(hypnettorch, name) for name in names}
    assert set(hypnettorch.__all__) == set(named)
    assert set(named) <= set(dir(hypnettorch))
    for name, cls in named.items():
        assert cls.__name__ == name
        assert cls is getattr(importlib.import_module(cls.__module__), name)
    with pytest.raises(AttributeError, match="'hypnettorch' has no attribute 'MPL'"):
        hypnettorch.MPL  # noqa: B018
    with pytest.raises(ImportError, match="MPL"):
        exec("from hypnettorch import MPL")


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


@pytest.mark.parametrize("module", DOCUMENTED_MODULES)
def test_documented_module_has_an_api_page(module: str) -> None:
    page = API_PAGES / f"{module}.rst"
    assert page.exists(), "run `python docs/api_pages.py`"
    assert f".. automodule:: {module}\n" in page.read_text()


def test_api_page_has_a_module() -> None:
    pages = {path.stem for path in API_PAGES.glob("*.rst")} - {"index"}
    assert pages == set(DOCUMENTED_MODULES), "run `python docs/api_pages.py`: it removes pages without a module"


def test_users_modules_are_documented_and_machinery_is_not() -> None:
    documented = set(DOCUMENTED_MODULES)
    assert {
        f"hypnettorch.{name}" for name in ("mnets.mlp", "hnets.wrapper", "hyper_model", "core.values")
    } <= documented
    assert documented <= set(SOURCES)
    for package in ("core", "legacy", "compat.check", "hpsearch"):
        inside = {name for name in SOURCES if name.startswith(f"hypnettorch.{package}.")}
        assert inside - documented, package
