# SPDX-License-Identifier: MIT
"""Everything in these tests that differs by the processor's architecture.

``HERE`` is this machine's. Names of functions are patterns of :mod:`fnmatch`, for the kernels of
the matrix.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass

from kwalk.arch import ARCHITECTURES, here


@dataclass(frozen=True)
class Code:
    """Machine code, in hexadecimal.

    :ivar forks: A program: fork(); if child: exit_group(0); wait4(-1, 0, 0, 0); again.
    :ivar executes: A program: execve("/proc/self/exe", argv, 0); exit(...).
    :ivar spin: A function: a loop of as many rounds as its argument says.
    :ivar spin_politely: Likewise, with an instruction by which an emulated CPU yields to others.
    :ivar breakpoints: A function: as many breakpoints as its argument says.
    :ivar after_breakpoint: A signal handler that continues behind the breakpoint.
    :ivar int80_calls: A function: as many calls of sched_yield() by int 0x80 as its argument says.
    :ivar arm_calls: A program for 32-bit ARM: sched_yield() forever.
    """

    forks: str
    executes: str
    spin: str
    spin_politely: str
    breakpoints: str
    after_breakpoint: str
    int80_calls: str = ""
    arm_calls: str = ""


@dataclass(frozen=True)
class Machine:
    """An architecture.

    :ivar name: ``uname -m``.
    :ivar elf: Number of its executables (``e_machine``).
    :ivar code: Machine code of loads.
    :ivar getppid: Number of the system call.
    :ivar membarrier: Likewise.
    :ivar capset: Likewise.
    :ivar syscall: Function that dispatches every system call.
    :ivar syscall_root: Outermost frame of a system call.
    :ivar syscall_return: That function's name.
    :ivar syscall_exit: Frame through which a system call returns to user code.
    :ivar syscall_prefix: Prefix of the functions of system calls.
    :ivar exceptions: Finds names of the first frames of exceptions and interrupts.
    :ivar timer: First frame of an interrupt by the timer.
    :ivar call_interrupt: Frame of an interrupt by another CPU.
    :ivar device_interrupt: Frame of an interrupt by a device.
    :ivar fault: First frame of a page fault.
    :ivar fault_handler: Function that every page fault calls.
    :ivar breakpoint: First frame of a breakpoint in user code.
    :ivar breakpoint_handler: Function that it calls.
    :ivar signal_delivery: Function that calls get_signal().
    :ivar compat: Functions, one of which kernels have that run 32-bit programs.
    :ivar compat_root: Outermost frame of a system call of theirs.
    :ivar idle: Frames below do_idle() of a secondary CPU.
    :ivar code_prefix: Beginning of every address of the kernel's code.
    :ivar step: Bytes between two places at which an instruction may begin.
    :ivar no_place: Error of kprobes at a place that begins none, or is ftrace's.
    :ivar behind_ftrace: Offset of the first instruction behind ftrace's call in a function.
    :ivar checks_code: The walk, as the kernel, ends at an address of unknown code.
    :ivar broken: Members of ``kw_config`` with which every walk goes wrong.
    :ivar not_generated: Reasons, in part, for which a kernel has no generated programs.
    :ivar more_ways: Ways of attaching to a function that are compared besides kprobe and fentry; on
        x86-64 ``test_many.py`` does.
    :ivar patience: Factor for time limits: how much slower such a machine is emulated.
    :ivar untraceable: Functions that no kprobe may be set on, one of which each kernel has.
    """

    name: str
    elf: int
    code: Code
    getppid: int
    membarrier: int
    capset: int
    syscall: str
    syscall_root: str
    syscall_return: str
    syscall_exit: str
    syscall_prefix: str
    exceptions: str
    timer: str
    call_interrupt: str
    device_interrupt: str
    fault: str
    fault_handler: str
    breakpoint: str
    breakpoint_handler: str
    signal_delivery: str
    compat: tuple[str, ...]
    compat_root: str
    idle: str
    code_prefix: str
    step: int
    no_place: int
    behind_ftrace: int
    checks_code: bool
    broken: Callable[[dict[str, int]], dict[str, int]]
    not_generated: tuple[str, ...]
    more_ways: tuple[str, ...]
    patience: float
    untraceable: tuple[str, ...]


X86_64 = Machine(
    name="x86_64",
    elf=62,
    code=Code(
        forks=(
            "b839000000 0f05 85c0 7415"
            " bfffffffff 31f6 31d2 4531d2 b83d000000 0f05 ebe0 31ff b8e7000000 0f05"
        ),
        executes=(
            "488d3d15000000 488d742408 31d2 b83b000000 0f05 b83c000000 0f05"
            + b"/proc/self/exe\0".hex()
        ),
        spin="4889f9 48ffc9 75fb c3",
        spin_politely="4889f9 f390 48ffc9 75f9 c3",
        breakpoints="4889f9 cc 48ffc9 75fa c3",
        after_breakpoint="c3",
        int80_calls="4889f9 b89e000000 cd80 48ffc9 75f4 c3",
    ),
    getppid=110,
    membarrier=324,
    capset=126,
    syscall="do_syscall_64",
    syscall_root="entry_SYSCALL_64*",
    syscall_return="entry_SYSCALL_64_after_hwframe",
    syscall_exit="do_syscall_64",
    syscall_prefix=ARCHITECTURES["x86_64"].syscall_prefix,
    exceptions="asm_",
    timer="asm_sysvec_apic_timer_interrupt",
    call_interrupt="asm_sysvec_call_function*",
    device_interrupt="asm_common_interrupt",
    fault="asm_exc_page_fault",
    fault_handler="exc_page_fault",
    breakpoint="asm_exc_int3",
    breakpoint_handler="exc_int3",
    signal_delivery="arch_do_signal_or_restart",
    compat=("asm_int80_emulation", "entry_INT80_compat"),
    compat_root="*[Ii][Nn][Tt]80*",
    idle="start_secondary",
    code_prefix="0xffffffff",
    step=1,
    no_place=errno.EILSEQ,
    behind_ftrace=9,  # endbr64, and the call
    checks_code=True,
    broken=lambda right: {"text_end": right["text_start"]},
    not_generated=(),
    more_ways=(),
    patience=1,
    untraceable=("exc_debug", "do_int3", "exc_int3", "asm_exc_nmi"),
)

AARCH64 = Machine(
    name="aarch64",
    elf=183,
    code=Code(
        # x8 is the system call's number: clone() 220, wait4() 260, exit_group() 94.
        forks=(
            "200280d2 010080d2 020080d2 030080d2 040080d2 881b80d2 010000d4 000100b4"
            " 00008092 010080d2 020080d2 030080d2 882080d2 010000d4 f2ffff17"
            " 000080d2 c80b80d2 010000d4"
        ),
        executes=(
            "e0000010 e1230091 020080d2 a81b80d2 010000d4 a80b80d2 010000d4"
            + b"/proc/self/exe\0".hex()
        ),
        spin="000400f1 e1ffff54 c0035fd6",
        spin_politely="3f2003d5 000400f1 c1ffff54 c0035fd6",
        breakpoints="000020d4 000400f1 c1ffff54 c0035fd6",
        # ldr x3, [x2, #440]: ucontext's pc, which is the breakpoint's own address
        after_breakpoint="43dc40f9 63100091 43dc00f9 c0035fd6",
        arm_calls="9e70a0e3 000000ef fcffffea",
    ),
    getppid=173,
    membarrier=283,
    capset=91,
    syscall="do_el0_svc",
    syscall_root="el0t_64_sync",
    syscall_return="el0t_64_sync",
    syscall_exit="el0_svc",
    syscall_prefix=ARCHITECTURES["aarch64"].syscall_prefix,
    exceptions="el1h_64_",
    timer="el[01][th]_64_irq",
    call_interrupt="ipi_handler",
    device_interrupt="el[01][th]_64_irq",
    fault="el[01][th]_64_sync",
    fault_handler="do_mem_abort",
    breakpoint="el0t_64_sync",
    breakpoint_handler="*brk*",
    signal_delivery="*do_[ns]*",
    compat=("do_el0_svc_compat",),
    compat_root="el0t_32_sync",
    idle="secondary_start_kernel",
    code_prefix="0xffff",
    step=4,
    no_place=errno.EINVAL,
    behind_ftrace=8,
    checks_code=False,
    broken=lambda right: {"code_mask": right["code_mask"] | 1},
    not_generated=("x86-64 only", "no type that is as large", "no typed loads"),
    more_ways=("kprobe.multi",),
    patience=3,
    untraceable=("el1h_64_sync_handler",),
)

HERE = {machine.name: machine for machine in (X86_64, AARCH64)}[here().name]
