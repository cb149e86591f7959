# SPDX-License-Identifier: MIT
"""Switches of the kernel that each way of attaching depends on."""

from __future__ import annotations

from kwalk.abi import Place
from kwalk.arch import here
from kwalk.kernel import switches
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.kernel.switches import SwitchedOff
from kwalk.probe import ftrace_sites
from kwalk.probe.config import Facts
from kwalk.probe.load import image
from kwalk.probe.selection import Selection

ONE_BY_ONE = {"kprobe", "kretprobe"}


def off(way: str, selection: Selection, symbols: Kallsyms) -> SwitchedOff | None:
    """Return the switch that would keep an attached program from running; None if none is known.

    It reads one file of procfs. ``off_in`` checks the switch that only a BPF program can read.
    """
    name = selection.targets[0].name
    if selection.place == Place.SAMPLE:
        return switches.samples(int(name))
    if selection.place == Place.TRACEPOINT:
        return switches.tracepoint(name)
    if way in ONE_BY_ONE and selection.targets[0].offset > max(here().ftrace_sites):
        return None
    found = switches.ftrace()
    if found and way in ONE_BY_ONE and not on_ftrace(selection, symbols):
        return None
    return found


def off_in(way: str, facts: Facts) -> SwitchedOff | None:
    """Return the switch of kprobes if ``kw_facts`` found it off; None for other ways."""
    return switches.kprobes() if way in ONE_BY_ONE and facts.disarmed else None


def on_ftrace(selection: Selection, symbols: Kallsyms) -> bool:
    """Return whether a kprobe at the entry of any of these functions would go through ftrace.

    Without a call of ftrace there it is a breakpoint (check_kprobe_address_safe() in
    kernel/kprobes.c), and without CONFIG_KPROBES_ON_FTRACE each is, as on arm64. True if the calls
    of ftrace are unknown.
    """
    if not symbols.address("kprobe_ftrace_handler"):  # arch/*/kernel/kprobes/ftrace.c
        return False
    places = ftrace_sites.read(symbols, image)
    return any(not places.why_not(target) for target in selection.targets)
