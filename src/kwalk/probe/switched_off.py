# SPDX-License-Identifier: MIT
"""Which of the kernel's switches a way of attaching depends on."""

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
    """Return why what is attached now would not be run; None where nothing is known against it.

    One file is read. ``off_in`` looks at the switch that takes a loaded program to be read.
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
    """Return why kprobes would not be run, as a loaded program found it in the kernel's memory."""
    return switches.kprobes() if way in ONE_BY_ONE and facts.disarmed else None


def on_ftrace(selection: Selection, symbols: Kallsyms) -> bool:
    """Whether a kprobe at any of these functions' entries is one of ftrace's, as far as is known.

    Without a call of ftrace there, it is a breakpoint (check_kprobe_address_safe() in
    kernel/kprobes.c).
    """
    places = ftrace_sites.read(symbols, image)
    return any(not places.why_not(target) for target in selection.targets)
