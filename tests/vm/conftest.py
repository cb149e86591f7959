# SPDX-License-Identifier: MIT
"""Fixtures for tests that trace; they run as root inside a virtual machine of the lab."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kwalk.capture import Capture
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.probe.options import ProbeOptions
from kwalk.profile import Event, Summary

VENV = Path(sys.prefix) / "bin"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not Path("/sys/bus/event_source/devices/kprobe").exists():
        for item in items:
            item.add_marker(pytest.mark.skip(reason="this kernel cannot trace; run `make vm`"))


@pytest.fixture(scope="session")
def symbols() -> Kallsyms:
    return Kallsyms.read()


@pytest.fixture(scope="session")
def frame_pointers(symbols: Kallsyms) -> bool:
    """The kernel unwinds by frame pointers, so its own unwinder misses the direct caller."""
    return not symbols.address("__start_orc_unwind")


@pytest.fixture
def redis() -> Iterator[None]:
    """redis-server under a redis-benchmark that does not end by itself."""
    server = subprocess.Popen(
        ["redis-server", "--save", "", "--port", "6379"], stdout=subprocess.DEVNULL
    )
    ping = ["redis-cli", "ping"]
    while subprocess.run(ping, capture_output=True, check=False).stdout != b"PONG\n":
        time.sleep(0.1)
    load = subprocess.Popen(
        ["redis-benchmark", "-t", "set", "-n", "100000000", "-q"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    yield
    for process in (load, server):
        process.kill()
        process.wait()


def start(*words: str, **keywords: object) -> subprocess.Popen[str]:
    """Start a script of the virtual environment, such as ``kwalk``."""
    return subprocess.Popen(
        [str(VENV / words[0]), *words[1:]],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **keywords,  # type: ignore[call-overload]
    )


def call(
    *words: str, timeout: float = 90, env: dict[str, str] | None = None
) -> tuple[int, str, str]:
    """Run a script to its end; return exit code, stdout and stderr."""
    process = start(*words, env={**os.environ, **(env or {})})
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> bool:
    """Wait until ``condition`` holds; return whether it does."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def pairs(
    function: str, options: ProbeOptions, enough: Callable[[int], bool], seconds: float = 60
) -> tuple[list[tuple[Event, Event | None]], Summary]:
    """Take manual and helper stacks of the same events until there are enough."""
    found: list[tuple[Event, Event | None]] = []
    with Capture(function, options) as capture:
        deadline = time.monotonic() + seconds
        while not enough(len(found)) and time.monotonic() < deadline:
            time.sleep(0.1)
            found += capture.read_both()
        capture.stop()
        found += capture.read_both()
        found += capture.read_both()
        return found, capture.summary()
