# SPDX-License-Identifier: MIT
"""Result of comparing two recordings, as plain data; written by ``compare.compare``."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Self

from kwalk.model.profile import ProfileData
from kwalk.report.calltree import CallNode
from kwalk.report.diff.chance import PoissonCount
from kwalk.report.frame_limits import Room


class By(enum.StrEnum):
    """Quantity that is compared: hits a second, share of all hits, or hits."""

    RATE = "rate"
    SHARE = "share"
    COUNT = "count"


@dataclass(slots=True)
class Tally:
    """Recorded hits, and the hits that they stand for if sampled."""

    count: int = 0
    calls: float = 0  # an int, and exact, as long as only ints are added

    def add(self, count: int, calls: float) -> None:
        """Add recorded hits and the hits that they stand for."""
        self.count += count
        self.calls += calls

    def less(self, other: Tally) -> Tally:
        """Return the difference, 0 at least."""
        return Tally(max(self.count - other.count, 0), max(self.calls - other.calls, 0))


@dataclass(frozen=True)
class Side:
    """One of the two recordings.

    :ivar name: File name, "" if unknown.
    :ivar tally: Sum of all its stacks.
    :ivar factor: Factor from hits to the unit of the comparison.
    :ivar exposure: Seconds, all hits, or 1 (see ``PoissonCount``).
    :ivar unsteady: Relative standard error of its rate (``chance.unsteadiness``).
    """

    name: str
    profile: ProfileData
    tally: Tally
    factor: float
    exposure: float
    unsteady: float

    def value(self, tally: Tally) -> float:
        """Return a tally in the unit of the comparison."""
        return tally.calls * self.factor

    def sample(self, tally: Tally) -> PoissonCount:
        """Return a tally as a Poisson count, for the significance test."""
        known = tally if tally.count else self.tally
        each = known.calls / known.count if known.count else 1.0
        return PoissonCount(tally.count, each or 1.0, self.exposure)


@dataclass(slots=True)
class Change:
    """Change of a stack, or of functions with the same change.

    :ivar names: Functions of the stack, the outermost first; else the functions.
    :ivar group: Group of the stack; "" if groups are not compared.
    :ivar tallies: Recorded hits before and after.
    :ivar before: Hits in the earlier recording, in the unit of the comparison.
    :ivar after: Hits in the later recording, likewise.
    :ivar surprise: Difference in standard deviations.
    :ivar certain: The difference is significant: more than chance explains.
    """

    names: tuple[str, ...]
    group: str
    tallies: tuple[Tally, Tally]
    before: float
    after: float
    surprise: float = 0.0
    certain: bool = False

    @property
    def change(self) -> float:
        """Increase in the unit of the comparison; negative for a decrease."""
        return self.after - self.before

    @property
    def percent(self) -> float | None:
        """Increase in percent of ``before``; None if that is 0."""
        return 100 * self.change / self.before if self.before else None

    @property
    def kind(self) -> str:
        """Kind of the change: ``new``, ``gone``, ``more``, ``less`` or ``same``."""
        if not self.before or not self.after:
            return "new" if self.after else "gone" if self.before else "same"
        return "more" if self.change > 0 else "less" if self.change < 0 else "same"


def _frames_of(change: Change) -> int:
    return len(change.names)


def _moved(change: Change) -> tuple[bool, float, float]:
    return change.certain, abs(change.change), change.after


@dataclass(slots=True)
class DiffNode(CallNode):
    """Node of the merged call tree of both recordings, in the unit of the comparison.

    :ivar stacks: Number of stacks that contain this node.
    :ivar changed: Number of these with a significant change.
    :ivar moved: Sum of the absolute values of these changes.
    :ivar net: Sum of these changes with their signs.
    :ivar own_moved: Absolute change of the stack that ends here, if significant; else 0.
    """

    stacks: int = 0
    changed: int = 0
    moved: float = 0
    net: float = 0
    own_moved: float = 0

    def most_changed(self) -> list[Self]:
        """Return the children by falling ``moved``."""
        return sorted(
            self.children.values(), key=lambda node: (-node.moved, -node.total, node.name)
        )


@dataclass(frozen=True)
class Diff:
    """Result of comparing two recordings.

    :ivar unit: Unit of all values, such as ``calls/s``.
    :ivar stacks: Change of each stack of either recording, the smallest first.
    :ivar functions: Change of the hits whose stacks contain a function, the smallest first.
        Functions of exactly the same stacks share an entry.
    :ivar total: Change of all hits.
    :ivar grouped: Stacks of different groups are compared separately.
    """

    before: Side
    after: Side
    by: By
    unit: str
    stacks: list[Change]
    functions: list[Change]
    total: Change
    grouped: bool

    def tree(self, callers: bool = False, room: Room[Change] | None = None) -> DiffNode:
        """Return the merged call tree, under a root node without a name.

        :param callers: Begin at the traced function; by default begin at the outermost frame.
        :param room: Limit of frames, which collects the stacks left out: the smallest changes.
        """
        top = DiffNode("")
        room = Room() if room is None else room
        for change in room.ordered(self.stacks, _frames_of, _moved):
            names = [change.group, *change.names] if self.grouped else [*change.names]
            if callers:
                names.reverse()
            if not room.takes(change, top, names):
                continue
            before, after, certain = change.before, change.after, change.certain
            net = after - before if certain else 0
            moved = abs(net)
            nodes = [top]
            for name in names:
                below = nodes[-1].children
                node = below.get(name)
                if node is None:
                    node = below[name] = DiffNode(name)
                nodes.append(node)
            for node in nodes:
                node.before += before
                node.total += after
                node.stacks += 1
                node.changed += certain
                node.moved += moved
                node.net += net
            nodes[-1].own_before += before
            nodes[-1].own += after
            nodes[-1].own_moved += moved
        return top
