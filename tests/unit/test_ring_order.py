# SPDX-License-Identifier: MIT
"""The ring's reader on a weakly ordered machine: every order of its and the kernel's accesses."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from weak_memory import Choices, Event, Forbidden, Machine, Place, explore

from kwalk.arch import here
from kwalk.transport import ring as ring_module
from kwalk.transport.ring import HEADER, Ring

# include/uapi/linux/bpf.h: BPF_RINGBUF_BUSY_BIT
BUSY = 1 << 31
SIZE = 8
STEP = SIZE + HEADER
SLOTS = 4
RECORDS = 6  # the last two lie where the first two lay
WRITTEN = 3  # of these, when the reader begins
# The ring went round before: each place has the length of a record that was read.
LENGTHS: dict[Place, int] = {("length", slot): SIZE for slot in range(SLOTS)}
FILLED: dict[Place, int] = {
    ("record", slot): slot + 1 if slot < WRITTEN else 0 for slot in range(SLOTS)
}


def kernel(cpus: int) -> list[Event]:
    """The accesses of kernel/bpf/ringbuf.c for records that CPUs write in turn.

    __bpf_ringbuf_reserve() acquires the consumer's position, takes the lock, writes the length with
    the busy bit and releases the producer's position; the program fills the record;
    bpf_ringbuf_commit() exchanges the length, which is a full barrier.
    """
    events: list[Event] = []
    unlocked = 0
    committed = [0] * cpus

    def add(after: int, store: tuple[Place, int] | None = None, **more: Any) -> int:
        events.append(Event(after, store, **more))
        return 1 << len(events) - 1

    for number in range(WRITTEN, RECORDS):
        slot, end, cpu = number % SLOTS, (number + 1) * STEP, number % cpus
        room = add(
            unlocked | committed[cpu],
            ready=lambda consumed, end=end: end - consumed < SLOTS * STEP,
        )
        busy = add(room, (("length", slot), SIZE | BUSY))
        unlocked = add(busy, ("producer", end))
        filled = add(room, (("record", slot), number + 1))
        committed[cpu] = add(filled | unlocked, (("length", slot), SIZE))
    return events


class Run(NamedTuple):
    """A part of the ring's data, as the reader slices it."""

    start: int
    end: int


class Pages:
    """The mapped pages: a machine's memory in place of the reader's views."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def __getitem__(self, index: int) -> int:
        return self.machine.load("producer")[0]


class Consumer(Pages):
    def __getitem__(self, index: int) -> int:
        return self.machine.stored

    def __setitem__(self, index: int, value: int) -> None:
        self.machine.store(value)


class Lengths:
    def __init__(self, machine: Machine, part: slice = slice(0)) -> None:
        self.machine, self.part = machine, part

    def __getitem__(self, part: slice) -> Lengths:
        return Lengths(self.machine, part)

    def tobytes(self) -> bytes:
        places = range(self.part.start << 2, self.part.stop << 2, self.part.step << 2)
        lengths = self.machine.load(*(("length", at // STEP % SLOTS) for at in places))
        return b"".join(length.to_bytes(4, "little") for length in lengths)


class Data:
    def __getitem__(self, part: slice) -> Run:
        return Run(part.start, part.stop)


def barriers() -> list[tuple[str, int]]:
    """Each call of a barrier in ``Ring.batch``: its name, and its line."""
    lines, first = inspect.getsourcelines(Ring.batch)
    calls = [
        (node.func.id, first + node.lineno - 1)
        for node in ast.walk(ast.parse(textwrap.dedent("".join(lines))))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("acquire", "release")
    ]
    return sorted(calls, key=lambda call: call[1])


class Case(NamedTuple):
    """How records are read.

    :ivar chunk: Bytes of the longest run.
    :ivar stops: The caller stops behind a batch's first run.
    :ivar complete: It waits for records that are being written.
    """

    cpus: int
    chunk: int
    stops: bool = False
    complete: bool = False

    def check(self, monkeypatch: pytest.MonkeyPatch, without: int = 0) -> int:
        """Read all records in every order; return the number of states.

        :param without: Line of ``Ring.batch`` whose barrier is not executed.
        """
        events = kernel(self.cpus)
        monkeypatch.setattr(ring_module, "CHUNK", self.chunk)
        return explore(lambda choices: self._run(choices, events, monkeypatch, without))

    def _run(
        self,
        choices: Choices,
        events: list[Event],
        monkeypatch: pytest.MonkeyPatch,
        without: int,
    ) -> None:
        machine = Machine(choices, events, {"producer": WRITTEN * STEP, **LENGTHS, **FILLED})
        ring: Any = Ring.__new__(Ring)
        ring._size = SLOTS * STEP
        ring._producer, ring._consumer = Pages(machine), Consumer(machine)
        ring._lengths, ring._data = Lengths(machine), Data()

        def unless(barrier: Callable[[], None]) -> Callable[[], None]:
            return lambda: None if sys._getframe(1).f_lineno == without else barrier()

        ring._arch = here()._replace(
            acquire=unless(machine.acquire), release=unless(machine.release)
        )
        monkeypatch.setattr(time, "sleep", lambda seconds: machine.wait())
        read = 0
        while read < RECORDS:
            before = read
            machine.at(read)
            batch = ring.batch(SIZE, self.complete)
            for run in batch:
                read = self._read(machine, run, read)
                if self.stops:
                    break
            batch.close()
            if machine.stored != read * STEP:
                raise Forbidden("the consumer's position is not behind the last record read")
            if read == before:
                machine.wait()
        if not machine.finished:
            raise Forbidden("a record was read that was not written")

    def _read(self, machine: Machine, run: Run, read: int) -> int:
        """Read a run behind so many records; return how many they are now."""
        numbers = range(read, read + (run.end - run.start) // STEP)
        if run.start != read * STEP % (SLOTS * STEP) or not numbers:
            raise Forbidden("records are lost, or read twice")
        expected = {("record", number % SLOTS): number + 1 for number in numbers}
        machine.watch(expected, lambda place: expected[place])  # type: ignore[index]
        return numbers.stop


CASES = [
    Case(1, SLOTS * STEP),
    Case(2, SLOTS * STEP),
    Case(1, STEP),
    Case(1, SLOTS * STEP, complete=True),
    Case(2, 2 * STEP, stops=True),
]


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_ring_is_read_right_in_every_order(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    assert case.check(monkeypatch) > 500  # states


@pytest.mark.parametrize(("name", "line"), barriers())
def test_ring_needs_each_barrier(name: str, line: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any one of them some order reads a record that is not there, or no more."""
    for case in reversed(CASES):
        try:
            case.check(monkeypatch, without=line)
        except Forbidden:
            return
    pytest.fail(f"{name}() in line {line} is of no use")


def test_ring_has_one_barrier_a_run() -> None:
    assert [name for name, _ in barriers()] == ["acquire", "acquire", "release", "release"]
