"""How Sphinx builds these pages: make docs."""

import charrnn

project = "charrnn"
author = "The charrnn developers"
project_copyright = author
version = release = charrnn.__version__
extensions = ["sphinx.ext.autodoc", "sphinx.ext.mathjax", "numpydoc", "myst_parser"]
html_theme = "furo"
html_title = f"charrnn {version}"
myst_heading_anchors = 3
suppress_warnings = ["myst.header"]  # the benchmark's own file has no title
autodoc_typehints = "none"  # the docstrings tell the types
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
