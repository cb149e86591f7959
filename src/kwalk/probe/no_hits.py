# SPDX-License-Identifier: MIT
"""What it means that a probe saw nothing: that nothing was there, or that it was not run."""

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
    Place.ENTRY: "nothing called {it} meanwhile{why}; was there a load that should?",
    Place.INSIDE: "nothing came by there meanwhile{why}; was there a load that should?",
    Place.RETURN: "no call that began meanwhile has returned{why}; was there a load that should?",
    Place.TRACEPOINT: "it did not happen meanwhile{why}; was there a load that should make it?",
    Place.SAMPLE: "no sample was taken meanwhile{why}: was there time enough for one?",
}


Modules = dict[str, int]


class Found(NamedTuple):
    """What was found out after a trace.

    :ivar unseen: Why the kernel did not run the program, for some of the time or all of it; ""
        where nothing tells so.
    :ivar notes: Sentences.
    """

    unseen: str = ""
    notes: tuple[str, ...] = ()


def modules(selection: Selection, folder: Path = MODULES) -> Modules:
    """Return the inodes of the folders of the modules whose functions are traced.

    A module that is loaded again has another one. Kprobes do not keep modules from being unloaded,
    and are gone with them (KPROBE_FLAG_GONE in kernel/kprobes.c).
    """
    found = {}
    for name in {target.module for target in selection.targets if target.module}:
        try:
            found[name] = (folder / name).stat().st_ino
        except OSError:
            found[name] = 0
    return found


def look(probe: Probe, symbols: Kallsyms, before: Modules, hits: int) -> Found:
    """Look at switches and modules again, and where no hit came fire a canary.

    :param probe: Detached.
    :param before: Modules as they were when it was attached.
    :param hits: How often it was hit, those included that the kernel counts as missed.
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
    return f"module {gone[0]} was unloaded meanwhile, and the probe was gone with it"


def _switched_off(probe: Probe, symbols: Kallsyms) -> SwitchedOff | None:
    if found := switched_off.off(probe.attach, probe.selection, symbols):
        return found
    if probe.attach not in switched_off.ONE_BY_ONE:
        return None
    again = config.facts(probe.obj, symbols, probe.selection.targets[0])
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
        doubt = f"whether the kernel runs such probes is not known, and none was seen: {error.what}"
        return Found(notes=(doubt,))
    if not trial.fired:
        return Found(f"the kernel does not run such probes: one of the same kind {trial.text}")
    it = "them" if len(targets) > 1 else "it"
    why = f" (a probe of the same kind {trial.text})"
    return Found(notes=(_NOTHING[probe.selection.place].format(it=it, why=why),))
