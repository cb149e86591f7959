# SPDX-License-Identifier: MIT
"""Stacks, frames, groups and counts: plain data."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple


class Frame(NamedTuple):
    """One frame of a stack.

    :ivar name: Symbol; "" where none is known.
    :ivar offset: Bytes from the symbol's start.
    :ivar module: "" for vmlinux, ``bpf`` for BPF programs.
    :ivar address: Return address into the frame; entry address of the traced function.
    :ivar source: ``file:line`` from debug information (``symbolize/lines.py``), else "".
    :ivar inlined: Frame of an inlined function: address of the next frame that is not inlined,
        offset 0.
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

    :ivar addresses: Return addresses, the traced function's entry address first.
    :ivar truncated: The stack goes on beyond its last frame.
    :ivar fallback: Stack of the kernel's unwinder, in place of the walk.
    :ivar frames: Symbolized addresses; empty before that.
    :ivar codes: For each address the id of the module or BPF program there, as the walk found it;
        0 for vmlinux and where it is not known. Empty: all 0.
    """

    addresses: tuple[int, ...]
    truncated: bool = False
    fallback: bool = False
    frames: tuple[Frame, ...] = ()
    codes: tuple[int, ...] = ()

    @property
    def key(self) -> tuple[object, ...]:
        """Key that equal stacks share, also stacks of other boots, whose addresses differ."""
        # A frame without a name is known by its address only.
        frames = (frame[:3] + frame[4:] if frame.name else frame for frame in self.frames)
        addresses = (self.addresses, self.codes) if self.codes else self.addresses
        return (tuple(frames) or addresses), self.truncated, self.fallback


# Suffixes of the parts and clones that compilers make of a function.
_PARTS = re.compile(r"\.(?:cold|constprop|isra|part|llvm)\b.*")


def also_called(name: str) -> tuple[str, ...]:
    """Return the function's name in the source, if the compiler gave it another one."""
    whole = _PARTS.sub("", name)
    return () if whole == name else (whole,)


NUMBERLESS = "-"
"""Displayed number of a task that has none in kwalk's PID namespace."""

NAMELESS = "(no name)"
"""Displayed name of a task or cgroup whose name is empty."""


class Group(NamedTuple):
    """Process, thread name, CPU or cgroup that hits are aggregated by (``--per``).

    :ivar kind: ``pid``, ``comm``, ``cpu`` or ``cgroup``.
    :ivar number: Number of the process, CPU or cgroup id; 0 for ``comm``. None for processes of
        this name that have no number in kwalk's PID namespace.
    :ivar name: Process name when it was first seen, thread name, or path of the cgroup; "" for
        ``cpu``.
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
        """Return the group as JSON-ready data."""
        if self.kind == "pid":
            return {"pid": self.number, "comm": self.name}
        if self.kind == "cgroup":
            return {"cgroup": self.name, "cgroup_id": self.number}
        return {"cpu": self.number} if self.kind == "cpu" else {"comm": self.name}


@dataclass(frozen=True, slots=True)
class Count:
    """Number of recorded hits of a stack in a group.

    :ivar group: None without ``--per``.
    :ivar scaled: Estimated number of calls, where hits were sampled; else None.
    """

    stack: Stack
    count: int
    group: Group | None = None
    scaled: float | None = None

    @property
    def calls(self) -> float:
        """Number of calls: ``scaled``, or ``count`` where every hit was recorded."""
        return self.count if self.scaled is None else self.scaled
