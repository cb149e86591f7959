# SPDX-License-Identifier: MIT
"""Fixtures for tests that trace, as root in a virtual machine of the lab."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from machine import HERE

import forked
from kwalk import libbpf
from kwalk.arch import here
from kwalk.cli import main as cli
from kwalk.cli import published
from kwalk.engine.capture import Capture
from kwalk.kernel.features import no_fentry
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.model.event import Event
from kwalk.model.ledger import Summary
from kwalk.options.probe import ProbeOptions
from told import pytest_terminal_summary
from waiting import wait_for

__all__ = ["pytest_terminal_summary"]
VENV = Path(sys.prefix) / "bin"
TRACING = Path("/sys/kernel/tracing")
STARTED: list[subprocess.Popen[str]] = []
KERNEL = os.environ.get("KWALK_LAB", "")
# For long tests that do not depend on the kernel.
ONE_OF_EACH_UNWINDER = pytest.mark.skipif(
    KERNEL.removesuffix("-arm64") in ("debian-12", "debian-sid"),
    reason="the same on every kernel: run on debian-13, debian-13-arm64 and fp",
)
NO_FENTRY = pytest.mark.skip(
    reason="this kernel has no fentry (CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS)"
)


def only_on(kernel: str, arm64: str = "debian-13-arm64") -> pytest.MarkDecorator:
    """Mark a test that depends on neither kernel nor unwinder, to run on these kernels only.

    :param kernel: The one for x86-64.
    :param arm64: The one for arm64, "" for none.
    """
    kernels = [name for name in (kernel, arm64) if name]
    return pytest.mark.skipif(
        KERNEL not in kernels,
        reason=f"the same on every kernel: run on {' and '.join(kernels)}",
    )


def has_fentry() -> bool:
    """Return whether trampolines can be attached to functions."""
    return not no_fentry(Kallsyms.read())


def pytest_configure(config: pytest.Config) -> None:
    """Turn hypothesis off, which no test here uses.

    In a guest of another architecture than the host's it has no extension module to load.
    """
    manager = config.pluginmanager
    if plugin := manager.get_plugin("hypothesispytest"):
        manager.unregister(plugin)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not Path("/sys/bus/event_source/devices/kprobe").exists():
        for item in items:
            item.add_marker(pytest.mark.skip(reason="this kernel cannot trace; run `make vm`"))
        return
    without_fentry = [item for item in items if _needs_fentry(item)]
    if without_fentry and not has_fentry():
        for item in without_fentry:
            item.add_marker(NO_FENTRY)


def _needs_fentry(item: pytest.Item) -> bool:
    """Return whether a test attaches by fentry: by a parameter ``attach``, or by its mark."""
    parameters = getattr(item, "callspec", None)
    by_fentry = parameters is not None and parameters.params.get("attach") == "fentry"
    return by_fentry or item.get_closest_marker("fentry") is not None


@pytest.fixture(scope="session")
def symbols() -> Kallsyms:
    return Kallsyms.read()


@pytest.fixture(scope="session")
def frame_pointers(symbols: Kallsyms) -> bool:
    """Return whether the kernel unwinds by frame pointers, and so misses the direct caller."""
    return not symbols.address("__start_orc_unwind")


@pytest.fixture(scope="session")
def lacks_caller(frame_pointers: bool) -> Callable[[str], bool]:
    """Whether the kernel's unwinder misses FUNC's direct caller, by way of attaching."""
    trampolines = here().trampolines_lack_caller
    return lambda attach: frame_pointers and (trampolines or not attach.startswith("f"))


@pytest.fixture
def redis() -> Iterator[None]:
    """Run redis-server under a redis-benchmark without end.

    Both have a low priority, as they would slow kwalk's start down under emulation.
    """
    server = subprocess.Popen(
        ["nice", "-n", "15", "redis-server", "--save", "", "--port", "6379"],
        stdout=subprocess.DEVNULL,
    )
    ping = ["redis-cli", "ping"]
    assert wait_for(
        lambda: subprocess.run(ping, capture_output=True, check=False).stdout == b"PONG\n", 90
    )
    load = subprocess.Popen(
        ["nice", "-n", "15", "redis-benchmark", "-t", "set", "-n", "100000000", "-q"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    yield
    for process in (load, server):
        process.kill()
        process.wait()


@contextmanager
def ftrace_probe(definition: str) -> Iterator[Path]:
    """Enable a kprobe event of ftrace.

    :param definition: Line for ``kprobe_events``, such as ``p:kwtest/count vfs_read``.
    """
    name = definition.split()[0].partition(":")[2]
    events, enable = TRACING / "kprobe_events", TRACING / "events" / name / "enable"
    _append(events, definition)
    try:
        _append(enable, "1")
        yield TRACING
    finally:
        _append(enable, "0")
        _append(events, f"-:{name}")


def _append(path: Path, text: str) -> None:
    """Append to a file of tracefs: truncating it would clear all events."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(fd, text.encode() + b"\n")
    finally:
        os.close(fd)


