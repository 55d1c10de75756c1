"""How Sphinx builds these pages: make docs."""

from typing import Any

from docutils.nodes import SkipNode
from docutils.utils.math.latex2mathml import tex2mathml

import charrnn

project = "charrnn"
author = "The charrnn developers"
project_copyright = author
version = release = charrnn.__version__
extensions = ["sphinx.ext.autodoc", "numpydoc", "myst_parser"]
html_theme = "furo"
html_title = f"charrnn {version}"
html_use_index = False  # nothing leads there, and it is wider than a narrow screen
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
suppress_warnings = ["myst.header"]  # the benchmark's own file has no title
autodoc_typehints = "none"  # the docstrings tell the types
autodoc_member_order = "bysource"
numpydoc_show_class_members = False


def setup(app: Any) -> None:
    """Write formulas as MathML, which browsers lay out themselves: no script, and nothing that is not at hand offline."""

    def inline(page: Any, node: Any) -> None:
        page.body.append(tex2mathml(node.astext(), as_block=False))
        raise SkipNode

    def block(page: Any, node: Any) -> None:
        page.body.append(f'<div class="math">{tex2mathml(node.astext(), as_block=True)}</div>')
        raise SkipNode

    app.add_html_math_renderer("mathml", (inline, None), (block, None))
