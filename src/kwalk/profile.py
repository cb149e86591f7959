# SPDX-License-Identifier: MIT
"""What a capture yields and every report reads: plain data, no kernel, no drawing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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


class Who(NamedTuple):
    """Where a call happened: in softirqs and interrupts the task is merely the one that ran."""

    cpu: int
    tgid: int
    pid: int
    comm: str


@dataclass(slots=True)
class Event:
    """One call of the traced function; ``time_ns`` is CLOCK_MONOTONIC."""

    time_ns: int
    who: Who
    stack: Stack


@dataclass(slots=True, eq=False)
class Call:
    """By which stack the function was called, and where; without the time.

    Equal calls of one capture are one object, so reports may cache by identity. ``who`` is None
    where only stacks were asked for.
    """

    stack: Stack
    who: Who | None = None


@dataclass(slots=True)
class Batch:
    """Events in a row, a column each; all but ``calls`` are empty where only stacks were asked for.

    :ivar calls: What was called, by whom.
    :ivar times: CLOCK_MONOTONIC, in nanoseconds.
    :ivar clocks: Time of day as text: ``HH:MM:SS.mmmuuu`` and a space.
    """

    calls: Sequence[Call]
    times: Sequence[int] = ()
    clocks: Sequence[bytes] = ()

    def __len__(self) -> int:
        return len(self.calls)

    def part(self, start: int, stop: int | None = None) -> Batch:
        """Return some of the events, as a slice."""
        columns = (self.calls, self.times, self.clocks)
        return Batch(*(column[start:stop] for column in columns))  # type: ignore[arg-type]

    def events(self) -> Iterator[Event]:
        """Iterate over the events, if they have a time."""
        for time_ns, call in zip(self.times, self.calls, strict=False):
            if call.who:
                yield Event(time_ns, call.who, call.stack)


class Group(NamedTuple):
    """Events of a stack that belong together.

    :ivar kind: ``pid``, ``comm``, ``cpu`` or ``cgroup``.
    :ivar number: Of the process, the CPU or the cgroup; 0 for names.
    :ivar name: Of the process when it was first seen, of the task; the path of the cgroup.
    """

    kind: str
    number: int
    name: str

    def __str__(self) -> str:
        if self.kind == "pid":
            return f"{self.name} ({self.number})"
        return f"cpu {self.number}" if self.kind == "cpu" else self.name

    def as_data(self) -> dict[str, int | str]:
        """Return it as JSON-ready data."""
        if self.kind == "pid":
            return {"pid": self.number, "comm": self.name}
        if self.kind == "cgroup":
            return {"cgroup": self.name, "cgroup_id": self.number}
        return {"cpu": self.number} if self.kind == "cpu" else {"comm": self.name}


@dataclass(frozen=True, slots=True)
class Count:
    """How often a stack was met.

    :ivar group: None where they are not told apart.
    :ivar scaled: How many calls these stand for, where not every call was taken; else None.
    """

    stack: Stack
    count: int
    group: Group | None = None
    scaled: float | None = None

    @property
    def calls(self) -> float:
        """How many calls there were, as well as that is known."""
        return self.count if self.scaled is None else self.scaled


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

    def record(self, stack: Stack, number: int) -> None:
        """Add ``number`` hits with this stack."""
        self.recorded += number
        self.truncated += number * stack.truncated
        self.fallback += number * stack.fallback

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


@dataclass
class Profile:
    """Stacks with their counts, and how they were captured."""

    counts: list[Count]
    summary: Summary
