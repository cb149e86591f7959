# SPDX-License-Identifier: MIT
"""Run ``random_functions.py`` on all kernels for x86-64, or on named ones, two at a time.

Usage: ``python tests/long/run.py [KERNEL...]``. The logs of the last run stay in tests/results.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import commit
from kwalk.lab import kernels

ROOT = commit.ROOT
BIN = Path(sys.prefix) / "bin"
RESULTS = ROOT / "tests" / "results"
TIMEOUT_SECONDS = 3000
# Emulated arm64 is slower; there three kernels alone shall come to a million stacks.
ARM64_TIMEOUT_SECONDS = 10_800
ARM64_WORDS = ("--functions", "200", "--events", "340000", "--seconds", "9000")
# debian-11's BPF has no bpf_loop(): tests/vm_old. arm64's kernels take hours: only if named.
UNASKED = {"debian-11", *kernels.ARM64_SUITES}


def run(name: str) -> tuple[str, int, int, int]:
    """Return the kernel's name, its exit code, functions and comparisons."""
    script = "tests/long/random_functions.py"
    arm64 = name.endswith("-arm64")
    timeout = ARM64_TIMEOUT_SECONDS if arm64 else TIMEOUT_SECONDS
    words = [str(BIN / "kwalk"), "lab", "run", "--kernel", name, "--timeout", str(timeout)]
    words += ["--", str(BIN / "python"), script, *(ARM64_WORDS if arm64 else ())]
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    log = RESULTS / f"long-{name}.log"
    with log.open("w") as out:
        out.write(f"commit {commit.name()}\n")
        out.flush()
        code = subprocess.run(words, cwd=ROOT, env=env, stdout=out, stderr=out, check=False)
    # What the lab says of its own work holds paths of this machine.
    text = re.sub(r"(?m)^kwalk lab: .*\n", "", log.read_text())
    log.write_text(text)
    total = re.search(r"functions=(\d+).*checked=(\d+)", text)
    functions, checked = (int(total[1]), int(total[2])) if total else (0, 0)
    print(
        f"{name:16} exit {code.returncode}  {functions} functions  {checked:,} checked", flush=True
    )
    return name, code.returncode, functions, checked


def main(names: Sequence[str]) -> int:
    """Run the chosen kernels; exit code 1 if any failed."""
    RESULTS.mkdir(exist_ok=True)
    with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        usual = [name for name in kernels.NAMES if name not in UNASKED]
        results = list(pool.map(run, names or usual))
    functions, checked = sum(r[2] for r in results), sum(r[3] for r in results)
    print(f"together: {functions} functions, {checked:,} stacks compared")
    return int(any(code != 0 for _, code, _, _ in results))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
