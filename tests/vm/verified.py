# SPDX-License-Identifier: MIT
"""Captures in which every hit is compared with the kernel's own unwinder; other tracers on the
functions of a stack: kretprobes, the function-graph tracer, fexit programs.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from conftest import TRACING, ftrace_probe
from machine import HERE

from kwalk.abi import Method
from kwalk.engine.capture import Capture
from kwalk.model.ledger import Summary
from kwalk.model.stack import Stack
from kwalk.options.probe import ProbeOptions
from kwalk.report import summary as reports
from kwalk.symbolize.symbolizer import Symbolizer
from waiting import wait_for


def verified(
    function: str | list[str],
    attach: str,
    number: int,
    burst: Callable[[], object] = lambda: time.sleep(0.1),
    seconds: float = 90,
    every: int = 1,
    frequency: int | None = None,
    fast: bool = True,
    taken: int = 0,
) -> tuple[Summary, Counter[Stack], Symbolizer]:
    """Trace until ``number`` stacks have been compared, or time is up.

    :param burst: Work that calls the function; it is repeated.
    :param taken: Number of stacks that generated programs must have taken as well, unless the
        kernel can have none.
    :return: The summary, the stacks with their counts, and the symbolizer.
    """
    options = ProbeOptions(Method.MANUAL, attach, verify=every, frequency=frequency, fast=fast)
    stacks: Counter[Stack] = Counter()
    with Capture(function, options) as capture:

        def read() -> None:
            stacks.update(event.stack for event in capture.read())
            capture.look()

        def enough() -> bool:
            burst()
            read()
            hot = capture.summary().hot if taken else None
            return stacks.total() >= number and (not hot or bool(hot.why) or hot.taken >= taken)

        wait_for(enough, seconds, 0)
        capture.stop()
        read()
        return capture.summary(), stacks, Symbolizer(capture.symbols)


def must_agree(summary: Summary, symbolizer: Symbolizer, fallback: float = 0.0) -> None:
    """Assert that every recorded stack is the kernel's, and that nothing is unaccounted for.

    :param fallback: Largest share of stacks that may fall back.
    """
    text = reports.as_text(summary, symbolizer)
    assert summary.verify is not None
    print(text)
    assert summary.verify.mismatches == 0, text
    ledger = summary.ledger
    assert ledger.balance == 0, text
    assert ledger.fallback <= fallback * ledger.recorded, text
    compared = summary.verify.checked + ledger.fallback
    unsent = ledger.lost.get("ring_full", 0) + ledger.lost.get("ring_busy", 0)
    assert compared == ledger.recorded + unsent, text


def cannot_generate(why: str) -> bool:
    """Return whether a kernel can have no generated programs, from the reason that it has none."""
    return any(known in why for known in HERE.not_generated)


def must_have_taken(summary: Summary, number: int) -> None:
    """Assert that generated programs took so many hits, where the kernel can have such programs."""
    assert summary.hot
    if not cannot_generate(summary.hot.why):
        assert summary.hot.taken >= number, summary.hot


def names(stack: Stack, symbolizer: Symbolizer) -> list[str]:
    """Return the functions of a stack, innermost first."""
    return [frame.name for frame in symbolizer.frames(stack)]


@contextmanager
def kretprobes(*functions: str) -> Iterator[None]:
    """Set ftrace's own probes at the return of each function."""
    with ExitStack() as stack:
        for function in functions:
            stack.enter_context(ftrace_probe(f"r:kwtest/ret_{function} {function}"))
        yield


@contextmanager
def graph_tracer(*functions: str) -> Iterator[None]:
    """Run the function-graph tracer on these functions."""
    chosen, tracer = TRACING / "set_ftrace_filter", TRACING / "current_tracer"
    chosen.write_text("\n".join(functions) + "\n")
    tracer.write_text("function_graph\n")
    try:
        yield
    finally:
        tracer.write_text("nop\n")
        chosen.write_text("\n")


@contextmanager
def fexit_programs(*functions: str) -> Iterator[None]:
    """Attach a BPF program to the return of each function, by a trampoline that calls it."""
    with ExitStack() as stack:
        for function in functions:
            stack.enter_context(Capture(f"r:{function}", ProbeOptions(Method.MANUAL, "fentry")))
        yield
