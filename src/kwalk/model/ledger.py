# SPDX-License-Identifier: MIT
"""Where every hit of a capture went, and by which means it was made: plain data."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from kwalk.model.stack import Stack

# Causes by which a recording is narrowed.
NARROWED = ("other_callers", "other_groups", "other_seconds")
# Causes for which the user asked: filters, sampling, or enough had been printed.
NOT_WANTED = frozenset(
    (
        *NARROWED,
        "after_snapshot",
        "filtered",
        "not_taken",
        "past_count",
        "sampled_out",
        "user_mode",
    )
)


@dataclass
class Ledger:
    """Where every hit went: ``hits == recorded + not wanted + lost``.

    :ivar recorded: Hits with a stack. ``truncated`` and ``fallback`` are parts of it.
    :ivar lost: Hits that should have yielded a stack and did not, by cause.
    :ivar not_wanted: Hits left out because the user asked for it, by cause (``NOT_WANTED``).
    :ivar uncounted: What this kernel loses without counting it, one sentence each.
    """

    hits: int = 0
    recorded: int = 0
    lost: dict[str, int] = field(default_factory=dict)
    truncated: int = 0
    fallback: int = 0
    uncounted: list[str] = field(default_factory=list)
    not_wanted: dict[str, int] = field(default_factory=dict)

    def record(self, stack: Stack, number: int) -> None:
        """Add ``number`` hits with this stack."""
        self.recorded += number
        self.truncated += number * stack.truncated
        self.fallback += number * stack.fallback

    def lose(self, cause: str, number: int) -> None:
        """Add ``number`` hits without a stack: to ``not_wanted`` or ``lost``, as ``cause`` says."""
        if number:
            causes = self.not_wanted if cause in NOT_WANTED else self.lost
            causes[cause] = causes.get(cause, 0) + number

    def close(self, cause: str) -> None:
        """Make the balance 0: count hits without an explanation as lost to ``cause``.

        For a look at a running capture, whose numbers are not read at one instant, and for files
        that can say anything. Where more is explained than ``hits`` says, ``hits`` is raised to it.
        """
        self.hits = max(self.hits, self.recorded + sum(self.causes.values()))
        self.lose(cause, self.balance)

    @property
    def causes(self) -> dict[str, int]:
        """Hits without a stack by cause, both ``not_wanted`` and ``lost``."""
        return self.not_wanted | self.lost

    @property
    def balance(self) -> int:
        """Hits that nothing else here explains; 0 unless kwalk has a bug."""
        return self.hits - self.recorded - sum(self.causes.values())

    def copy(self) -> Ledger:
        """Return a ledger of its own, to go on with."""
        return replace(
            self,
            lost=dict(self.lost),
            not_wanted=dict(self.not_wanted),
            uncounted=list(self.uncounted),
        )


class Difference(NamedTuple):
    """One event about which the walk and the kernel's unwinder disagree."""

    walked: Stack
    kernel: Stack


@dataclass
class Verify:
    """The walk compared with the kernel's own unwinder, on the same events.

    :ivar every: One in so many events was compared, at random; 0: only the first ones, to decide
        whether to trust the walk.
    :ivar checked: Events that were compared. Those that fell back are never among them.
    :ivar mismatches: Of these, how many differ without an explanation.
    :ivar missing_caller: How many differ only in that the kernel lacks the direct caller.
    :ivar kernel_wrong: How many the kernel is known to unwind wrongly, by cause.
    :ivar differences: The first mismatches.
    """

    every: int = 0
    checked: int = 0
    mismatches: int = 0
    missing_caller: int = 0
    kernel_wrong: dict[str, int] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)


class TreeUse(NamedTuple):
    """The calling-context tree of the manual method.

    :ivar used: Nodes that hold a frame.
    :ivar size: How many there is room for.
    :ivar full: Events whose stack was cut off for want of room.
    """

    used: int
    size: int
    full: int


class Sampling(NamedTuple):
    """How ``--budget`` was kept.

    :ivar budget: The most that tracing may cost, a share of the CPU time that the machine used.
    :ivar cost: What it did cost, estimated in the same way.
    :ivar scale: Calls for each one that was taken.
    """

    budget: float
    cost: float
    scale: float


@dataclass
class Summary:
    """What a capture was: by which means, on which kernel, and its ledger.

    ``verify`` is None where nothing was to be compared, ``tree`` where nothing was walked,
    ``sampling`` where every call was taken. ``unit`` is what was counted, such as ``samples``.
    ``seconds`` is how long hits were counted, by CLOCK_MONOTONIC: from the probe being attached
    until it began to be detached (or until now). None where it is not known.
    ``unseen`` is why the kernel did not run the program all the time; "" where nothing tells so.
    """

    function: str
    method: str
    attach: str
    kernel: str
    ledger: Ledger
    notes: list[str] = field(default_factory=list)
    verify: Verify | None = None
    tree: TreeUse | None = None
    sampling: Sampling | None = None
    unit: str = "calls"
    seconds: float | None = None
    unseen: str = ""

    @property
    def rate(self) -> float | None:
        """Hits a second, those not wanted or lost included; None where the time is not known."""
        rate = self.ledger.hits / self.seconds if self.seconds else math.inf
        return rate if math.isfinite(rate) else None
