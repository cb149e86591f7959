# SPDX-License-Identifier: MIT
"""The members of an architecture: a guide to porting user space."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from kwalk.abi import Start, Unwinder

if TYPE_CHECKING:  # imported late, to attach early
    from kwalk.arch.hot_frame import HotFrame, HotKernel, HotStart, HotTarget


class UnknownFormat(Exception):
    """Unwind tables in a format that kwalk cannot read; the text describes it."""


class Architecture(NamedTuple):
    """Everything that differs from one architecture to the next.

    Symbols are kernel symbols, looked up in kallsyms; a kernel may lack any of them. ``kw_config``,
    ``kw_control`` and ``kw_facts`` are structs of ``bpf/kwalk.h``.

    :ivar name: ``uname -m``.
    :ivar stack_size: Bytes of a task's kernel stack (``THREAD_SIZE``), where the kernel's own
        ``vm_struct`` does not tell.
    :ivar stack_padding: A symbol, and the bytes between a task's user registers and the end of its
        stack on kernels that have the symbol (``TOP_OF_KERNEL_STACK_PADDING``).
    :ivar symbols: Members of ``kw_config`` that are the address of a symbol, and which; among them
        ``rethook`` and ``graph_return``.
    :ivar words: Members of ``kw_config`` that count 32-bit words between two symbols.
    :ivar extents: Prefixes of ``kw_config``'s members ``<prefix>_start`` and ``<prefix>_end``: the
        function's symbol, and a label in it, if any, from which on its end is looked for.
    :ivar fact_symbols: Members of ``kw_facts`` that are the address of a symbol.
    :ivar table_symbols: Symbols that walking by unwind tables (ORC) cannot do without.
    :ivar unwinder_symbols: A symbol that only kernels with this unwinder have.
    :ivar find_tables: Unwind tables' format, as members of ``kw_control``, from ``kw_facts``'s
        ``fp_entry``, ``null_entry`` and ``header``. Raises ``UnknownFormat``.
    :ivar code_mask: Bits that every address of code has set, in whose place return addresses may
        be signed (``kw_config.code_mask``); from the address of ``_stext``, 0 if it is unknown.
    :ivar start: Where the return address is at an instruction of a function, on kernels with frame
        pointers: from the function's code and a few bytes more, the instruction's offset, and
        whether a byte, by its offset, belongs to the function (None: to nothing that has a name).
    :ivar saved: Bytes from R10 to the frame record of a program (``kw_control.saved``), from its
        machine code, 0 if unknown. None where R10 is the record's address.
    :ivar trampolines_lack_caller: By fentry and fexit, too, frame pointers do not lead the kernel's
        unwinder to FUNC's direct caller.
    :ivar ftrace_sites: Offsets in a function at which ftrace can have its call.
    :ivar ftrace_call_bytes: Length of that call.
    :ivar misplaced: Error number of a kprobe inside an instruction or ftrace's call.
    :ivar syscall_prefix: Prefix of the kernel's functions ``sys_NAME`` of system calls.
    :ivar bpf: Number of the system call (``asm/unistd.h``).
    :ivar perf_event_open: Likewise.
    :ivar entry_code: Matches names of functions that enter the kernel or dispatch interrupts, at
        the beginning of a name.
    :ivar emit_hot: Emits the comparison of a hit's stack with known ones (``hot/program.py``).
        Raises ``hot_frame.Unsupported``.
    :ivar static_frame: Whether the function of these bytes keeps its frame at a constant distance
        from its frame pointer, at the return address at this offset.
    :ivar interrupt_stack: Variables that have, for each CPU, the address of the first word of its
        interrupt stack, and that stack's memory, with their sizes in bytes: ``emit_hot`` loads
        words of it directly where there are no typed loads.
    :ivar acquire: Orders loads before the call before loads and stores behind it.
    :ivar release: Orders loads and stores before the call before stores behind it.
    """

    name: str
    stack_size: int
    stack_padding: tuple[str, int]
    symbols: Mapping[str, str]
    words: Mapping[str, tuple[str, str]]
    extents: Mapping[str, tuple[str, str]]
    fact_symbols: Mapping[str, str]
    table_symbols: tuple[str, ...]
    unwinder_symbols: Mapping[Unwinder, str]
    find_tables: Callable[[int, int, bytes], dict[str, int]]
    code_mask: Callable[[int], int]
    start: Callable[[bytes, int, Callable[[int], bool | None]], Start]
    saved: Callable[[bytes], int] | None
    trampolines_lack_caller: bool
    ftrace_sites: tuple[int, ...]
    ftrace_call_bytes: int
    misplaced: int
    syscall_prefix: str
    bpf: int
    perf_event_open: int
    entry_code: re.Pattern[str]
    emit_hot: Callable[[HotFrame, HotStart, HotKernel, HotTarget], None]
    static_frame: Callable[[bytes, int], bool]
    interrupt_stack: Mapping[str, int]
    acquire: Callable[[], None]
    release: Callable[[], None]
