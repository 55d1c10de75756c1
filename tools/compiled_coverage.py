"""Print which lines of the compiled modules ran in any variant: the last step of make coverage.

    python tools/compiled_coverage.py FOLDER

FOLDER is where the modules were built with --coverage. GCC's gcov counts how often each line of C
ran; a comment that Cython writes before it names our line.
"""

import collections
import json
import re
import subprocess
import sys
from itertools import groupby
from pathlib import Path

PLACE = re.compile(r'\s*/\* "(?:src/)?charrnn/((?!_cyutility)[\w/]+\.p\w+)":(\d+)$')
END = re.compile(r"}|  /\* function exit code \*/")  # cleanup follows, which is no line of ours


def places(generated):
    """Yield our line for each line of a generated C file: (name, number), or None."""
    place = None
    for line in generated.read_text(encoding="utf-8").splitlines():
        if found := PLACE.match(line):
            place = found[1], int(found[2])
        elif END.match(line):
            place = None
        yield place


def executed(folder):
    """Return how often each line of each source ran: the maximum over variants and pieces of C."""
    counts = collections.defaultdict(collections.Counter)
    for counted in sorted(folder.glob("build/temp.*/**/*.gcda")):
        command = ["gcov", "--json-format", "--stdout", counted.relative_to(folder)]
        found = subprocess.run(
            command, cwd=folder, check=True, capture_output=True, text=True
        ).stdout
        for file in (file for report in found.splitlines() for file in json.loads(report)["files"]):
            of = list(places(folder / file["file"])) if file["file"].endswith(".c") else []
            for line in file["lines"] if of else ():
                if place := of[line["line_number"] - 1]:
                    name, number = place
                    counts[name][number] = max(counts[name][number], line["count"])
    return counts


def ranges(numbers):
    """Return ascending numbers as ranges: 3-5, 8."""
    runs = [
        [number for _, number in run]
        for _, run in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])
    ]
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)


def main():
    """Print a line for each file, and the total."""
    total, missed = 0, 0
    for name, lines in sorted(executed(Path(sys.argv[1]).resolve()).items()):
        missing = sorted(number for number, count in lines.items() if not count)
        total, missed = total + len(lines), missed + len(missing)
        rest = f", not {ranges(missing)}" if missing else ""
        print(f"{name}: {len(lines) - len(missing)} of {len(lines)}{rest}")
    print(f"compiled: {1 - missed / total:.1%} of {total} lines")


if __name__ == "__main__":
    main()
