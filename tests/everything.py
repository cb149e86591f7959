# SPDX-License-Identifier: MIT
"""Run the parts of ``make test-all``, one after the other.

Usage: ``python tests/everything.py [PART...]``. Each part's output goes to
``build/test-all/PART.log``, which begins with the commit; a line for each part has the result.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import commit

ROOT = commit.ROOT
LOGS = ROOT / "build" / "test-all"
_PYTEST = str(Path(sys.executable).with_name("pytest"))
_MATRIX = [sys.executable, "tests/matrix.py"]
_FRESH = "README's commands on a fresh root"
_ARM64 = ("debian-12-arm64", "debian-13-arm64", "debian-sid-arm64")
# Part -> its command lines, and a description.
PARTS: dict[str, tuple[list[list[str]], str]] = {
    "test": ([["make", "test"]], "lint, unit tests, every kernel of the matrix"),
    "ubuntu-24.04": ([[*_MATRIX, "ubuntu-24.04-whole"]], "all of tests/vm on that kernel"),
    "ubuntu-26.04": ([[*_MATRIX, "ubuntu-26.04-whole"]], "all of tests/vm on that kernel"),
    **{
        kernel: ([[*_MATRIX, f"{kernel}-whole"]], "all of tests/vm on that kernel")
        for kernel in _ARM64
    },
    "arm64-unsigned": (
        [[*_MATRIX, "debian-sid-arm64-a72"]],
        "arm64 without signed return addresses",
    ),
    "long-arm64": ([[*_MATRIX, *(f"long-{kernel}" for kernel in _ARM64)]], "tests marked long"),
    "long": (
        [[*_MATRIX, "long-debian-12", "long-debian-13", "long-debian-sid", "long-fp"]],
        "tests marked long",
    ),
    "lab": ([[_PYTEST, "-q", "-m", "long", "tests/lab"]], "real machines, seen from the host"),
    "fresh-debian-12": ([[sys.executable, "tests/fresh/fresh_root.py", "bookworm"]], _FRESH),
    "fresh-debian-13": ([[sys.executable, "tests/fresh/fresh_root.py", "trixie"]], _FRESH),
    "stacks": ([[sys.executable, "tests/long/run.py"]], "a million stacks of random functions"),
    "stacks-arm64": (
        [[sys.executable, "tests/long/run.py", *_ARM64]],
        "a million on arm64's kernels, by each way of attaching",
    ),
}


def run(part: str) -> bool:
    """Run one part; return whether it passed."""
    commands, _ = PARTS[part]
    log = LOGS / f"{part}.log"
    started = time.monotonic()
    with log.open("w", encoding="utf-8") as out:
        out.write(f"part {part} of `make test-all` at commit {commit.name()}\n")
        out.flush()
        codes = [
            subprocess.run(words, cwd=ROOT, stdout=out, stderr=out, check=False).returncode
            for words in commands
        ]
    passed = not any(codes)
    minutes = (time.monotonic() - started) / 60
    verdict = "passed" if passed else "FAILED"
    print(f"{part:16} {verdict} {minutes:6.1f} min  {log.relative_to(ROOT)}", flush=True)
    return passed


def main(names: Sequence[str]) -> int:
    """Run the chosen parts; exit code 1 if any failed."""
    if unknown := [name for name in names if name not in PARTS]:
        print(f"no such part: {', '.join(unknown)}. There are:", file=sys.stderr)
        for name, (_, what) in PARTS.items():
            print(f"  {name:16} {what}", file=sys.stderr)
        return 2
    LOGS.mkdir(parents=True, exist_ok=True)
    print(f"commit {commit.name()}", flush=True)
    results = [run(part) for part in names or PARTS]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
