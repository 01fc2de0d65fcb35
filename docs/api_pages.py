"""Write the missing pages of the API reference, and remove those of modules that have none any more.

Usage: ``python docs/api_pages.py``. Pages are checked in; ``docs/api/index.rst``, written by hand, puts them in order.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

DOCS = Path(__file__).parent
PACKAGE = DOCS.parent / "hypnettorch"

PAGES = [
    "hypnettorch.*",
    # What the networks are built of. Who writes one meets tables, values and pairs, and the formats of what comes out.
    "!hypnettorch.common.*",
    "hypnettorch.common.descriptions",
    "!hypnettorch.core.*",
    "!hypnettorch.pretrained",
    *(f"hypnettorch.core.{name}" for name in ("formats", "low_rank", "table", "values")),
    # mnets.mnet_interface and hnets.hnet_interface, the documented paths, show what old programs use.
    "!hypnettorch.legacy.*",
    # Parts of a command; what it does stands in its package.
    "!hypnettorch.compat.check.*",
    "hypnettorch.compat.check",
    # Recipes are declarations; the pages on papers show them.
    "!hypnettorch.papers.*",
    # How a search runs its commands. Its commands, and what scripts and configurations call, have pages.
    *(f"!hypnettorch.hpsearch.{name}" for name in ("cli", "commands", "gpus", "jobs", "journal", "shell", "study")),
    *(f"!hypnettorch.hpsearch.{name}" for name in ("run_folders", "run_process", "stored_options")),
]
"""Which modules have a page: the last pattern that fits decides, as in .gitignore. Packages are to be named."""


def has_page(module: str, is_package: bool) -> bool:
    """Whether a module, given by its dotted name, has a page."""
    if is_package or any(part.startswith("_") for part in module.split(".")):
        return module in PAGES
    fitting = [pattern for pattern in PAGES if fnmatchcase(module, pattern.removeprefix("!"))]
    return not fitting[-1].startswith("!")


def documented_modules() -> list[str]:
    """Dotted names of the modules that have a page."""
    found = []
    for path in PACKAGE.rglob("*.py"):
        is_package = path.name == "__init__.py"
        module = ".".join((path.parent if is_package else path.with_suffix("")).relative_to(PACKAGE.parent).parts)
        if has_page(module, is_package):
            found.append(module)
    return sorted(found)


def main() -> None:
    """Bring the pages in line with the modules and say what changed."""
    modules = documented_modules()
    for module in modules:
        page = DOCS / "api" / f"{module}.rst"
        if not page.exists():
            page.write_text(f"{module}\n{'=' * len(module)}\n\n.. automodule:: {module}\n")
            print(f"new: {page.relative_to(DOCS)}")
    for page in (DOCS / "api").glob("*.rst"):
        if page.stem not in {*modules, "index"}:
            page.unlink()
            print(f"removed: {page.relative_to(DOCS)}")


if __name__ == "__main__":
    main()
