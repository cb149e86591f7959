# SPDX-License-Identifier: MIT
"""Entry of the list of workloads, and the building blocks of its predicate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fnmatch import fnmatchcase

from machine import HERE

from kwalk.model.stack import Frame

Burst = Callable[[], object]
StackTest = Callable[[list[Frame]], bool]
SYSCALL = HERE.syscall_root


def nothing_lacks() -> str:
    return ""


@dataclass(frozen=True)
class Surroundings:
    """A function, a load that calls it, and a predicate for the kind of stack meant.

    :ivar name: Name of the test.
    :ivar functions: Names of the function; the first one that the kernel has is traced.
    :ivar load: Yields a burst: some tenths of a second of work, to be called repeatedly. Leaving
        the context ends all that the load started.
    :ivar holds: Predicate on the stacks, one for each hit.
    :ivar lacks: Returns the feature that this kernel lacks for it, "" if none.
    :ivar brings_code: The load adds symbols to the kernel.
    """

    name: str
    functions: tuple[str, ...]
    load: Callable[[], AbstractContextManager[Burst]]
    holds: Callable[[Sequence[list[Frame]]], bool]
    lacks: Callable[[], str] = nothing_lacks
    brings_code: bool = False


def path(*patterns: str, root: str = "") -> StackTest:
    """Test for a stack that has these functions in this order, innermost first, with any between.

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
    """Require each test to hold for at least this share of the stacks."""

    def holds(stacks: Sequence[list[Frame]]) -> bool:
        numbers = Counter(map(id, stacks))  # equal stacks are mostly the same object
        distinct = {id(stack): stack for stack in stacks}
        least = max(1, share * len(stacks))
        return all(
            sum(numbers[key] for key, stack in distinct.items() if test(stack)) >= least
            for test in tests
        )

    return holds
