# SPDX-License-Identifier: MIT
"""Interned data of a Perfetto trace: names, frames, stacks and tasks that samples refer to."""

from __future__ import annotations

from collections.abc import Iterator
from operator import add

from kwalk.model.profile import ProfileData
from kwalk.model.stack import Frame, Group, Stack
from kwalk.report.calltree import TRUNCATED, function_name
from kwalk.report.perfetto.tracks import PID, TID
from kwalk.report.protobuf import message, number, text
from kwalk.support.memo import Memo

KERNEL = "[kernel.kallsyms]"
_KIND_KERNEL = 2


class Interned:
    """Interned data of a profile; ids count from 1.

    :ivar groups: Id of the thread that stands for each group.
    :ivar stubs: Encoded fields of each count's samples, except the weight.
    """

    def __init__(self, profile: ProfileData) -> None:
        self._names: dict[str, int] = {}
        self._files: dict[str, int] = {}
        self._modules: dict[str, int] = {}
        self._frames: dict[Frame, bytes] = {}
        self._stacks: dict[Stack, int] = {}
        self._made: list[bytes] = []
        self.groups: dict[Group, int] = {}
        counts = profile.columns
        tasks = Memo[int, bytes](lambda row: number(2, self._task(counts.groups[row])))
        stacks = Memo[int, bytes](lambda row: number(6, self._stack(counts.stacks[row])))
        self.stubs = list(
            map(
                add,
                map(tasks.__getitem__, counts.group_of),
                map(stacks.__getitem__, counts.stack_of),
            )
        )

    def _task(self, group: Group | None) -> int:
        """Return the id of a group's task; 1 for no group."""
        if group is None:
            return 1
        return self.groups.setdefault(group, TID + len(self.groups)) - TID + 2

    def _stack(self, stack: Stack) -> int:
        known = self._stacks.get(stack)
        if known is None:
            known = self._stacks[stack] = len(self._stacks) + 1
            frames = [self._frame(frame) for frame in stack.frames]
            if stack.truncated:
                frames.append(self._frame(Frame(TRUNCATED, 0, "", 0)))
            frames.reverse()  # the outermost comes first
            self._made.append(message(7, number(1, known), *frames))
        return known

    def _frame(self, frame: Frame) -> bytes:
        """Return the field of a stack that refers to a frame, which is interned if it is new."""
        known = self._frames.get(frame)
        if known is not None:
            return known
        index = len(self._frames) + 1
        known = self._frames[frame] = number(2, index)
        name = function_name(frame, source=False)
        parts = [number(1, index), number(2, self._names.setdefault(name, len(self._names) + 1))]
        if frame.address:
            module = f"[{frame.module}]" if frame.module else KERNEL
            mapping = self._modules.setdefault(module, len(self._modules) + 1)
            parts += [number(3, mapping), number(4, frame.address)]
        file, _, line = frame.source.rpartition(":")
        if file:
            parts.append(number(5, self._files.setdefault(file, len(self._files) + 1)))
            parts.append(number(6, int(line)))
        self._made.append(message(6, *parts, number(7, _KIND_KERNEL)))
        return known

    def parts(self) -> Iterator[bytes]:
        """Yield the fields of the ``InternedData`` message."""
        for field, table in ((5, self._names), (17, self._modules), (18, self._files)):
            for name, index in table.items():
                yield message(field, number(1, index), text(2, name))
        for index in self._modules.values():
            yield message(19, number(1, index), number(7, index))
        yield from self._made
        yield message(48, number(1, 1), number(2, PID))
        for index, thread in enumerate(self.groups.values(), 2):
            yield message(48, number(1, index), number(2, PID), number(3, thread))
