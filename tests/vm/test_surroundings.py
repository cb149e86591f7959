# SPDX-License-Identifier: MIT
"""Every stack compared with the kernel's, for every kind of stack.

SURROUNDINGS_VERBOSE=1 shows the most frequent stacks; SURROUNDINGS_ATTACH=WAY attaches to all
functions that way.
"""

from __future__ import annotations

import os
import time

import pytest
from conftest import has_fentry
from verified import must_agree, verified
from workloads import ALL, Surroundings

from kwalk.kernel.kallsyms import Kallsyms
from kwalk.report.frame import frame_text

ENOUGH = 1000
FALLBACK = 0.001
ATTACH = {entry.name: ("kprobe", "fentry")[index % 2] for index, entry in enumerate(ALL)}


def function_of(entry: Surroundings, symbols: Kallsyms) -> str:
    """Return the first of the entry's functions with an unambiguous name in this kernel."""
    for name in entry.functions:
        if len({symbol.address for symbol in symbols.find(name, code=True)}) == 1:
            return name
    pytest.skip(f"this kernel has none of {', '.join(entry.functions)}")


def attach_to(entry: Surroundings) -> str:
    """Return the way of attaching: all entries together try each that every kernel has."""
    attach = os.environ.get("SURROUNDINGS_ATTACH") or ATTACH[entry.name]
    return attach if attach != "fentry" or has_fentry() else "kprobe"


@pytest.mark.parametrize("entry", ALL, ids=lambda entry: entry.name)
def test_surroundings(entry: Surroundings, symbols: Kallsyms) -> None:
    if why := entry.lacks():
        pytest.skip(why)
    with entry.load() as burst:
        if entry.brings_code:
            symbols = Kallsyms.read()
        function = function_of(entry, symbols)
        started = time.monotonic()
        summary, stacks, symbolizer = verified(function, attach_to(entry), ENOUGH, burst)
        print(f"{function} by {summary.attach}: {time.monotonic() - started:.1f} s")

    must_agree(summary, symbolizer, FALLBACK)
    assert summary.verify
    assert summary.verify.checked >= ENOUGH
    frames = {stack: symbolizer.frames(stack) for stack in stacks}
    if os.environ.get("SURROUNDINGS_VERBOSE"):
        for stack, number in sorted(stacks.items(), key=lambda item: -item[1])[:4]:
            print(number, *map(frame_text, frames[stack]), sep="\n    ")
    events = [frames[stack] for stack, number in stacks.items() for _ in range(number)]
    assert entry.holds(events), "no stack, or hardly one, shows the surroundings"
