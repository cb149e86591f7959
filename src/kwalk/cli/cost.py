# SPDX-License-Identifier: MIT
"""Overhead during tracing, estimated as for ``--budget``."""

from __future__ import annotations

from collections import deque
from contextlib import ExitStack

from kwalk.engine.budget import BudgetReading, call_ns, read, shares
from kwalk.engine.capture import Capture
from kwalk.errors import KwalkError
from kwalk.libbpf import stats
from kwalk.tui.model import TracingCost

# Readings to average over: /proc/stat has a resolution of 10 ms.
LOOKS = 10
# The kernel measures run times of the program in one interval of this many, as that costs time.
MEASURE_EVERY = 30


class Meter:
    """Measures the overhead of the last ``LOOKS`` intervals.

    If hits are sampled, the program measures the sampled ones itself. Otherwise the kernel's BPF
    statistics are enabled in some intervals, and their mean run time is used for all.
    """

    def __init__(self, capture: Capture) -> None:
        self._capture = capture
        self._call_ns = call_ns(capture.probe)
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
        """Return the overhead; call it once per interval."""
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
        # with the run time that is known now
        return first._replace(taken=round((first.hits - first.out) * self._run_ns))

    def _measure(self) -> None:
        """Enable the kernel's BPF statistics, or read and disable them."""
        try:
            if self._before:
                now = self._capture.probe.spent()
                spent, runs = (b - a for a, b in zip(self._before, now, strict=True))
                self._run_ns = spent / runs if runs else self._run_ns
                self._before = None
                self._measuring.close()
            elif self._looks % MEASURE_EVERY == 0:
                self._measuring.enter_context(stats.measured())
                self._before = self._capture.probe.spent()
        except KwalkError:
            self._measuring.close()  # not supported by this kernel: the cost stays unknown
