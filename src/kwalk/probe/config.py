# SPDX-License-Identifier: MIT
"""Configuration of the BPF programs: ``struct kw_config`` and ``struct kw_control``.

The first is constant from loading on. The second is written between loading and attaching, since
it takes ``kw_facts``, a program of the loaded object, to know it.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable
from typing import NamedTuple

from kwalk.abi import DIGITS, FACTS, LEVELS, MAX_FRAMES, Method, Output, Per, Place, Unwinder
from kwalk.arch import UnknownFormat, here
from kwalk.errors import KwalkError
from kwalk.kernel.capabilities import unwinder_frames
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.libbpf.object import Object
from kwalk.options.probe import ProbeOptions
from kwalk.probe.target import Target
from kwalk.transport import context_tree
from kwalk.transport.counters import possible_cpus

FACTS_PROGRAM = "kw_facts"
# With --method auto: the first hits of each CPU, whose walks are verified.
SELF_CHECK_EVENTS = 64
_LOOKS = 5
_LONGEST_ENTRY = 4096  # bytes of a function of entry code


class CannotWalk(KwalkError):
    """The walk is impossible on this kernel; ``what`` says why."""


class Facts(NamedTuple):
    """Facts about the running kernel, read from its memory and BTF by ``kw_facts``.

    :ivar fp_entry: Raw ORC entry ``orc_fp_entry``, 0 if the kernel has none.
    :ivar null_entry: Raw ORC entry ``null_orc_entry``, likewise.
    :ivar header: Hash of the ORC format, ``orc_header``; all zero if the kernel has none.
    :ivar unwinder: The kernel's own unwinder.
    :ivar counts_missed: The kernel counts hits that kprobes missed (``kprobe.missed`` in
        ``struct bpf_link_info``).
    :ivar stack_size: Size of a task's kernel stack in bytes.
    :ivar disarmed: ``kprobes_all_disarmed``; False if its address is unknown.
    :ivar window: BTF id of a type as large as a stack (``KW_WINDOW_TYPE``); 0 if there is none.
    :ivar task_stack: Offset of ``stack`` in ``struct task_struct``.
    :ivar regs_record: Offset of the frame record in ``struct pt_regs``; 0 if there is none.
    :ivar last_record: Bytes from a task's last frame record to its stack's end.
    :ivar record_types: Such records are zeros, with a type behind.
    """

    fp_entry: int
    null_entry: int
    header: bytes
    unwinder: Unwinder
    counts_missed: bool
    stack_size: int
    disarmed: bool = False
    window: int = 0
    task_stack: int = 0
    regs_record: int = 0
    last_record: int = 0
    record_types: bool = False


def config(
    target: Target,
    symbols: Kallsyms,
    options: ProbeOptions,
    method: Method,
    fentry: bool,
    many: bool = False,
) -> dict[str, int]:
    """Return the members of ``struct kw_config``; the address of a missing symbol is 0.

    :param target: The traced place; the first one if there are many.
    :param fentry: The program is attached by fentry or fexit, so it has no ``pt_regs``.
    :param many: The program serves several functions: each hit brings its own address.
    """
    cpus, nodes = possible_cpus(), options.nodes
    share = levels(method, fentry)
    arch = here()
    own = {member: symbols.address(name) for member, name in arch.symbols.items()}
    text = symbols.address("_stext")
    hooks = [address for address in (own["rethook"], own["graph_return"]) if address]
    marker, padding = arch.stack_padding
    return {
        "func": 0 if many else target.traced,
        "text_start": text,
        "text_end": symbols.address("_etext"),
        "init_start": symbols.address("_sinittext"),
        "init_end": symbols.address("_einittext"),
        "image_end": symbols.address("_end") or symbols.address("_etext"),
        **own,
        "code_mask": arch.code_mask(text),
        **{member: _words(symbols, *ends) for member, ends in arch.words.items()},
        "hook_first": min(hooks, default=0),
        "hook_span": max(hooks, default=0) - min(hooks, default=0),
        "mod_tree": symbols.address("mod_tree"),
        "bpf_tree": symbols.address("bpf_tree"),
        "ftrace_ops_list": symbols.address("ftrace_ops_list"),
        "ftrace_list_end": symbols.address("ftrace_list_end"),
        **_extents(symbols),
        "insn_slots": symbols.address("kprobe_insn_slots"),
        "optinsn_slots": symbols.address("kprobe_optinsn_slots"),
        "midnight_ns": _midnight_ns(),
        "method": int(method),
        "fentry": int(fentry),
        "place": int(target.place),
        "typed_loads": int(bool(symbols.address("bpf_rdonly_cast"))),
        "max_frames": options.depth,
        "verify": options.verify,
        "self_check": 0 if options.method else SELF_CHECK_EVENTS,
        "stack_padding": padding if symbols.address(marker) else 0,
        "kernel_frames": min(unwinder_frames(), MAX_FRAMES),
        "output": int(_output(options)),
        "per": int(_per(options)),
        **_namespace(options),
        "sampled": int(options.chance is not None),
        "many": int(many),
        # Programs of fentry.multi know that they are for many.
        "special": int(
            bool(options.filters) or options.chance is not None or (many and not fentry)
        ),
        # Set for all but the fast path: count walked stacks, without groups or verification.
        "slow": int(
            method != Method.MANUAL
            or options.output != Output.COUNT
            or bool(options.per or options.verify or not options.method)
        ),
        "nodes": nodes + context_tree.reserved(cpus, share),
        "node_mask": (context_tree.size_for(nodes, cpus, share) - 1) * context_tree.NODE_BYTES,
    }


def levels(method: Method, fentry: bool) -> int:
    """Return how many levels of programs (``KW_LEVELS``) a probe's tree has roots for.

    One by kprobe: the kernel has one flag there for all programs (``bpf_prog_active``), and refuses
    a nested hit to every one of them.

    :param fentry: The program is attached by fentry or fexit, to one function or to many.
    """
    return LEVELS if fentry and method == Method.MANUAL else 1


def _output(options: ProbeOptions) -> Output:
    numbered = options.pidns and options.output == Output.EVENT
    return Output.NUMBERED if numbered else options.output


def _per(options: ProbeOptions) -> Per:
    return Per.NUMBER if options.pidns and options.per == Per.PID else options.per


def _namespace(options: ProbeOptions) -> dict[str, int]:
    pidns = options.pidns
    return {"pidns": pidns.address, "pidns_level": pidns.level} if pidns else {}


def _midnight_ns() -> int:
    """Return the local time of day at which CLOCK_MONOTONIC was 0, in ns since midnight.

    Later changes of the clock or of its time zone's offset are not followed.
    """
    # Read both clocks several times; the tightest pair has the least error.
    looks = [(time.monotonic_ns(), time.time_ns(), time.monotonic_ns()) for _ in range(_LOOKS)]
    before, now, after = min(looks, key=lambda look: look[2] - look[0])
    since_epoch = now - (before + after) // 2
    return (since_epoch + time.localtime().tm_gmtoff * 10**9) % (86_400 * 10**9)


def digits() -> bytes:
    """Return the BPF table ``digits``: four bytes a number from 0 to 999, ``b"042\\0"``."""
    return b"".join(b"%03d\0" % number for number in range(1000)).ljust(4 * DIGITS, b"\0")


def extent(symbols: Kallsyms, name: str) -> tuple[int, int]:
    """Return start and end of an extent of ``Architecture.extents``; zeros if kallsyms lacks it."""
    function, label = here().extents[name]
    start = symbols.address(function)
    last = label and symbols.address(label)
    return (start, _end(symbols, last or start)) if start else (0, 0)


def _end(symbols: Kallsyms, start: int) -> int:
    """Return the end address of the symbol at ``start``, padding to 16 bytes included."""
    end = symbols.above(start) + 15 & -16  # functions are aligned to 16 bytes
    return end if start < end < start + _LONGEST_ENTRY else start


def _extents(symbols: Kallsyms) -> dict[str, int]:
    """Return the members ``<name>_start`` and ``<name>_end`` of every extent."""
    members: dict[str, int] = {}
    for name in here().extents:
        members[f"{name}_start"], members[f"{name}_end"] = extent(symbols, name)
    return members


def _words(symbols: Kallsyms, first: str, end: str) -> int:
    """Return the number of 4-byte words from one symbol to another; 0 if either is missing."""
    start, stop = symbols.address(first), symbols.address(end)
    return (stop - start) // 4 if start and stop else 0


def facts(obj: Object, symbols: Kallsyms) -> Facts:
    """Run ``kw_facts`` of a loaded object and return its answer.

    :raises LibbpfError: if the kernel does not run it.
    """
    asked = {
        **{member: symbols.address(name) for member, name in here().fact_symbols.items()},
        "kprobes_disarmed": symbols.address("kprobes_all_disarmed"),
    }
    _, answer = obj.run(FACTS_PROGRAM, FACTS.pack(asked))
    found = FACTS.unpack(answer)
    header = found["header"]
    assert isinstance(header, bytes)
    return Facts(
        found["fp_entry"],
        found["null_entry"],
        header,
        Unwinder(found["unwinder"]),
        bool(found["counts_missed"]),
        found["stack_pages"] * mmap.PAGESIZE or here().stack_size,
        bool(found["disarmed"]),
        found["window"],
        found["task_stack"],
        found["regs_record"],
        found["last_record"],
        bool(found["record_types"]),
    )


def control(found: Facts, symbols: Kallsyms, target: Target, code: bytes) -> dict[str, int]:
    """Return the members of ``struct kw_control`` for the walk; the others stay 0.

    :param code: At a place inside a function, that function's code and ``function_code.AROUND``
        bytes more; for a tracepoint, the program's, where ``Architecture.saved`` wants it.
    :raises CannotWalk: if the kernel has neither ORC nor frame pointers, its ORC tables have no
        symbols, or their format is unknown.
    """
    if found.unwinder == Unwinder.NONE:
        raise CannotWalk("this kernel has neither ORC tables nor frame pointers")
    if found.unwinder == Unwinder.FRAME_POINTER:
        told = {"stack_size": found.stack_size}
        if target.place == Place.INSIDE:
            within = _within(target, symbols)
            told["start"] = here().start(code, target.offset, within)
        elif target.place == Place.TRACEPOINT and (saved := here().saved):
            told["saved"] = saved(code)
        return told
    for name in here().table_symbols:
        if not symbols.address(name):
            raise CannotWalk(f"this kernel's ORC tables can't be found (no symbol {name})")
    try:
        tables = here().find_tables(found.fp_entry, found.null_entry, found.header)
    except UnknownFormat as error:
        raise CannotWalk(f"this kernel's ORC tables are in an unknown format ({error})") from None
    return {
        "stack_size": found.stack_size,
        **tables,
        "orc_last": _words(symbols, *here().words["orc_entries"]) - 1,
    }


def _within(target: Target, symbols: Kallsyms) -> Callable[[int], bool | None]:
    """Return a predicate: is the code at a distance from the function's start its own?

    The predicate answers None where no symbol is, or one of code made at run time (kprobe slots,
    ftrace trampolines). ``<name>.cold`` counts as the function's own: gcc moves unlikely code there
    and jumps back and forth without changing the frame.
    """
    own = symbols.lookup(target.address)
    names = {target.name, own.name if own else ""}

    def within(distance: int) -> bool | None:
        symbol = symbols.lookup(target.address + distance)
        if symbol is None or symbol.module.startswith("__builtin__"):
            return None
        name, cold, _ = symbol.name.partition(".cold")
        return symbol.address == target.address or bool(cold and name in names)

    return within
