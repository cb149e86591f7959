# SPDX-License-Identifier: MIT
"""Every way of attaching with each method: the cells of docs/matrix.md.

``tests/matrix.py`` puts the cells together.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections import Counter
from collections.abc import Callable

import pytest
from machine import HERE
from test_places import instructions
from verified import must_agree, names

from kwalk.abi import Method
from kwalk.engine.capture import Capture
from kwalk.errors import KwalkError
from kwalk.model.stack import Stack
from kwalk.options.filters import Filters
from kwalk.options.probe import ProbeOptions
from waiting import wait_for

ENOUGH = 300
# Callers of the traced functions, in the work of this test.
CALLERS = {
    "vfs_read": "ksys_read",
    "vfs_write": "ksys_write",
    "ip_rcv": "__netif_receive_skb_one_core",
}
# Name for users -> traced place and option.
WAYS: dict[str, tuple[list[str], str]] = {
    "kprobe": (["vfs_read"], "kprobe"),
    "kprobe inside a function": (["ip_rcv"], "kprobe"),
    "kretprobe": (["r:vfs_read"], "kprobe"),
    "fentry": (["vfs_read"], "fentry"),
    "fexit": (["r:vfs_read"], "fentry"),
    "fentry.multi": (["vfs_read", "vfs_write"], "fentry.multi"),
    "fexit.multi": (["r:vfs_read", "r:vfs_write"], "fentry.multi"),
    "kprobe.multi": (["vfs_read", "vfs_write"], "kprobe.multi"),
    "kretprobe.multi": (["r:vfs_read", "r:vfs_write"], "kprobe.multi"),
    "raw tracepoint": (["t:raw_syscalls:sys_enter"], "auto"),
    "tracepoint": (["t:syscalls:sys_enter_read"], "auto"),
    "perf event": ([], "auto"),
}
# Loss at some tracepoints of system calls: older kernels give the unwinder the registers of user
# space (perf_call_bpf_enter() in kernel/trace/trace_syscalls.c).
NOTHING_FOUND = "efault"
# Message of kwalk if a kernel lacks a way -> cell of the table.
REASONS = {
    "CONFIG_FPROBE": "no: it has no fprobe",
    "CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS": "no: it has no fentry",
    "BPF_TRACE_FENTRY_MULTI": "no: it has no such links",
    "is for the manual method": "no: for the walk only",
}


def work() -> None:
    """Read often, enough to be sampled, and send as often."""
    fd = os.open("/dev/zero", os.O_RDONLY)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _ in range(50):
            os.read(fd, 1 << 18)
            with contextlib.suppress(OSError):  # without a listener
                sock.sendto(b"x", ("127.0.0.1", 9))
    os.close(fd)


def taken(
    what: list[str], options: ProbeOptions, look: Callable[[Capture, Counter[Stack]], None]
) -> None:
    """Trace the work of this process until there are enough stacks."""
    with Capture(what, options) as capture:
        stacks: Counter[Stack] = Counter()

        def enough() -> bool:
            work()
            stacks.update(event.stack for event in capture.read())
            lost = capture.summary().ledger.lost.get(NOTHING_FOUND, 0)
            return sum(stacks.values()) + lost >= ENOUGH

        assert wait_for(enough, 60), f"{sum(stacks.values())} stacks"
        capture.stop()
        for _ in range(2):
            stacks.update(event.stack for event in capture.read())
        look(capture, stacks)


@pytest.mark.parametrize("method", [Method.MANUAL, Method.HELPER])
@pytest.mark.parametrize("way", WAYS)
def test_cell(way: str, method: Method, record_property: Callable[[str, object], None]) -> None:
    what, attach = WAYS[way]
    if way.endswith("inside a function"):
        # With frame pointers the walk must know how far the prologue has run, and the kernel's
        # unwinder needs it to be complete.
        place = instructions(what[0], 8)[0 if method == Method.MANUAL else -1]
        what = [f"{what[0]}+{place:#x}"]
    options = ProbeOptions(
        method,
        attach,
        verify=int(method == Method.MANUAL),
        frequency=None if what else 499,
        filters=Filters(pids=(os.getpid(),)),
    )
    cell = ""

    def look(capture: Capture, stacks: Counter[Stack]) -> None:
        nonlocal cell
        summary, symbolizer = capture.summary(), capture.symbolizer
        assert summary.ledger.balance == 0
        found = [names(stack, symbolizer) for stack in stacks]
        in_calls = sum(HERE.syscall in stack for stack in found)
        # Tracepoints and samples also occur in page faults and interrupts.
        assert in_calls == len(found) if way != "perf event" else in_calls > 0
        if not found:
            assert way == "tracepoint"
            assert set(summary.ledger.lost) <= {NOTHING_FOUND}
            cell = "no: its unwinder finds nothing there"
            return
        direct = True
        if what and not what[0].startswith("t:"):
            assert {stack[0] for stack in found} <= set(CALLERS)
            direct = any(stack[1] == CALLERS[stack[0]] for stack in found)
        cell = "yes" if direct else "without the direct caller"
        if method == Method.MANUAL:
            assert direct
            assert summary.verify
            if way == "tracepoint" and not summary.verify.checked:
                assert not summary.ledger.fallback
                cell = "yes, with nothing to compare"
                return
            must_agree(summary, symbolizer, 0.01)
            cell = "verified"

    try:
        taken(what, options, look)
    except KwalkError as error:
        cell = next((short for sign, short in REASONS.items() if sign in str(error)), "")
        if not cell:
            raise
    name = str(method.name).lower()
    record_property("cell", json.dumps([way, name, cell]))
