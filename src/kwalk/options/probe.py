# SPDX-License-Identifier: MIT
"""How to trace: what commands and library users may choose."""

from __future__ import annotations

import re
from typing import NamedTuple

from kwalk.abi import Method, Output, Per
from kwalk.options import limits
from kwalk.options.filters import Filters


class PidNamespace(NamedTuple):
    """The PID namespace of the user, where that is not the kernel's first one.

    :ivar address: Of its ``struct pid_namespace``.
    :ivar level: Namespaces above it.
    """

    address: int
    level: int


class ProbeOptions(NamedTuple):
    """How to trace.

    :param method: What finds the stack; None lets kwalk choose.
    :param attach: ``kprobe``, ``fentry``, ``kprobe.multi``, or ``auto``.
    :param depth: Most frames of a stack, 2 to 127.
    :param ring_bytes: Size of the ring buffer, a power of two.
    :param stack_entries: Helper: stacks in each of the two maps.
    :param output: What becomes of a stack: counted, or sent as a record.
    :param nodes: Manual: frames that the calling-context tree has room for.
    :param per: What the events of a stack are told apart by, too.
    :param verify: Manual: compare a random one in so many events with the kernel's unwinder;
        0 for none.
    :param chance: Take each event with this chance, which ``Capture.sample`` changes; None for
        all of them, which costs less than 1.0.
    :param frequency: Take so many samples a second of each CPU, in place of calls.
    :param through: Only stacks with a frame, other than the innermost, of a name that this finds.
    :param until: What lies outside of the first frame whose name matches is left out.
    :param filters: Whose calls are wanted.
    :param pidns: Where tasks have the numbers that are shown; None for the kernel's own.
    """

    method: Method | None = None
    attach: str = "auto"
    depth: int = limits.DEPTH.default
    ring_bytes: int = limits.RING_MIB.default << 20
    stack_entries: int = limits.STACK_ENTRIES.default
    output: Output = Output.EVENT
    nodes: int = limits.NODES.default
    per: Per = Per.NOTHING
    verify: int = 0
    chance: float | None = None
    frequency: int | None = None
    through: re.Pattern[str] | None = None
    until: re.Pattern[str] | None = None
    filters: Filters = Filters()
    pidns: PidNamespace | None = None
