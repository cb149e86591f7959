# SPDX-License-Identifier: MIT
"""What tracing costs while it goes on: estimated as ``--budget`` does it."""

from __future__ import annotations

from collections import deque
from contextlib import ExitStack

from kwalk.engine.budget import CALL_NS, BudgetReading, read, shares
from kwalk.engine.capture import Capture
from kwalk.errors import KwalkError
from kwalk.libbpf import stats
from kwalk.tui.model import TracingCost

# The CPU time of the machine comes in steps of 10 ms.
LOOKS = 10
# One interval in so many, the kernel measures the runs of the program, which costs a little.
MEASURE_EVERY = 30


class Meter:
    """Tells what tracing cost in the last intervals.

    Where calls are sampled, the program measures what it spends on those that it takes. Elsewhere
    the kernel is asked to, now and then, and what it found is taken for all calls.
    """

    def __init__(self, capture: Capture) -> None:
        self._capture = capture
        self._call_ns = CALL_NS[capture.probe.attach]
        self._readings = deque([read(capture)], maxlen=LOOKS)
        self._looks = 0
        self._measuring = ExitStack()
        self._before: tuple[int, int] | None = None
        self._run_ns: float | None = None

    def __enter__(self) -> Meter:
        return self

    def __exit__(self, *_: object) -> None:
        self._measuring.close()

    def look(self) -> TracingCost:
        """Return the cost; call it once an interval."""
        sampled = self._capture.options.chance is not None
        if not sampled:
            self._measure()
        now = read(self._capture)
        if self._run_ns is not None:
            now = now._replace(taken=round((now.hits - now.out) * self._run_ns))
        self._readings.append(now)
        self._looks += 1
        programs, reader = shares(self._first(), now, self._call_ns)
        return TracingCost(programs if sampled or self._run_ns is not None else None, reader)

    def _first(self) -> BudgetReading:
        first = self._readings[0]
        if self._run_ns is None:
            return first
        # As if it had been known then what a run takes.
        return first._replace(taken=round((first.hits - first.out) * self._run_ns))

    def _measure(self) -> None:
        """Begin to have the program measured, or see what has come of it."""
        try:
            if self._before:
                spent, runs = (b - a for a, b in zip(self._before, self._runs(), strict=True))
                self._run_ns = spent / runs if runs else self._run_ns
                self._before = None
                self._measuring.close()
            elif self._looks % MEASURE_EVERY == 0:
                self._measuring.enter_context(stats.measured())
                self._before = self._runs()
        except KwalkError:
            self._measuring.close()  # this kernel does not tell: the cost stays unknown

    def _runs(self) -> tuple[int, int]:
        probe = self._capture.probe
        return stats.of_program(probe.obj.program_info(probe.program))
