"""Configuration of Sphinx; the documentation builds without access to a network."""

import inspect
import sys
from pathlib import Path

import torch
from sphinx import addnodes

import hypnettorch
import hypnettorch.utils.sim_utils  # reads the defaults of constructors, which autodoc is about to replace

sys.path.insert(0, str(Path(__file__).parent))  # for figure_style and data_pictures
torch.set_num_threads(1)  # the tensors of the tutorials are small, and threads would only wait for each other

project = "hypnettorch"
author = "The hypnettorch developers"
copyright = "2026, the hypnettorch developers"
release = version = hypnettorch.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "tutorials"]
default_role = "any"

autodoc_default_options = {
    "members": True,
    "show-inheritance": True,
    "exclude-members": "set_score_request",  # scikit-learn makes it, with references to pages of its own
}
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

sphinx_gallery_conf = {
    "examples_dirs": "tutorials",
    "gallery_dirs": "gallery",
    "backreferences_dir": "gallery/backreferences",
    "abort_on_example_error": True,
    "run_stale_examples": True,
    "reset_modules": ("figure_style.apply",),
    "reference_url": {"hypnettorch": None},
    "image_srcset": ["2x"],
    "capture_repr": (),
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "min_reported_time": float("inf"),
    "write_computation_times": False,
}

html_theme = "furo"
html_title = f"hypnettorch {release}"
html_static_path = ["_static"]
html_css_files = ["gallery.css"]


def name_fully(app, doctree):
    """Let the types of a constructor's arguments mean what they mean in its module; autodoc leaves them as written."""
    for reference in doctree.findall(addnodes.pending_xref):
        meant = getattr(sys.modules.get(reference.get("py:module")), reference["reftarget"], None)
        if reference.get("refspecific") and inspect.isclass(meant):
            reference["reftarget"] = f"{meant.__module__}.{meant.__qualname__}"


def write_texts(app, exception):
    """Write what language models read, if pages were written."""
    from page_texts import write

    if exception is None and app.builder.name == "html":
        write(app.env, Path(app.outdir))


def setup(app):
    """Draw pictures before pages are read, and write the pages as one text for language models after that."""
    from data_pictures import draw_all
    from landing_picture import draw_both

    app.connect("builder-inited", lambda app: draw_all(Path(app.srcdir) / "pictures"))
    app.connect("builder-inited", lambda app: draw_both(Path(app.srcdir) / "pictures"))
    app.connect("build-finished", write_texts)
    app.connect("doctree-read", name_fully)
