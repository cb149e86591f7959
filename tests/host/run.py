# SPDX-License-Identifier: MIT
"""Run the tests of bpf/ under each compiler's sanitizers; print the coverage.

run.py [--bpf FOLDER] [--way NAME]... [pytest's options]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from built import HERE, ROOT, WAYS, build, environment

LEAST = 85.0  # least coverage, in percent of the lines of bpf/
SANITIZED = ("gcc-sanitized", "clang-sanitized")


def covered(folder: Path, bpf: Path) -> dict[str, tuple[int, int]]:
    """Return covered and all lines of each file below ``bpf``."""
    (data,) = folder.glob("*.gcda")
    asked = ["gcov", "--json-format", "--stdout", str(data)]
    found = subprocess.run(asked, check=True, capture_output=True, text=True, cwd=folder).stdout
    lines: dict[str, dict[int, int]] = {}
    for file in json.loads(found)["files"]:
        path = Path(file["file"])
        if path.is_relative_to(bpf):
            known = lines.setdefault(str(path.relative_to(bpf)), {})
            for line in file["lines"]:
                number = line["line_number"]
                known[number] = known.get(number, 0) + line["count"]
    return {
        name: (sum(map(bool, counts.values())), len(counts))
        for name, counts in sorted(lines.items())
    }


def report(folder: Path, bpf: Path) -> bool:
    """Print the coverage; return whether it is sufficient."""
    rows = covered(folder, bpf)
    ran, all_lines = (sum(column) for column in zip(*rows.values(), strict=True))
    for name, (some, every) in rows.items():
        print(f"  {name:22} {some:4} of {every:4} lines {100 * some / every:6.1f} %")
    percent = 100 * ran / all_lines
    print(f"  bpf/ {ran} of {all_lines} lines, {percent:.1f} %; at least {LEAST:.0f} % are wanted")
    return bool(percent >= LEAST)


def main() -> int:
    """Build and run each way; return 0 if all pass."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bpf", type=Path, default=ROOT / "bpf")
    parser.add_argument("--way", action="append")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "host")
    own, rest = parser.parse_known_args()
    ways, bpf = own.way or SANITIZED, own.bpf.resolve()
    for wanted in ways:
        way = wanted
        if not WAYS[way].is_there:
            print(f"{WAYS[way].compiler} has no sanitizers here (libclang-rt-dev): without them")
            way = WAYS[way].compiler
        target = build(way, own.out / way, bpf)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        command += rest if any(word.endswith(".py") for word in rest) else [str(HERE), *rest]
        print(f"bpf/ by {way}:", flush=True)
        examples = "15" if wanted == ways[0] else "4"
        around = environment(way, target) | {"KWALK_HOST_EXAMPLES": examples}
        done = subprocess.run(command, cwd=ROOT, env=around, check=False)
        if done.returncode:
            return done.returncode
        if way == "gcc-sanitized" and not rest and not report(target.parent, bpf):
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
