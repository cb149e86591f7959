# SPDX-License-Identifier: MIT
"""Walked stacks in every kind of surroundings, beside those of the kernel's own unwinder."""

from __future__ import annotations

import os
import time
from collections import Counter

import pytest
from conftest import pairs
from workloads import ALL, Surroundings

from kwalk.kernel.kallsyms import Kallsyms
from kwalk.probe.options import ProbeOptions
from kwalk.profile import Event, Stack
from kwalk.symbolize.symbolizer import Symbolizer
from kwalk.transport.abi import Method

ENOUGH = 1000
ATTACH = {entry.name: ("kprobe", "fentry")[index % 2] for index, entry in enumerate(ALL)}


def expected(manual: Event, frame_pointers: bool) -> tuple[int, ...]:
    """What the kernel's unwinder should say; by frame pointers it misses the direct caller."""
    addresses = manual.stack.addresses
    return addresses[:1] + addresses[2:] if frame_pointers else addresses


def function_of(entry: Surroundings, symbols: Kallsyms) -> str:
    for name in entry.functions:
        if len({symbol.address for symbol in symbols.find(name, code=True)}) == 1:
            return name
    pytest.skip(f"this kernel has none of {', '.join(entry.functions)}")


@pytest.mark.parametrize("entry", ALL, ids=lambda entry: entry.name)
def test_surroundings(
    entry: Surroundings, symbols: Kallsyms, frame_pointers: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    if why := entry.lacks():
        pytest.skip(why)
    with entry.load() as burst:
        symbols = Kallsyms.read() if entry.brings_code else symbols
        function = function_of(entry, symbols)

        def enough(number: int) -> bool:
            if number < ENOUGH:
                bursts.append(time.monotonic())
                burst()
            return number >= ENOUGH

        bursts = []
        options = ProbeOptions(Method.BOTH, ATTACH[entry.name])
        started = time.monotonic()
        found, summary = pairs(function, options, enough)
        seconds = time.monotonic() - started
    symbolizer = Symbolizer(symbols)
    events = Counter(
        (manual.stack, None if helper is None else helper.stack) for manual, helper in found
    )
    different = Counter(
        {
            (manual, helper): number
            for (manual, helper), number in events.items()
            if helper is not None and expected_of(manual, frame_pointers) != helper.addresses
        }
    )
    fallen = sum(manual.stack.fallback for manual, _ in found)
    with capsys.disabled():
        print(
            f"\n@@ {entry.name} {function} {summary.attach} events={len(found)} "
            f"distinct={len(events)} seconds={seconds:.1f} start={bursts[0] - started:.1f} bursts={len(bursts)} fallback={fallen} "
            f"mismatch={sum(different.values())} deepest="
            f"{max((len(m.stack.addresses) for m, _ in found), default=0)}"
        )

        def show(title: str, stack: Stack) -> None:
            print(f"   {title} {'FALLBACK' * stack.fallback} {'TRUNC' * stack.truncated}")
            for f in symbolizer.frames(stack):
                print(f"      {f.address:x} {f.name}+{f.offset:#x} [{f.module}]")

        for (manual, helper), number in different.most_common(3):
            print(f"!! mismatch {function} x{number}")
            show("manual", manual)
            show("helper", helper)
        fb = Counter(m.stack for m, _ in found if m.stack.fallback)
        for stack, number in fb.most_common(2):
            print(f"?? fallback {function} x{number}")
            show("fallback", stack)
        frames = {m.stack: symbolizer.frames(m.stack) for m, _ in found}
        stacks = [frames[manual.stack] for manual, _ in found]
        holds = entry.holds(stacks)
        if not holds or os.environ.get("SHOW"):
            for stack, number in Counter(m.stack for m, _ in found).most_common(4):
                print(
                    f"-- {function} x{number} "
                    + " ".join(
                        f"{f.name}{'[' + f.module + ']' if f.module else ''}"
                        for f in symbolizer.frames(stack)
                    )
                )
    assert summary.ledger.balance == 0
    number = len(found)
    assert number >= ENOUGH
    assert holds, f"no stack shows {entry.name}"


def expected_of(stack: Stack, frame_pointers: bool) -> tuple[int, ...]:
    addresses = stack.addresses
    return addresses[:1] + addresses[2:] if frame_pointers else addresses
