# SPDX-License-Identifier: MIT
"""What an entry of the list is, and the words that its predicate is made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fnmatch import fnmatchcase

from kwalk.model.stack import Frame

Burst = Callable[[], object]
StackTest = Callable[[list[Frame]], bool]

SYSCALL = "entry_SYSCALL_64*"
TIMER = "asm_sysvec_apic_timer_interrupt"


def nothing_lacks() -> str:
    return ""


@dataclass(frozen=True)
class Surroundings:
    """A function, how to have it called, and how to tell that it was called as meant.

    :ivar name: Names the test.
    :ivar functions: Names of the function; the first that the kernel has is traced.
    :ivar load: Yields a burst: some tenths of a second of work, to be called again and again.
        Whatever the load started is ended when the context is left.
    :ivar holds: Whether stacks, one for each event, show the surroundings.
    :ivar lacks: Says what this kernel lacks for it, "" if nothing.
    :ivar brings_code: Whether the load adds symbols to the kernel's.
    """

    name: str
    functions: tuple[str, ...]
    load: Callable[[], AbstractContextManager[Burst]]
    holds: Callable[[Sequence[list[Frame]]], bool]
    lacks: Callable[[], str] = nothing_lacks
    brings_code: bool = False


def path(*patterns: str, root: str = "") -> StackTest:
    """Test for a stack with these functions in this order, innermost first, others between.

    :param patterns: Names, in which ``*`` stands for anything.
    :param root: The outermost frame.
    """

    def test(stack: list[Frame]) -> bool:
        if root and not fnmatchcase(stack[-1].name, root):
            return False
        frames = iter(stack)
        return all(any(fnmatchcase(frame.name, wanted) for frame in frames) for wanted in patterns)

    return test


def over_kernel(gate: str) -> StackTest:
    """Test for an entry to the kernel by ``gate`` that interrupted kernel code."""
    return lambda stack: any(fnmatchcase(frame.name, gate) for frame in stack[:-1])


def in_module(*names: str) -> StackTest:
    """Test for a frame in a module's code."""
    return lambda stack: any(frame.module in names for frame in stack)


def both(*tests: StackTest) -> StackTest:
    """Test for a stack that passes every test."""
    return lambda stack: all(test(stack) for test in tests)


def often(*tests: StackTest, share: float = 0.1) -> Callable[[Sequence[list[Frame]]], bool]:
    """Demand that each test holds for at least this share of the stacks."""

    def holds(stacks: Sequence[list[Frame]]) -> bool:
        numbers = Counter(map(id, stacks))  # equal stacks are mostly one object
        distinct = {id(stack): stack for stack in stacks}
        least = max(1, share * len(stacks))
        return all(
            sum(numbers[key] for key, stack in distinct.items() if test(stack)) >= least
            for test in tests
        )

    return holds
