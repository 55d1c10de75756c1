"""Pages of HTML that need nothing else: a body with a style, a script, and data in it."""

import base64
import hashlib
import re
from collections.abc import Mapping
from importlib import resources

import numpy as np
from numpy.typing import NDArray

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{{policy}}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="charrnn {{version}}">
<link rel="icon" href="data:,">
<title>{{title}}</title>
<style>{{style}}</style>
</head>
<body>
{{body}}<script>{{script}}</script>
</body>
</html>
"""


def read(package: str | None, name: str) -> str:
    """Return a file of a package as text."""
    assert package is not None
    return (resources.files(package) / name).read_text("utf-8")


def fill(
    body: str, style: str, script: str, parts: Mapping[str, str], *, compiles: bool = False
) -> str:
    """Return a page with parts, its title among them, in place; they must be HTML already.

    It fills the places of a template all at once, so it takes nothing in a part for a place. The
    page's policy forbids all requests and allows, by their hashes, its style and its script, which
    may use WebAssembly if it compiles.
    """
    from .. import __version__

    style = read(__package__, "page.css") + style
    allowed = hash_of(script) + " 'wasm-unsafe-eval'" * compiles
    policy = f"default-src 'none'; img-src data:; script-src {allowed}; style-src {hash_of(style)}"
    parts = {"version": __version__, "policy": policy, "style": style, "script": script, **parts}
    return re.sub(r"\{\{(\w+)\}\}", lambda place: parts[place[1]], _PAGE.replace("{{body}}", body))


def hash_of(source: str) -> str:
    """Return the name of a script or style in a content security policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"


def base64_of(array: NDArray[np.generic]) -> str:
    """Return the bytes of an array in base64."""
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
