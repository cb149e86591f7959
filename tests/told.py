# SPDX-License-Identifier: MIT
"""Terminal summary of a test run: cells for pages in docs/, and the slowest files."""

from __future__ import annotations

from collections import defaultdict

import pytest

SLOW_SECONDS = 5


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the summary, whose cells ``tests/matrix.py`` reads."""
    spent: defaultdict[str, float] = defaultdict(float)
    for reports in terminalreporter.stats.values():
        for report in reports:
            if not isinstance(report, pytest.TestReport):
                continue
            spent[report.nodeid.partition("::")[0]] += report.duration
            if report.when == "call" and report.passed:
                for name, value in report.user_properties:
                    if name in ("cell", "capabilities"):
                        terminalreporter.write_line(f"{name}: {value}")
    for path, seconds in sorted(spent.items(), key=lambda item: -item[1]):
        if seconds > SLOW_SECONDS:
            terminalreporter.write_line(f"{seconds:6.0f} s {path}")
