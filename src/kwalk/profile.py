# SPDX-License-Identifier: MIT
"""What a capture yields and every report reads: plain data, no kernel, no drawing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class Frame(NamedTuple):
    """One frame of a stack.

    ``address`` is the return address into it (the entry address for the traced function);
    ``offset`` is in bytes from the symbol's start; ``module`` is "" for vmlinux, ``bpf`` for
    BPF programs; ``name`` is "" where no symbol is known.
    """

    name: str
    offset: int
    module: str
    address: int


@dataclass(slots=True, eq=False)
class Stack:
    """A distinct kernel stack, innermost frame (the traced function) first.

    Equal stacks of one capture are one object, so reports may cache by identity.
    """

    addresses: tuple[int, ...]
    truncated: bool = False
    fallback: bool = False


@dataclass(slots=True)
class Event:
    """One call of the traced function; ``time_ns`` is CLOCK_MONOTONIC."""

    time_ns: int
    cpu: int
    tgid: int
    pid: int
    comm: str
    stack: Stack


@dataclass
class Ledger:
    """Where every hit went: ``hits == recorded + sum(lost.values())``.

    ``truncated`` and ``fallback`` are parts of ``recorded``. ``uncounted`` names what this
    kernel loses without counting it, one sentence each.
    """

    hits: int = 0
    recorded: int = 0
    lost: dict[str, int] = field(default_factory=dict)
    truncated: int = 0
    fallback: int = 0
    uncounted: list[str] = field(default_factory=list)

    def lose(self, cause: str, number: int) -> None:
        """Add ``number`` hits lost to ``cause``."""
        if number:
            self.lost[cause] = self.lost.get(cause, 0) + number

    @property
    def balance(self) -> int:
        """Hits that neither ``recorded`` nor ``lost`` explains; 0 unless kwalk has a bug."""
        return self.hits - self.recorded - sum(self.lost.values())


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


@dataclass
class Summary:
    """What a capture was: by which means, on which kernel, and its ledger.

    ``verify`` is None where nothing was to be compared.
    """

    function: str
    method: str
    attach: str
    kernel: str
    ledger: Ledger
    notes: list[str] = field(default_factory=list)
    verify: Verify | None = None
