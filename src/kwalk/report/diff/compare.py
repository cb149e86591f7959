# SPDX-License-Identifier: MIT
"""Comparison of two recordings: changes of stacks and of functions.

Stacks are matched by the names of their functions, since addresses change with each boot.
"""

from __future__ import annotations

import math

from kwalk.errors import UsageError
from kwalk.model.builder import added_up
from kwalk.model.profile import ProfileData, kinds_of
from kwalk.model.stack import Frame, Group, Stack
from kwalk.report import calltree
from kwalk.report.diff import chance
from kwalk.report.diff.change import By, Change, Diff, Side, Tally
from kwalk.support.memo import Memo

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
    grouped = kinds_of(before.counts) == kinds_of(after.counts) != {"none"}
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
    tally = Tally(sum(profile.columns.numbers), profile.calls)
    exposure = {By.RATE: profile.seconds, By.SHARE: tally.calls, By.COUNT: 1.0}[by]
    # For counts the factor is an int, which keeps values exact.
    factor = 1 if by == By.COUNT else (100 if by == By.SHARE else 1) / (exposure or math.inf)
    # Shares don't change with the rate of all hits.
    unsteady = 0.0 if by == By.SHARE else chance.unsteadiness(profile.timeline)
    return Side(name, profile, tally, factor, exposure, unsteady)


def _group(group: Group | None) -> str:
    if not group:
        return ""
    # PIDs change when processes are restarted: match processes by their names.
    return str(group._replace(kind="comm") if group.kind == "pid" else group)


def _tallied(profile: ProfileData, grouped: bool) -> _Tallies:
    """Return the tally of each stack, by its group and the names of its functions."""
    names = calltree.FunctionNames(_function)
    paths = Memo[Stack, tuple[str, ...]](lambda stack: tuple(calltree.stack_path(stack, names.of)))
    groups = Memo[Group | None, str](_group if grouped else lambda group: "")
    sums = added_up(profile.columns, paths.__getitem__, groups.__getitem__)
    return {
        (groups[sums.groups[group]], paths[sums.stacks[stack]]): Tally(number, calls)
        for stack, group, number, calls in zip(
            sums.stack_of, sums.group_of, sums.numbers, sums.calls, strict=True
        )
    }


def _function(frame: Frame) -> str:
    return calltree.function_name(frame if frame.name else frame._replace(name=UNKNOWN))


class _Rows:
    """Makes ``Change``s out of tallies."""

    def __init__(self, sides: tuple[Side, Side], by: By) -> None:
        self._sides = sides
        self._by = by
        # By recorded and scaled hits, before and after: many stacks have the same few.
        self._known: dict[tuple[float, ...], float] = {}

    def change(self, names: tuple[str, ...], group: str, before: Tally, after: Tally) -> Change:
        """Return the change between two tallies, without ``certain``."""
        first, second = self._sides
        key = before.count, before.calls, after.count, after.calls
        surprise = self._known.get(key)
        if surprise is None:
            surprise = self._known[key] = self._surprise(before, after)
        values = first.value(before), second.value(after)
        return Change(names, group, (before, after), *values, surprise)

    def _surprise(self, before: Tally, after: Tally) -> float:
        """Return the difference of two tallies in standard deviations."""
        first, second = self._sides
        surprise = chance.surprise(first.sample(before), second.sample(after))
        if self._by == By.SHARE:  # the rest of the hits varies, too
            rest = first.sample(first.tally.less(before)), second.sample(second.tally.less(after))
            surprise = math.hypot(surprise, chance.surprise(*rest))
        values = first.value(before), second.value(after)
        unsteady = math.hypot(first.unsteady * values[0], second.unsteady * values[1])
        if surprise and unsteady:
            change = abs(values[1] - values[0])
            surprise = change / math.hypot(change / surprise, unsteady)
        return surprise


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
