"""Write the missing pages of the API reference, one per public module, and remove those whose module is gone.

Usage: ``python docs/api_pages.py``. Pages are checked in; ``docs/api/index.rst``, written by hand, puts them in order.
"""

from __future__ import annotations

from pathlib import Path

DOCS = Path(__file__).parent
PACKAGE = DOCS.parent / "hypnettorch"


def public_modules() -> list[str]:
    """Dotted names of the modules that do not begin with an underscore."""
    paths = (path.relative_to(PACKAGE.parent).with_suffix("") for path in PACKAGE.rglob("*.py"))
    return sorted(".".join(path.parts) for path in paths if not any(part.startswith("_") for part in path.parts))


def main() -> None:
    """Bring the pages in line with the modules and say what changed."""
    modules = public_modules()
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
