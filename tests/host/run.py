# SPDX-License-Identifier: MIT
"""Run the tests of bpf/ for each architecture under each compiler's sanitizers; print coverage.

run.py [--bpf FOLDER] [--arch NAME]... [--way NAME]... [pytest's options]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from built import ARCHITECTURES, HERE, ROOT, WAYS, build, environment

LEAST = 85.0  # least coverage, in percent of the lines of bpf/ by the tests for x86
LEAST_OF_ARCH = 95.0  # of bpf/arch/ARCH, for each architecture
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


def report(folder: Path, bpf: Path, arch: str) -> bool:
    """Print the coverage; return whether it is sufficient."""
    rows = covered(folder, bpf)
    for name, (some, every) in rows.items():
        print(f"  {name:22} {some:4} of {every:4} lines {100 * some / every:6.1f} %")
    own = [row for name, row in rows.items() if name.startswith(f"arch/{arch}/")]
    enough = summed(f"bpf/arch/{arch}/", own, LEAST_OF_ARCH)
    # Tests of parts that do not depend on the architecture run once.
    return summed("bpf/", list(rows.values()), LEAST if arch == "x86" else 0) and enough


def summed(name: str, rows: list[tuple[int, int]], least: float) -> bool:
    """Print the coverage of some files; return whether it is sufficient."""
    ran, lines = (sum(column) for column in zip(*rows, strict=True))
    percent = 100 * ran / lines
    wanted = f"; at least {least:.0f} % are wanted" if least else ""
    print(f"  {name} {ran} of {lines} lines, {percent:.1f} %{wanted}")
    return bool(percent >= least)


def main() -> int:
    """Build and run each way for each architecture; return 0 if all pass."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bpf", type=Path, default=ROOT / "bpf")
    parser.add_argument("--arch", action="append", choices=ARCHITECTURES)
    parser.add_argument("--way", action="append")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "host")
    own, rest = parser.parse_known_args()
    ways, bpf = own.way or SANITIZED, own.bpf.resolve()
    for way in ways:
        for arch in own.arch or ARCHITECTURES:
            failed = run(way, arch, bpf, own.out, rest, "15" if way == ways[0] else "4")
            if failed:
                return failed
    return 0


def run(wanted: str, arch: str, bpf: Path, out: Path, rest: list[str], examples: str) -> int:
    """Build and run one way for an architecture; return 0 if all passes.

    :param rest: Options and files for pytest; without files all tests run.
    """
    way = wanted
    if not WAYS[way].is_there:
        print(f"{WAYS[way].compiler} has no sanitizers here (libclang-rt-dev): without them")
        way = WAYS[way].compiler
    target = build(way, out / arch / way, bpf, arch)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += rest if any(word.endswith(".py") for word in rest) else [str(HERE), *rest]
    print(f"bpf/ for {arch} by {way}:", flush=True)
    around = environment(way, target, arch) | {"KWALK_HOST_EXAMPLES": examples}
    done = subprocess.run(command, cwd=ROOT, env=around, check=False)
    if done.returncode:
        return done.returncode
    enough = way != "gcc-sanitized" or bool(rest) or report(target.parent, bpf, arch)
    return 0 if enough else 1


if __name__ == "__main__":
    sys.exit(main())
