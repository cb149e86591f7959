# SPDX-License-Identifier: MIT
"""Profile as one JSON object."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from kwalk.model.counts import Counts
from kwalk.model.profile import ProfileData
from kwalk.model.stack import Frame, Group, Stack
from kwalk.report.calls import scaled_timeline
from kwalk.report.count import SCHEMA, left_out, number_data, stack_data
from kwalk.report.frame import frame_data
from kwalk.report.rows import CellKey, texts
from kwalk.report.style import ReportOptions
from kwalk.report.summary import as_data
from kwalk.report.top_n import last
from kwalk.support.memo import Memo


def render(profile: ProfileData, options: ReportOptions) -> Iterator[str]:
    """Yield the object.

    ``timeline`` has the recorded hits of each interval as ``counts`` and, if the capture was
    sampled, the hits that they stand for as ``scaled``.
    """
    shown, left = last(profile.counts, options.top)
    yield _text(as_data(profile.summary, SCHEMA))[:-1] + ',"stacks":['
    yield from _stacks(Counts.of(shown), options.addresses is not False)
    rest = left_out(left)
    timeline = profile.checked_timeline()
    rest["timeline"] = {"ends": timeline.ends, "counts": timeline.totals()}
    if timeline.ends and profile.sampled:
        rest["timeline"]["scaled"] = scaled_timeline(profile).totals()
    rest["facts"] = profile.facts
    yield "]," + _text(rest)[1:] + "\n"


def _stacks(counts: Counts, addresses: bool) -> Iterator[str]:
    """Yield the stacks with commas between."""
    frames = Memo[Frame, str](lambda frame: _text(frame_data(frame, addresses)))

    def stack(found: Stack) -> str:
        told = ",".join(map(frames.__getitem__, found.frames))
        return f"{_text(stack_data(found, ()))[1:-2]}{told}]}}"

    def number(pair: tuple[int, float | None]) -> str:
        return f",{_text(number_data(pair))[:-1]},"

    def group(found: Group | None) -> str:
        return f"{_text(found.as_data())[1:-1]}," if found else ""

    pieces = texts(counts, (CellKey.NUMBER, number), (CellKey.GROUP, group), (CellKey.STACK, stack))
    yield next(pieces, "")[1:]
    yield from pieces


def _text(data: dict[str, Any]) -> str:
    return json.dumps(data, separators=(",", ":"))
