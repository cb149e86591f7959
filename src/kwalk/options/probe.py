# SPDX-License-Identifier: MIT
"""Options of a probe, checked and resolved."""

from __future__ import annotations

import re
from typing import NamedTuple

from kwalk.abi import Method, Output, Per
from kwalk.options import limits
from kwalk.options.filters import Filters


class PidNamespace(NamedTuple):
    """PID namespace of the user, unless it is the initial one.

    :ivar address: Address of its ``struct pid_namespace``.
    :ivar level: Number of ancestors.
    """

    address: int
    level: int


class ProbeOptions(NamedTuple):
    """Options of a probe.

    :param method: Unwinding method; None lets kwalk choose.
    :param attach: ``kprobe``, ``fentry``, ``kprobe.multi``, ``fentry.multi``, or ``auto``.
    :param depth: Maximum frames per stack, 2 to 127.
    :param ring_bytes: Size of the ring buffer, a power of two.
    :param stack_entries: Helper: size of each of the two stack maps, in stacks.
    :param output: Aggregate stacks in the kernel, or send a record per hit.
    :param nodes: Manual: size of the calling-context tree in nodes.
    :param per: Aggregate counts also by this.
    :param verify: Manual: compare a random one in this many hits with the kernel's unwinder;
        0 for none.
    :param chance: Initial sampling probability, which ``Capture.sample`` changes; None samples no
        hit away, which costs less than 1.0.
    :param frequency: Samples per second of each CPU; None traces functions.
    :param through: Keep only stacks with a caller whose name matches.
    :param until: Cut stacks after the first frame whose name matches.
    :param filters: Filters of hits.
    :param pidns: Namespace of the task ids shown; None for the initial one.
    :param fast: Manual: generate programs for the stacks that are seen most.
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
    fast: bool = True
