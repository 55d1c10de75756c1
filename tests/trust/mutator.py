"""Changes model files in a few places: the structure-aware half of the fuzzer."""

import itertools
import json
import random
import struct

from model_files import BLOCK, Raw, dumps, put_together, take_apart

SIZES = (
    0,
    1,
    -1,
    2,
    3,
    7,
    255,
    256,
    2**15,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**32,
    2**53,
    2**63 - 1,
    2**63,
    2**64 - 1,
    2**64,
    10**30,
)
RAW = (
    "NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    "-1e999",
    "1e308",
    "5e-324",
    "-0.0",
    "-0",
    "1.0",
    "0.5",
    "2.0",
    "-1.5",
    "1e2",
    "9" * 5000,
)
RAW += (
    "true",
    "false",
    "null",
    '""',
    '"8"',
    '"a"',
    '"\\ud800"',
    '"best"',
    "[]",
    "[1]",
    "{}",
    '{"a":1}',
    "[" * 5000,
    "[" * 400 + "]" * 400,
)
WORDS = (
    "",
    "0",
    "null",
    "[]",
    "{}",
    "{",
    '"',
    "x",
    "1" * 5000,
    "[" * 5000,
    "charrnn",
    "text",
    "records",
    "bytes",
    "characters",
    "1",
    "2",
    "gru",
    "adam",
)
CHARACTERS = (
    "",
    "a",
    "ab",
    "aa",
    "\0",
    "\n",
    "\U0010ffff",
    "\ud800",
    "\u00e9",
    "\ufeff",
    "".join(map(chr, range(256))),
    "xyz" * 9,
)
DTYPES = (
    "F16",
    "BF16",
    "F32",
    "F64",
    "I8",
    "U8",
    "I32",
    "U32",
    "I64",
    "U64",
    "BOOL",
    "F8_E4M3",
    "f32",
    "",
    "C64",
)
NAMES = (
    "Wxh",
    "Whh",
    "Why",
    "bh",
    "by",
    "Whi",
    "bhn",
    "Whf2",
    "state",
    "remembered",
    *(f"{part}.{name}" for part in ("memory", "momentum", "best") for name in ("Wxh", "by")),
)
NUMBERS = {"F32": "<f", "F64": "<d", "U32": "<I", "U16": "<H", "U8": "<B"}
EXTREMES = (
    0.0,
    -0.0,
    1.0,
    -1.0,
    1e-45,
    -1e-45,
    1e-300,
    1e30,
    -1e30,
    3.4e38,
    -3.4e38,
    1.7e308,
    float("nan"),
    float("inf"),
    -float("inf"),
)


def places(tree, path=()):
    """Yield the path of everything in a tree of dictionaries and lists."""
    items = (
        tree.items()
        if isinstance(tree, dict)
        else enumerate(tree)
        if isinstance(tree, list)
        else ()
    )
    for step, value in items:
        yield (*path, step)
        yield from places(value, (*path, step))


