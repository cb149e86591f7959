# SPDX-License-Identifier: MIT
"""Raw addresses to stacks that begin at the traced function; equal ones are shared."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kwalk.abi import ENTRY_BYTES, MAX_FRAMES, NO_ADDRESS
from kwalk.model.stack import Stack

# Most frames between a tracepoint and its stack, the program's own frame included.
TRACER_FRAMES = 8


class StackTable:
    """Makes one ``Stack`` for all equal ones.

    :param function: Address of the traced instruction; ``NO_ADDRESS`` if several are traced.
    :param depth: Most frames of a stack.
    :param insert_caller: Insert the direct caller into fallback stacks: with frame pointers the
        kernel's unwinder misses it, and the walk knows it.
    :param returned: Stacks of the kernel begin with the caller: the function has returned.
    :param kernel_depth: Most frames of the kernel's unwinder.
    :param is_tracer: For tracepoints: whether a return address is in code that calls the program.
        None for functions.
    """

    def __init__(
        self,
        function: int,
        depth: int,
        insert_caller: bool,
        returned: bool = False,
        kernel_depth: int = MAX_FRAMES,
        is_tracer: Callable[[int], bool] | None = None,
    ) -> None:
        self._function = function
        self._depth = depth
        self._kernel_depth = kernel_depth
        self._insert_caller = insert_caller
        self._returned = returned
        self._is_tracer = is_tracer
        self._shared: dict[object, Stack] = {}

    def walked(self, addresses: Sequence[int], truncated: bool, codes: Sequence[int] = ()) -> Stack:
        """Return a stack of the walk, which begins at the function.

        :param codes: See ``Stack``.
        """
        if self._is_tracer:
            addresses = self._without_tracer(addresses[1:])
            codes = codes[-len(addresses) :]
        return self._share(tuple(addresses), truncated, False, tuple(codes))

    def unwound(
        self,
        words: Sequence[int],
        caller: int | None = None,
        follows: int = 0,
        cut: bool = False,
        function: int = 0,
    ) -> Stack | None:
        """Return a stack of the kernel's unwinder, cut to begin at the function.

        :param words: Addresses, padded with zeros; the tracer's own frames may come first.
        :param caller: Return address of the function, for a fallback; else None.
        :param follows: Return address of a function that jumped to the tracer and is not in the
            stack itself; it follows the tracer's frames. 0: none.
        :param cut: The tree had no room for all addresses.
        :param function: Address of the function, if several are traced; else 0.
        :return: None if the function is not in the stack.
        """
        function = function or self._function
        used = len(words)
        while used and not words[used - 1]:
            used -= 1
        if self._is_tracer:
            frames = self._without_tracer(words[:used])
        else:
            start = -1 if self._returned else _entry(function, words[:used])
            if start is None and follows and follows in words[:used]:
                start = words.index(follows) - 1
            if start is None:
                return None
            frames = [function, *words[start + 1 : used]]
            if caller and self._insert_caller and frames[1:2] != [caller]:
                frames.insert(1, caller)
        # The helper's map holds depth addresses, a fallback is always whole.
        full = self._kernel_depth
        if caller is None:
            full = min(full, self._depth)
        cut = cut or used >= full or len(frames) > self._depth
        return self._share(tuple(frames[: self._depth]), cut, caller is not None)

    def _without_tracer(self, words: Sequence[int]) -> list[int]:
        assert self._is_tracer
        near = [index for index, word in enumerate(words[:TRACER_FRAMES]) if self._is_tracer(word)]
        return list(words[near[-1] + 1 if near else 0 :]) or [NO_ADDRESS]

    def cut_off(self, function: int = 0) -> Stack:
        """Return the truncated fallback stack that has FUNC only."""
        return self._share((function or self._function,), True, True)

    def forget(self) -> None:
        """Forget all stacks: equal ones that come later are other objects."""
        self._shared.clear()

    def _share(
        self,
        addresses: tuple[int, ...],
        truncated: bool,
        fallback: bool,
        codes: tuple[int, ...] = (),
    ) -> Stack:
        codes = codes if any(codes) else ()
        key = addresses, codes, truncated, fallback
        return self._shared.setdefault(key, Stack(addresses, truncated, fallback, codes=codes))


def _entry(function: int, words: Sequence[int]) -> int | None:
    near = range(function, function + ENTRY_BYTES + 1)
    return next((index for index, word in enumerate(words) if word in near), None)
