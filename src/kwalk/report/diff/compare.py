# SPDX-License-Identifier: MIT
"""Comparison of two recordings: changes of stacks and of functions.

Stacks are matched by the names of their functions, since addresses change with each boot.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from kwalk.errors import UsageError
from kwalk.model.builder import Sums
from kwalk.model.profile import ProfileData, kinds_of
from kwalk.model.stack import Count, Frame
from kwalk.report import calltree
from kwalk.report.diff import chance
from kwalk.report.diff.change import By, Change, Diff, Side, Tally

UNKNOWN = "[unknown]"
"""Name of any function without a symbol: its address is another one in the next boot."""


def compare(
    before: ProfileData, after: ProfileData, by: By | None = None, names: tuple[str, str] = ("", "")
) -> Diff:
    """Compare two recordings.

    :param by: Quantity to compare; None for the rate if both durations are known, else the share.
    :param names: File names of both recordings.
    :raises UsageError: if rates are to be compared and a duration is unknown.
    """
    if by == By.RATE and not (before.seconds and after.seconds):
        raise UsageError(
            "one of the recordings has no duration, so it has no rate",
            "Compare with --by share or --by count.",
        )
    by = by or (By.RATE if before.seconds and after.seconds else By.SHARE)
    sides = _side(names[0], before, by), _side(names[1], after, by)
    grouped = kinds_of(before) == kinds_of(after) != {"none"}
    rows = _Rows(sides, by)
    tallies = _tallied(before, grouped), _tallied(after, grouped)
    stacks = [
        rows.change(path, group, *(side.get((group, path)) or Tally() for side in tallies))
        for group, path in tallies[0] | tallies[1]
    ]
    unit = before.summary.unit
    units = {By.RATE: f"{unit}/s", By.SHARE: f"% of all {unit}", By.COUNT: unit}
    return Diff(
        *sides,
        by,
        units[by],
        _settled(stacks),
        _settled(_functions(rows, stacks)),
        _settled([rows.change((), "", sides[0].tally, sides[1].tally)])[0],
        grouped,
    )


_Tallies = dict[tuple[str, tuple[str, ...]], Tally]


def _side(name: str, profile: ProfileData, by: By) -> Side:
    tally = Tally(sum(count.count for count in profile), profile.calls)
    exposure = {By.RATE: profile.seconds, By.SHARE: tally.calls, By.COUNT: 1.0}[by]
    # For counts the factor is an int, which keeps values exact.
    factor = 1 if by == By.COUNT else (100 if by == By.SHARE else 1) / (exposure or math.inf)
    # Shares don't change with the rate of all hits.
    unsteady = 0.0 if by == By.SHARE else chance.unsteadiness(profile.timeline)
    return Side(name, profile, tally, factor, exposure, unsteady)


def _group(count: Count) -> str:
    if not count.group:
        return ""
    # PIDs change when processes are restarted: match processes by their names.
    return str(count.group._replace(kind="comm") if count.group.kind == "pid" else count.group)


def _tallied(profile: ProfileData, grouped: bool) -> _Tallies:
    """Return the tally of each stack, by its group and the names of its functions."""
    paths: dict[int, tuple[str, ...]] = {}
    names = calltree.FunctionNames(_function)
    sums: Sums[tuple[str, tuple[str, ...]]] = Sums()
    for count in profile:
        path = paths.get(id(count.stack))
        if path is None:
            path = paths[id(count.stack)] = _path(count, names.of)
        sums.add((_group(count) if grouped else "", path), count.count, count.scaled)
    return {
        key: Tally(number, number if scaled is None else scaled) for key, number, scaled in sums
    }


def _function(frame: Frame) -> str:
    return calltree.function_name(frame if frame.name else frame._replace(name=UNKNOWN))


def _path(count: Count, name: Callable[[Frame], str]) -> tuple[str, ...]:
    names = list(map(name, count.stack.frames))
    if count.stack.truncated:
        names.append(calltree.TRUNCATED)
    return tuple(reversed(names))


class _Rows:
    """Makes ``Change``s out of tallies."""

    def __init__(self, sides: tuple[Side, Side], by: By) -> None:
        self._sides = sides
        self._by = by

    def change(self, names: tuple[str, ...], group: str, before: Tally, after: Tally) -> Change:
        """Return the change between two tallies, without ``certain``."""
        first, second = self._sides
        found = Change(names, group, (before, after), first.value(before), second.value(after))
        surprise = chance.surprise(first.sample(before), second.sample(after))
        if self._by == By.SHARE:  # the rest of the hits varies, too
            rest = first.sample(first.tally.less(before)), second.sample(second.tally.less(after))
            surprise = math.hypot(surprise, chance.surprise(*rest))
        unsteady = math.hypot(first.unsteady * found.before, second.unsteady * found.after)
        if surprise and unsteady:
            deviation = abs(found.change) / surprise
            surprise = abs(found.change) / math.hypot(deviation, unsteady)
        found.surprise = surprise
        return found


def _functions(rows: _Rows, stacks: list[Change]) -> list[Change]:
    """Return the changes of functions; functions of exactly the same stacks share one."""
    where: dict[str, list[int]] = {}
    for index, stack in enumerate(stacks):
        for name in dict.fromkeys(stack.names):
            where.setdefault(name, []).append(index)
    same: dict[tuple[int, ...], list[str]] = {}
    for name, places in where.items():
        same.setdefault(tuple(places), []).append(name)
    found = []
    for indices, names in same.items():
        sums = Tally(), Tally()
        for index in indices:
            for total, tally in zip(sums, stacks[index].tallies, strict=True):
                total.add(tally.count, tally.calls)
        found.append(rows.change(tuple(names), "", *sums))
    return found


def _settled(changes: list[Change]) -> list[Change]:
    """Set ``certain`` of each change; return the changes sorted, the smallest first."""
    least = chance.threshold(len(changes))
    for change in changes:
        change.certain = change.surprise > least
    return sorted(changes, key=lambda found: (abs(found.change), found.names, found.group))
