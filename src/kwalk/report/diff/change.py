# SPDX-License-Identifier: MIT
"""Two recordings compared: plain data, which ``compare.compare`` makes of them."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Self

from kwalk.model.profile import ProfileData
from kwalk.report.calltree import CallNode
from kwalk.report.diff.chance import PoissonCount
from kwalk.report.frame_limits import Room


class By(enum.StrEnum):
    """By what the numbers of calls are compared."""

    RATE = "rate"
    SHARE = "share"
    COUNT = "count"


@dataclass(slots=True)
class Tally:
    """Events that were taken, and the calls that they stand for."""

    count: int = 0
    calls: float = 0  # a whole number, and exact, as long as only whole ones are added

    def add(self, count: int, calls: float) -> None:
        """Add so many."""
        self.count += count
        self.calls += calls

    def less(self, other: Tally) -> Tally:
        """Return what is left without the others."""
        return Tally(max(self.count - other.count, 0), max(self.calls - other.calls, 0))


@dataclass(frozen=True)
class Side:
    """One of the two recordings.

    :ivar name: Of its file.
    :ivar tally: Of all its stacks.
    :ivar factor: What calls are multiplied by, so that both sides can be compared.
    :ivar exposure: What calls are in proportion to: seconds, all calls, or 1.
    :ivar unsteady: The standard error of its rate, as a share of it (``chance.unsteadiness``).
    """

    name: str
    profile: ProfileData
    tally: Tally
    factor: float
    exposure: float
    unsteady: float

    def value(self, tally: Tally) -> float:
        """Return calls in the unit of the comparison."""
        return tally.calls * self.factor

    def sample(self, tally: Tally) -> PoissonCount:
        """Return what tells how much of it may be chance."""
        known = tally if tally.count else self.tally
        each = known.calls / known.count if known.count else 1.0
        return PoissonCount(tally.count, each or 1.0, self.exposure)


@dataclass(slots=True)
class Change:
    """A stack, or functions, in both recordings.

    :ivar names: Functions, the outermost first, for a stack; those of one change otherwise.
    :ivar group: Of the stack; "" where groups are not told apart.
    :ivar tallies: What was recorded, before and after.
    :ivar before: Calls, in the unit of the comparison.
    :ivar after: The same, of the other recording.
    :ivar surprise: By how many standard deviations they differ.
    :ivar certain: Whether that is more than chance explains.
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
        """How much more there is, in the unit of the comparison; less is below 0."""
        return self.after - self.before

    @property
    def percent(self) -> float | None:
        """The change in percent of what was before; None for what is new."""
        return 100 * self.change / self.before if self.before else None

    @property
    def kind(self) -> str:
        """``new``, ``gone``, ``more``, ``less`` or ``same``."""
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
    """Two recordings compared.

    :ivar unit: Of all values, such as ``calls/s``.
    :ivar stacks: Every stack of either recording, those that changed least first.
    :ivar functions: The same for functions: calls whose stacks lead through them. Those whose calls
        are equal are one.
    :ivar total: All stacks together.
    :ivar grouped: Whether stacks are told apart by their groups.
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
        """Return the merged tree, under a node without a name.

        :param callers: The traced function comes first; else the outermost frame does.
        :param room: Is told of what is left out: what changed least.
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
