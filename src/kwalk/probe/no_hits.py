# SPDX-License-Identifier: MIT
"""Explanation of a trace without hits: the function was not called, or the probe did not run."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from kwalk.abi import Place
from kwalk.errors import KwalkError
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.kernel.switches import SwitchedOff
from kwalk.probe import config, switched_off
from kwalk.probe.probe import Probe
from kwalk.probe.selection import Selection

MODULES = Path("/sys/module")
_NOTHING = {
    Place.ENTRY: "nothing called {it} meanwhile{why}; did the workload run?",
    Place.INSIDE: "nothing ran that instruction meanwhile{why}; did the workload run?",
    Place.RETURN: "no call that began meanwhile has returned{why}; did the workload run?",
    Place.TRACEPOINT: "it was not reached meanwhile{why}; did the workload run?",
    Place.SAMPLE: "no sample was taken meanwhile{why}; was the trace long enough for one?",
}


Modules = dict[str, int]


class Found(NamedTuple):
    """Result of the check after a trace.

    :ivar unseen: Why the kernel did not run the program some or all of the time (for
        ``Summary.unseen``); "" if nothing suggests that.
    :ivar notes: Sentences for ``Summary.notes``.
    """

    unseen: str = ""
    notes: tuple[str, ...] = ()


def modules(selection: Selection, folder: Path = MODULES) -> Modules:
    """Return each traced module with the inode number of its folder in sysfs; 0 if it is gone.

    The number tells a load of a module from the next. Kprobes do not pin a module, and die with it
    (KPROBE_FLAG_GONE in kernel/kprobes.c).
    """
    found = {}
    for name in {target.module for target in selection.targets if target.module}:
        try:
            found[name] = (folder / name).stat().st_ino
        except OSError:
            found[name] = 0
    return found


def look(probe: Probe, symbols: Kallsyms, before: Modules, hits: int) -> Found:
    """Check switches and modules after a trace; without a hit, fire a canary as well.

    :param probe: The probe, already detached.
    :param before: ``modules()`` when it was attached.
    :param hits: Hits, including misses that the kernel counted.
    """
    found = _switched_off(probe, symbols)
    why = found.what if found else _unloaded(before, modules(probe.selection))
    if not why:
        return Found() if hits else _fire(probe, symbols)
    if hits:
        return Found(f"some {probe.selection.unit} may be missing: {why}")
    return Found(f"the kernel does not run the probe: {why}")


def _unloaded(before: Modules, after: Modules) -> str:
    gone = sorted(name for name, inode in before.items() if after[name] != inode)
    if not gone:
        return ""
    return f"module {gone[0]} was unloaded meanwhile, which removed the probe"


def _switched_off(probe: Probe, symbols: Kallsyms) -> SwitchedOff | None:
    if found := switched_off.off(probe.attach, probe.selection, symbols):
        return found
    if probe.attach not in switched_off.ONE_BY_ONE:
        return None
    again = config.facts(probe.obj, symbols)
    return switched_off.off_in(probe.attach, again)


def _fire(probe: Probe, symbols: Kallsyms) -> Found:
    from kwalk.probe import canary

    way, place, targets = probe.attach, probe.selection.place, probe.selection.targets
    avoid = {target.name for target in targets}
    frequency = int(targets[0].name) if place == Place.SAMPLE else canary.FREQUENCY
    at_entry = way in switched_off.ONE_BY_ONE and place != Place.INSIDE
    if at_entry and not switched_off.on_ftrace(probe.selection, symbols):
        place, way = Place.INSIDE, "kprobe"
    try:
        trial = canary.fire(way, place, symbols, avoid, frequency=frequency)
    except SwitchedOff as error:
        return Found(f"the kernel does not run such probes: {error.what}")
    except KwalkError as error:
        doubt = f"no hit; whether the kernel runs such probes could not be tried: {error.what}"
        return Found(notes=(doubt,))
    if not trial.fired:
        return Found(f"the kernel does not run such probes: one of the same kind {trial.text}")
    it = "them" if len(targets) > 1 else "it"
    why = f" (a probe of the same kind {trial.text})"
    return Found(notes=(_NOTHING[probe.selection.place].format(it=it, why=why),))
