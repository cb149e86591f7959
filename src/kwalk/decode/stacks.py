# SPDX-License-Identifier: MIT
"""Raw addresses to stacks: begin at the traced function, share equal stacks."""

from __future__ import annotations

from collections.abc import Sequence

from kwalk.profile import Stack
from kwalk.transport.abi import MAX_FRAMES

# The fentry call, endbr and padding lie within this many bytes of the function's start.
ENTRY_BYTES = 16


class StackTable:
    """Makes one Stack of all equal ones.

    :param function: Address of the traced instruction.
    :param depth: Most frames of a stack.
    :param insert_caller: The kernel's unwinder misses the direct caller (frame pointers), so
        stacks that kwalk fell back to get it from the walk.
    :param returned: The kernel's stacks begin with the caller: the function has returned.
    :param kernel_depth: Most frames that the kernel's unwinder gives.
    """

    def __init__(
        self,
        function: int,
        depth: int,
        insert_caller: bool,
        returned: bool = False,
        kernel_depth: int = MAX_FRAMES,
    ) -> None:
        self._function = function
        self._depth = depth
        self._kernel_depth = kernel_depth
        self._insert_caller = insert_caller
        self._returned = returned
        self._shared: dict[tuple[tuple[int, ...], bool, bool], Stack] = {}

    def walked(self, addresses: Sequence[int], truncated: bool) -> Stack:
        """Return the stack of the walk: it begins at the function already."""
        return self._share(tuple(addresses), truncated, False)

    def unwound(
        self, words: Sequence[int], caller: int | None = None, follows: int = 0, cut: bool = False
    ) -> Stack | None:
        """Return the stack of the kernel's own unwinder, cut to begin at the function.

        :param words: Addresses, unused ones at the end zero; a tracer's own frames may come first.
        :param caller: For a fallback, the function's return address.
        :param follows: Where the function jumped to the tracer and is not in the stack: its
            return address, which follows the tracer's frames.
        :param cut: There was no room for all of them.
        :return: None if the function is not in it.
        """
        used = len(words)
        while used and not words[used - 1]:
            used -= 1
        start = -1 if self._returned else self._entry(words[:used])
        if start is None and follows and follows in words[:used]:
            start = words.index(follows) - 1
        if start is None:
            return None
        frames = [self._function, *words[start + 1 : used]]
        if caller and self._insert_caller and frames[1:2] != [caller]:
            frames.insert(1, caller)
        # The helper's map holds depth addresses, a fallback is always asked for whole.
        full = self._kernel_depth
        if caller is None:
            full = min(full, self._depth)
        cut = cut or used >= full or len(frames) > self._depth
        return self._share(tuple(frames[: self._depth]), cut, caller is not None)

    def cut_off(self) -> Stack:
        """Return the stack of the kernel's own unwinder of which nothing but FUNC is known."""
        return self._share((self._function,), True, True)

    def _entry(self, words: Sequence[int]) -> int | None:
        near = range(self._function, self._function + ENTRY_BYTES + 1)
        return next((index for index, word in enumerate(words) if word in near), None)

    def _share(self, frames: tuple[int, ...], truncated: bool, fallback: bool) -> Stack:
        key = frames, truncated, fallback
        return self._shared.setdefault(key, Stack(frames, truncated, fallback))
