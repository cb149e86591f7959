# SPDX-License-Identifier: MIT
"""Run the tests that trace on every kernel of the matrix, a few virtual machines at a time.

Usage: ``python tests/matrix.py [--write] [JOB...]``. It prints which kernels ran, and which were
skipped and why. With --write it runs only the tests that fill the cells of docs/matrix.md and
docs/capabilities.md, and writes these pages; columns of kernels that do not run stay unchanged.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

import capable
import cells
import commit
from kwalk.errors import KwalkError
from kwalk.lab import headers, kernels, offered

ROOT = Path(__file__).parent.parent
BIN = Path(sys.prefix) / "bin"
TIMEOUT_SECONDS = 3600
# Emulated arm64 is slower.
ARM64_SECONDS = 4 * 3600
# Tests on this kernel build modules for it: tests/vm/workloads/rebuilt.py.
BUILDS_MODULES = "debian-12"
NO_TESTS = pytest.ExitCode.NO_TESTS_COLLECTED
# One more than CPUs, since tests spend much time waiting.
PARALLEL = min(4, 1 + (os.cpu_count() or 1))


@dataclass(frozen=True)
class Job:
    """A kernel, and the tests that run on it.

    :ivar cpu_model: QEMU's ``-cpu``, "" for the lab's.
    :ivar seconds: Time limit of the whole job.
    """

    name: str
    kernel: str
    tests: tuple[str, ...] = ("tests/vm",)
    append: str = ""
    cpus: int = 2
    icount: bool = False
    mark: str = ""
    test_seconds: int = 300
    cpu_model: str = ""
    seconds: int = TIMEOUT_SECONDS
    events: int = 0  # stacks to compare in the longest test; 0 for its default


@dataclass
class Result:
    """Result of a job; ``skipped`` says why it did not run, ``failures`` is pytest's output."""

    job: Job
    release: str = "-"
    code: int = 0
    skipped: str = ""
    seconds: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    cells: cells.Cells = field(default_factory=dict)
    capabilities: capable.Cells = field(default_factory=dict)


CELLS = ("tests/vm/test_cells.py",)
OLD = ("tests/vm_old",)
# For a kernel whose kind is already tested in full: each way of attaching, and many stacks.
SHORT = (*CELLS, "tests/vm/test_verify.py::test_every_stack_of_ip_rcv_is_the_kernels")
JOBS = [
    # The longest first, since several run at a time.
    Job("debian-13-arm64", "debian-13-arm64", SHORT, events=2000, test_seconds=600),
    Job("fp", "fp"),
    Job("debian-13", "debian-13"),
    Job("debian-sid", "debian-sid"),
    Job("debian-12", "debian-12"),
    Job("ubuntu-24.04", "ubuntu-24.04", SHORT, events=2000),
    Job("ubuntu-26.04", "ubuntu-26.04", SHORT, events=2000),
    Job("debian-11", "debian-11", OLD),
    Job("lockdown", "debian-13", ("tests/vm_lockdown",), "lockdown=integrity"),
    Job("four-cpus", "debian-13", ("tests/vm/test_cpus.py",), cpus=4),
    Job("icount", "debian-13", ("tests/vm_icount",), cpus=1, icount=True),
]
ARM64 = ("debian-12-arm64", "debian-13-arm64", "debian-sid-arm64")
# Parts of `make test-all` only.
MORE = [
    *(Job(f"{kernel}-whole", kernel) for kernel in ("ubuntu-24.04", "ubuntu-26.04")),
    *(
        Job(f"long-{kernel}", kernel, mark="long", test_seconds=3000)
        for kernel in ("debian-12", "debian-13", "debian-sid", "fp")
    ),
    *(Job(f"{kernel}-whole", kernel, test_seconds=900, seconds=ARM64_SECONDS) for kernel in ARM64),
    *(
        Job(f"long-{kernel}", kernel, mark="long", test_seconds=3000, seconds=ARM64_SECONDS)
        for kernel in ARM64
    ),
    # A processor that signs no return addresses.
    Job("debian-sid-arm64-a72", "debian-sid-arm64", SHORT, events=2000, cpu_model="cortex-a72"),
]
ANY = "long or not long"
CAPABILITIES = ("tests/vm/test_capabilities.py",)
# Tests of a job that fill the cells of docs/matrix.md and docs/capabilities.md.
FILL = {("tests/vm",): (*CELLS, *CAPABILITIES), SHORT: CELLS, OLD: OLD}


