# SPDX-License-Identifier: MIT
"""Calls that ``kwalk bench`` counted, beside those in the output of each method."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kwalk.bench.quiet import LONGEST_SECONDS
from kwalk.bench.results import MethodResult, Outcome, Results

HEADS = ("calls", "delivered", "lost", "silent")
_NONE = "\N{EN DASH}"
_UNKNOWN = "unknown"


def cells(row: MethodResult) -> list[str]:
    """Return a method's cells below ``HEADS``.

    All are of the run that counted; where nothing was counted, of the last run that was timed.
    """
    account = row.account
    outcome = account.outcome if account else row.runs[-1].outcome
    if outcome.delivered is None:
        return [f"{account.calls:,}" if account else _NONE, *[_NONE] * 3]
    return [
        f"{account.calls:,}" if account else _NONE,
        f"{outcome.delivered:,}",
        _number(outcome.lost),
        _number(account.silent if account else None),
    ]


def _number(value: int | None) -> str:
    return _UNKNOWN if value is None else f"{value:,}"


def notes(results: Results) -> Iterator[str]:
    """Yield sentences on how calls were counted, and on what the table does not show."""
    rows = [row for row in results.rows if row.runs]
    counted = [row.account for row in rows if row.account]
    if counted:
        counters = " or ".join(sorted({account.counter for account in counted}))
        yield (
            f"Calls were counted by an empty program ({counters}) in one more run of each method, "
            "which is not timed. Silent: neither delivered nor reported as lost."
        )
    if most := max((account.outside for account in counted), default=0):
        yield (
            f"Up to {most:,} more calls came while a method started or ended, outside the load: "
            "it may have seen them, so more may be missing than is said here."
        )
    for row in rows:
        yield from _row_notes(row)


def _row_notes(row: MethodResult) -> Iterator[str]:
    if row.not_counted:
        yield f"Calls under {row.name} were not counted: {row.not_counted}"
    timed = sum(run.outcome.lost or 0 for run in row.runs)
    if timed and row.account and row.account.outcome.lost == 0:
        yield f"{row.name} lost {timed:,} calls in the runs that were timed"
    if not all(run.quiet for run in row.runs):
        yield (
            f"{row.name} was still busy {LONGEST_SECONDS:.0f} s after it had attached: its figures "
            "include work of its start"
        )


def as_data(row: MethodResult) -> dict[str, Any] | None:
    """Return a method's account as JSON-ready data."""
    account = row.account
    if account is None:
        return None
    outcome: Outcome = account.outcome
    return {
        "calls": account.calls,
        "outside": account.outside,
        "counter": account.counter,
        "delivered": outcome.delivered,
        "lost": outcome.lost,
        "silent": account.silent,
    }
