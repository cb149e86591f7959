# SPDX-License-Identifier: MIT
"""Load kwalk's BPF program for one function and attach it."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from pathlib import Path

from kwalk.errors import NotSupported, UsageError
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.libbpf import LibbpfError
from kwalk.libbpf.object import Object
from kwalk.probe import setting
from kwalk.probe.options import ProbeOptions
from kwalk.probe.refusal import explain
from kwalk.probe.target import Target
from kwalk.transport.abi import (
    CONFIG,
    CONFIG_SECTION,
    CONTROL,
    CONTROL_SECTION,
    DIGITS_SECTION,
    Method,
    Output,
    Place,
    Start,
    Unwinder,
)
from kwalk.transport.counters import possible_cpus
from kwalk.transport.ring import PAGE
from kwalk.transport.tree import NODE_BYTES, Tree

PROGRAMS = {
    "kprobe": "kw_kprobe",
    "kretprobe": "kw_kprobe",
    "fentry": "kw_fentry",
    "fexit": "kw_fexit",
}
# What a user calls it -> what it is called at each place in a function.
WAYS = {
    "kprobe": {Place.ENTRY: "kprobe", Place.INSIDE: "kprobe", Place.RETURN: "kretprobe"},
    "fentry": {Place.ENTRY: "fentry", Place.RETURN: "fexit"},
}


@dataclass
class Probe:
    """A loaded and attached program.

    :param control: ``struct kw_control`` as it was last written.
    :param config: ``struct kw_config``.
    :param notes: What a user should know: why not the method or attach type asked for.
    """

    obj: Object
    target: Target
    method: Method
    attach: str
    unwinder: Unwinder
    counts_missed: bool
    control: dict[str, int]
    config: dict[str, int]
    tree: Tree
    notes: list[str] = field(default_factory=list)

    @property
    def program(self) -> str:
        """Name of the program in the object."""
        return PROGRAMS[self.attach]

    @property
    def by_kprobe(self) -> bool:
        """The kernel calls the program from a kprobe or kretprobe, with registers."""
        return self.program == "kw_kprobe"

    def close(self) -> None:
        """Detach and free everything."""
        self.tree.close()
        self.obj.close()


def image() -> bytes:
    """Return the BPF object for this machine's architecture.

    :raises NotSupported: if kwalk was built without one.
    """
    name = f"kwalk.{platform.machine()}.bpf.o"
    try:
        return Path(__file__).with_name(name).read_bytes()
    except FileNotFoundError:
        raise NotSupported(
            f"kwalk has no BPF program for {platform.machine()}",
            "x86_64 is supported so far; from a source tree, `make venv` builds it.",
        ) from None


def open_probe(target: Target, symbols: Kallsyms, options: ProbeOptions) -> Probe:
    """Load and attach for ``target``; nothing is left in the kernel if that fails.

    :raises KwalkError: with the reason, if every way that the options allow is refused.
    """
    method = options.method or Method.MANUAL
    notes: list[str] = []
    while True:
        try:
            probe = _attach(target, symbols, options, method, notes)
        except setting.CannotWalk as error:
            if not method & Method.MANUAL:
                raise
            notes.append(f"using the helper, since {error.what}")
            method = Method.HELPER
        else:
            if options.verify and not method & Method.MANUAL:
                probe.notes.append("nothing is verified: the helper's stacks are the kernel's own")
            return probe


def _attach(
    target: Target, symbols: Kallsyms, options: ProbeOptions, method: Method, notes: list[str]
) -> Probe:
    # A kprobe gives the helper registers to start at; fentry is the cheaper way in for manual.
    preferred = ["kprobe", "fentry"] if method == Method.HELPER else ["fentry", "kprobe"]
    asked = preferred if options.attach == "auto" else [options.attach]
    ways = [WAYS[way][target.place] for way in asked if target.place in WAYS[way]]
    if not ways:
        raise UsageError(
            f"fentry cannot attach inside a function, and {target.label} is such a place",
            "Use --attach kprobe, or leave it to kwalk.",
        )
    refusals: list[tuple[str, LibbpfError]] = []
    for way in ways:
        try:
            probe = _attach_by(way, target, symbols, options, method, notes)
        except LibbpfError as error:
            refusals.append((way, error))
        else:
            probe.notes += [f"not by {other}: {refusal.what}" for other, refusal in refusals]
            return probe
    raise explain(target, refusals)


def _attach_by(
    way: str,
    target: Target,
    symbols: Kallsyms,
    options: ProbeOptions,
    method: Method,
    notes: list[str],
) -> Probe:
    obj = Object(image())
    tree: Tree | None = None
    try:
        program = PROGRAMS[way]
        by_kprobe = program == "kw_kprobe"
        attached_to = None if by_kprobe else target.name
        obj.choose({program: attached_to, setting.FACTS_PROGRAM: None})
        config = setting.config(target, symbols, options, method, fentry=not by_kprobe)
        obj.map(CONFIG_SECTION).preset(CONFIG.pack(config))
        if options.output == Output.EVENT:
            obj.map(DIGITS_SECTION).preset(setting.digits())
        _resize(obj, options, method, config)
        obj.load()
        facts = setting.facts(obj, symbols, target)
        unwinder = Unwinder(facts.unwinder)
        control: dict[str, int] = {}
        if method & Method.MANUAL:
            control = setting.control(facts, symbols, target)
            unknown = control.get("start") == Start.UNKNOWN
            if unknown and target.place == Place.INSIDE:
                notes = [
                    *notes,
                    f"the code does not tell where {target.label} has its return address: the "
                    "kernel's unwinder is asked each time (fallback)",
                ]
        obj.map(CONTROL_SECTION).update(bytes(4), CONTROL.pack(control))
        tree = Tree(obj, possible_cpus(), config["node_mask"] // NODE_BYTES + 1)
        tree.plant(target.traced)
        if by_kprobe:
            obj.attach_kprobe(program, target.name, target.offset, target.returns)
        else:
            obj.attach_trace(program, target.name)
        missed = facts.counts_missed
        return Probe(obj, target, method, way, unwinder, missed, control, config, tree, list(notes))
    except BaseException:
        if tree:
            tree.close()
        obj.close()
        raise


def ring_bytes(options: ProbeOptions) -> int:
    """Return the size of the ring of records; without records, the least there is."""
    return PAGE if options.output == Output.COUNT else options.ring_bytes


def _resize(obj: Object, options: ProbeOptions, method: Method, config: dict[str, int]) -> None:
    counting = options.output == Output.COUNT
    obj.map("events").resize(max_entries=ring_bytes(options))
    nodes = config["node_mask"] // NODE_BYTES + 1
    obj.map("tree").resize(value_size=nodes * NODE_BYTES)
    obj.map("buckets").resize(value_size=nodes * 4)
    if config["sampled"]:
        obj.map("weights").resize(value_size=nodes * 8)
    entries = options.stack_entries if method & Method.HELPER else 1
    depth = max(1, min(options.depth, config["kernel_frames"]))  # the kernel refuses deeper ones
    for name in ("stacks_a", "stacks_b"):
        second = counting and name == "stacks_b"
        obj.map(name).resize(max_entries=1 if second else entries, value_size=8 * depth)
    obj.map("counted").resize(max_entries=2 * entries if counting else 1)
