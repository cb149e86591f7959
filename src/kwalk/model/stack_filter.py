# SPDX-License-Identifier: MIT
"""Filters on stacks: by caller (``--from-caller``), and by outermost frame (``--until``)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import takewhile

from kwalk.model.event import Batch, Call
from kwalk.model.stack import Count, Stack

Pair = tuple[Stack | None, Stack | None]


class Shape:
    """Drops stacks, and cuts outer frames off.

    :param names: Returns the names of a stack's frames, innermost first.
    :param through: Keep only stacks with a caller whose name matches this regex.
    :param until: Cut stacks behind the first frame whose whole name matches this regex.
    :param also: Returns for each frame of a stack other names of its function, which match as well.
    """

    def __init__(
        self,
        names: Callable[[Stack], list[str]],
        through: re.Pattern[str] | None = None,
        until: re.Pattern[str] | None = None,
        also: Callable[[Stack], Sequence[Sequence[str]]] | None = None,
    ) -> None:
        self._names = names
        self._also = also
        self._through = through
        self._until = until
        self._known: dict[Stack, Stack | None] = {}
        self._shared: dict[object, Stack] = {}
        self._calls: dict[Call, Call | None] = {}
        self._pairs: dict[Pair, Pair | None] = {}

    def stack(self, stack: Stack) -> Stack | None:
        """Return a stack without its cut frames; None: dropped."""
        if stack not in self._known:
            self._known[stack] = self._make(stack)
        return self._known[stack]

    def _make(self, stack: Stack) -> Stack | None:
        return self._cut(stack, self._end(stack)) if self._passes(stack) else None

    def _passes(self, stack: Stack) -> bool:
        through = self._through
        if not through or any(map(through.search, self._names(stack)[1:])):
            return True
        also = self._also(stack)[1:] if self._also else ()
        return any(through.search(name) for names in also for name in names)

    def _end(self, stack: Stack) -> int | None:
        """Return the number of frames to keep; None: all, no frame matches."""
        until = self._until
        if not until:
            return None
        every = [[name] for name in self._names(stack)]
        if self._also:
            every = [[*own, *others] for own, others in zip(every, self._also(stack), strict=True)]
        ends = (n for n, names in enumerate(every, 1) if any(map(until.fullmatch, names)))
        return next(ends, None)

    def _cut(self, stack: Stack, end: int | None) -> Stack:
        # A stack that was cut on purpose is not truncated.
        truncated = stack.truncated and end is None
        cut = Stack(
            stack.addresses[:end],
            truncated,
            stack.fallback,
            stack.frames[:end],
            stack.codes[:end],
        )
        return self._shared.setdefault(cut.key, cut)

    def pair(self, first: Stack | None, second: Stack | None) -> Pair | None:
        """Return two stacks of one hit without their cut frames; None: the hit is dropped.

        Either stack may have the caller. If only one has the frame that ends stacks, the frames
        that both have outside of it are cut off the other, too.
        """
        key = first, second
        if key not in self._pairs:
            seen = not any(key) or any(stack and self._passes(stack) for stack in key)
            pair = self._cut_beside(first, second), self._cut_beside(second, first)
            self._pairs[key] = pair if seen else None
        return self._pairs[key]

    def _cut_beside(self, stack: Stack | None, other: Stack | None) -> Stack | None:
        if stack is None:
            return None
        end = self._end(stack)
        if end is None and other and (others := self._end(other)) is not None:
            both = zip(reversed(stack.addresses), reversed(other.addresses[others:]), strict=False)
            same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], both))
            end = len(stack.addresses) - same if same else None
        return self._cut(stack, end)

    def counts(self, counts: Sequence[Count]) -> list[Count | None]:
        """Return each count with its cut stack; None: dropped."""
        stacks = map(self.stack, [count.stack for count in counts])
        return [
            replace(count, stack=stack) if stack else None
            for count, stack in zip(counts, stacks, strict=True)
        ]

    def batch(self, batch: Batch) -> tuple[Batch, Batch]:
        """Return the kept events of a batch, their stacks cut, and the dropped ones unchanged."""
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
