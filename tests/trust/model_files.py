"""Model files taken apart and put together, by code that shares nothing with charrnn's own."""

import hashlib
import json
import re
import struct

BLOCK = "__metadata__"
DTYPES = {
    "float32": "F32",
    "float64": "F64",
    "uint32": "U32",
    "int32": "I32",
    "uint16": "U16",
    "uint8": "U8",
}


class Raw:
    """A piece of JSON that json.dumps would not write."""

    def __init__(self, text):
        self.text = text


def dumps(value):
    """Return JSON. A `Raw` stays as it is; keys are cut at "\\0", so that there may be two
    alike.
    """
    raw = []

    def mark(one):
        raw.append(one.text)
        return f"\0raw {len(raw) - 1}"

    text = json.dumps(value, default=mark).replace('\\u0000":', '":')
    return re.sub(r'"\\u0000raw (\d+)"', lambda found: raw[int(found[1])], text) if raw else text


def take_apart(data):
    """Return (metadata, {name: (dtype, shape, bytes)}) of a safetensors file, or raise ValueError.

    Without the SHA-256, which `put_together` adds.
    """
    try:
        start = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:start])
        metadata = {str(name): str(word) for name, word in header.pop(BLOCK).items()}
        tensors = {}
        for name, entry in header.items():
            first, end = entry["data_offsets"]
            tensors[name] = entry["dtype"], list(entry["shape"]), data[start + first : start + end]
        tensors.pop("sha256", None)
        return metadata, tensors
    except (AttributeError, LookupError, OverflowError, RecursionError, TypeError) as error:
        raise ValueError(str(error)) from error


def put_together(metadata, tensors, changes=(), right=True):
    """Return a file whose offsets and, if right, SHA-256 are right.

    changes are (path, value) in its header, made last of all.
    """
    header, place = {BLOCK: dict(metadata)}, 0
    for name, (dtype, shape, content) in {**tensors, "sha256": ("U8", [32], bytes(32))}.items():
        offsets = [place, place := place + len(content)]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
    for path, value in changes:
        change(header, path, value)
    text = dumps(header).encode()
    text += b" " * (-len(text) % 8)
    content = b"".join(bytes(content) for _, _, content in tensors.values())
    content = struct.pack("<Q", len(text)) + text + content
    return content + (hashlib.sha256(content).digest() if right else bytes(32))


def of_array(array):
    """Return (dtype, shape, bytes) of an array."""
    return DTYPES[array.dtype.name], list(array.shape), array.tobytes()


def change(tree, path, value):
    """Put a value at a path, None removes what is there; do nothing if the path leads nowhere."""
    for step in path[:-1]:
        if isinstance(tree, list) and not (isinstance(step, int) and step < len(tree)):
            return
        inner = isinstance(tree, (dict, list))
        tree = tree.get(step) if isinstance(tree, dict) else tree[step] if inner else None
    last = path[-1] if path else None
    if isinstance(tree, dict) or (
        isinstance(tree, list) and isinstance(last, int) and last < len(tree)
    ):
        tree[last] = value
        if value is None:
            del tree[last]
