# SPDX-License-Identifier: MIT
"""Comparison of the helper with the walk, as JSON-ready data."""

from __future__ import annotations

from typing import Any

from kwalk.model.comparison import Comparison, Pair, Sides, by_kind, events_of, missed
from kwalk.report.calltree import function_name
from kwalk.report.compare.text import cost_unit
from kwalk.report.frame import frame_data
from kwalk.report.summary import verify_data

SCHEMA = "kwalk.compare/2"


def as_data(
    comparison: Comparison, top: int | None = None, addresses: bool = True
) -> dict[str, Any]:
    """Return the comparison as JSON-ready data.

    :param top: Most frequent pairs of stacks of each kind; None for all.
    :param addresses: Include the address of each frame.
    """
    kinds = by_kind(comparison)
    misses = missed(comparison.hottest(), function_name)
    shown = [entry for pairs in kinds.values() for entry in pairs[:top]]
    data: dict[str, Any] = {
        "schema": SCHEMA,
        "function": comparison.function,
        "unit": comparison.unit,
        "kernel": comparison.kernel,
        "unwinder": comparison.unwinder,
        "attach": comparison.attach,
        "seconds": round(comparison.seconds, 3),
        "clock": comparison.clock,
        "events": comparison.events,
        "kinds": {kind.value: events_of(pairs) for kind, pairs in kinds.items()},
        "sides": {
            name: {
                "ledger": vars(ledger) | {"balance": ledger.balance},
                "cost": cost._asdict() | {"unit": cost_unit(comparison)} if cost else None,
                "misses": dict(functions.most_common()),
            }
            for name, ledger, cost, functions in zip(
                Sides._fields, comparison.ledgers, comparison.costs, misses, strict=True
            )
        },
        "pairs": [_pair_data(pair, number, addresses) for pair, number in shown],
        "notes": comparison.notes,
    }
    if comparison.unseen:
        data["unseen"] = comparison.unseen
    if comparison.verify:
        data["verify"] = verify_data(comparison.verify)
    if rest := len(comparison.pairs) - len(shown):
        left = comparison.events - events_of(shown)
        data["left_out"] = {"pairs": rest, "count": left}
    return data


def _pair_data(pair: Pair, number: int, addresses: bool) -> dict[str, Any]:
    data: dict[str, Any] = {"count": number, "kind": pair.kind().value}
    if pair.cause:
        data["cause"] = pair.cause
    for name, stack in zip(Sides._fields, pair[:2], strict=True):
        data[name] = stack and {
            "frames": [frame_data(frame, addresses) for frame in stack.frames],
            "truncated": stack.truncated,
            "fallback": stack.fallback,
        }
    data["only"] = {
        name: [index for index, frame in enumerate(_missed_by_other(pair, side)) if frame]
        for side, name in enumerate(Sides._fields)
    }
    return data


def _missed_by_other(pair: Pair, side: int) -> list[bool]:
    """Return for each frame of a side (0 helper, 1 manual) whether the other side misses it."""
    return [row.missed for row in pair.rows() if row[side] is not None]
