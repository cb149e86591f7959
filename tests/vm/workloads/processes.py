# SPDX-License-Identifier: MIT
"""The life of a process: fork, first steps, exec, signals, exit; and other ways into the kernel."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from machine import HERE

from workloads.programs import ARM, program
from workloads.running import children, command, handle, machine_code
from workloads.surroundings import SYSCALL, Burst, Surroundings, both, often, path


@contextlib.contextmanager
def forks() -> Iterator[Burst]:
    """Fork a small process repeatedly; the children exit at once."""
    with program(HERE.code.forks) as path, command([path]) as burst:
        yield burst


@contextlib.contextmanager
def executions() -> Iterator[Burst]:
    """Execute a program that executes itself."""
    with program(HERE.code.executes) as path, command([path]) as burst:
        yield burst


@contextlib.contextmanager
def breakpoints() -> Iterator[Burst]:
    """Hit breakpoints in user code; the signal handler does nothing."""
    run = machine_code(HERE.code.breakpoints)

    def work() -> None:
        handle(signal.SIGTRAP, HERE.code.after_breakpoint)
        run(10)
        time.sleep(0.002)

    with children(work) as burst:
        yield burst


@contextlib.contextmanager
def old_calls() -> Iterator[Burst]:
    """Call the kernel as 32-bit programs do."""
    if HERE.code.arm_calls:
        with program(HERE.code.arm_calls, ARM) as path, command([path]) as burst:
            yield burst
        return
    run = machine_code(HERE.code.int80_calls)

    def work() -> None:
        run(10)
        time.sleep(0.002)

    with children(work) as burst:
        yield burst


def _compat() -> str:
    names = Path("/proc/kallsyms").read_text()
    if any(f" {name}\n" in names for name in HERE.compat):
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
        often(path(HERE.breakpoint_handler, root=HERE.breakpoint)),
    ),
    Surroundings(
        "signal",
        ("get_signal",),
        breakpoints,
        often(path("get_signal", HERE.signal_delivery, root=HERE.breakpoint)),
    ),
    Surroundings(
        "compat-system-call",
        ("do_sched_yield",),
        old_calls,
        often(path("do_sched_yield", root=HERE.compat_root)),
        _compat,
    ),
)
