# SPDX-License-Identifier: MIT
"""Walked stacks in every kind of surroundings, beside those of the kernel's own unwinder.

So far differences and fallbacks are reported only; what is asserted is that the surroundings
occurred. SURROUNDINGS_VERBOSE=1 shows the most frequent stacks as well.
"""

from __future__ import annotations

import os
import time
from collections import Counter

import pytest
from conftest import pairs
from workloads import ALL, Surroundings

from kwalk.kernel.kallsyms import Kallsyms
from kwalk.probe.options import ProbeOptions
from kwalk.profile import Frame, Stack
from kwalk.symbolize.symbolizer import Symbolizer
from kwalk.transport.abi import Method

ENOUGH = 1000
ATTACH = {entry.name: ("kprobe", "fentry")[index % 2] for index, entry in enumerate(ALL)}


def function_of(entry: Surroundings, symbols: Kallsyms) -> str:
    for name in entry.functions:
        if len({symbol.address for symbol in symbols.find(name, code=True)}) == 1:
            return name
    pytest.skip(f"this kernel has none of {', '.join(entry.functions)}")


def differ(manual: Stack, helper: Stack | None, frame_pointers: bool) -> bool:
    """By frame pointers the kernel's own unwinder misses the direct caller."""
    seen = manual.addresses
    return helper is not None and helper.addresses != (
        seen[:1] + seen[2:] if frame_pointers else seen
    )


def text(frames: list[Frame]) -> str:
    return "".join(
        f"\n        {frame.address:016x} {frame.name}+{frame.offset:#x}"
        + (f" [{frame.module}]" if frame.module else "")
        for frame in frames
    )


@pytest.mark.parametrize("entry", ALL, ids=lambda entry: entry.name)
def test_surroundings(
    entry: Surroundings,
    symbols: Kallsyms,
    frame_pointers: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if why := entry.lacks():
        pytest.skip(why)
    with entry.load() as burst:
        if entry.brings_code:
            symbols = Kallsyms.read()
        function = function_of(entry, symbols)

        def enough(number: int) -> bool:
            if number < ENOUGH:
                burst()
            return number >= ENOUGH

        started = time.monotonic()
        found, summary = pairs(function, ProbeOptions(Method.BOTH, ATTACH[entry.name]), enough)
        seconds = time.monotonic() - started

    both = Counter((manual.stack, helper.stack if helper else None) for manual, helper in found)
    symbolizer = Symbolizer(symbols)
    names = {stack: symbolizer.frames(stack) for pair in both for stack in pair if stack}
    fallen = sum(manual.stack.fallback for manual, _ in found)
    different = {pair: n for pair, n in both.items() if differ(*pair, frame_pointers)}
    with capsys.disabled():
        print(
            f"\n  {entry.name}: {function} by {summary.attach}: {len(found)} events in "
            f"{seconds:.1f} s, fallback {fallen / max(1, len(found)):.1%}, "
            f"mismatch {sum(different.values())}, lost {sum(summary.ledger.lost.values())}"
        )
        for (manual, helper), number in list(different.items())[:3]:
            way = "fallback" if manual.fallback else "walked"
            print(f"    {number} times {way}:{text(names[manual])}")
            print(f"    but the helper:{text(names[helper] if helper else [])}")
        if os.environ.get("SURROUNDINGS_VERBOSE"):
            for (manual, _), number in both.most_common(4):
                way = "fallback" if manual.fallback else "walked"
                print(f"    {number} times {way}:{text(names[manual])}")

    number, holds = len(found), entry.holds([names[manual.stack] for manual, _ in found])
    assert summary.ledger.balance == 0
    assert number >= ENOUGH
    assert holds, "no stack, or hardly one, shows the surroundings"
