# SPDX-License-Identifier: MIT
"""Users other than root: each way of tracing works with few capabilities, or names what it lacks.

What is found fills docs/capabilities.md.
"""

from __future__ import annotations

import ctypes
import gettext
import importlib
import json
import locale
import os
import pkgutil
import resource
import struct
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import call, only_on

import kwalk
from kwalk.kernel import access
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.probe.attach import has_multi

NOBODY = 65534
BITS = access.CAPABILITIES
# Tried to do without in this order: CAP_SYS_ADMIN stands in for others.
ORDER = ("CAP_SYS_ADMIN", "CAP_DAC_READ_SEARCH", "CAP_SYSLOG", "CAP_PERFMON", "CAP_BPF")
# include/uapi/linux/prctl.h, capability.h; arch/x86/entry/syscalls/syscall_64.tbl
_KEEP, _DUMPABLE, _VERSION_3, _CAPSET = 8, 4, 0x20080522, 126
PARANOID, KPTR = access.PARANOID, access.KPTR
# What is traced -> options, and kernel.perf_event_paranoid.
ROWS: dict[str, tuple[list[str], int]] = {
    "fentry": (["vfs_read", "--attach", "fentry"], 3),
    "fexit": (["r:vfs_read", "--attach", "fentry"], 3),
    "fentry, kernel.perf_event_paranoid 1": (["vfs_read", "--attach", "fentry"], 1),
    "fentry in a module": (["MODULE", "--attach", "fentry"], 3),
    "kprobe.multi": (["vfs_read", "vfs_write", "--attach", "kprobe.multi"], 3),
    "kprobe": (["vfs_read", "--attach", "kprobe"], 2),
    "kprobe, kernel.perf_event_paranoid 3": (["vfs_read", "--attach", "kprobe"], 3),
    "kprobe in a module": (["MODULE", "--attach", "kprobe"], 2),
    "tracepoint": (["t:sched:sched_switch"], 3),
    "tracepoint of a system call": (["t:syscalls:sys_enter_read"], 2),
    "samples": (["--freq", "99"], 2),
    "samples, kernel.perf_event_paranoid 3": (["--freq", "99"], 3),
}
# One that each kernel of the lab has, where it is one at all.
MODULE, FUNCTION = "overlay", "ovl_lookup"


@pytest.fixture(scope="module", autouse=True)
def loaded() -> None:
    """Everything is imported: nobody may be unable to read Python's own files."""
    for found in pkgutil.walk_packages(kwalk.__path__, "kwalk."):
        if not found.name.startswith(("kwalk.lab", "kwalk.__main__")):
            importlib.import_module(found.name)
    assert gettext
    assert locale
    assert traceback


def become(names: Sequence[str]) -> None:
    """Be nobody, with these capabilities."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_KEEP, 1, 0, 0, 0)
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    mask = sum(1 << BITS[name] for name in names)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    header = struct.pack("<Ii", _VERSION_3, 0)
    data = struct.pack("<6I", low, low, 0, high, high, 0)
    assert libc.syscall(_CAPSET, header, data) == 0
    libc.prctl(_DUMPABLE, 1, 0, 0, 0)  # as after execve(2)


@contextmanager
def sysctl(path: Path, value: int) -> Iterator[None]:
    old = path.read_text()
    path.write_text(str(value))
    try:
        yield
    finally:
        path.write_text(old)


def traced(words: Sequence[str], names: Sequence[str]) -> tuple[int, str]:
    """Trace for a moment as nobody; return the exit code and what was said."""
    command = ("kwalk", "count", *words, "--duration", "0.1", "--format", "folded")
    code, _, err = call(*command, first=lambda: become(names))
    assert "Traceback" not in err
    return code, err


@pytest.mark.parametrize("row", ROWS)
def test_each_way_takes_few_capabilities_and_names_each_that_is_lacking(
    row: str, symbols: Kallsyms, record_property: Callable[[str, object], None]
) -> None:
    words, paranoid = ROWS[row]
    if "kprobe.multi" in words and not has_multi(symbols):
        record_property("capabilities", json.dumps([row, "no: it has no fprobe"]))
        return
    if "MODULE" in words:
        if not any(symbol.module == MODULE for symbol in symbols.find(FUNCTION)):
            pytest.skip(f"{MODULE} is no module of this kernel")
        words = [f"{MODULE}:{FUNCTION}" if word == "MODULE" else word for word in words]
    held = list(ORDER)
    with sysctl(PARANOID, paranoid), sysctl(KPTR, 0):
        for name in ORDER:
            fewer = [other for other in held if other != name]
            code, err = traced(words, fewer)
            if code == 0:
                held = fewer
                continue
            assert code == 1, err
            assert name in err
            assert "notrace" not in err
        assert len(held) < len(ORDER), "nothing has worked"
    cell = ", ".join(name for name in BITS if name in held)
    record_property("capabilities", json.dumps([row, cell]))


@only_on("debian-12")
def test_a_tracepoint_that_is_not_there_is_told_without_tracefs() -> None:
    three = ["CAP_BPF", "CAP_PERFMON", "CAP_SYSLOG"]
    code, err = traced(["t:sched:sched_nosuch"], three)
    assert code == 2, err
    assert "no tracepoint sched_nosuch" in err
    assert "/sys/kernel/tracing/events" in err


@only_on("debian-12")
def test_doctor_says_what_is_out_of_reach() -> None:
    three = ["CAP_BPF", "CAP_PERFMON", "CAP_SYSLOG"]
    with sysctl(PARANOID, 3):
        _, out, err = call("kwalk", "doctor", first=lambda: become(three))
    assert "Traceback" not in err
    assert "kernel.perf_event_paranoid is 3" in out.replace("\n", " ")
    assert "CAP_DAC_READ_SEARCH" in out
    assert "attach by fentry  ok" in out


@only_on("debian-12")
def test_a_command_that_may_not_be_started_names_the_limit_of_processes() -> None:
    def first() -> None:
        become(["CAP_BPF", "CAP_PERFMON", "CAP_SYSLOG"])
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))

    code, _, err = call("kwalk", "count", "vfs_read", "--", "true", first=first)
    assert code == 1, err
    assert "true cannot be started: Resource temporarily unavailable" in err
    assert "RLIMIT_NPROC (`ulimit -u`) is 0" in err


@only_on("debian-12")
def test_hidden_addresses_name_the_sysctl_or_the_capability() -> None:
    code, err = traced(["vfs_read"], ["CAP_SYS_ADMIN"])
    assert (code, "lacks CAP_SYSLOG" in err) == (1, True)
    with sysctl(KPTR, 2):
        code, err = traced(["vfs_read"], ["CAP_SYS_ADMIN", "CAP_SYSLOG"])
    assert (code, "kptr_restrict is 2" in err, "CAP_SYSLOG" in err) == (1, True, False)
