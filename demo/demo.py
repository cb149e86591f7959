# SPDX-License-Identifier: MIT
"""Demo: the same path to ip_rcv, by helper and by manual, side by side.

It boots a kernel with ORC tables and one with frame pointers in the lab, runs guest.py in each,
which puts redis under load and traces it, and prints the results. The guests' clocks count
instructions, so the overhead is the same on every machine, however busy.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from kwalk.cli.main import guarded
from kwalk.errors import KwalkError, NotSupported
from kwalk.lab import kernels
from kwalk.lab.kernels import Kernel

GUEST = Path(__file__).with_name("guest.py")
TOOLS = ("redis-server", "redis-benchmark")  # the guest uses this machine's files
TIMEOUT = "300"  # seconds for a guest's work, many times as long as on an idle machine
START = time.monotonic()
WIDTH = str(max(70, shutil.get_terminal_size((100, 24)).columns))
Found = dict[str, str]  # output of guest.py


def say(text: str, kernel: str = "") -> None:
    """Print a line of progress with the seconds since the start."""
    print(f"{time.monotonic() - START:4.0f} s  {kernel:<10} {text}", flush=True)


def check_tools() -> None:
    """Raise NotSupported if a program that the guest runs is missing."""
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        raise NotSupported(
            f"{' and '.join(missing)} cannot be found on this machine",
            "Install Debian's packages redis-server and redis-tools.",
        )


def find_kernels() -> list[Kernel]:
    """Return the kernels to boot; the one with frame pointers only if it is available."""
    found = [kernels.find(kernels.DEFAULT)]
    try:
        found.append(kernels.find(kernels.FRAME_POINTER))
    except KwalkError as error:
        say(f"left out: {error.what}", kernels.FRAME_POINTER)
    return found


def start(kernel: Kernel, folder: Path) -> subprocess.Popen[str]:
    """Boot a kernel and run guest.py on it; result and errors go to ``folder``."""
    say(f"booting Linux {kernel.release}", kernel.name)
    out = folder / kernel.name
    out.mkdir()
    words = [sys.executable, "-m", "kwalk", "lab", "run", "--kernel", kernel.name]
    words += ["--icount", "--timeout", TIMEOUT, "--out", str(out), "--"]
    words += [sys.executable, str(GUEST), str(out / "result.json"), WIDTH]
    with (folder / f"{kernel.name}.errors").open("w") as errors:
        return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=errors, text=True)


def follow(kernel: Kernel, guest: subprocess.Popen[str], folder: Path) -> Found:
    """Print a guest's progress until it ends; return its result.

    :raises KwalkError: with the message of the lab, or of the command in it.
    """
    assert guest.stdout is not None
    for line in guest.stdout:
        say(line.rstrip(), kernel.name)
    if code := guest.wait():
        text = (folder / f"{kernel.name}.errors").read_text().strip().removeprefix("kwalk: ")
        raise KwalkError(f"on {kernel.name}, {text or f'the guest ended with exit code {code}'}")
    found: Found = json.loads((folder / kernel.name / "result.json").read_text())
    return found


def run_guests(chosen: list[Kernel], folder: Path) -> list[Found]:
    """Run all virtual machines at once; the first failure ends the others."""
    guests = [start(kernel, folder) for kernel in chosen]
    with ThreadPoolExecutor() as pool:
        try:
            jobs = [pool.submit(follow, *pair, folder) for pair in zip(chosen, guests, strict=True)]
            for job in as_completed(jobs):
                job.result()
        finally:
            for guest in guests:
                guest.terminate()
    return [job.result() for job in jobs]


def main() -> int:
    """Run the demo; return its exit code."""
    check_tools()
    chosen = find_kernels()
    with tempfile.TemporaryDirectory(prefix="kwalk-demo-") as folder:
        results = run_guests(chosen, Path(folder))
    for kernel, result in zip(chosen, results, strict=True):
        print(f"\n{kernel.name}\n{len(kernel.name) * '='}\n\n{result['compare'].rstrip()}")
    for kernel, result in zip(chosen, results, strict=True):
        print(f"\nOverhead for redis on {kernel.name}:\n\n{result['bench'].rstrip()}")
    return 0


if __name__ == "__main__":
    sys.exit(guarded("demo", main))
