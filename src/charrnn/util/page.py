"""Pages of HTML that need nothing else: a template with a style, a script, and data in it."""

import base64
import hashlib
import re
from collections.abc import Mapping
from importlib import resources

import numpy as np
from numpy.typing import NDArray


def read(package: str | None, name: str) -> str:
    """Return a file of a package as text."""
    assert package is not None
    return (resources.files(package) / name).read_text("utf-8")


def fill(template: str, style: str, script: str, parts: Mapping[str, str]) -> str:
    """Return a template with its parts in place, which must be HTML already.

    It fills all places at once, so it takes nothing in a part for a place. The template's policy
    allows the style and the script by their hashes.
    """
    from .. import __version__

    parts = {
        "version": __version__,
        "style": style,
        "style_hash": hash_of(style),
        "script": script,
        "script_hash": hash_of(script),
        **parts,
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda place: parts[place[1]], template)


def hash_of(source: str) -> str:
    """Return the name of a script or style in a content security policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"


def base64_of(array: NDArray[np.generic]) -> str:
    """Return the bytes of an array in base64."""
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
