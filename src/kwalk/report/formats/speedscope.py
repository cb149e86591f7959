# SPDX-License-Identifier: MIT
"""JSON for https://www.speedscope.app: a profile of all stacks, then one for each group."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from kwalk.model.profile import ProfileData
from kwalk.model.stack import Count, Frame, Stack
from kwalk.report import headings, summary
from kwalk.report.calltree import TRUNCATED, function_name
from kwalk.report.style import ReportOptions
from kwalk.report.top_n import cut
from kwalk.version import __version__

SCHEMA = "https://www.speedscope.app/file-format-schema.json"


def render(profile: ProfileData, options: ReportOptions) -> Iterator[str]:
    """Yield the file's JSON.

    The file and its first profile are named after the title and hits = recorded + lost, which
    speedscope shows; the whole ledger is in ``kwalk``, which it ignores. Stacks are sorted by name,
    so "Time Order" is the order of names.
    """
    shown = cut(profile, options.top)
    table = _Table()
    groups: dict[str, list[Count]] = {}
    for count in shown:
        if count.group:
            groups.setdefault(str(count.group), []).append(count)
    title = headings.title(profile, options.title)
    profiles = [_sampled(title, shown, table)]
    # The hottest group first.
    order = sorted(groups.items(), key=lambda item: (-sum(c.calls for c in item[1]), item[0]))
    profiles += [_sampled(name, counts, table) for name, counts in order]
    data = {
        "$schema": SCHEMA,
        "name": title,
        "exporter": f"kwalk {__version__}",
        "activeProfileIndex": 0,
        "profiles": profiles,
        "shared": {"frames": table.frames},
        "kwalk": summary.as_data(profile.summary, "kwalk.speedscope/2") | {"facts": profile.facts},
    }
    yield json.dumps(data, separators=(",", ":")) + "\n"


class _Table:
    """Table of the functions of all stacks (``shared.frames``)."""

    def __init__(self) -> None:
        self.frames: list[dict[str, Any]] = []
        self._known: dict[tuple[str, str], int] = {}
        self._samples: dict[Stack, list[int]] = {}

    def sample(self, stack: Stack) -> list[int]:
        """Return a stack as indices of functions, root first."""
        found = self._samples.get(stack)
        if found is None:
            found = [self._frame(frame) for frame in stack.frames]
            if stack.truncated:
                found.append(self._number(TRUNCATED, ""))
            found.reverse()
            self._samples[stack] = found
        return found

    def _frame(self, frame: Frame) -> int:
        return self._number(function_name(frame, source=False), frame.source)

    def _number(self, name: str, source: str) -> int:
        known = self._known.get((name, source))
        if known is None:
            known = self._known[name, source] = len(self.frames)
            file, _, line = source.rpartition(":")
            self.frames.append({"name": name} | ({"file": file, "line": int(line)} if file else {}))
        return known

    def names(self, sample: list[int]) -> list[str]:
        """Return the names of a sample's functions, the sort key of samples."""
        return [self.frames[number]["name"] for number in sample]


def _sampled(name: str, counts: Iterable[Count], table: _Table) -> dict[str, Any]:
    """Return a profile; equal stacks of several groups are merged."""
    weights: dict[tuple[int, ...], float] = {}
    for count in counts:
        key = tuple(table.sample(count.stack))
        weights[key] = weights.get(key, 0) + count.calls
    samples = sorted(weights, key=lambda sample: (table.names(list(sample)), sample))
    found = [weights[sample] for sample in samples]
    return {
        "type": "sampled",
        "name": name,
        "unit": "none",
        "startValue": 0,
        "endValue": sum(found),
        "samples": samples,
        "weights": found,
    }
