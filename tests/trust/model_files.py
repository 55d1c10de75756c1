"""Model files taken apart and put together, by code that shares nothing with charrnn's own."""

import hashlib
import json
import struct

BLOCK = "__metadata__"


class Raw:
    """A piece of JSON that json.dumps would not write."""

    def __init__(self, text):
        self.text = text


def dumps(value):
    """Return JSON; a `Raw` stands as it is, a dictionary may have a key twice: its keys are cut at "\\0"."""
    if isinstance(value, Raw):
        return value.text
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key.partition(chr(0))[0])}:{dumps(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(dumps, value)) + "]"
    return json.dumps(value)


def take_apart(data):
    """Return (metadata, {name: (dtype, shape, bytes)}) of a file that the format allows; otherwise raise ValueError."""
    try:
        start = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:start])
        metadata = {str(name): str(word) for name, word in header.pop(BLOCK).items()}
        tensors = {}
        for name, entry in header.items():
            first, end = entry["data_offsets"]
            tensors[name] = entry["dtype"], list(entry["shape"]), data[start + first : start + end]
        return metadata, tensors
    except (AttributeError, LookupError, OverflowError, RecursionError, TypeError) as error:
        raise ValueError(str(error)) from error


def digest(metadata, tensors):
    """Return the SHA-256 that belongs into a file."""
    words = {name: word for name, word in metadata.items() if name != "sha256"}
    content = b"".join(bytes(tensors[name][2]) for name in sorted(tensors))
    return hashlib.sha256(content + json.dumps(words, sort_keys=True).encode()).hexdigest()


def put_together(metadata, tensors, changes=(), right=True):
    """Return a file whose offsets and (if it is to be right) SHA-256 fit; changes are (path, value) in its header, made last of all."""
    metadata = {name: word for name, word in metadata.items() if isinstance(word, str)} if right else dict(metadata)
    if right and "sha256" in metadata:
        metadata["sha256"] = digest(metadata, tensors)
    header, place = {BLOCK: metadata}, 0
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [place, place := place + len(content)]}
    for path, value in changes:
        change(header, path, value)
    text = dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(content for _, _, content in tensors.values())


def change(tree, path, value):
    """Put a value where a path leads, or remove what is there if it is None; a path that leads nowhere does nothing."""
    for step in path[:-1]:
        if isinstance(tree, list) and not (isinstance(step, int) and step < len(tree)):
            return
        tree = tree.get(step) if isinstance(tree, dict) else tree[step] if isinstance(tree, list) else None
    if isinstance(tree, dict) or (isinstance(tree, list) and path and isinstance(path[-1], int) and path[-1] < len(tree)):
        tree[path[-1]] = value
        if value is None:
            del tree[path[-1]]
