# SPDX-License-Identifier: MIT
"""Attaching and detaching a thousand times leaves nothing behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from complaints import complaints, forget
from conftest import TRACING

from kwalk.abi import Method, Output
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.libbpf import stats
from kwalk.options.probe import ProbeOptions
from kwalk.probe.open import open_probe
from kwalk.probe.selection import Selection
from kwalk.probe.target import find

CYCLES = 500  # by each way
FUNCTION = "ip_rcv"


def attached() -> str:
    """Return ftrace's line about the function; "" if nothing is attached to it."""
    lines = (TRACING / "enabled_functions").read_text().splitlines()
    return "".join(line for line in lines if line.split()[0] == FUNCTION)


def kprobes() -> str:
    """Return the list of kprobes."""
    path = Path("/sys/kernel/debug/kprobes/list")
    return path.read_text() if path.exists() else ""


@pytest.mark.parametrize("attach", ["kprobe", "fentry"])
def test_thousand_attach_cycles_leave_nothing_behind(attach: str, symbols: Kallsyms) -> None:
    cycles = CYCLES if os.environ.get("KWALK_LAB") == "debian-13" else CYCLES // 20
    forget()
    before = attached(), kprobes(), stats.programs().keys()
    probe = open_probe(
        Selection.one(find(FUNCTION, symbols)),
        symbols,
        ProbeOptions(Method.MANUAL, attach, output=Output.COUNT),
    )
    try:
        assert probe.attach == attach
        assert attached()
        for _ in range(cycles):
            probe.obj.detach()
            if attach == "kprobe":
                probe.obj.attach_kprobe(probe.program, FUNCTION)
            else:
                probe.obj.attach_trace(probe.program, FUNCTION)
    finally:
        probe.close()
    assert (attached(), kprobes(), stats.programs().keys()) == before
    assert complaints() == []
