# SPDX-License-Identifier: MIT
"""Comparison of two recordings as one JSON object."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from kwalk.report import calltree, summary
from kwalk.report.diff import chance
from kwalk.report.diff import common as words
from kwalk.report.diff.change import Change, Diff, Side, Tally
from kwalk.report.style import ReportOptions
from kwalk.report.top_n import last

SCHEMA = "kwalk.diff/2"


def render(diff: Diff, options: ReportOptions, every: bool = True) -> Iterator[str]:
    """Yield the object, with all stacks; ``certain`` tells which changes are significant.

    :param every: Ignored.
    """
    stacks, left = last(diff.stacks, options.top)
    data: dict[str, Any] = {
        "schema": SCHEMA,
        "by": diff.by,
        "unit": diff.unit,
        "before": _side_data(diff.before),
        "after": _side_data(diff.after),
        "total": _change_data(diff.total),
        "chance": {
            "deviations": chance.threshold(len(diff.stacks)),
            "unsteady": {"before": diff.before.unsteady, "after": diff.after.unsteady},
        },
        "warnings": words.warnings(diff),
        "functions": [
            {"names": list(change.names)} | _change_data(change) for change in diff.functions
        ],
        "stacks": [_stack_data(change, diff.grouped) for change in stacks],
    }
    if left:
        data["left_out"] = {"stacks": len(left)} | {
            key: {
                "count": sum(change.tallies[side].count for change in left),
                "value": sum((change.before, change.after)[side] for change in left),
            }
            for side, key in enumerate(("before", "after"))
        }
    yield json.dumps(data, separators=(",", ":")) + "\n"


def _side_data(side: Side) -> dict[str, Any]:
    """Return a recording as JSON-ready data: its name, sums, summary and facts."""
    known = summary.as_data(side.profile.summary)
    del known["schema"]  # a part of this object, with its schema
    head = {"name": side.name, "seconds": side.profile.seconds or None} | _tally_data(side.tally)
    return head | known | {"facts": side.profile.facts}


def _tally_data(tally: Tally) -> dict[str, Any]:
    data: dict[str, Any] = {"count": tally.count}
    return data | ({} if tally.calls == tally.count else {"scaled": tally.calls})


def _stack_data(change: Change, grouped: bool) -> dict[str, Any]:
    names = [*change.names]
    truncated = names[:1] == [calltree.TRUNCATED]
    data: dict[str, Any] = {"group": change.group} if grouped else {}
    frames = names[truncated:][::-1]
    return data | {"frames": frames, "truncated": truncated} | _change_data(change)


def _change_data(change: Change) -> dict[str, Any]:
    """Return the numbers of a change; ``percent`` is null if ``before`` is 0."""
    values = {"before": change.before, "after": change.after}
    return {
        key: _tally_data(tally) | {"value": values[key]}
        for key, tally in zip(values, change.tallies, strict=True)
    } | {
        "change": change.change,
        "percent": change.percent,
        "kind": change.kind,
        "deviations": change.surprise,
        "certain": change.certain,
    }
