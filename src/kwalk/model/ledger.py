# SPDX-License-Identifier: MIT
"""Where every hit of a capture went, and how it was captured: plain data."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from kwalk.model.stack import Stack

# Causes of hits that narrowing a recording leaves out.
NARROWED = ("other_callers", "other_groups", "other_seconds")
# Causes that the user chose: filters, sampling, an end of the output.
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
    :ivar not_wanted: Hits that the user excluded, by cause (``NOT_WANTED``).
    :ivar uncounted: Losses that this kernel does not count, one sentence each.
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
        """Make the balance 0: count unexplained hits as lost to ``cause``.

        For a running capture, whose counters are not read at one instant, and for files from
        anywhere. ``hits`` is raised where recorded hits and causes add up to more.
        """
        self.hits = max(self.hits, self.recorded + sum(self.causes.values()))
        self.lose(cause, self.balance)

    @property
    def causes(self) -> dict[str, int]:
        """Hits without a stack by cause, both ``not_wanted`` and ``lost``."""
        return self.not_wanted | self.lost

    @property
    def balance(self) -> int:
        """Unexplained hits; 0 unless kwalk has a bug."""
        return self.hits - self.recorded - sum(self.causes.values())

    def copy(self) -> Ledger:
        """Return a copy that shares nothing with this ledger."""
        return replace(
            self,
            lost=dict(self.lost),
            not_wanted=dict(self.not_wanted),
            uncounted=list(self.uncounted),
        )


class Difference(NamedTuple):
    """The two stacks of a hit for which the walk and the kernel's unwinder disagree."""

    walked: Stack
    kernel: Stack


@dataclass
class Verify:
    """The walk compared with the kernel's own unwinder, on the same hits.

    :ivar every: One in this many hits was compared, at random; 0: only the first hits, to decide
        whether to trust the walk.
    :ivar checked: Number of hits compared; fallbacks are never compared.
    :ivar mismatches: Compared hits that differ without an explanation.
    :ivar missing_caller: Compared hits where the kernel lacks the direct caller, and no more.
    :ivar kernel_wrong: Compared hits that the kernel is known to unwind wrongly, by cause.
    :ivar differences: The first mismatches.
    """

    every: int = 0
    checked: int = 0
    mismatches: int = 0
    missing_caller: int = 0
    kernel_wrong: dict[str, int] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)


class TreeUse(NamedTuple):
    """Use of the manual method's calling-context tree.

    :ivar used: Number of nodes that hold a frame.
    :ivar size: Number of nodes that it has room for.
    :ivar full: Hits whose stack was truncated because the tree was full.
    """

    used: int
    size: int
    full: int


class HotUse(NamedTuple):
    """Use of the programs that were generated for the stacks seen most (``kwalk/hot/``).

    :ivar taken: Hits whose stack they compared and knew.
    :ivar missed: Hits whose stack they compared and did not know; these were walked.
    :ivar programs: Programs generated.
    :ivar why: Why none is in use any more; "" if nothing is wrong.
    """

    taken: int
    missed: int
    programs: int
    why: str = ""


class NestedUse(NamedTuple):
    """Use of the programs that take nested hits: hits while the probe's own program was running.

    :ivar taken: Nested hits that they took; those not taken are lost to ``recursion``.
    :ivar programs: Programs attached for this, besides the probe's own.
    :ivar twice: Hits that must have been counted twice, at least.
    :ivar why: Why nested hits are not taken; "" if they are.
    """

    taken: int
    programs: int
    twice: int = 0
    why: str = ""


class Sampling(NamedTuple):
    """Result of ``--budget``.

    :ivar budget: Upper limit of the overhead, a share of the CPU time that the machine used.
    :ivar cost: Estimated overhead, in the same unit.
    :ivar scale: Calls for each sampled hit.
    """

    budget: float
    cost: float
    scale: float


@dataclass
class Summary:
    """Method, attachment, kernel and ledger of a capture.

    :ivar function: Traced functions, as the user gave them.
    :ivar method: ``manual``, ``helper`` or both.
    :ivar attach: Way to attach, such as ``fentry``.
    :ivar kernel: Release of the kernel, as uname has it.
    :ivar notes: Sentences for the user.
    :ivar verify: None without a comparison.
    :ivar tree: None without a walk.
    :ivar sampling: None without a budget.
    :ivar unit: Unit of hits, such as ``samples``.
    :ivar seconds: Time for which hits were counted, by CLOCK_MONOTONIC: from the attached probe
        until detaching began (or until now); None where it is not known.
    :ivar hot: None where nothing was generated.
    :ivar nested: None where no hit was nested, and none was expected to be.
    :ivar unseen: Reason why the kernel did not always run the program; "" where none is known.
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
    hot: HotUse | None = None
    nested: NestedUse | None = None

    @property
    def rate(self) -> float | None:
        """Hits a second, also not wanted and lost ones; None where the time is not known."""
        rate = self.ledger.hits / self.seconds if self.seconds else math.inf
        return rate if math.isfinite(rate) else None
