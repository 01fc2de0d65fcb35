"""Write the pages as text for language models: ``llms.txt``, a list of them, and ``llms-full.txt``, all of them.

The format of the list is that of https://llmstxt.org.
"""

from __future__ import annotations

from pathlib import Path

from docutils import nodes
from sphinx.environment import BuildEnvironment


def pages(env: BuildEnvironment) -> list[str]:
    """The names of all pages in the order in which a reader finds them; the reference is left out."""
    found: list[str] = []

    def visit(page: str) -> None:
        if page not in found and not page.startswith("api/"):
            found.append(page)
            for other in env.toctree_includes.get(page, []):
                visit(other)

    visit(env.config.root_doc)
    return found


def first_paragraph(env: BuildEnvironment, page: str) -> str:
    """What a page says of itself."""
    return next((" ".join(text.astext().split()) for text in env.get_doctree(page).findall(nodes.paragraph)), "")


def write(env: BuildEnvironment, folder: Path) -> None:
    """Write both files.

    Args:
        env: The environment of a build that has read all pages.
        folder: Where the HTML pages are.
    """
    root, *others = pages(env)
    lines = [f"# {env.titles[root].astext()}", "", f"> {first_paragraph(env, root)}", "", "## Pages", ""]
    lines += [f"- [{env.titles[page].astext()}]({page}.html): {first_paragraph(env, page)}" for page in others]
    (folder / "llms.txt").write_text("\n".join(lines) + "\n")
    texts = [Path(env.doc2path(page)).read_text() for page in (root, *others)]
    (folder / "llms-full.txt").write_text("\n\n".join(texts))
