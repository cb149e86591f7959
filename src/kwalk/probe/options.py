# SPDX-License-Identifier: MIT
"""How to trace: what commands and library users may choose."""

from __future__ import annotations

from dataclasses import dataclass

from kwalk.transport.abi import MAX_FRAMES, Method, Output


@dataclass(frozen=True)
class ProbeOptions:
    """How to trace.

    :param method: What finds the stack; None lets kwalk choose.
    :param attach: ``kprobe``, ``fentry``, or ``auto``.
    :param depth: Most frames of a stack, 2 to 127.
    :param ring_bytes: Size of the ring buffer, a power of two.
    :param stack_entries: Helper: stacks in each of the two maps.
    :param output: What becomes of a stack: counted, or sent as a record.
    :param nodes: Manual: frames that the calling-context tree has room for.
    :param per_process: Count by process.
    :param verify: Manual: compare a random one in so many events with the kernel's unwinder;
        0 for none.
    :param sampled: Take only so many events, at random, as ``Capture.sample`` says.
    """

    method: Method | None = None
    attach: str = "auto"
    depth: int = MAX_FRAMES
    ring_bytes: int = 16 << 20
    stack_entries: int = 16384
    output: Output = Output.EVENT
    nodes: int = 1 << 17
    per_process: bool = False
    verify: int = 0
    sampled: bool = False
