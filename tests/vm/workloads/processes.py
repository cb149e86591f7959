# SPDX-License-Identifier: MIT
"""The life of a process: fork, first steps, exec, signals, exit; and other ways into the kernel."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from workloads.programs import EXECUTES, FORKS, program
from workloads.running import children, command, machine_code
from workloads.surroundings import SYSCALL, Burst, Surroundings, both, often, path

_BREAKPOINTS = "4889f9 cc 48ffc9 75fa c3"  # number: the argument
_OLD_CALLS = "4889f9 b89e000000 cd80 48ffc9 75f4 c3"  # sched_yield() by int 0x80


@contextlib.contextmanager
def forks() -> Iterator[Burst]:
    """Fork a small process repeatedly; the children exit at once."""
    with program(FORKS) as path, command([path]) as burst:
        yield burst


@contextlib.contextmanager
def executions() -> Iterator[Burst]:
    """Execute a program that executes itself."""
    with program(EXECUTES) as path, command([path]) as burst:
        yield burst


@contextlib.contextmanager
def breakpoints() -> Iterator[Burst]:
    """Hit breakpoints in user code; the signal handler does nothing."""
    run = machine_code(_BREAKPOINTS)

    def work() -> None:
        signal.signal(signal.SIGTRAP, lambda *_: None)
        run(10)
        time.sleep(0.002)

    with children(work) as burst:
        yield burst


@contextlib.contextmanager
def old_calls() -> Iterator[Burst]:
    """Call the kernel by int 0x80, as 32-bit programs do."""
    run = machine_code(_OLD_CALLS)

    def work() -> None:
        run(10)
        time.sleep(0.002)

    with children(work) as burst:
        yield burst


def _compat() -> str:
    names = Path("/proc/kallsyms").read_bytes()
    if b" asm_int80_emulation\n" in names or b" entry_INT80_compat\n" in names:
        return ""
    return "this kernel knows no 32-bit system calls"


ALL = (
    Surroundings(
        "fork",
        ("copy_process",),
        forks,
        often(path("copy_process", "kernel_clone", root=SYSCALL)),
    ),
    Surroundings(
        "first-steps",
        ("schedule_tail",),
        forks,
        often(both(lambda s: len(s) <= 3, path("schedule_tail", root="ret_from_fork*"))),
    ),
    Surroundings(
        "exit",
        ("exit_mmap",),
        forks,
        often(path("exit_mmap", "do_exit", "do_group_exit", root=SYSCALL)),
    ),
    Surroundings(
        "exec",
        ("begin_new_exec",),
        executions,
        often(path("begin_new_exec", "load_elf_binary", "bprm_execve", root=SYSCALL)),
    ),
    Surroundings(
        "exception",
        ("force_sig_info_to_task", "force_sig_fault"),
        breakpoints,
        often(path("exc_int3", root="asm_exc_int3")),
    ),
    Surroundings(
        "signal",
        ("get_signal",),
        breakpoints,
        often(path("get_signal", "arch_do_signal_or_restart", root="asm_exc_int3")),
    ),
    Surroundings(
        "compat-system-call",
        ("do_sched_yield",),
        old_calls,
        often(lambda stack: "int80" in stack[-1].name.lower()),
        _compat,
    ),
)
