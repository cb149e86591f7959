# SPDX-License-Identifier: MIT
"""Compare two recordings: what got more, what got less, what is new, what is gone.

Stacks are matched by the names of their functions: addresses change with each boot and kernel.
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
"""A function without a symbol: its address means nothing in another boot."""


def compare(
    before: ProfileData, after: ProfileData, by: By | None = None, names: tuple[str, str] = ("", "")
) -> Diff:
    """Compare two recordings.

    :param by: None: by calls a second where both recordings know how long they took, else by
        shares of all calls.
    :param names: Of their files.
    :raises UsageError: if there are no seconds to compare by.
    """
    if by == By.RATE and not (before.seconds and after.seconds):
        raise UsageError(
            "one of the recordings does not say how long it took",
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
    # Compared as they are, calls stay whole numbers.
    factor = 1 if by == By.COUNT else (100 if by == By.SHARE else 1) / (exposure or math.inf)
    # When more or less of everything is called, shares stay.
    unsteady = 0.0 if by == By.SHARE else chance.unsteadiness(profile.timeline)
    return Side(name, profile, tally, factor, exposure, unsteady)


def _group(count: Count) -> str:
    if not count.group:
        return ""
    # Processes have other numbers when they are started again.
    return str(count.group._replace(kind="comm") if count.group.kind == "pid" else count.group)


def _tallied(profile: ProfileData, grouped: bool) -> _Tallies:
    """Return what was recorded of each stack, by its group and the names of its functions."""
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
    """Makes changes of what was recorded."""

    def __init__(self, sides: tuple[Side, Side], by: By) -> None:
        self._sides = sides
        self._by = by

    def change(self, names: tuple[str, ...], group: str, before: Tally, after: Tally) -> Change:
        """Return the change of what was recorded before and after."""
        first, second = self._sides
        found = Change(names, group, (before, after), first.value(before), second.value(after))
        surprise = chance.surprise(first.sample(before), second.sample(after))
        if self._by == By.SHARE:  # what is in this share is missing in the others
            rest = first.sample(first.tally.less(before)), second.sample(second.tally.less(after))
            surprise = math.hypot(surprise, chance.surprise(*rest))
        unsteady = math.hypot(first.unsteady * found.before, second.unsteady * found.after)
        if surprise and unsteady:
            deviation = abs(found.change) / surprise
            surprise = abs(found.change) / math.hypot(deviation, unsteady)
        found.surprise = surprise
        return found


def _functions(rows: _Rows, stacks: list[Change]) -> list[Change]:
    """Return the changes of functions; those that are in the same stacks are one."""
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
    """Return the changes, the smallest first, and whether each is more than chance explains."""
    least = chance.threshold(len(changes))
    for change in changes:
        change.certain = change.surprise > least
    return sorted(changes, key=lambda found: (abs(found.change), found.names, found.group))
