# SPDX-License-Identifier: MIT
"""What a user wants to see of stacks: those through a caller, and not all outer frames."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from kwalk.events import Batch, Call
from kwalk.stack import Count, Group, Stack


class Shape:
    """Leaves out stacks, or a part of them.

    :param names: Returns the names of a stack's frames, innermost first.
    :param through: Only stacks with a frame, other than the innermost, of a name that this finds.
    :param until: Frames outside of the first one whose whole name matches are left out.
    """

    def __init__(
        self,
        names: Callable[[Stack], list[str]],
        through: re.Pattern[str] | None = None,
        until: re.Pattern[str] | None = None,
    ) -> None:
        self._names = names
        self._through = through
        self._until = until
        self._known: dict[Stack, Stack | None] = {}
        self._shared: dict[tuple[tuple[int, ...], bool, bool], Stack] = {}
        self._calls: dict[Call, Call | None] = {}

    def stack(self, stack: Stack) -> Stack | None:
        """Return what is to be seen of a stack; None if nothing is."""
        if stack not in self._known:
            self._known[stack] = self._make(stack)
        return self._known[stack]

    def _make(self, stack: Stack) -> Stack | None:
        names = self._names(stack)
        if self._through and not any(map(self._through.search, names[1:])):
            return None
        last = None
        if self._until:
            ends = (n for n, name in enumerate(names, 1) if self._until.fullmatch(name))
            last = next(ends, None)
        # What is left out on purpose is not cut off.
        key = stack.addresses[:last], stack.truncated and last is None, stack.fallback
        return self._shared.setdefault(key, Stack(*key))

    def counts(self, counts: list[Count]) -> tuple[list[Count], int]:
        """Return what is to be seen, the rarest first, and how many events are not."""
        sums: dict[tuple[Stack, Group | None], Count] = {}
        unseen = 0
        for count in counts:
            stack = self.stack(count.stack)
            if stack is None:
                unseen += count.count
                continue
            before = sums.get((stack, count.group))
            number = count.count + (before.count if before else 0)
            scaled = count.scaled
            if scaled is not None and before and before.scaled is not None:
                scaled += before.scaled
            sums[stack, count.group] = Count(stack, number, count.group, scaled)
        return sorted(sums.values(), key=lambda count: count.calls), unseen

    def batch(self, batch: Batch) -> tuple[Batch, Batch]:
        """Return those events of a batch that are to be seen, and the others as they were."""
        for call in set(batch.calls) - self._calls.keys():
            stack = self.stack(call.stack)
            self._calls[call] = Call(stack, call.who) if stack else None
        seen = [index for index, call in enumerate(batch.calls) if self._calls[call]]
        unseen = [index for index, call in enumerate(batch.calls) if not self._calls[call]]
        calls = [shaped for call in batch.calls if (shaped := self._calls[call])]
        return replace(_pick(batch, seen), calls=calls), _pick(batch, unseen)


def _pick(batch: Batch, indices: list[int]) -> Batch:
    columns = (batch.calls, batch.times, batch.clocks)
    return Batch(*([column[index] for index in indices] if column else () for column in columns))  # type: ignore[arg-type]
