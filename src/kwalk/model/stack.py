# SPDX-License-Identifier: MIT
"""Stacks, their frames, and how often they were met: plain data."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple


class Frame(NamedTuple):
    """One frame of a stack.

    ``address`` is the return address into it (the entry address for the traced function);
    ``offset`` is in bytes from the symbol's start; ``module`` is "" for vmlinux, ``bpf`` for
    BPF programs; ``name`` is "" where no symbol is known. ``source`` is ``file:line`` where
    debug information was asked for it (``symbolize/lines.py``), else "". An ``inlined`` frame has
    no code of its own: its address is that of the next frame that is not inlined, its offset 0.
    """

    name: str
    offset: int
    module: str
    address: int
    source: str = ""
    inlined: bool = False


@dataclass(slots=True, eq=False)
class Stack:
    """A distinct kernel stack, innermost frame (the traced function) first.

    Equal stacks of one capture are one object, so reports may cache by identity.

    :ivar truncated: It goes on beyond its last frame.
    :ivar fallback: The kernel's unwinder found it, in place of the walk.
    :ivar frames: The addresses with their names; empty until it has been symbolized.
    :ivar codes: For each address which module or BPF program lay there, as the walk found it: 0 for
        the kernel itself, and where it is not known. Empty: all 0.
    """

    addresses: tuple[int, ...]
    truncated: bool = False
    fallback: bool = False
    frames: tuple[Frame, ...] = ()
    codes: tuple[int, ...] = ()

    @property
    def key(self) -> tuple[object, ...]:
        """What is equal for equal stacks, also those of other boots, whose addresses differ."""
        # Without a name there is nothing but its address.
        frames = (frame[:3] + frame[4:] if frame.name else frame for frame in self.frames)
        addresses = (self.addresses, self.codes) if self.codes else self.addresses
        return (tuple(frames) or addresses), self.truncated, self.fallback


# What compilers make of a function, each with a name of its own.
_PARTS = re.compile(r"\.(?:cold|constprop|isra|part|llvm)\b.*")


def also_called(name: str) -> tuple[str, ...]:
    """Return the function's name in the source, where the compiler gave it another one."""
    whole = _PARTS.sub("", name)
    return () if whole == name else (whole,)


NUMBERLESS = "-"
"""Stands for the number of a task that has none in kwalk's PID namespace."""

NAMELESS = "(no name)"
"""What stands for an empty name, which a task may give itself."""


class Group(NamedTuple):
    """Events of a stack that belong together.

    :ivar kind: ``pid``, ``comm``, ``cpu`` or ``cgroup``.
    :ivar number: Of the process, the CPU or the cgroup; 0 for names. None of processes of this name
        that have no number in kwalk's PID namespace.
    :ivar name: Of the process when it was first seen, of the task; the path of the cgroup.
    """

    kind: str
    number: int | None
    name: str

    def __str__(self) -> str:
        name = self.name or NAMELESS
        if self.kind == "pid":
            return f"{name} ({NUMBERLESS if self.number is None else self.number})"
        if self.kind == "cgroup" and not self.name:
            return f"cgroup {self.number} {NAMELESS}"
        return f"cpu {self.number}" if self.kind == "cpu" else name

    def as_data(self) -> dict[str, int | str | None]:
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
