"""Decompress damaged and random bytes: each must be an error, or what was compressed.

    python tests/trust/codec.py [--runs N]

N strings and streams, with and without a model, are changed in up to three places or cut. Memory
and time must stay within what the sizes in the format allow.
"""

import io
import random
import resource

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


def main():
    runs, findings, chosen = parser(__doc__, 500).parse_args().runs, Findings(), random.Random(0)
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
    findings.end(f"codec: {runs} damaged files, {accepted} gave the right bytes")


if __name__ == "__main__":
    main()
