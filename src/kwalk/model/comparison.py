# SPDX-License-Identifier: MIT
"""Helper and manual on the same hits: both stacks of each, both ledgers, both costs.

Plain data. ``cli/comparing.py`` fills it, ``report/compare/`` draws it.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Generic, NamedTuple, TypeVar

from kwalk.model.ledger import Ledger, Verify
from kwalk.model.stack import Frame, Stack

_Item = TypeVar("_Item")


class Sides(NamedTuple, Generic[_Item]):
    """A value for each method."""

    helper: _Item
    manual: _Item


class PairKind(enum.Enum):
    """Relation of the two stacks of one hit."""

    SAME = "same"
    HELPER_LACKS = "helper_lacks"
    MANUAL_LACKS = "manual_lacks"
    DIFFERENT = "different"
    HELPER_LOST = "helper_lost"
    MANUAL_LOST = "manual_lost"


class FramePair(NamedTuple):
    """Equal frames of both stacks, or a frame of one side only.

    :ivar missed: The other side lacks the frame although its stack goes on beyond this place.
    """

    helper: Frame | None
    manual: Frame | None
    missed: bool = False


class Pair(NamedTuple):
    """The two stacks of one hit, None on the side that lost it.

    :ivar cause: Loss cause of that side; "" where neither is lost.
    """

    helper: Stack | None
    manual: Stack | None
    cause: str = ""

    def rows(self) -> list[FramePair]:
        """Return the frames side by side, innermost first."""
        if not self.helper or not self.manual:
            left = self.helper.frames if self.helper else ()
            right = self.manual.frames if self.manual else ()
            return [
                *(FramePair(frame, None) for frame in left),
                *(FramePair(None, frame) for frame in right),
            ]
        return list(_aligned(self.helper, self.manual))

    def kind(self) -> PairKind:
        """Return the relation of the two stacks."""
        if not self.helper:
            return PairKind.HELPER_LOST
        if not self.manual:
            return PairKind.MANUAL_LOST
        missed = {row.helper is None for row in self.rows() if row.missed}
        if len(missed) == 2:
            return PairKind.DIFFERENT
        if not missed:
            return PairKind.SAME
        return PairKind.HELPER_LACKS if True in missed else PairKind.MANUAL_LACKS


def _aligned(helper: Stack, manual: Stack) -> Iterator[FramePair]:
    matcher = SequenceMatcher(None, helper.addresses, manual.addresses, autojunk=False)
    for tag, first, last, begin, end in matcher.get_opcodes():
        if tag == "equal":
            yield from map(FramePair, helper.frames[first:last], manual.frames[begin:end])
            continue
        # A truncated stack misses no frame beyond its end.
        cut = manual.truncated and begin == end == len(manual.frames)
        yield from (FramePair(frame, None, not cut) for frame in helper.frames[first:last])
        cut = helper.truncated and first == last == len(helper.frames)
        yield from (FramePair(None, frame, not cut) for frame in manual.frames[begin:end])


class MethodCost(NamedTuple):
    """Run time of a method's program when it counts alone.

    :ivar each: Mean run time for a hit, in nanoseconds of the clock.
    :ivar events: Number of hits that were measured.
    :ivar attach: Way to attach, as in ``Summary``.
    """

    each: float
    events: int
    attach: str


@dataclass
class Comparison:
    """All hits of a function, by both methods.

    :ivar attach: Way to attach the program that took both stacks.
    :ivar unwinder: Name of the kernel's unwinder, such as ``frame pointer``.
    :ivar unit: Unit of hits, such as ``calls``.
    :ivar seconds: Time for which hits were counted.
    :ivar pairs: Number of hits by their pair of stacks.
    :ivar ledgers: Both ledgers, of the same hits.
    :ivar costs: Both costs; None where not measured.
    :ivar clock: ``instructions`` where the clock counts these, 1 ns each; else ``time``.
    :ivar verify: Manual's stacks compared with the kernel's unwinder; None without ``--verify``.
    :ivar unseen: See ``Summary``.
    """

    function: str
    attach: str
    kernel: str
    unwinder: str
    unit: str
    seconds: float
    pairs: Counter[Pair]
    ledgers: Sides[Ledger]
    costs: Sides[MethodCost | None]
    clock: str = "time"
    notes: list[str] = field(default_factory=list)
    verify: Verify | None = None
    unseen: str = ""

    def hottest(self) -> list[tuple[Pair, int]]:
        """Return the pairs, the most frequent first."""
        return self.pairs.most_common()

    @property
    def events(self) -> int:
        """Number of hits that have a pair."""
        return self.pairs.total()


def by_kind(comparison: Comparison) -> dict[PairKind, list[tuple[Pair, int]]]:
    """Return the pairs by their kind, the most frequent kind and pair first."""
    found: dict[PairKind, list[tuple[Pair, int]]] = {}
    for pair, number in comparison.hottest():
        found.setdefault(pair.kind(), []).append((pair, number))
    return dict(sorted(found.items(), key=lambda item: -events_of(item[1])))


def events_of(pairs: Iterable[tuple[Pair, int]]) -> int:
    """Return the number of hits of these pairs."""
    return sum(number for _, number in pairs)


def missed(pairs: Iterable[tuple[Pair, int]], name: Callable[[Frame], str]) -> Sides[Counter[str]]:
    """Return for each side the functions whose frames it misses, with the number of hits."""
    found: Sides[Counter[str]] = Sides(Counter(), Counter())
    for pair, number in pairs:
        rows = [row for row in pair.rows() if row.missed]
        # A function missed twice in a stack is missed in one hit.
        for side, frames in (
            (found.helper, {name(row.manual) for row in rows if row.manual}),
            (found.manual, {name(row.helper) for row in rows if row.helper}),
        ):
            side.update(dict.fromkeys(frames, number))
    return found


def nameless(comparison: Comparison) -> bool:
    """Whether any frame has no symbol, and is shown by its address."""
    stacks = [stack for pair in comparison.pairs for stack in pair[:2] if stack]
    return any(not frame.name for stack in stacks for frame in stack.frames)
