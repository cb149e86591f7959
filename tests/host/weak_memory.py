# SPDX-License-Identifier: MIT
"""Model of memory that a CPU reads, while others write it, in any order that barriers allow.

A machine has one memory, in which every store becomes visible to all readers at once; so has arm64
(Arm ARM, DDI 0487, B2.3: "other-multi-copy atomic"). Reordering is modelled by when that happens:

- A writer's accesses are events with their predecessors: barriers, dependencies, and stores to the
  same place. An event may happen as soon as its predecessors have.
- A reader's load may return any value that was in memory since the last ``acquire``: it was done
  early. Two loads of one place do not go back in time (coherence).
- A load whose value does not decide about later accesses (``watch``) may also be done late: until a
  barrier, the place must keep its value.

Of dependencies only the one from a load, through a branch, to a store is relied upon, which arm64
keeps. ``explore`` runs a test with every order; equal states are continued once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

Place = Hashable


class _Known(Exception):
    """The state was reached before, in another order."""


class Forbidden(AssertionError):
    """An outcome that no order may have."""


class Event(NamedTuple):
    """An access of a writer.

    :ivar after: Events that must have happened, a bit for each.
    :ivar store: Place and value, if it is a store.
    :ivar ready: A condition on a value that the reader has stored.
    """

    after: int
    store: tuple[Place, int] | None = None
    ready: Callable[[int], bool] = lambda stored: True


class Choices:
    """A sequence of choices, and the states in which there was one."""

    def __init__(self, known: set[Hashable]) -> None:
        self.taken: list[tuple[int, int]] = []
        self._known = known
        self._at = 0

    def choose(self, among: int, state: Hashable) -> int:
        """Return a number below ``among``."""
        if among == 1:
            return 0
        if self._at == len(self.taken):
            if state in self._known:
                raise _Known
            self._known.add(state)
            self.taken.append((0, among))
        self._at += 1
        return self.taken[self._at - 1][0]

    def advance(self) -> bool:
        """Go to the next sequence; return whether there is one."""
        self._at = 0
        while self.taken and self.taken[-1][0] + 1 == self.taken[-1][1]:
            self.taken.pop()
        if self.taken:
            self.taken[-1] = self.taken[-1][0] + 1, self.taken[-1][1]
        return bool(self.taken)


def explore(run: Callable[[Choices], None]) -> int:
    """Run with each sequence of choices; return the number of states."""
    known: set[Hashable] = set()
    choices = Choices(known)
    while True:
        with suppress(_Known):
            run(choices)
        if not choices.advance():
            return len(known)


class Machine:
    """One run: the memory, the writers' events, and the reader's view.

    :ivar stored: The last value that the reader has stored.
    """

    def __init__(
        self, choices: Choices, events: Sequence[Event], values: Mapping[Place, int] | None = None
    ) -> None:
        self._choices = choices
        self._events = events
        self._done = 0  # a bit for each event
        # Values of each place that a load can return, the oldest first.
        self._values = {place: [value] for place, value in (values or {}).items()}
        self._watched: set[Place] = set()
        self._seen: tuple[int, ...] = ()
        self.stored = 0

    @property
    def finished(self) -> bool:
        """Whether every event has happened."""
        return self._done == (1 << len(self._events)) - 1

    def _state(self, about: Hashable) -> Hashable:
        values = tuple(map(tuple, self._values.values()))
        return about, self._done, values, frozenset(self._watched), self._seen, self.stored

    def _possible(self) -> list[int]:
        """Return the events that can happen, the last one, in the program's order, first."""
        done, numbers = self._done, range(len(self._events) - 1, -1, -1)
        return [
            number
            for number in numbers
            if not done >> number & 1
            and not self._events[number].after & ~done
            and self._events[number].ready(self.stored)
        ]

    def _happen(self, number: int) -> None:
        self._done |= 1 << number
        if store := self._events[number].store:
            place, value = store
            if place in self._watched and value != self._values[place][-1]:
                raise Forbidden(f"{place} changes while it is read")
            self._values[place].append(value)

    def at(self, *about: int) -> None:
        """Forget the values of earlier loads: these numbers are all that the reader remembers."""
        self._seen = about

    def _write(self) -> None:
        """Let writers do any number of events."""
        while possible := self._possible():
            chosen = self._choices.choose(len(possible) + 1, self._state("write"))
            if not chosen:
                return
            self._happen(possible[chosen - 1])

    def wait(self) -> None:
        """Let writers do an event, or, behind the last one, let all stores be seen."""
        if possible := self._possible():
            self._happen(possible[self._choices.choose(len(possible), self._state("wait"))])
        elif self.finished:
            self._forget()
        else:
            raise Forbidden("writers wait for ever")

    def load(self, *places: Place) -> list[int]:
        """Return a value of each place."""
        self._write()
        found = []
        for place in places:
            values = self._values[place]
            del values[: self._choices.choose(len(values), self._state(place))]
            found.append(values[0])
            self._seen += (values[0],)
        return found

    def oldest(self, place: Place) -> int:
        """Return the oldest value of a place that a load could return."""
        return self._values[place][0]

    def watch(self, places: Iterable[Place], expected: Callable[[Place], int]) -> None:
        """Load places, late perhaps: they must have the expected value until a barrier."""
        self._write()
        for place in places:
            found = self._values[place]
            if found != [expected(place)]:
                raise Forbidden(f"{place} is read as one of {found}, not {expected(place)}")
            self._watched.add(place)

    def store(self, value: int) -> None:
        """Store a value that the writers wait for."""
        self.stored = value
        if self._watched:
            self._write()

    def _forget(self) -> None:
        for values in self._values.values():
            del values[:-1]

    def acquire(self) -> None:
        """Do loads before it before all accesses behind it."""
        self._watched.clear()
        self._forget()

    def release(self) -> None:
        """Do loads and stores before it before stores behind it."""
        self._watched.clear()
