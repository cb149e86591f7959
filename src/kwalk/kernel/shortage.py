# SPDX-License-Identifier: MIT
"""Resource limits: the errors that they cause, their values, and how to raise them."""

from __future__ import annotations

import errno
import mmap
import os
import re
import resource
from pathlib import Path

from kwalk.errors import KwalkError

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")
BTF = Path("/sys/kernel/btf/vmlinux")
# Errors of an exhausted resource, whatever call returned them.
SHORT = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EAGAIN, errno.EDQUOT}
)
# perf_event_open() and BPF_LINK_CREATE each give a file (kernel/bpf/syscall.c).
FILES_PER_KPROBE = 2
# Files of maps, programs and BTF that a trace opens: measured, and with a margin.
_FILES_LEAST = 40
_FILES_BESIDES = 128
_MEMORY_BESIDES = 32 << 20
_UNLIMITED = 1 << 60


class Shortage(KwalkError):
    """A resource is exhausted; ``hint`` names the limit and how to raise it."""


def make_room(kprobes: int) -> None:
    """Raise this process's soft limit of open files as needed for ``kprobes`` kprobes.

    :raises Shortage: if the hard limit is too low, before any is attached.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = FILES_PER_KPROBE * kprobes + _FILES_BESIDES
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    most = hard if hard != resource.RLIM_INFINITY else needed
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(needed, most), hard))
    open_now = len(os.listdir(PROC / "self/fd")) - 1
    if open_now + _FILES_LEAST > most:
        raise Shortage(
            f"kwalk needs about {_FILES_LEAST} open files more than the {open_now} that are open, "
            f"and this process may have {most:,}",
            hint(errno.EMFILE),
        )
    if FILES_PER_KPROBE * kprobes > most:
        raise Shortage(
            f"{kprobes:,} kprobes take {FILES_PER_KPROBE * kprobes:,} open files, and this process "
            f"may have {most:,}",
            hint(errno.EMFILE) + " Or trace fewer functions.",
        )


def _few_files() -> bool:
    """Whether libbpf, which opens a file for each module, may have met the limit of open files."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = _FILES_BESIDES + len(_lines(PROC / "modules"))
    return soft != resource.RLIM_INFINITY and soft < needed


def perhaps() -> str:
    """Return the limit that libbpf may have met, its value and how to raise it; "" if none.

    libbpf has the same errno for a missing object and for one that it could not search for.
    """
    if _few_files():
        return f"Perhaps for want of open files. {hint(errno.EMFILE)}"
    if _little_memory():
        return f"Perhaps for want of memory. {hint(errno.ENOMEM)}"
    return ""


def _little_memory() -> bool:
    """Whether memory may be too small for the kernel's BTF, which libbpf reads."""
    try:
        mmap.mmap(-1, 4 * BTF.stat().st_size + _MEMORY_BESIDES, flags=mmap.MAP_PRIVATE).close()
    except OSError as error:
        return error.errno == errno.ENOMEM
    return False


def of(error: BaseException) -> int:
    """Return the errno of the exhausted resource that an exception comes from; 0 if none.

    Exceptions from loading a shared library have no errno.
    """
    if isinstance(error, MemoryError):
        return errno.ENOMEM
    number = getattr(error, "errno", None)
    if number:
        return number if number in SHORT else 0
    if re.search("annot allocate memory|failed to map segment", str(error)):
        return errno.ENOMEM
    try:
        os.close(os.open("/", os.O_RDONLY | os.O_CLOEXEC))
    except OSError as refused:
        return refused.errno if refused.errno in SHORT else 0
    return 0


def hint(number: int) -> str:
    """Return the limit behind an errno, its value and how to raise it; "" if there is none."""
    if number == errno.EMFILE:
        return _open_files()
    if number == errno.ENFILE:
        used = _words(PROC / "sys/fs/file-nr") or ["?"]
        most = _words(PROC / "sys/fs/file-max") or ["?"]
        return (
            f"{used[0]} files are open on this machine, and fs.file-max is {most[0]}. "
            "To raise it, as root: `sysctl fs.file-max=NUMBER`."
        )
    if number == errno.ENOMEM:
        return _memory()
    return ""


def processes() -> str:
    """Return the limits that make fork(2) fail with EAGAIN, with their values."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    found = [] if soft == resource.RLIM_INFINITY else [f"RLIMIT_NPROC (`ulimit -u`) is {soft:,}"]
    if (cgroup := _cgroup_limit("pids.max")) is not None:
        found.append(f"pids.max of its cgroup is {cgroup:,}")
    if threads := _words(PROC / "sys/kernel/threads-max"):
        found.append(f"kernel.threads-max is {int(threads[0]):,}")
    return f"Limits of processes: {', '.join(found)}. End some, or raise the lowest."


def _open_files() -> str:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (
        f"The limit of open files (RLIMIT_NOFILE) of this process is {soft:,}"
        f"{f', at most {hard:,}' if hard != soft else ''}. To raise it, as root: `prlimit --pid $$ "
        "--nofile=65536` for this shell, LimitNOFILE= for a service."
    )


def _memory() -> str:
    parts = []
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        parts.append(f"its address space may be {_mib(soft)} (RLIMIT_AS, `ulimit -v`)")
    if (cgroup := _cgroup_limit("memory.max")) is not None:
        parts.append(f"its cgroup may have {_mib(cgroup)} (memory.max)")
    for line in _lines(PROC / "meminfo"):
        if line.startswith("MemAvailable:"):
            parts.append(f"{_mib(int(line.split()[1]) << 10)} of the machine's memory are free")
    if not parts:
        return "End other programs, or ask for less."
    return f"Limits of memory: {', '.join(parts)}. Raise the lowest, or ask for less."


def _cgroup_limit(name: str) -> int | None:
    """Return the lowest limit of this process's cgroup (v2) and its ancestors; None if none.

    :param name: Name of the limit's file, such as ``memory.max``.
    """
    own = next((line[3:] for line in _lines(PROC / "self/cgroup") if line[:3] == "0::"), "")
    folder = CGROUPS / own.strip("/")
    limits = []
    while folder != CGROUPS.parent and folder != folder.parent:
        words = _words(folder / name)
        if words and words[0].isdecimal():
            limits.append(int(words[0]))
        folder = folder.parent
    return min((limit for limit in limits if limit < _UNLIMITED), default=None)


def _mib(size: int) -> str:
    return f"{size / (1 << 20):,.0f} MiB"


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _words(path: Path) -> list[str]:
    return " ".join(_lines(path)).split()