def start(*words: str, **keywords: Any) -> subprocess.Popen[str]:
    """Start a script of the virtual environment, such as ``kwalk``, or an absolute path.

    It is killed when the test ends, if it still runs.
    """
    pipe = subprocess.PIPE
    process: subprocess.Popen[str] = subprocess.Popen(
        [str(VENV / words[0]), *words[1:]],
        text=True,
        **{"stdout": pipe, "stderr": pipe, **keywords},
    )
    STARTED.append(process)
    return process


@pytest.fixture(autouse=True)
def _none_stays() -> Iterator[None]:
    """Kill processes that a failed test has left behind."""
    yield
    while STARTED:
        process = STARTED.pop()
        if process.poll() is None:
            process.kill()
            process.wait()


def call(
    *words: str,
    timeout: float = 90,
    env: dict[str, str] | None = None,
    first: Callable[[], None] = lambda: None,
) -> tuple[int, str, str]:
    """Run a command line of kwalk to its end; return exit code, stdout and stderr.

    It runs in a fork of this process, which has Python and kwalk loaded already: under emulation
    loading them takes longer than the test. ``start`` runs the real script.

    :param first: Function that the fork calls first.
    """
    main = published.main if words[0] == "bpf_get_stack_test" else cli.main
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:

        def run() -> int:
            os.environ.update(env or {})
            sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            libbpf.lib.cache_clear()
            first()
            return main(words[1:])

        child = forked.fork(run)
        timeout *= HERE.patience
        ended = wait_for(lambda: forked.change(child), timeout)
        if not ended:
            forked.kill(child)
            pytest.fail(f"{' '.join(words)} did not end in {timeout:.0f} s")
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode())
    return os.waitstatus_to_exitcode(ended[0]), texts[0], texts[1]


def without_caller(manual: Event) -> tuple[int, ...]:
    """Return the stack that a frame-pointer unwinder finds at a function's entry."""
    addresses = manual.stack.addresses
    return addresses[:1] + addresses[2:]


def both(capture: Capture) -> Iterator[tuple[Event, Event | None]]:
    """Yield manual's and the helper's stack of each event; None if the helper lost it."""
    for record, walked, stack, _ in capture.pairs():
        if walked:
            helper = Event(record.time_ns, record.who(), stack) if stack else None
            yield Event(record.time_ns, record.who(), walked), helper


def pairs(
    function: str, options: ProbeOptions, enough: Callable[[int], bool], seconds: float = 60
) -> tuple[list[tuple[Event, Event | None]], Summary]:
    """Return manual and helper stacks of the same events, as many as ``enough`` asks for."""
    found: list[tuple[Event, Event | None]] = []
    with Capture(function, options) as capture:

        def taken() -> bool:
            found.extend(both(capture))
            return enough(len(found))

        wait_for(taken, seconds)
        capture.stop()
        found += both(capture)
        found += both(capture)
        return found, capture.summary()
