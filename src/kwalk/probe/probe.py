# SPDX-License-Identifier: MIT
"""Load kwalk's BPF program for one function and attach it."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from pathlib import Path

from kwalk.errors import KwalkError, NotSupported
from kwalk.kernel import orc
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.libbpf import LibbpfError
from kwalk.libbpf.object import Object
from kwalk.probe.options import ProbeOptions
from kwalk.probe.refusal import explain
from kwalk.probe.target import Target
from kwalk.transport.abi import (
    CONFIG,
    CONFIG_SECTION,
    CONTROL,
    CONTROL_SECTION,
    FACTS,
    Method,
    Unwinder,
)

PROGRAMS = {"kprobe": "kw_kprobe", "fentry": "kw_fentry"}
FACTS_PROGRAM = "kw_facts"


@dataclass
class Probe:
    """A loaded and attached program; close ``obj`` to remove it.

    :param control: ``struct kw_control`` as it was last written.
    :param notes: What a user should know: why not the method or attach type asked for.
    """

    obj: Object
    target: Target
    method: Method
    attach: str
    unwinder: Unwinder
    counts_missed: bool
    control: dict[str, int]
    notes: list[str] = field(default_factory=list)

    @property
    def program(self) -> str:
        """Name of the program in the object."""
        return PROGRAMS[self.attach]


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
            return _attach(target, symbols, options, method, notes)
        except _CannotWalk as error:
            if not method & Method.MANUAL:
                raise
            notes.append(f"using the helper, since {error.what}")
            method = Method.HELPER


class _CannotWalk(KwalkError):
    """The manual method can't be used on this kernel; ``what`` says why."""


def _attach(
    target: Target, symbols: Kallsyms, options: ProbeOptions, method: Method, notes: list[str]
) -> Probe:
    # A kprobe gives the helper registers to start at; fentry is the cheaper way in for manual.
    preferred = ["kprobe", "fentry"] if method == Method.HELPER else ["fentry", "kprobe"]
    ways = preferred if options.attach == "auto" else [options.attach]
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
    try:
        program = PROGRAMS[way]
        obj.choose({program: target.name if way == "fentry" else None, FACTS_PROGRAM: None})
        obj.map(CONFIG_SECTION).preset(CONFIG.pack(_config(target, symbols, options, method)))
        _resize(obj, options, method)
        obj.load()
        facts = _facts(obj, symbols)
        unwinder = Unwinder(facts["unwinder"])
        control: dict[str, int] = {}
        if method & Method.MANUAL:
            if unwinder == Unwinder.ORC:
                control = _orc_control(facts, symbols)
            elif unwinder == Unwinder.NONE:
                raise _CannotWalk("this kernel has neither ORC tables nor frame pointers")
        obj.map(CONTROL_SECTION).update(bytes(4), CONTROL.pack(control))
        if way == "fentry":
            obj.attach_trace(program, target.name)
        else:
            obj.attach_kprobe(program, target.name)
        counts_missed = bool(facts["counts_missed"])
        return Probe(obj, target, method, way, unwinder, counts_missed, control, list(notes))
    except BaseException:
        obj.close()
        raise


def _config(
    target: Target, symbols: Kallsyms, options: ProbeOptions, method: Method
) -> dict[str, int]:
    ips, entries = symbols.address("__start_orc_unwind_ip"), symbols.address("__start_orc_unwind")
    lookup, lookup_end = symbols.address("orc_lookup"), symbols.address("orc_lookup_end")
    return {
        "func": target.address,
        "text_start": symbols.address("_stext"),
        "text_end": symbols.address("_etext"),
        "orc_ip": ips,
        "orc": entries,
        "orc_entries": (entries - ips) // 4,
        "orc_lookup": lookup,
        "orc_lookups": (lookup_end - lookup) // 4,
        "rethook": symbols.address("arch_rethook_trampoline"),
        "graph_return": symbols.address("return_to_handler"),
        "modules": symbols.address("modules"),
        "method": int(method),
        "typed_loads": int(bool(symbols.address("bpf_rdonly_cast"))),
        "max_frames": options.depth,
    }


def _resize(obj: Object, options: ProbeOptions, method: Method) -> None:
    obj.map("events").resize(max_entries=options.ring_bytes)
    entries = options.stack_entries if method & Method.HELPER else 1
    for name in ("stacks_a", "stacks_b"):
        obj.map(name).resize(max_entries=entries, value_size=8 * options.depth)


def _facts(obj: Object, symbols: Kallsyms) -> dict[str, int]:
    asked = {
        "orc_fp_entry": symbols.address("orc_fp_entry"),
        "orc_null_entry": symbols.address("null_orc_entry"),
        "orc_header": symbols.address("__start_orc_header"),
    }
    _, answer = obj.run(FACTS_PROGRAM, FACTS.pack(asked))
    return FACTS.unpack(answer)


def _orc_control(facts: dict[str, int], symbols: Kallsyms) -> dict[str, int]:
    for name in ("__start_orc_unwind_ip", "__start_orc_unwind", "_stext", "_etext"):
        if not symbols.address(name):
            raise _CannotWalk(f"this kernel's ORC tables can't be found (no symbol {name})")
    header = facts["header"]
    assert isinstance(header, bytes)
    try:
        found = orc.find_format(facts["fp_entry"], facts["null_entry"], header)
    except orc.UnknownFormat as error:
        raise _CannotWalk(f"this kernel's ORC tables are in an unknown format ({error})") from None
    entries = symbols.address("__start_orc_unwind") - symbols.address("__start_orc_unwind_ip")
    return {
        "orc_reg_sp": found.reg_sp,
        "orc_reg_prev_sp": found.reg_prev_sp,
        "orc_last": entries // 4 - 1,
    }
