# SPDX-License-Identifier: MIT
"""CSV (RFC 4180): a row for each stack, the hottest first, then the ledger."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from kwalk.model.counts import Counts
from kwalk.model.profile import ProfileData
from kwalk.model.stack import Group, Stack
from kwalk.report.calltree import FunctionNames, stack_path
from kwalk.report.rows import CellKey, texts
from kwalk.report.style import ReportOptions
from kwalk.report.summary import kind_of
from kwalk.report.top_n import cut
from kwalk.support.memo import Memo
from kwalk.support.printable import plain

_GROUP = ("pid", "comm", "cpu", "cgroup", "cgroup_id")
COLUMNS = (
    *("kind", "name", "count", "calls", "share", *_GROUP),
    *("truncated", "fallback", "frames", "value"),
)


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
    yield _row(COLUMNS)
    yield from _stacks(Counts.of(cut(profile, options.top).counts)[::-1], profile.calls)
    for row in (*_ledger(profile), *_rest(profile)):
        yield _row(_cell(name, row.get(name, "")) for name in COLUMNS)


def _row(cells: Iterable[Any]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\r\n").writerow(cells)
    return file.getvalue()


def _stacks(counts: Counts, total: float) -> Iterator[str]:
    """Yield the rows of stacks, put together of their columns by number, group, and stack."""

    def number(pair: tuple[int, float | None]) -> str:
        count, scaled = pair
        calls = count if scaled is None else scaled
        share = f"{calls / total:.6g}" if total else 0
        return _row(("stack", "", count, calls, share))[:-2]

    def group(found: Group | None) -> str:
        data = found.as_data() if found else {}
        return f",{_row(_cell(name, data.get(name, '')) for name in _GROUP)[:-2]},"

    # A semicolon separates frames.
    name = Memo[str, str](lambda told: text(_clean(told).replace(";", ":"))).__getitem__
    known = FunctionNames()

    def stack(found: Stack) -> str:
        names = map(name, stack_path(found, known.of))
        return _row((int(found.truncated), int(found.fallback), ";".join(names), ""))

    yield from texts(
        counts, (CellKey.NUMBER, number), (CellKey.GROUP, group), (CellKey.STACK, stack)
    )


# Beginnings of formulas in spreadsheets, escaped before or not (OWASP, CSV Injection).
_FORMULA = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")


def text(value: str) -> str:
    """Return a text as a cell that no spreadsheet computes: ``=1+1`` becomes ``'=1+1``.

    To read it back, remove one ``'`` from cells that begin with one or more ``'`` and then one of
    ``= + - @``, a tab or a line end. Other cells are unchanged.
    """
    return f"'{value}" if _FORMULA.match(value) else value


def _cell(name: str, value: Any) -> Any:
    return text(_clean(value)) if type(value) is str and name != "frames" else value


def _clean(value: str) -> str:
    """Return text without control characters other than line ends and tabs."""
    return plain(value, kept="\r\n\t")


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
