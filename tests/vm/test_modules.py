# SPDX-License-Identifier: MIT
"""Stacks that pass through modules' code: their rules lie in tables of their own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from conftest import pairs

from kwalk.kernel.kallsyms import Kallsyms
from kwalk.probe.options import ProbeOptions
from kwalk.symbolize.symbolizer import Symbolizer
from kwalk.transport.abi import Method

ENOUGH = 1000


def read_files() -> None:
    """Make the overlay and 9p read; both are modules of Debian's kernels."""
    for path in sorted(Path("/usr/include/linux").glob("*.h"))[:60]:
        fd = os.open(path, os.O_RDONLY)
        os.read(fd, 100)
        os.close(fd)


@pytest.mark.parametrize("attach", ["kprobe", "fentry"])
def test_stacks_through_modules_are_the_kernels(
    attach: str, symbols: Kallsyms, frame_pointers: bool
) -> None:
    if not Path("/sys/module/overlay/sections").exists():
        pytest.skip("this kernel has overlay built in, and no module of it is in use")

    def enough(number: int) -> bool:
        read_files()
        return number >= ENOUGH

    found, summary = pairs("kfree", ProbeOptions(Method.BOTH, attach), enough)
    assert summary.ledger.balance == 0
    walked = [(m, h) for m, h in found if h is not None and not m.stack.fallback]
    for manual, helper in walked:
        addresses = manual.stack.addresses
        assert helper is not None
        assert helper.stack.addresses == (
            addresses[:1] + addresses[2:] if frame_pointers else addresses
        )
    symbolizer = Symbolizer(symbols)
    modules = [
        {frame.module for frame in symbolizer.frames(manual.stack)} - {""} for manual, _ in walked
    ]
    assert sum(bool(names) for names in modules) > ENOUGH / 10
    assert {"overlay"} <= set().union(*modules)
    assert len(walked) >= 0.99 * len(found), "the walk gave up too often"
