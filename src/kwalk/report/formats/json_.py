# SPDX-License-Identifier: MIT
"""Profile as one JSON object."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from kwalk.model.profile import ProfileData
from kwalk.model.stack import Count, Frame
from kwalk.report.calls import scaled_timeline
from kwalk.report.count import SCHEMA, left_out, stack_data
from kwalk.report.frame import frame_data
from kwalk.report.style import ReportOptions
from kwalk.report.summary import as_data
from kwalk.report.top_n import last

# Stacks in a piece of output.
_STACKS = 1024


def render(profile: ProfileData, options: ReportOptions) -> Iterator[str]:
    """Yield the object.

    ``timeline`` has the recorded hits of each interval as ``counts`` and, if the capture was
    sampled, the hits that they stand for as ``scaled``.
    """
    shown, left = last(profile.counts, options.top)
    yield _text(as_data(profile.summary, SCHEMA))[:-1] + ',"stacks":['
    yield from _stacks(shown, options.addresses is not False)
    rest = left_out(left)
    timeline = profile.checked_timeline()
    rest["timeline"] = {"ends": timeline.ends, "counts": timeline.totals()}
    if timeline.ends and any(count.scaled is not None for count in profile):
        rest["timeline"]["scaled"] = scaled_timeline(profile).totals()
    rest["facts"] = profile.facts
    yield "]," + _text(rest)[1:] + "\n"


def _stacks(counts: Sequence[Count], addresses: bool) -> Iterator[str]:
    """Yield the stacks with commas between, the text of each distinct frame made once."""
    known: dict[Frame, str] = {}
    for start in range(0, len(counts), _STACKS):
        texts = []
        for count in counts[start : start + _STACKS]:
            frames = []
            for frame in count.stack.frames:
                if (text := known.get(frame)) is None:
                    text = known[frame] = _text(frame_data(frame, addresses))
                frames.append(text)
            texts.append(f'{_text(stack_data(count))[:-1]},"frames":[{",".join(frames)}]}}')
        yield "," * bool(start) + ",".join(texts)


def _text(data: dict[str, Any]) -> str:
    return json.dumps(data, separators=(",", ":"))
