# SPDX-License-Identifier: MIT
"""CSV (RFC 4180): a row for each stack, the hottest first, then the ledger."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from typing import Any

from kwalk.model.profile import ProfileData
from kwalk.model.stack import Count
from kwalk.report.calltree import path
from kwalk.report.style import ReportOptions
from kwalk.report.summary import kind_of
from kwalk.report.top_n import cut
from kwalk.support.printable import plain

COLUMNS = (
    *("kind", "name", "count", "calls", "share", "pid", "comm", "cpu", "cgroup", "cgroup_id"),
    *("truncated", "fallback", "frames", "value"),
)
# Rows in a piece of output.
_ROWS = 4096


def render(profile: ProfileData, options: ReportOptions) -> Iterator[str]:
    """Yield the table.

    Column ``kind`` is one of: ``stack``; ``total`` of the ledger (hits, recorded, truncated,
    fallback, seconds, unexplained); ``lost`` and ``not_wanted`` by cause; ``not_counted`` and
    ``note``, with the text as ``name``; ``verify``, and ``kernel_wrong`` by cause; ``tree`` and
    ``sampling`` of the summary; ``fact`` about the machine and the capture.

    ``count`` is in recorded hits, ``calls`` the same scaled if sampled, ``share`` of the calls of
    all stacks (0 to 1), ``frames`` root first and joined by ``;``, ``value`` anything that is not a
    count. Texts that a spreadsheet would take for a formula begin with ``'`` (see ``text``).
    """
    file = io.StringIO()
    table = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\r\n")
    table.writeheader()
    shown = cut(profile, options.top)
    total = profile.calls
    for index, count in enumerate(reversed(shown.counts), 1):
        table.writerow(_cells(_stack(count, total)))
        if not index % _ROWS:
            yield file.getvalue()
            file.seek(0)
            file.truncate()
    table.writerows(map(_cells, _ledger(profile)))
    table.writerows(map(_cells, _rest(profile)))
    yield file.getvalue()


# Beginnings of formulas in spreadsheets, escaped before or not (OWASP, CSV Injection).
_FORMULA = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")


def text(value: str) -> str:
    """Return a text as a cell that no spreadsheet computes: ``=1+1`` becomes ``'=1+1``.

    To read it back, remove one ``'`` from cells that begin with one or more ``'`` and then one of
    ``= + - @``, a tab or a line end. Other cells are unchanged.
    """
    return f"'{value}" if _FORMULA.match(value) else value


def _cells(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: text(_clean(value)) if type(value) is str and name != "frames" else value
        for name, value in row.items()
    }


def _clean(value: str) -> str:
    """Return text without control characters other than line ends and tabs."""
    return plain(value, kept="\r\n\t")


def _stack(count: Count, total: float) -> dict[str, Any]:
    group = count.group.as_data() if count.group else {}
    return group | {
        "kind": "stack",
        "count": count.count,
        "calls": count.calls,
        "share": f"{count.calls / total:.6g}" if total else 0,
        "truncated": int(count.stack.truncated),
        "fallback": int(count.stack.fallback),
        # A semicolon separates frames.
        "frames": ";".join(
            text(_clean(name).replace(";", ":")) for name in path(count, groups=False)
        ),
    }


def _ledger(profile: ProfileData) -> Iterator[dict[str, Any]]:
    ledger = profile.summary.ledger
    for name in ("hits", "recorded", "truncated", "fallback"):
        yield {"kind": "total", "name": name, "count": getattr(ledger, name)}
    if profile.summary.seconds is not None:
        yield {"kind": "total", "name": "seconds", "value": f"{profile.summary.seconds:.9g}"}
    if ledger.balance:
        yield {"kind": "total", "name": "unexplained", "count": ledger.balance}
    for cause, number in ledger.causes.items():
        yield {"kind": kind_of(cause).replace(" ", "_"), "name": cause, "count": number}
    for sentence in ledger.uncounted:
        yield {"kind": "not_counted", "name": sentence}
    for sentence in profile.summary.notes:
        yield {"kind": "note", "name": sentence}


def _rest(profile: ProfileData) -> Iterator[dict[str, Any]]:
    """Yield the rows of the rest of the summary, and of the facts."""
    summary = profile.summary
    if verify := summary.verify:
        for name in ("every", "checked", "mismatches", "missing_caller"):
            yield {"kind": "verify", "name": name, "count": getattr(verify, name)}
        for cause, number in verify.kernel_wrong.items():
            yield {"kind": "kernel_wrong", "name": cause, "count": number}
    for name, number in (summary.tree._asdict() if summary.tree else {}).items():
        yield {"kind": "tree", "name": name, "count": number}
    for name, share in (summary.sampling._asdict() if summary.sampling else {}).items():
        yield {"kind": "sampling", "name": name, "value": share}
    known = ("function", "method", "attach", "kernel", "unit")
    facts = {name: getattr(summary, name) for name in known} | profile.facts
    for name, value in facts.items():
        told = value if isinstance(value, str) else json.dumps(value)
        yield {"kind": "fact", "name": name, "value": told}
