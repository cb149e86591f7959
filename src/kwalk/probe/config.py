# SPDX-License-Identifier: MIT
"""What the BPF program is told: constants before it is loaded, the rest before it is attached."""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable
from typing import NamedTuple

from kwalk.abi import DIGITS, FACTS, MAX_FRAMES, Method, Output, Per, Unwinder
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
# Events of each CPU that are compared at the start where kwalk itself chose to walk.
SELF_CHECK_EVENTS = 64
_LOOKS = 5
_LONGEST_ENTRY = 4096  # bytes of a function of entry code


class CannotWalk(KwalkError):
    """The manual method can't be used on this kernel; ``what`` says why."""


class Facts(NamedTuple):
    """What ``kw_facts`` found in the running kernel.

    :ivar fp_entry: The bytes of ``orc_fp_entry``, 0 where absent; ``null_entry`` likewise.
    :ivar header: ``orc_header``, all zero where absent.
    :ivar function: The first bytes of the traced function's code.
    :ivar traced: Those at the traced instruction.
    :ivar counts_missed: Whether this kernel counts the misses of kprobes.
    :ivar stack_size: Of a task's kernel stack, in bytes.
    :ivar disarmed: Whether all kprobes are switched off; False if that is not known.
    """

    fp_entry: int
    null_entry: int
    header: bytes
    function: bytes
    traced: bytes
    unwinder: Unwinder
    counts_missed: bool
    stack_size: int
    disarmed: bool = False


def config(
    target: Target,
    symbols: Kallsyms,
    options: ProbeOptions,
    method: Method,
    fentry: bool,
    many: bool = False,
) -> dict[str, int]:
    """Return ``struct kw_config``; addresses of symbols that kallsyms does not show are 0.

    :param target: The place, or the first of ``many``.
    """
    cpus = possible_cpus()
    arch = here()
    own = {member: symbols.address(name) for member, name in arch.symbols.items()}
    hooks = [address for address in (own["rethook"], own["graph_return"]) if address]
    marker, padding = arch.stack_padding
    return {
        "func": 0 if many else target.traced,
        "text_start": symbols.address("_stext"),
        "text_end": symbols.address("_etext"),
        "init_start": symbols.address("_sinittext"),
        "init_end": symbols.address("_einittext"),
        "image_end": symbols.address("_end") or symbols.address("_etext"),
        **own,
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
        "special": int(bool(options.filters) or options.chance is not None or many),
        # Plain counting knows only the walk's own result; all else is asked for here.
        "slow": int(
            method != Method.MANUAL
            or options.output != Output.COUNT
            or bool(options.per or options.verify or not options.method)
        ),
        "nodes": options.nodes + context_tree.reserved(cpus),
        "node_mask": (context_tree.size_for(options.nodes, cpus) - 1) * context_tree.NODE_BYTES,
    }


def _output(options: ProbeOptions) -> Output:
    numbered = options.pidns and options.output == Output.EVENT
    return Output.NUMBERED if numbered else options.output


def _per(options: ProbeOptions) -> Per:
    return Per.NUMBER if options.pidns and options.per == Per.PID else options.per


def _namespace(options: ProbeOptions) -> dict[str, int]:
    pidns = options.pidns
    return {"pidns": pidns.address, "pidns_level": pidns.level} if pidns else {}


def _midnight_ns() -> int:
    """Return how long before CLOCK_MONOTONIC began some midnight of the local clock was.

    A change of the clock, as to summer time, is not followed.
    """
    # Of several looks, the one that was least held up between its two clocks.
    looks = [(time.monotonic_ns(), time.time_ns(), time.monotonic_ns()) for _ in range(_LOOKS)]
    before, now, after = min(looks, key=lambda look: look[2] - look[0])
    since_epoch = now - (before + after) // 2
    return (since_epoch + time.localtime().tm_gmtoff * 10**9) % (86_400 * 10**9)


def digits() -> bytes:
    """Return the table ``digits`` of the BPF program: three digits for each number."""
    return b"".join(b"%03d\0" % number for number in range(1000)).ljust(4 * DIGITS, b"\0")


def extent(symbols: Kallsyms, name: str) -> tuple[int, int]:
    """Return where an extent of ``Architecture.extents`` begins and ends; zeros if not known."""
    function, label = here().extents[name]
    start = symbols.address(function)
    last = label and symbols.address(label)
    return (start, _end(symbols, last or start)) if start else (0, 0)


def _end(symbols: Kallsyms, start: int) -> int:
    """Return where the symbol at an address ends, or the padding behind it."""
    end = symbols.above(start) + 15 & -16  # as functions are aligned
    return end if start < end < start + _LONGEST_ENTRY else start


def _extents(symbols: Kallsyms) -> dict[str, int]:
    """Return the members of ``struct kw_config`` that are extents."""
    members: dict[str, int] = {}
    for name in here().extents:
        members[f"{name}_start"], members[f"{name}_end"] = extent(symbols, name)
    return members


def _words(symbols: Kallsyms, first: str, end: str) -> int:
    """Return how many words of 4 bytes lie between two symbols; 0 if not both are known."""
    start, stop = symbols.address(first), symbols.address(end)
    return (stop - start) // 4 if start and stop else 0


def facts(obj: Object, symbols: Kallsyms, target: Target) -> Facts:
    """Ask the loaded object's ``kw_facts``."""
    asked = {
        **{member: symbols.address(name) for member, name in here().fact_symbols.items()},
        "function": target.address,
        "traced": target.traced,
        "kprobes_disarmed": symbols.address("kprobes_all_disarmed"),
    }
    _, answer = obj.run(FACTS_PROGRAM, FACTS.pack(asked))
    found = FACTS.unpack(answer)
    header, function, traced = (found[k] for k in ("header", "function_code", "traced_code"))
    assert isinstance(header, bytes)
    assert isinstance(function, bytes)
    assert isinstance(traced, bytes)
    return Facts(
        found["fp_entry"],
        found["null_entry"],
        header,
        function,
        traced,
        Unwinder(found["unwinder"]),
        bool(found["counts_missed"]),
        found["stack_pages"] * mmap.PAGESIZE or here().stack_size,
        bool(found["disarmed"]),
    )


def control(found: Facts, symbols: Kallsyms, target: Target) -> dict[str, int]:
    """Return ``struct kw_control`` for the manual method.

    :raises CannotWalk: if this kernel's stacks can't be walked.
    """
    if found.unwinder == Unwinder.NONE:
        raise CannotWalk("this kernel has neither ORC tables nor frame pointers")
    if found.unwinder == Unwinder.FRAME_POINTER:
        within = _within(target, symbols)
        start = here().start(found.function, found.traced, target.offset, within)
        return {"stack_size": found.stack_size, "start": start}
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
    """Tell whether a byte, counted from the first one, is code of the target's function.

    None if it is no code that the kernel was built or loaded with.

    gcc puts what is unlikely to run elsewhere, as ``<name>.cold``, and jumps there and back with
    the frame as it is.
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
