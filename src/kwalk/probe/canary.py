# SPDX-License-Identifier: MIT
"""Canary probes: attach to a function, call it, see whether the kernel runs the program."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

from kwalk.abi import NO_ADDRESS, Method, Output, Place
from kwalk.arch import here
from kwalk.errors import NotSupported
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.libbpf import LibbpfError
from kwalk.options.probe import ProbeOptions
from kwalk.probe.diagnose import reason
from kwalk.probe.open import open_probe
from kwalk.probe.probe import Probe
from kwalk.probe.selection import Selection
from kwalk.probe.target import Target

CALLS = 3
FREQUENCY = 99
_POLL_SECONDS = 0.005
_NODES, _STACKS = 1024, 64

Call = Callable[[], object]
# System calls without an effect; several, so that one is left if the user traces another.
_FUNCTIONS: dict[str, Call] = {
    "sys_getpgid": lambda: os.getpgid(0),
    "sys_getpriority": lambda: os.getpriority(os.PRIO_PROCESS, 0),
    "sys_sched_get_priority_max": lambda: os.sched_get_priority_max(os.SCHED_OTHER),
}
_EVENTS: dict[str, Call] = {
    "sched:sched_switch": lambda: time.sleep(0.001),
    "raw_syscalls:sys_enter": lambda: os.getpgid(0),
}
_SYSCALL_EVENTS: dict[str, Call] = {
    "syscalls:sys_enter_getpgid": lambda: os.getpgid(0),
    "syscalls:sys_enter_getpriority": lambda: os.getpriority(os.PRIO_PROCESS, 0),
}


class Trial(NamedTuple):
    """Result of a canary probe.

    :ivar probe: Closed probe; its way of attaching, method and notes are still readable.
    :ivar fired: Runs of the program, at most ``calls``.
    :ivar calls: Calls that kwalk made of the function, or samples that it waited for.
    """

    probe: Probe
    fired: int
    calls: int

    @property
    def text(self) -> str:
        """Message text, such as ``fired 3 of 3 times on __x64_sys_getpgid``."""
        label = self.probe.selection.label
        if self.probe.selection.place == Place.SAMPLE:
            return f"fired {self.fired} of {self.calls} times at {label}"
        return f"fired {self.fired} of {self.calls} times on {label}"


def fire(
    way: str,
    place: Place,
    symbols: Kallsyms,
    avoid: Collection[str] = (),
    method: Method = Method.HELPER,
    frequency: int = FREQUENCY,
    then: Callable[[Probe, Call], object] | None = None,
) -> Trial:
    """Attach a canary, call its function or wait for samples, and detach.

    :param way: One of ``attach.PROGRAMS``.
    :param avoid: Functions and tracepoints not to use, since the user traces them.
    :param method: ``MANUAL`` turns into the helper where this kernel's stacks can't be walked.
    :param frequency: Samples a second, for ``Place.SAMPLE``.
    :param then: Called with the probe and what calls the function, before the probe is detached.
    :raises KwalkError: if no candidate can be attached to; ``SwitchedOff`` if a switch of the
        kernel would keep the program from running.
    """
    options = ProbeOptions(method, output=Output.COUNT, nodes=_NODES, stack_entries=_STACKS)
    refused: NotSupported | None = None
    for target, call in _candidates(place, symbols, avoid, frequency):
        try:
            probe = open_probe(Selection.one(target), symbols, options, way=way)
        except LibbpfError as error:
            refused = refused or NotSupported(reason(way, error))
            continue
        try:
            fired = _wait(probe, frequency) if place == Place.SAMPLE else _call(probe, call)
            if then:
                then(probe, call)
        finally:
            probe.close()
        return Trial(probe, fired, CALLS)
    raise refused or NotSupported("this kernel has none of the functions that kwalk tries it on")


def _call(probe: Probe, call: Call) -> int:
    for _ in range(CALLS):
        call()
    # Other processes may have called it as well.
    return min(probe.hits(), CALLS)


def _wait(probe: Probe, frequency: int) -> int:
    """Wait for ``CALLS`` samples, ten times as long as they should take; return how many came."""
    end = time.monotonic() + 1 + 10 * CALLS / frequency
    while (hits := probe.hits()) < CALLS and time.monotonic() < end:
        time.sleep(_POLL_SECONDS)
    return min(hits, CALLS)


def _candidates(
    place: Place, symbols: Kallsyms, avoid: Collection[str], frequency: int
) -> Iterator[tuple[Target, Call]]:
    if place == Place.SAMPLE:
        yield Target(str(frequency), NO_ADDRESS, "", event=place), lambda: None
        return
    if place == Place.TRACEPOINT:
        made = any(name.startswith("syscalls:") for name in avoid)
        for name, call in (_SYSCALL_EVENTS if made else _EVENTS).items():
            if name not in avoid:
                yield Target(name, NO_ADDRESS, "", event=place), call
        return
    arch = here()
    behind_ftrace = [site + arch.ftrace_call_bytes for site in arch.ftrace_sites]
    for function, call in _FUNCTIONS.items():
        name = arch.syscall_prefix + function
        address = symbols.address(name)
        if not address or name in avoid:
            continue
        for offset in behind_ftrace if place == Place.INSIDE else (0,):
            yield Target(name, address, "", offset, returns=place == Place.RETURN), call
