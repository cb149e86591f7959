# SPDX-License-Identifier: MIT
"""JSON for https://www.speedscope.app: a profile of all stacks, then one for each group."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from kwalk.model.counts import Counts
from kwalk.model.profile import ProfileData
from kwalk.model.stack import Frame, Stack
from kwalk.report import headings, summary
from kwalk.report.calltree import TRUNCATED, function_name
from kwalk.report.style import ReportOptions
from kwalk.report.top_n import cut
from kwalk.support.memo import Memo
from kwalk.version import __version__

SCHEMA = "https://www.speedscope.app/file-format-schema.json"


def render(profile: ProfileData, options: ReportOptions) -> Iterator[str]:
    """Yield the file's JSON.

    The file and its first profile are named after the title and hits = recorded + lost, which
    speedscope shows; the whole ledger is in ``kwalk``, which it ignores. Stacks are sorted by name,
    so "Time Order" is the order of names.
    """
    counts = cut(profile, options.top).columns
    table = _Table()
    # For each stack the place of its sample; stacks of equal functions share one.
    found = {row: table.sample(counts.stacks[row]) for row in dict.fromkeys(counts.stack_of)}
    samples = sorted(set(found.values()), key=lambda sample: (table.names(sample), sample))
    places = {sample: place for place, sample in enumerate(samples)}
    place_of = {row: places[sample] for row, sample in found.items()}
    rows = list(zip(map(place_of.__getitem__, counts.stack_of), counts.calls, strict=True))
    told = list(map(_text, samples))
    title = headings.title(profile, options.title)
    head = {"$schema": SCHEMA, "name": title, "exporter": f"kwalk {__version__}"}
    yield _text(head | {"activeProfileIndex": 0})[:-1] + ',"profiles":['
    yield _sampled(title, rows, told)
    for name, part in _groups(counts, rows):
        yield "," + _sampled(name, part, told)
    facts = summary.as_data(profile.summary, "kwalk.speedscope/2") | {"facts": profile.facts}
    yield "]," + _text({"shared": {"frames": table.frames}, "kwalk": facts})[1:] + "\n"


_Rows = list[tuple[int, float]]


def _groups(counts: Counts, rows: _Rows) -> list[tuple[str, _Rows]]:
    """Return the rows of each group by its name, the hottest group first."""
    names = [str(group) if group else "" for group in counts.groups]
    groups: dict[str, _Rows] = {}
    for group, row in zip(counts.group_of, rows, strict=True):
        groups.setdefault(names[group], []).append(row)
    groups.pop("", None)
    return sorted(groups.items(), key=lambda item: (-sum(calls for _, calls in item[1]), item[0]))


def _text(data: Any) -> str:
    return json.dumps(data, separators=(",", ":"))


class _Table:
    """Table of the functions of all stacks (``shared.frames``)."""

    def __init__(self) -> None:
        self.frames: list[dict[str, Any]] = []
        self._known: dict[tuple[str, str], int] = {}
        self._frames = Memo(self._frame)

    def sample(self, stack: Stack) -> tuple[int, ...]:
        """Return a stack as indices of functions, root first."""
        found = list(map(self._frames.__getitem__, stack.frames))
        if stack.truncated:
            found.append(self._number(TRUNCATED, ""))
        return tuple(reversed(found))

    def _frame(self, frame: Frame) -> int:
        return self._number(function_name(frame, source=False), frame.source)

    def _number(self, name: str, source: str) -> int:
        known = self._known.get((name, source))
        if known is None:
            known = self._known[name, source] = len(self.frames)
            file, _, line = source.rpartition(":")
            self.frames.append({"name": name} | ({"file": file, "line": int(line)} if file else {}))
        return known

    def names(self, sample: Iterable[int]) -> list[str]:
        """Return the names of a sample's functions, the sort key of samples."""
        return [self.frames[number]["name"] for number in sample]


def _sampled(name: str, rows: _Rows, told: Sequence[str]) -> str:
    """Return a profile.

    :param rows: Place of the sample, and calls, of each row; rows of several groups are merged.
    :param told: Samples as JSON, by place.
    """
    weights: dict[int, float] = {}
    for place, calls in rows:
        weights[place] = weights.get(place, 0) + calls
    places = sorted(weights)
    found = list(map(weights.__getitem__, places))
    data = {"type": "sampled", "name": name, "unit": "none", "startValue": 0}
    samples = ",".join(map(told.__getitem__, places))
    return (
        f'{_text(data | {"endValue": sum(found)})[:-1]},"samples":[{samples}],'
        f'"weights":{_text(found)}}}'
    )
