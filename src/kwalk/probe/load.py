# SPDX-License-Identifier: MIT
"""Loading of the BPF object: set its constants, size its maps, plant the tree."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from kwalk.abi import (
    ACTIVES_SECTION,
    CONFIG,
    CONFIG_SECTION,
    CONTROL,
    CONTROL_SECTION,
    COUNT,
    DIGITS_SECTION,
    GATES_SECTION,
    NO_ADDRESS,
    PLACES_SECTION,
    PROCESSES_SECTION,
    THREADS_SECTION,
    Method,
    Output,
    Place,
    Start,
)
from kwalk.arch import here
from kwalk.errors import NotSupported
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.libbpf import LibbpfError
from kwalk.libbpf.map import Map
from kwalk.libbpf.object import Object
from kwalk.options.filters import Filters
from kwalk.options.filters import places as places_of
from kwalk.options.probe import ProbeOptions
from kwalk.probe import function_code
from kwalk.probe.attach import HOT_PROGRAMS, PROGRAMS, TRAMPOLINES, names_for_trampolines
from kwalk.probe.attach_multi import MULTI, TRACING_MULTI
from kwalk.probe.config import FACTS_PROGRAM, Facts, digits, levels
from kwalk.probe.config import config as config_of
from kwalk.probe.config import control as control_of
from kwalk.probe.config import facts as facts_of
from kwalk.probe.ftrace_sites import PROGRAM as CALLS_PROGRAM
from kwalk.probe.hot_entry import leaves_bytes
from kwalk.probe.selection import Selection
from kwalk.probe.target import Target
from kwalk.transport.context_tree import NODE_BYTES, Tree
from kwalk.transport.counters import possible_cpus
from kwalk.transport.filter_maps import Gates, put_tasks
from kwalk.transport.ring import PAGE

FOLLOWING = ("kw_fork", "kw_free")


class Loaded(NamedTuple):
    """A BPF object in the kernel, not attached yet.

    :ivar gates: Per-CPU counters of filtered hits.
    :ivar config: Members of ``struct kw_config``, except the filters' values.
    :ivar control: Members of ``struct kw_control`` as written at load; empty for the helper.
    :ivar notes: Sentences for the user.
    :ivar hot: The program is one of ``attach.HOT_PROGRAMS``.
    :ivar sections: Sections of filters' values -> whether these filters need it.
    """

    obj: Object
    tree: Tree
    gates: Gates
    config: dict[str, int]
    control: dict[str, int]
    facts: Facts
    notes: list[str]
    hot: bool = False
    sections: Mapping[str, bool] = MappingProxyType({})

    def close(self) -> None:
        """Detach the programs and free everything."""
        self.gates.close()
        self.tree.close()
        self.obj.close()


def image() -> bytes:
    """Return the BPF object for this machine's architecture.

    :raises NotSupported: if there is none for it, or kwalk was built without it.
    """
    name = f"kwalk.{here().name}.bpf.o"
    try:
        return Path(__file__).with_name(name).read_bytes()
    except FileNotFoundError:
        raise NotSupported(
            f"kwalk was installed without its BPF programs ({name})",
            "Install it anew; in a source tree, `make venv` builds them.",
        ) from None


def load(
    way: str,
    selection: Selection,
    symbols: Kallsyms,
    options: ProbeOptions,
    method: Method,
    hot: bool = False,
) -> Loaded:
    """Load the BPF object with the program for a way of attaching.

    :param way: One of ``attach.PROGRAMS``.
    :param hot: Load the way's program of ``attach.HOT_PROGRAMS``.
    :raises LibbpfError: if the kernel refuses the object or its maps.
    :raises CannotWalk: if ``method`` walks, and this kernel's stacks can't be walked.
    """
    target = selection.targets[0]
    many = len(selection.targets) > 1 or way in MULTI
    fentry = way in TRAMPOLINES or way in TRACING_MULTI
    following = FOLLOWING if options.filters.follow else ()
    obj = Object(image())
    tree: Tree | None = None
    try:
        asking = (FACTS_PROGRAM, *([CALLS_PROGRAM] if selection.open else []))
        program = (HOT_PROGRAMS if hot else PROGRAMS)[way]
        if hot or target.place == Place.INSIDE:
            asking = (*asking, function_code.PROGRAM)
        wanted: dict[str, str | None] = dict.fromkeys((program, *asking, *following))
        if way in TRAMPOLINES:
            choose_name(obj, wanted, program, names_for_trampolines(target, symbols))
        else:
            obj.set_autoload(wanted)
        if attach_type := TRACING_MULTI.get(way):
            obj.set_tracing(program, attach_type)
        config = config_of(target, symbols, options, method, fentry, many)
        obj.map(CONFIG_SECTION).set_initial_value(
            CONFIG.pack({**config, **options.filters.config()})
        )
        if options.output == Output.EVENT:
            obj.map(DIGITS_SECTION).set_initial_value(digits())
        sizes = _resize(obj, options, method, config, hot)
        try:
            obj.load()
        except LibbpfError as error:
            if error.errno in (errno.ENOMEM, errno.E2BIG) and not error.log:
                raise LibbpfError(f"{_told(sizes)}: the kernel refuses them", error.errno) from None
            raise
        facts = facts_of(obj, symbols)
        control: dict[str, int] = {}
        notes = []
        if method & Method.MANUAL:
            control = control_of(
                facts, symbols, target, _machine_code(obj, symbols, program, target)
            )
            if target.place == Place.INSIDE and control.get("start") == Start.UNKNOWN:
                notes.append(
                    f"where the return address is at {target.label} cannot be told from the code: "
                    "every stack comes from the kernel's unwinder (fallback)"
                )
            if control.get("saved") == 0:
                notes.append(
                    "where a tracepoint's program has its frame cannot be told from its code: "
                    "every stack comes from the kernel's unwinder (fallback)"
                )
        obj.map(CONTROL_SECTION).update(bytes(4), CONTROL.pack(control))
        size = config["node_mask"] // NODE_BYTES + 1
        tree = Tree(obj, possible_cpus(), size, levels(method, fentry))
        tree.plant(NO_ADDRESS if many else target.traced)
        if options.chance is not None:
            tree.sample(options.chance)
        gates = _set_filters(obj, options)
        for name in following:
            obj.attach_auxiliary(name)
        sections = _sections(options.filters)
        return Loaded(obj, tree, gates, config, control, facts, notes, hot, sections)
    except BaseException:
        if tree:
            tree.close()
        obj.close()
        raise


def _machine_code(obj: Object, symbols: Kallsyms, program: str, target: Target) -> bytes:
    """Return the code that tells where the walk starts, if any does."""
    if target.place == Place.INSIDE:
        return function_code.of(obj, symbols, target.address, target.offset)
    if target.place == Place.TRACEPOINT and here().saved:
        return obj.machine_code(program)
    return b""


def choose_name(
    obj: Object, wanted: dict[str, str | None], program: str, names: Sequence[str]
) -> None:
    """Choose programs to load; ``program`` attaches to the first of ``names`` that BTF has.

    :raises LibbpfError: for the first name, if BTF has none of them.
    """
    refused: list[LibbpfError] = []
    for name in names:
        try:
            obj.set_autoload(wanted | {program: name})
        except LibbpfError as error:
            refused.append(error)
        else:
            return
    raise refused[0]


def _set_filters(obj: Object, options: ProbeOptions) -> Gates:
    filters, cpus = options.filters, possible_cpus()
    if filters.pids:
        put_tasks(obj.map(PROCESSES_SECTION), filters.pids)
    if filters.tids:
        put_tasks(obj.map(THREADS_SECTION), filters.tids)
    if filters.netns or filters.cgroups:
        numbers = [cgroup.number for cgroup in filters.cgroups]
        put_places(obj.map(PLACES_SECTION), filters.netns, numbers)
    gates = Gates(obj.map(GATES_SECTION) if filters else None, cpus)
    if filters.cpus:
        gates.shut(set(range(cpus)) - set(filters.cpus))
    return gates


def put_places(places: Map, netns: Sequence[int], cgroups: Sequence[int]) -> None:
    """Write the filter of network namespaces and cgroups (inode numbers), also while attached."""
    places.update(bytes(4), places_of(netns, cgroups))


def ring_bytes(options: ProbeOptions) -> int:
    """Return the size of the ring buffer in bytes; one page if no records are sent."""
    return PAGE if options.output == Output.COUNT else options.ring_bytes


def _resize(
    obj: Object, options: ProbeOptions, method: Method, config: dict[str, int], hot: bool
) -> dict[str, int]:
    """Size the maps; return the bytes of map memory that each option stands for."""
    counting = options.output == Output.COUNT
    obj.map("events").resize(max_entries=ring_bytes(options))
    nodes = config["node_mask"] // NODE_BYTES + 1
    obj.map("tree").resize(value_size=nodes * NODE_BYTES)
    obj.map("buckets").resize(value_size=nodes * 4)
    if not sends_keys(config):
        obj.map("keys").resize(max_entries=1)  # unused: no memory for each CPU
    if config["sampled"]:
        obj.map("weights").resize(value_size=nodes * 8)
    entries = options.stack_entries if method & Method.HELPER else 1
    depth = max(1, min(options.depth, config["kernel_frames"]))  # the kernel refuses deeper ones
    for name in ("stacks_a", "stacks_b"):
        second = counting and name == "stacks_b"
        obj.map(name).resize(max_entries=1 if second else entries, value_size=8 * depth)
    if hot:
        obj.map("leaves").resize(value_size=leaves_bytes(possible_cpus()))
    else:
        for name in ("leaves", "hot"):
            obj.map(name).set_autocreate(False)
    obj.map(ACTIVES_SECTION).set_autocreate(False)
    for name, needed in _sections(options.filters).items():
        map_ = obj.map(name)
        map_.set_mmapable() if needed else map_.set_autocreate(False)
    obj.map("counted").resize(max_entries=2 * entries if counting else 1)
    stacks = (1 if counting else 2) * entries * 8 * depth
    return {
        "--nodes": nodes * (NODE_BYTES + 4 + (8 if config["sampled"] else 0)),
        "--ring": ring_bytes(options),
        "--stack-entries": stacks + (2 * entries * possible_cpus() * COUNT.size) * counting,
    }


def _sections(filters: Filters) -> dict[str, bool]:
    return {
        GATES_SECTION: bool(filters),
        PROCESSES_SECTION: bool(filters.pids),
        THREADS_SECTION: bool(filters.tids),
        PLACES_SECTION: bool(filters.netns or filters.cgroups),
    }


def sends_keys(config: Mapping[str, int]) -> bool:
    """Return whether programs with a ``struct kw_config`` send short records, by key."""
    outputs = (Output.EVENT, Output.NUMBERED)
    return config["output"] in outputs and config["method"] == Method.MANUAL


def _told(sizes: dict[str, int]) -> str:
    largest = sorted(sizes.items(), key=lambda item: -item[1])
    told = ", ".join(f"{size / (1 << 20):,.1f} MiB by {option}" for option, size in largest)
    return f"kwalk's maps take {told}"
