# SPDX-License-Identifier: MIT
"""NMIs: walks interrupted by one, and walks from inside one."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import TRACING
from verified import must_agree, names, verified

from kwalk.kernel.kallsyms import Kallsyms
from kwalk.lab.nmi import inject
from kwalk.probe.config import extent
from kwalk.report import summary as reports

pytestmark = pytest.mark.skipif(
    "NMI:" not in Path("/proc/interrupts").read_text(), reason="this machine has no NMIs"
)
TRIES = 5  # NMIs hit at random: a CPU that spins in user mode also serves its timer
# Called for an NMI of unknown origin, which the kernel reports.
IN_NMI = "vprintk_store"
SPIN = {
    "user": "while True: pass",
    "kernel": "import os\nfd = os.open('/dev/zero', os.O_RDONLY)\nb = bytearray(1 << 20)\n"
    "while True: os.readv(fd, [b])",
    "switch": "import os\nwhile True: os.sched_yield()",
}


def received() -> int:
    """Return the number of NMIs on all CPUs so far."""
    (line,) = re.findall(r"^ *NMI:([ \d]+)", Path("/proc/interrupts").read_text(), re.MULTILINE)
    return sum(map(int, line.split()))


@contextmanager
def spinning(mode: str, number: int = 1) -> Iterator[None]:
    """Keep CPU 0, which gets the NMIs, in user or kernel mode, or switching between tasks."""
    command = ["taskset", "-c", "0", sys.executable, "-c", SPIN[mode]]
    processes = [subprocess.Popen(command) for _ in range(number)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def must_be_traceable() -> None:
    """Skip the test if the function that NMIs lead to cannot be traced."""
    if IN_NMI + "\n" not in (TRACING / "available_filter_functions").read_text():
        pytest.skip(f"this kernel's {IN_NMI} cannot be traced")


@pytest.mark.parametrize("attach", ["kprobe", "fentry"])
def test_walks_that_an_nmi_interrupts(attach: str, redis: None) -> None:
    before = received()
    summary, _, symbolizer = verified("ip_rcv", attach, 2000, lambda: inject(25))
    must_agree(summary, symbolizer)
    assert summary.verify
    assert summary.verify.checked >= 2000
    assert received() - before >= 20


@pytest.mark.parametrize("attach", ["kprobe", "fentry"])
@pytest.mark.parametrize("mode", ["user", "kernel"])
def test_walks_from_inside_an_nmi(
    mode: str, attach: str, symbols: Kallsyms, frame_pointers: bool
) -> None:
    must_be_traceable()
    start, end = extent(symbols, "nmi")
    low, high = symbols.address("__entry_text_start"), symbols.address("__entry_text_end")
    in_entry = range(low, high).__contains__
    for _ in range(TRIES):
        with spinning(mode):
            summary, stacks, symbolizer = verified(
                IN_NMI, attach, 30, lambda: inject(5), seconds=60
            )
        left = sum(number for stack, number in stacks.items() if stack.fallback)
        must_agree(summary, symbolizer, left / summary.ledger.recorded)
        # On the way back to user space BP is user space's already. With frame pointers only, the
        # walk can't know more than the kernel, whose stack ends there.
        for stack in stacks:
            assert not stack.fallback or (frame_pointers and in_entry(stack.addresses[-1]))
        inside = [
            (stack, found) for stack in stacks if "exc_nmi" in (found := names(stack, symbolizer))
        ]
        assert inside
        # The handler's return address, by which a kernel's stack that ends there is recognized.
        assert all(start < s.addresses[found.index("exc_nmi") + 1] < end for s, found in inside)
        over = {"kernel" if f.index("exc_nmi") < len(f) - 2 else "user" for _, f in inside}
        if mode in over:
            return
    pytest.fail(f"no NMI came over {mode} code")


def test_walks_from_an_nmi_between_two_tasks(frame_pointers: bool) -> None:
    """In __switch_to() or what it calls: the kernel's unwinder ends there, the walk does not.

    By frame pointers what it calls, having none of its own, does not show.
    """
    must_be_traceable()
    for _ in range(2 * TRIES):  # few NMIs hit this narrow place
        with spinning("switch", 3):
            summary, stacks, symbolizer = verified(
                IN_NMI, "kprobe", 2000, lambda: inject(10), seconds=30
            )
        text = reports.as_text(summary, symbolizer)
        assert summary.verify
        assert summary.verify.mismatches == 0, text
        assert summary.ledger.balance == 0, text
        deep = any(is_between_tasks(names(stack, symbolizer)) for stack in stacks)
        if (deep or frame_pointers) and summary.verify.kernel_wrong.get("task_switch"):
            return
    pytest.fail("no NMI came between two tasks")


def is_between_tasks(functions: list[str]) -> bool:
    """Return whether the NMI of a stack interrupted a callee of __switch_to()."""
    if not {"exc_nmi", "__switch_to"} <= set(functions):
        return False
    return functions.index("__switch_to") - functions.index("exc_nmi") > 2