class Mutator:
    """Makes files of files: a few fields changed, the checks in front of them satisfied; what it
    does depends on the seed only.
    """

    def __init__(self, seed):
        self.random = random.Random(seed)

    def __call__(self, data):
        """Return another file."""
        if self.random.random() < 0.08:
            return self.plain(data)
        try:
            return self.structured(data)
        except (
            RecursionError,
            ValueError,
        ):  # it cannot be taken apart, or is JSON nested as deep as it can be written
            return self.plain(data)

    def structured(self, data):
        """Return another file with few changes, the checks in front of them satisfied; or raise
        ValueError or RecursionError.
        """
        chosen = self.random
        metadata, tensors = take_apart(data)
        changes = []
        for _ in range(chosen.choice((1, 1, 2, 3))):
            kind = chosen.choice(
                (
                    self.in_json,
                    self.in_json,
                    self.in_json,
                    self.word,
                    self.values,
                    self.values,
                    self.entry,
                    self.alike,
                    self.parts,
                )
            )
            changes += kind(metadata, tensors) or []
        mutant = put_together(metadata, tensors, changes, right=chosen.random() < 0.97)
        return self.plain(mutant) if chosen.random() < 0.02 else mutant

    def plain(self, data):
        """Change bytes, whatever they mean."""
        data, chosen = bytearray(data), self.random
        kind, place = chosen.randrange(6), chosen.randrange(len(data) + 1)
        if kind == 0:
            return bytes(data[:place])
        if kind == 1:
            return bytes(data + chosen.randbytes(chosen.choice((1, 2, 8, 99))))
        if kind == 2:
            data[:8] = struct.pack(
                "<Q",
                chosen.choice(
                    [abs(size) % 2**64 for size in SIZES] + [max(0, len(data) - 9), len(data) - 7]
                )
                % 2**64,
            )
        elif kind == 3 and data:
            data[place % len(data)] ^= 1 << chosen.randrange(8)
        elif kind == 4:
            data[place:place] = bytes([chosen.choice(b'\0\x01 "{}[],:0\\\x7f\xff')])
        else:
            end = place + chosen.choice((1, 4, 8, 50))
            data[place:end] = chosen.choice((b"", data[place:end] * 2))
        return bytes(data)

    def odd(self, old=None):
        """Return a value that should not stand where this one stood, or perhaps may."""
        chosen = self.random
        if isinstance(old, (int, float)) and chosen.random() < 0.3:
            return chosen.choice(
                (old + 1, old - 1, -old, old * 2, float(old), str(old), bool(old), [old], old / 3)
            )
        return chosen.choice((Raw(chosen.choice(RAW)), chosen.choice(SIZES)))

    def in_json(self, metadata, tensors):
        """Change something inside the JSON: a value, a key, or one more of either."""
        chosen = self.random
        try:
            tree = json.loads(metadata["model"])
            path = chosen.choice(list(places(tree)))
        except (LookupError, RecursionError, ValueError):
            return
        parent = tree
        for step in path[:-1]:
            parent = parent[step]
        kind, key = chosen.randrange(10), path[-1]
        if kind == 0:
            del parent[key]
        elif kind == 1 and isinstance(parent, dict):
            names = (f"{key}\0", "more", "", "self", "__class__", key.upper())
            parent[chosen.choice(names)] = self.odd()
        elif kind == 1:
            parent.append(parent[key])
        elif kind == 2:
            parent[key] = [[], {}, [parent[key]], None][chosen.randrange(4)]
        elif kind == 3 and chosen.random() < 0.2:
            tree = self.odd()
        else:
            parent[key] = self.odd(parent[key])
        metadata["model"] = dumps(tree)

    def alike(self, metadata, tensors):
        """Change a setting in both places that have it, so that they agree; or a report's row."""
        chosen = self.random
        try:
            tree = json.loads(metadata["model"])
            if chosen.random() < 0.3:
                columns = tree["history"]["reports"]
                row = chosen.randrange(len(columns["step"]))
                for column in columns.values():
                    column[row:row] = column[row : row + chosen.choice((0, 1, 2))]
                    del column[row : row + chosen.choice((0, 1))]
            else:
                name = chosen.choice([*tree["settings"]])
                value = self.odd(tree["settings"][name])
                for known in (tree["settings"], tree.get("training", {}).get("options", {})):
                    if name in known:
                        known[name] = value
        except (AttributeError, LookupError, RecursionError, TypeError, ValueError):
            return
        metadata["model"] = dumps(tree)

    def parts(self, metadata, tensors):
        """Take a whole part of a checkpoint away, or make one of the weights."""
        part = self.random.choice(("best.", "memory.", "state", "training", "remembered"))
        others = ("state", "remembered")
        weights = {
            name: one for name, one in tensors.items() if "." not in name and name not in others
        }
        if self.random.random() < 0.5 and part.endswith("."):
            tensors.update({part + name: tensor for name, tensor in weights.items()})
            return
        for name in [name for name in tensors if name.startswith(part)]:
            del tensors[name]
        if part == "training":
            try:
                tree = json.loads(metadata["model"])
                tree.pop(part, None)
            except (AttributeError, LookupError, RecursionError, TypeError, ValueError):
                return
            metadata["model"] = dumps(tree)
            for name in tensors.keys() - weights.keys() - {"remembered"}:
                del tensors[name]

    def word(self, metadata, tensors):
        """Change a word of the metadata, or one in the JSON, most often the vocabulary."""
        chosen = self.random
        try:
            tree = json.loads(metadata["model"])
            name = chosen.choice(("kind", "alphabet", "vocabulary", "vocabulary", "vocabulary"))
            tree[name] = self.other_word(name, str(tree[name]))
            if chosen.random() < 0.15:
                del tree[name]
        except (LookupError, RecursionError, TypeError, ValueError):
            tree = None
        if tree is not None and chosen.random() < 0.7:
            metadata["model"] = dumps(tree)
            return
        name = chosen.choice((*metadata, "more"))
        metadata[name] = self.other_word(name, metadata.get(name, ""))
        if chosen.random() < 0.15:
            del metadata[name]
        if chosen.random() < 0.1:
            return [((BLOCK, name), self.odd())]

    def other_word(self, name, old):
        chosen, letters = self.random, list(old)
        chosen.shuffle(letters)
        added = old + chosen.choice(CHARACTERS)
        cuts = (old[1:], old[:-1], old * 2, "".join(letters[:3000]), added)
        others = WORDS if name != "vocabulary" else CHARACTERS
        return chosen.choice((*cuts, chosen.choice(others)))

    def values(self, metadata, tensors):
        """Put extremes among the numbers of a tensor."""
        if not tensors:
            return
        chosen = self.random
        name = chosen.choice(list(tensors))
        dtype, shape, content = tensors[name]
        kind = NUMBERS.get(dtype) if isinstance(dtype, str) else None
        if kind is None:
            return
        numbers = [
            number
            for (number,) in struct.iter_unpack(
                kind, content[: len(content) // struct.calcsize(kind) * struct.calcsize(kind)]
            )
        ]
        if kind not in ("<f", "<d"):
            largest = 256 ** struct.calcsize(kind) - 1
            changed = [chosen.choice((number, number, number, 0, 1, largest)) for number in numbers]
            others = ([], [0], [0, largest], [largest] * 2)
            numbers = chosen.choice(
                (numbers[::-1], numbers * 2, numbers[1:], changed, changed, *others)
            )
            packed = struct.pack(f"<{len(numbers)}{kind[1]}", *numbers)
            tensors[name] = dtype, chosen.choice((shape, [len(numbers)])), packed
            return
        extreme = chosen.choice(EXTREMES)
        some = (
            range(len(numbers))
            if chosen.random() < 0.3
            else chosen.sample(range(len(numbers)), min(len(numbers), chosen.randint(1, 3)))
        )
        for place in some:
            numbers[place] = extreme if chosen.random() < 0.7 else chosen.choice(EXTREMES)
        tensors[name] = dtype, shape, b"".join(pack(kind, number) for number in numbers)

    def entry(self, metadata, tensors):
        """Change what the header says of a tensor, or which there are."""
        chosen = self.random
        name = chosen.choice((*tensors, "Whh", "sha256"))
        dtype, shape, content = tensors.get(name, ("F32", [1], b"\0\0\0\0"))
        shape = list(shape)
        kind = chosen.randrange(9)
        if kind == 0:
            tensors.pop(name, None)
        elif kind == 1:
            tensors[chosen.choice((*NAMES, "more", "__metadata"))] = dtype, shape, content
        elif kind == 2:
            tensors[name] = chosen.choice(DTYPES), shape, content
        elif kind == 3:  # with as much content as that takes
            dtype = chosen.choice(("F32", "F64"))
            size = 1
            shape = [
                chosen.choice((*(n for n in shape if isinstance(n, int)), 0, 1, 2, 3))
                for _ in shape
            ]
            for n in shape:
                size *= n
            tensors[name] = dtype, shape, (content * 99)[: size * (4 if dtype == "F32" else 8)]
        elif kind == 4:
            tensors[name] = (
                dtype,
                chosen.choice((shape[::-1], [*shape, 1], [1, *shape], shape[1:], [0, *shape], [])),
                content,
            )
        elif kind == 5:
            return [
                (
                    (name + "\0",),
                    {"dtype": dtype, "shape": shape, "data_offsets": [0, len(content)]},
                )
            ]
        elif kind == 6:
            return [
                (
                    (name, chosen.choice(("dtype", "shape", "data_offsets", "more"))),
                    chosen.choice((None, self.odd())),
                )
            ]
        else:
            return [
                (
                    (name, chosen.choice(("shape", "data_offsets")), chosen.randrange(2)),
                    self.odd(len(content)),
                )
            ]


def pack(kind, number):
    """Return the bytes of a number: infinity where it is too large for them."""
    try:
        return struct.pack(kind, number)
    except OverflowError:
        return struct.pack(kind, float("inf") if number > 0 else -float("inf"))


def mutants(seeds, seed):
    """Yield files without end, each made of one of the seeds or of what was made before: the driver
    where there is no other.
    """
    chosen, pool = random.Random(seed), list(seeds)
    for number in itertools.count():
        mutant = Mutator(seed + number)(chosen.choice(seeds if chosen.random() < 0.7 else pool))
        if len(mutant) < 60_000:
            pool.append(mutant)
            pool = pool[-200:] if len(pool) > 400 else pool
        yield mutant
