"""Decompress damaged and random bytes: each must be an error, or what was compressed.

    python tests/trust/codec.py [--runs N] [--size BYTES] [--flips N]

N strings and streams, with and without a model, are changed in up to three places or cut. Memory
and time must stay within what the sizes in the format allow. Then a stream of a large file is
decompressed, and again with one bit flipped, anywhere in it. Each flip takes as long as a block.
"""

import io
import os
import random
import resource
from unittest import mock

from common import Findings, parser

import calls
import charrnn
from charrnn.inference import codec

MEMORY = 400 << 20  # bytes that a decoder may take beside this program


def damage(data, chosen):
    """Change data in up to three places, or cut it."""
    data = bytearray(data)
    for _ in range(chosen.randint(1, 3)):
        data += bytes(not data)  # once more a place
        place = chosen.randrange(len(data))
        kind = chosen.randrange(5)
        if kind < 2:
            data[place] ^= 1 << chosen.randrange(8)
        elif kind == 2:
            data[place : place + chosen.randint(1, 8)] = chosen.randbytes(chosen.randint(0, 8))
        elif kind == 3:
            data[place:] = chosen.randbytes(chosen.randint(1, 64))
        else:
            data[:] = data[: place + 1]
    return bytes(data)


def ends_of_blocks(packed, data, findings):
    """Decompress a stream; return where its blocks end, and the blocks."""
    file, ends, blocks = io.BytesIO(packed), [], []
    for block in codec.decompress_file(file):
        ends.append(file.tell())
        blocks.append(block)
    findings.expect(b"".join(blocks) == data, "round trip", f"{len(data):,} bytes")
    return [*ends, len(packed)], [*blocks, b""]


def survives(flipped, file, reader, expected):
    """Return whether the next block of a reader is right or an error if a bit is flipped.

    A child of this process tries, so that nobody reads what comes before again.
    """
    child = os.fork()
    if not child:
        try:
            file.getbuffer()[flipped // 8] ^= 1 << flipped % 8
            right = next(reader, b"") == expected
        except charrnn.CodecError:
            right = True
        except BaseException:
            right = False
        os._exit(not right)
    return os.waitpid(child, 0)[1] == 0


def flip_bits(size, flips, findings, chosen):
    """Compress a large file, and decompress it with flips of bits."""
    lines = calls.text(1_000_000).encode().splitlines(keepends=True)
    data = b"".join(chosen.choices(lines, k=size))[: size - size // 100]
    data += chosen.randbytes(size - len(data))
    packed = b"".join(codec.compress_file(io.BytesIO(data)))
    places = sorted(chosen.randrange(8 * len(packed)) for _ in range(flips))
    file = io.BytesIO(packed)
    reader = codec.decompress_file(file)
    for end, block in zip(*ends_of_blocks(packed, data, findings), strict=True):
        while places and places[0] < 8 * end:
            place = places.pop(0)
            right = survives(place, file, reader, block)
            findings.expect(
                right, "wrong bytes after a flip", f"bit {place} of {len(packed):,} bytes"
            )
        next(reader, b"")
    print(f"codec: {len(data):,} bytes, {len(packed):,} compressed, {flips} flips", flush=True)


def main():
    arguments = parser(__doc__, 500)
    arguments.add_argument("--size", type=int, default=20_000, help="of the large file (20000)")
    arguments.add_argument("--flips", type=int, default=50, help="of its bits (50)")
    options, findings, chosen = arguments.parse_args(), Findings(), random.Random(0)
    runs = options.runs
    models = [None, calls.text_model(), calls.record_model()]
    text = calls.text(5000).encode()
    accepted, before = 0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for i in range(runs):
        model = models[i % 3]
        data = text[: chosen.choice((0, 1, 20, 90, 1500 if model is None else 90))]
        stream = chosen.random() < 0.3
        parts = codec.compress_file(io.BytesIO(data), model) if stream else ()
        packed = b"".join(parts) if stream else charrnn.compress(data, model)
        changed = damage(packed, chosen)
        try:
            result = charrnn.decompress(changed, model)
            accepted += 1
            findings.expect(result == data, "wrong bytes", f"{changed[:60]!r}")
        except charrnn.CodecError:
            pass
        except Exception as error:
            findings.add(type(error).__name__, f"{changed[:60]!r}: {error}")
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    findings.expect(grown < MEMORY, "memory", f"{grown:,} bytes")
    with mock.patch.object(codec, "_BLOCK", 1 << 11):  # a flip costs a block
        flip_bits(options.size, options.flips, findings, chosen)
    findings.end(f"codec: {runs} damaged files, {accepted} gave the right bytes")


if __name__ == "__main__":
    main()
