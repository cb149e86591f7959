# SPDX-License-Identifier: MIT
"""x86-64's symbols, sizes, numbers and names."""

from __future__ import annotations

import errno
import re
from typing import TYPE_CHECKING

from kwalk.abi import Unwinder
from kwalk.arch.architecture import Architecture
from kwalk.arch.x86_64 import memory_order, orc, prologue

if TYPE_CHECKING:  # imported late, to attach early
    from kwalk.arch.hot_frame import HotFrame, HotKernel, HotStart, HotTarget

_ORC_SYMBOLS = ("__start_orc_unwind_ip", "__start_orc_unwind")

# arch/x86/entry, arch/x86/include/asm/idtentry.h (asm_*, exc_*, sysvec_*), kernel/softirq.c,
# kernel/entry.
_ENTRY_CODE = re.compile(
    r"entry_|asm_|exc_|sysvec_|common_interrupt|do_syscall_|do_int80|__do_fast_syscall"
    r"|(x64|ia32)_sys_call|ret_from_fork|secondary_startup|irqentry_|(__)?irq_(enter|exit)"
    r"|handle_softirqs|(__)?do_softirq|run_ksoftirqd|default_do_nmi|end_repeat_nmi"
)


def _emit_hot(root: HotFrame, start: HotStart, kernel: HotKernel, target: HotTarget) -> None:
    from kwalk.arch.x86_64.hot import emit

    emit(root, start, kernel, target)


def _static_frame(code: bytes, offset: int) -> bool:
    from kwalk.arch.x86_64.static_frame import is_static

    return is_static(code, offset)


X86_64 = Architecture(
    name="x86_64",
    stack_size=16384,  # arch/x86/include/asm/page_64_types.h: THREAD_SIZE
    stack_padding=("asm_fred_entrypoint_user", 16),  # arch/x86/include/asm/thread_info.h
    symbols={
        "orc_ip": "__start_orc_unwind_ip",
        "orc": "__start_orc_unwind",
        "orc_lookup": "orc_lookup",
        "rethook": "arch_rethook_trampoline",
        "graph_return": "return_to_handler",
        "ftrace_caller": "ftrace_caller",
        "ftrace_regs_caller": "ftrace_regs_caller",
        "entry_start": "__entry_text_start",
        "entry_end": "__entry_text_end",
    },
    words={
        "orc_entries": _ORC_SYMBOLS,
        "orc_lookups": ("orc_lookup", "orc_lookup_end"),
    },
    extents={
        # arch/x86/entry/entry_64.S: labels of asm_exc_nmi are symbols, too, and exc_nmi() is
        # called from behind end_repeat_nmi.
        "nmi": ("asm_exc_nmi", "end_repeat_nmi"),
        "switch_asm": ("__switch_to_asm", ""),
        "switch": ("__switch_to", ""),
    },
    fact_symbols={
        "orc_fp_entry": "orc_fp_entry",
        "orc_null_entry": "null_orc_entry",
        "orc_header": "__start_orc_header",
    },
    table_symbols=(*_ORC_SYMBOLS, "_stext", "_etext"),
    # arch/x86/kernel/unwind_frame.c has the latter.
    unwinder_symbols={
        Unwinder.ORC: "__start_orc_unwind",
        Unwinder.FRAME_POINTER: "update_stack_state",
    },
    find_tables=orc.find_tables,
    code_mask=lambda text: 0,
    start=prologue.start,
    saved=None,
    trampolines_lack_caller=True,
    ftrace_sites=(0, 4),  # endbr64 may stand before: ENDBR_INSN_SIZE in arch/x86/include/asm/ibt.h
    ftrace_call_bytes=5,
    misplaced=errno.EILSEQ,
    syscall_prefix="__x64_",
    bpf=321,  # arch/x86/entry/syscalls/syscall_64.tbl
    perf_event_open=298,
    entry_code=_ENTRY_CODE,
    emit_hot=_emit_hot,
    static_frame=_static_frame,
    interrupt_stack={  # arch/x86/kernel/irq_64.c; twice as large with KASAN
        "hardirq_stack_ptr": 8,
        "irq_stack_backing_store": 16384,
    },
    acquire=memory_order.acquire,
    release=memory_order.release,
)
