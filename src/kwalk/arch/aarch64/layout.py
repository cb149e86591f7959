# SPDX-License-Identifier: MIT
"""arm64's symbols, sizes, numbers and names."""

from __future__ import annotations

import errno
import re
from typing import TYPE_CHECKING, NoReturn

from kwalk.abi import Unwinder
from kwalk.arch.aarch64 import addresses, jit, memory_order, prologue
from kwalk.arch.architecture import Architecture, UnknownFormat

if TYPE_CHECKING:  # imported late, to attach early
    from kwalk.arch.hot_frame import HotFrame, HotKernel, HotStart, HotTarget

# arch/arm64/kernel/entry.S, entry-common.c, syscall.c, irq.c, process.c;
# drivers/irqchip/irq-gic*.c; kernel/softirq.c, kernel/irq.
_ENTRY_CODE = re.compile(
    r"el[01]t?h?_\d|el[01]_|do_el0_|invoke_syscall|ret_from_fork|ret_to_(user|kernel)"
    r"|call_on_irq_stack|do_interrupt_handler|gic_handle_irq|generic_handle_(domain_)?irq"
    r"|generic_handle_arch_irq|handle_irq_desc|do_mem_abort|__primary_switched|irqentry_"
    r"|(__)?irq_(enter|exit)|handle_softirqs|(__){0,2}do_softirq|run_ksoftirqd"
)


def _find_tables(fp_entry: int, null_entry: int, header: bytes) -> NoReturn:
    raise UnknownFormat("arm64 kernels have no unwind tables")


def _emit_hot(root: HotFrame, start: HotStart, kernel: HotKernel, target: HotTarget) -> None:
    from kwalk.arch.aarch64.hot import emit

    emit(root, start, kernel, target)


def _static_frame(code: bytes, offset: int) -> bool:
    from kwalk.arch.aarch64.static_frame import is_static

    return is_static(code, offset)


AARCH64 = Architecture(
    name="aarch64",
    stack_size=16384,  # arch/arm64/include/asm/memory.h: THREAD_SIZE with pages of 4 KiB
    stack_padding=("", 0),
    symbols={
        "rethook": "__kretprobe_trampoline",
        "graph_return": "return_to_handler",
        "entry_start": "__entry_text_start",
        "entry_end": "__entry_text_end",
    },
    words={},
    extents={},
    fact_symbols={},
    table_symbols=(),
    unwinder_symbols={Unwinder.FRAME_POINTER: "arch_stack_walk"},
    find_tables=_find_tables,
    code_mask=addresses.code_mask,
    start=prologue.start,
    saved=jit.saved,
    trampolines_lack_caller=False,
    ftrace_sites=(4, 8),  # behind "mov x9, x30" or a nop; "bti c" may stand before
    ftrace_call_bytes=4,
    misplaced=errno.EINVAL,  # arch_prepare_kprobe(), check_ftrace_location()
    syscall_prefix="__arm64_",
    bpf=280,  # include/uapi/asm-generic/unistd.h
    perf_event_open=241,
    entry_code=_ENTRY_CODE,
    emit_hot=_emit_hot,
    static_frame=_static_frame,
    interrupt_stack={},
    acquire=memory_order.acquire,
    release=memory_order.release,
)
