# SPDX-License-Identifier: MIT
"""Nested hits: calls of a function while the probe's program is running on that CPU.

The counts are compared with the function tracer's, which has a buffer of its own for each kind of
context.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import TRACING
from verified import names, verified

from kwalk.abi import Method
from kwalk.engine.capture import Capture
from kwalk.lab.nmi import inject
from kwalk.lab.platforms import native
from kwalk.model.ledger import Summary
from kwalk.options.probe import ProbeOptions
from kwalk.report import summary as reports
from unseen import unseen

LOADS = ("while :; do /bin/true; done", "while :; do cat /proc/self/maps /etc/passwd; done")
# Called by tasks, softirqs and interrupts alike; probe/nested.py knows them.
FUNCTIONS = ("kmem_cache_free", "try_to_wake_up", "hrtimer_start_range_ns")


@contextmanager
def load() -> Iterator[None]:
    """Fork, and read files, besides what the fixture ``redis`` does."""
    quiet = subprocess.DEVNULL
    shells = [
        subprocess.Popen(["nice", "-n", "15", "sh", "-c", text], stdout=quiet) for text in LOADS
    ]
    try:
        yield
    finally:
        for shell in shells:
            shell.kill()
            shell.wait()


class Traced(NamedTuple):
    """Calls by the function tracer and hits by kwalk, in nanoseconds of CLOCK_MONOTONIC."""

    calls: list[int]
    hits: list[int]
    summary: Summary


@contextmanager
def function_tracer(function: str) -> Iterator[None]:
    """Have ftrace record each call of a function."""
    settings = {"trace_clock": "mono", "buffer_size_kb": "32768", "set_ftrace_filter": function}
    for name, value in settings.items():
        (TRACING / name).write_text(value + "\n")
    (TRACING / "trace").write_text("")
    (TRACING / "current_tracer").write_text("function\n")
    try:
        yield
    finally:
        (TRACING / "current_tracer").write_text("nop\n")
        (TRACING / "set_ftrace_filter").write_text("\n")
        (TRACING / "buffer_size_kb").write_text("1408\n")


def calls_of(function: str) -> list[int]:
    """Return when ftrace recorded calls, in nanoseconds; none of them may be lost."""
    for cpu in TRACING.glob("per_cpu/cpu*/stats"):
        text = cpu.read_text()
        assert re.search(r"^overrun: 0$", text, re.MULTILINE), text
        assert re.search(r"^dropped events: 0$", text, re.MULTILINE), text
    pattern = re.compile(rf" (\d+)\.(\d{{6}}): {function}(?:\.\S+)? <-")
    found = pattern.findall((TRACING / "trace").read_text())
    return sorted(int(seconds) * 10**9 + int(micros) * 1000 for seconds, micros in found)


def traced(function: str, seconds: float, **options: int) -> Traced:
    """Trace a function under load by kwalk and by the function tracer."""
    hits: list[int] = []
    wanted = ProbeOptions(Method.MANUAL, "fentry", ring_bytes=1 << 24, **options)  # type: ignore[arg-type]
    with function_tracer(function):
        with Capture(function, wanted) as capture:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                time.sleep(0.1)
                capture.look()
                hits += [at for batch in capture.reader.batches() for at in batch.times]
            (TRACING / "tracing_on").write_text("0\n")
            capture.stop()
            hits += [at for batch in capture.reader.batches() for at in batch.times]
            summary = capture.summary()
        calls = calls_of(function)
        (TRACING / "tracing_on").write_text("1\n")
    return Traced(calls, sorted(hits), summary)


def preempts() -> bool:
    """Return whether this kernel preempts programs."""
    mode = Path("/sys/kernel/debug/sched/preempt")
    if mode.exists():
        return "(full)" in mode.read_text() or "(lazy)" in mode.read_text()
    return "PREEMPT" in os.uname().version


def interrupt() -> None:
    """Let time pass, with NMIs where the machine has them."""
    if native().has_nmi:
        inject(5)
    else:
        time.sleep(0.1)


@pytest.mark.fentry
@pytest.mark.parametrize("function", FUNCTIONS)
def test_nested_hits_are_recorded(function: str, redis: None) -> None:
    with load():
        found = traced(function, 8)
    text = reports.as_text(found.summary)
    without_hit = unseen(found.calls, found.hits)
    print(text, without_hit, found.summary.nested)
    ledger, nested = found.summary.ledger, found.summary.nested
    assert nested
    assert nested.why == ""
    assert nested.programs >= 1
    assert ledger.balance == 0, text
    assert len(found.calls) > 100
    assert set(ledger.lost) <= {"recursion"}
    assert -nested.twice <= without_hit <= ledger.lost.get("recursion", 0), text
    if not preempts():
        assert ledger.lost == {}, text
        assert ledger.uncounted == [], text


@pytest.mark.fentry
def test_nested_stacks_are_the_kernels(redis: None) -> None:
    """With --verify the program takes long, so that much comes while it runs; NMIs come as well.

    A nested stack goes through the program and its trampoline. Where it was interrupted at its
    first instructions, before it has made its frame, the walk falls back.
    """
    with load():
        summary, stacks, symbolizer = verified(
            "kmem_cache_free", "fentry", 3000, interrupt, seconds=60
        )
    text = reports.as_text(summary, symbolizer)
    print(text)
    assert summary.verify
    assert summary.verify.mismatches == 0, text
    assert summary.ledger.balance == 0, text
    assert summary.ledger.fallback <= 0.02 * summary.ledger.recorded, text
    assert summary.nested
    assert summary.nested.taken >= 10, text
    nested = sum(
        number
        for stack, number in stacks.items()
        if "kmem_cache_free" in names(stack, symbolizer)[1:]
    )
    assert nested >= 10, text
    if not preempts():
        assert set(summary.ledger.lost) <= {"ring_full", "ring_busy"}, text
