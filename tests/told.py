# SPDX-License-Identifier: MIT
"""What a run tells at its end: the cells of docs/matrix.md that it filled, and where time went."""

from __future__ import annotations

from collections import Counter

import pytest

SLOW_SECONDS = 5


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print them; ``tests/matrix.py`` reads the cells."""
    spent: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if not isinstance(report, pytest.TestReport):
                continue
            spent[report.nodeid.partition("::")[0]] += report.duration
            if report.when == "call" and report.passed:
                for name, value in report.user_properties:
                    if name == "cell":
                        terminalreporter.write_line(f"cell: {value}")
    for path, seconds in spent.most_common():
        if seconds > SLOW_SECONDS:
            terminalreporter.write_line(f"{seconds:6.0f} s {path}")
