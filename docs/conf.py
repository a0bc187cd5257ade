"""How the documentation is built: `sphinx-build -W --keep-going docs build/docs`.

The site is complete in itself: pages load no font, script or picture from elsewhere, and building
them needs no network.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

DOCS = Path(__file__).parent
REPOSITORY = DOCS.parent
sys.path[:0] = [str(REPOSITORY), str(DOCS / "_extensions")]

from streamnet.cli.app import COMMANDS, load_command  # noqa: E402 - found by the path above
from streamnet.version import __version__  # noqa: E402

for name in COMMANDS:
    load_command(name)

project = "streamnet"
author = "streamnet developers"
copyright = author  # noqa: A001 - Sphinx calls it so
release = version = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "cyclopts.sphinx_ext",
    "http_api",
]
exclude_patterns = ["_build"]
default_role = "py:obj"  # what docstrings put in backticks is a link where it names something
suppress_warnings = ["epub.unknown_project_files"]

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_use_rtype = False
add_module_names = False

html_theme = "furo"
html_title = "streamnet"
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
html_show_sphinx = False
html_permalinks_icon = "#"
html_static_path = ["_static"]
html_css_files = ["wrapped.css"]
pygments_style = "friendly"


def without_module_docstrings(_app: Sphinx, what: str, *others: Any) -> None:
    """Leave out what a module says of itself: pages have introductions of their own."""
    if what == "module":
        others[-1].clear()


def setup(app: Sphinx) -> None:
    """Register what changes docstrings."""
    app.connect("autodoc-process-docstring", without_module_docstrings)