def run(job: Job, boots: int = 2) -> Result:
    """Boot the kernel and run its tests.

    :param boots: Attempts to boot: under emulation a kernel now and then panics before kwalk is
        started. That is printed.
    """
    started = time.monotonic()
    try:
        kernel = kernels.find(job.kernel)
        if job.kernel == BUILDS_MODULES:  # a guest takes its files from the cache
            headers.find(job.kernel)
    except KwalkError as error:
        if job.kernel in offered.PATTERNS:  # not Debian's, so not available everywhere
            return Result(job, skipped=str(error))
        print(f"[{job.name}] {error}", flush=True)
        return Result(job, code=1)
    words = [str(BIN / "kwalk"), "lab", "run", "--kernel", job.kernel]
    words += ["--timeout", str(job.seconds), "--cpus", str(job.cpus)]
    words += ["--append", job.append] if job.append else []
    words += ["--icount"] if job.icount else []
    words += ["--cpu-model", job.cpu_model] if job.cpu_model else []
    words += [
        "--",
        str(BIN / "python"),
        "-m",
        "pytest",
        "-v",
        "--durations=8",
        "--no-header",
        "-rfE",
        "-p",
        "no:cacheprovider",
        *job.tests,
    ]
    words += ["--timeout", str(job.test_seconds)]
    words += ["-m", job.mark] if job.mark else []
    process = subprocess.Popen(
        words,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={
            **os.environ,
            "PYTHONDONTWRITEBYTECODE": "1",
            **({"KWALK_TEST_EVENTS": str(job.events)} if job.events else {}),
        },
    )
    assert process.stdout is not None
    last = ""
    failures, told = [], []
    for line in process.stdout:
        print(f"[{job.name}] {line}", end="", flush=True)
        last = line if line.strip() else last
        told.append(line)
        if line.startswith(("E  ", "FAILED ", "ERROR ")):
            failures.append(line.rstrip())
    code = process.wait()
    if boots > 1 and any("panicked before the command started" in line for line in told):
        print(f"[{job.name}] booting once more", flush=True)
        return run(job, boots - 1)
    if job.mark and code == NO_TESTS:
        code = 0  # nothing is marked that way
    result = Result(job, kernel.release, code, failures=failures)
    result.cells = cells.read(told)
    result.capabilities = capable.read(told)
    result.seconds = time.monotonic() - started
    result.counts = {what: int(number) for number, what in re.findall(r"(\d+) (\w+)", last)}
    return result


def main(names: Sequence[str]) -> int:
    """Run the chosen jobs; exit code 1 if any failed."""
    write, names = "--write" in names, [name for name in names if name != "--write"]
    unknown = set(names) - {job.name for job in (*JOBS, *MORE)}
    if unknown:
        print(f"no such kernel: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    jobs = [job for job in (*JOBS, *MORE) if job.name in names] if names else JOBS
    if write:
        jobs = [
            replace(job, tests=FILL[job.tests], mark=ANY)
            for job in jobs
            if job.tests in FILL and job.mark in ("", ANY)
        ]
    print(f"commit {commit.name()}", flush=True)
    with ThreadPoolExecutor(PARALLEL) as pool:
        results = list(pool.map(run, jobs))
    print("\nkernel             release                    passed failed skipped  seconds")
    passed = failed = skipped = 0
    for result in results:
        good = result.counts.get("passed", 0)
        bad = result.counts.get("failed", 0) + result.counts.get("error", 0)
        bad = max(bad, int(result.code != 0))
        left = result.counts.get("skipped", 0)
        note = "  not run: " + result.skipped.splitlines()[0] if result.skipped else ""
        print(
            f"{result.job.name:18} {result.release:26} {good:6} {bad:6} {left:7} "
            f"{result.seconds:8.0f}{note}"
        )
        passed, failed, skipped = passed + good, failed + bad, skipped + left
    found = {result.job.kernel: result.cells for result in results if result.cells}
    if write and not failed:
        cells.PAGE.write_text(cells.page({**cells.parse(cells.PAGE.read_text()), **found}))
    for line in cells.differences(found, cells.PAGE.read_text()):
        print(line)
        failed += 1
    granted = {result.job.kernel: result.capabilities for result in results if result.capabilities}
    if write and not failed and granted:
        granted = capable.parse(capable.PAGE.read_text()) | granted
        capable.PAGE.write_text(capable.page(dict(sorted(granted.items()))))
    for line in capable.differences(granted, capable.PAGE.read_text()):
        print(line)
        failed += 1
    for result in results:  # at the end, where they are seen
        for line in result.failures:
            print(f"{result.job.name:18} {line}")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
