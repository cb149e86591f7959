# SPDX-License-Identifier: MIT
"""Benchmark: rounds of the workload, each without tracing and then under each method in turn.

Nothing but the method is attached in these rounds. In one more run of each, which is not timed, an
empty program counts the calls, whatever the method says of them (``audit.py``).
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from kwalk.bench import audit, quiet
from kwalk.bench import workload as workloads
from kwalk.bench.results import MethodResult, Results, Run, rate_text
from kwalk.bench.tool import Tool, ToolUnavailable
from kwalk.bench.workload import Workload

Progress = Callable[[str], object]
_COMMAND_LINE = Path("/proc/cmdline")


class Experiment:
    """Benchmark run; ``results`` is valid at any time, also after an interruption.

    Methods take turns, so that a drift of the machine's speed favours none of them, and each run is
    compared with the untraced run of its own round.

    :param say: Receives a line for every run.
    """

    def __init__(
        self, function: str, mode: str, tools: Sequence[Tool], workload: Workload, say: Progress
    ) -> None:
        self._tools = tools
        self._workload = workload
        self._say = say
        self.results = Results(
            function,
            mode,
            workload.text,
            platform.release(),
            os.environ.get("KWALK_LAB_CLOCK", "time"),
            "off" if "mitigations=off" in _COMMAND_LINE.read_text() else "on",
            date=time.strftime("%Y-%m-%d"),
            rows=[MethodResult(tool.name) for tool in tools],
        )

    def run(self, runs: int) -> None:
        """Do ``runs`` rounds, then one run of each method to count its calls.

        :raises KwalkError: if the workload cannot be run.
        """
        results = self.results
        self._say("warm-up")
        self._workload.run()
        results.metric = self._workload.unit
        if self._workload.words[0] == "redis-benchmark":
            results.versions = [text for text in [workloads.redis_version()] if text]
        for number in range(runs):
            self._round(f"{number + 1}/{runs}")
        for tool, row in zip(self._tools, results.rows, strict=True):
            if not row.not_run:
                self._say(f"calls and cost of {tool.name}")
                audit.fill(row, tool, self.results.function, self._workload)

    def _round(self, number: str) -> None:
        self._workload.begin()
        base = self._workload.run()
        self.results.base.append(base)
        self._say(f"{number} none: {rate_text(base.rate)} {self._workload.unit}")
        for tool, row in zip(self._tools, self.results.rows, strict=True):
            if row.not_run:
                continue
            try:
                run = self._measure(tool, base.rate)
            except ToolUnavailable as reason:
                row.not_run = str(reason)
                self._say(f"{number} {tool.name}: not run: {reason}")
                continue
            row.runs.append(run)
            if not row.version:
                row.version = tool.version()
                self.results.versions = sorted({*self.results.versions, row.version} - {""})
            rate = f"{rate_text(run.sample.rate)} {self._workload.unit}"
            self._say(f"{number} {tool.name}: {rate}, {run.change:+.1f} %")

    def _measure(self, tool: Tool, base: float) -> Run:
        running = tool.start()
        try:
            at_rest = quiet.wait(running)
            if self._workload.begin():  # tools may have work to do once a load has begun
                at_rest = quiet.wait(running) and at_rest
            before = running.cpu_seconds()
            sample = self._workload.run()
            spent = running.cpu_seconds() - before
            outcome = running.finish()
        finally:
            running.kill()
        change = 100 * (sample.rate / base - 1)
        return Run(sample, change, running.attach_seconds, spent, outcome, at_rest)
