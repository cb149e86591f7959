# SPDX-License-Identifier: MIT
"""Run of a method that is not timed: its calls, counted independently, and its cost per call.

A method is not believed about its own losses. An empty program on the same function counts the
calls; it costs the method nothing in the runs that are timed, since it is not there. The kernel's
run-time statistics, by which it counts, measure the method's own programs as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from kwalk.bench import empty, quiet
from kwalk.bench.results import Account, MethodResult
from kwalk.bench.tool import Tool, ToolUnavailable
from kwalk.bench.workload import Workload
from kwalk.errors import KwalkError
from kwalk.libbpf import stats


def fill(row: MethodResult, tool: Tool, function: str, workload: Workload) -> None:
    """Run the workload under a method, and put its account and its cost into its results.

    If that cannot be done, the reason is put there, and the runs that were timed remain valid.
    """
    try:
        with stats.measured(), _counter(function, row) as counter:
            _run(row, tool, counter, workload)
    except (ToolUnavailable, KwalkError) as reason:
        row.not_counted = _sentence(reason)


@contextmanager
def _counter(function: str, row: MethodResult) -> Iterator[empty.EmptyProgram | None]:
    """Yield a counter, or None if the function cannot have one: then the cost is known at least."""
    try:
        counter = empty.counter(function)
    except KwalkError as error:
        row.not_counted = _sentence(error)
        yield None
        return
    with counter:
        yield counter


def _run(
    row: MethodResult, tool: Tool, counter: empty.EmptyProgram | None, workload: Workload
) -> None:
    def calls() -> int:
        return counter.calls() if counter else 0

    others = stats.programs()
    first = calls()
    running = tool.start()
    try:
        quiet.wait(running)
        start = calls()
        if workload.begin():
            quiet.wait(running)
        before = stats.programs()
        workload.run()
        during = calls() - start
        row.cost_ns = stats.per_event(others, stats.since(before))
        outcome = running.finish()
        outside = calls() - first - during
    finally:
        running.kill()
    if counter:
        row.account = Account(during, outside, counter.way, outcome)


def _sentence(error: Exception) -> str:
    return error.what if isinstance(error, KwalkError) else str(error)
