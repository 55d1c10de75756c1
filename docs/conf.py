"""The settings of the site, which `make docs` builds with Sphinx."""

import logging
import os
import tomllib
from pathlib import Path
from typing import Any

from docutils.nodes import SkipNode
from docutils.utils.math.latex2mathml import tex2mathml

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

project = "charrnn"
author = PROJECT["authors"][0]["name"]
project_copyright = author
version = release = PROJECT["version"]
extensions = [
    "sphinx.ext.autodoc",
    "numpydoc",
    "myst_parser",
    "sphinx_argparse_cli",
    "sphinx_copybutton",
    "sphinxext.opengraph",
]

# A name in single backticks in a docstring is a link, and a dead link fails the build.
default_role = "py:obj"
nitpicky = True
nitpick_ignore_regex = [  # code, not links
    ("py:obj", r"[a-z_]+"),  # parameters
    ("py:.*", r"(glob|io|joblib|safetensors|sklearn|tempfile)\..*"),  # other packages
]
exclude_patterns = ["paper"]  # for a journal
suppress_warnings = ["myst.header"]  # the benchmarks' tables have no title of their own

autodoc_typehints = "none"  # the docstrings have the types
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

man_pages = [("cli", "charrnn", PROJECT["description"], "", 1)]  # make man
html_theme = "furo"
html_title = f"charrnn {version}"
html_favicon = "favicon.svg"
html_use_index = False  # no page links to it
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"

# Where the site is: .github/workflows/docs.yml knows. Without it, links are relative.
html_baseurl = os.environ.get("CHARRNN_SITE", "")
ogp_site_url = html_baseurl
ogp_image = "_static/inside.png"
ogp_image_alt = "A page of source code, colored by what one hidden unit follows"
ogp_social_cards = {"enable": False}
html_static_path.append("inside.png")
if "urls" in PROJECT:  # tools/address.py wrote them
    html_theme_options = {
        "source_repository": PROJECT["urls"]["Homepage"],
        "source_branch": "main",
        "source_directory": "docs/",
    }

# A copy button on code, not on its output; prompts aren't copied.
copybutton_selector = "div:not(.highlight-text) > div.highlight > pre"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def write_trace(app: Any, error: Exception | None) -> None:
    """Write the page that live.md shows: source code, read by a network (ten seconds)."""
    page = Path(app.outdir, "trace.html")
    if error or app.builder.format != "html" or page.exists():
        return
    import charrnn

    logging.getLogger("charrnn").setLevel(logging.WARNING)
    modules = sorted(Path(os.__file__).parent.glob("*.py"))
    text = "\n".join(path.read_text(encoding="utf-8") for path in modules)[:1_000_000]
    options = {"preset": "tutorial", "seq_length": 100, "epochs": 5, "seed": 4, "progress": False}
    model = charrnn.train_text(text, **options)
    model.trace(text[-100_000:-94_000]).save_html(page, title="Source code, read by a network")


def open_up(app: Any, page: str, template: str, context: dict[str, Any], tree: Any) -> None:
    """Give headings of the sidebar a level, and let the keyboard reach what may scroll."""
    changes = {
        'role="heading"': 'role="heading" aria-level="2"',
        "<pre>": '<pre tabindex="0">',
        '<div class="math"': '<div tabindex="0" class="math"',
        '<div class="table-wrapper': '<div tabindex="0" class="table-wrapper',
    }
    for name in ("furo_navigation_tree", "body"):
        for old, new in changes.items():
            if name in context:
                context[name] = context[name].replace(old, new)


def write_models(app: Any, error: Exception | None) -> None:
    """Write the pages with a model that live.md shows (ten seconds)."""
    generator, meter = (Path(app.outdir, name) for name in ("names.html", "meter.html"))
    if error or app.builder.format != "html" or meter.exists():
        return
    import charrnn

    logging.getLogger("charrnn").setLevel(logging.WARNING)
    model = charrnn.train_records(charrnn.datasets.names(), progress=False)
    model.save_js(generator, weights="int8", title="Names")
    model.save_js(meter, weights="int8", page="meter", title="How guessable is a name?")


def setup(app: Any) -> None:
    """Connect what is ours: pages, changes, and formulas as MathML, which needs no script."""
    app.connect("build-finished", write_trace)
    app.connect("build-finished", write_models)
    app.connect("html-page-context", open_up, priority=900)

    def inline(page: Any, node: Any) -> None:
        page.body.append(tex2mathml(node.astext(), as_block=False))
        raise SkipNode

    def block(page: Any, node: Any) -> None:
        formula = tex2mathml(node.astext(), as_block=True)
        page.body.append(f'<div class="math">{formula}</div>')
        raise SkipNode

    app.add_html_math_renderer("mathml", (inline, None), (block, None))
