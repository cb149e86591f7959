# SPDX-License-Identifier: MIT
"""Preconditions of tracing: capabilities, sysctls, lockdown, BTF."""

from __future__ import annotations

import os
import re
from pathlib import Path

from kwalk.errors import NotSupported

# include/uapi/linux/capability.h
CAPABILITIES = {
    "CAP_DAC_READ_SEARCH": 2,
    "CAP_SYS_ADMIN": 21,
    "CAP_SYSLOG": 34,
    "CAP_PERFMON": 38,
    "CAP_BPF": 39,
}
ALWAYS = ("CAP_PERFMON", "CAP_BPF")
BTF = Path("/sys/kernel/btf/vmlinux")
LOCKDOWN = Path("/sys/kernel/security/lockdown")
STATUS = Path("/proc/self/status")
MAX_STACK = Path("/proc/sys/kernel/perf_event_max_stack")
PARANOID = Path("/proc/sys/kernel/perf_event_paranoid")
KPTR = Path("/proc/sys/kernel/kptr_restrict")
UID_MAP = Path("/proc/self/uid_map")
TRACING = Path("/sys/kernel/tracing")
_ALL_USERS = ["0", "0", "4294967295"]
NESTED = (
    "this process has its capabilities in a user namespace, and tracing needs capabilities in the "
    "machine's initial one"
)


def lacks(name: str, status: str | None = None) -> bool:
    """Whether this process lacks a capability of ``CAPABILITIES``.

    :param status: The contents of ``/proc/self/status``.
    """
    text = STATUS.read_text() if status is None else status
    match = re.search(r"^CapEff:\s*([0-9a-f]+)", text, re.MULTILINE)
    held = int(match.group(1), 16) if match else 0
    return not held >> CAPABILITIES[name] & 1


def missing_capabilities(status: str | None = None) -> list[str]:
    """Return the capabilities that this process lacks and every way of attaching needs.

    :param status: The contents of ``/proc/self/status``.
    """
    # CAP_SYS_ADMIN includes CAP_BPF and CAP_PERFMON; Kallsyms reports a missing CAP_SYSLOG.
    if not lacks("CAP_SYS_ADMIN", status):
        return []
    needed = ("CAP_SYSLOG", *ALWAYS) if hides_addresses() else ALWAYS
    return [name for name in needed if lacks(name, status)]


def hides_addresses() -> bool:
    """Whether /proc/kallsyms shows addresses only with CAP_SYSLOG.

    kallsyms_show_value() and kallsyms_for_perf() in kernel/ksyms_common.c (kernel/kallsyms.c).
    """
    return kptr_restrict() != 0 or paranoid() > 1


def kptr_restrict() -> int:
    """Return the sysctl ``kernel.kptr_restrict``; 0 if it cannot be read."""
    return _number(KPTR, 0)


def paranoid() -> int:
    """Return the sysctl ``kernel.perf_event_paranoid``; 2, the kernel's default, if unreadable."""
    return _number(PARANOID, 2)


def in_user_namespace() -> bool:
    """Whether this process is in another user namespace than the initial one."""
    try:
        return UID_MAP.read_text().split() != _ALL_USERS
    except OSError:
        return False


def unreadable(path: Path) -> str:
    """Return why this process cannot read a file or folder; "" if it can.

    It opens the file: access(2) tests the real user, without capabilities.
    """
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return error.strerror or str(error)
    return ""


def denied(events: bool, files: bool) -> str:
    """Return likely reasons for EPERM or EACCES from the kernel; "" if none is found.

    :param events: A perf event was refused (kprobes, samples, tracepoints of system calls), and the
        kernel refuses this process all of them (``perf.refuses_all``).
    :param files: A file of tracefs was refused.
    """
    if in_user_namespace():
        return NESTED
    reasons = [f"this process lacks {name}" for name in missing_capabilities()]
    admin = not lacks("CAP_SYS_ADMIN")
    if events and not admin and (level := paranoid()) > 2:
        # A patch of perf_event_open(), such as Debian's.
        reasons.append(
            f"kernel.perf_event_paranoid is {level}, which leaves perf events to CAP_SYS_ADMIN, "
            "which this process lacks (or: sysctl kernel.perf_event_paranoid=2)"
        )
    if files and lacks("CAP_DAC_READ_SEARCH") and (why := unreadable(TRACING)):
        reasons.append(f"{TRACING}: {why}; this process lacks CAP_DAC_READ_SEARCH")
    return "; ".join(reasons)


def lockdown(text: str | None = None) -> str:
    """Return the lockdown mode: ``none``, ``integrity``, ``confidentiality``, or "" if unknown.

    :param text: The contents of ``/sys/kernel/security/lockdown``, such as ``[none] integrity``.
    """
    if text is None:
        try:
            text = LOCKDOWN.read_text()
        except OSError:
            return ""
    match = re.search(r"\[(\w+)\]", text)
    return match.group(1) if match else ""


def check_access() -> None:
    """Raise NotSupported, with the reason, if this process cannot trace on this machine."""
    if in_user_namespace():
        raise NotSupported(
            NESTED,
            "Run it as the machine's root, outside of rootless containers, or see `kwalk lab` for "
            "a virtual machine that needs no root.",
        )
    missing = missing_capabilities()
    if missing:
        raise NotSupported(
            f"tracing needs {', '.join(missing)}, which this process lacks",
            "Run it as root (sudo), or see `kwalk lab` for a virtual machine that needs no root.",
        )
    if lockdown() == "confidentiality":
        raise NotSupported(
            "the kernel is locked down (confidentiality): it lets no program read its memory",
            "Boot without lockdown=confidentiality (Secure Boot may set it), "
            "or trace in a virtual machine with `kwalk lab`.",
        )
    if why := unreadable(BTF):
        raise NotSupported(
            f"the kernel has no BTF that can be read ({BTF}: {why})",
            "kwalk needs a kernel built with CONFIG_DEBUG_INFO_BTF; distributions' kernels of the "
            "last years are. Or trace in a virtual machine with `kwalk lab`.",
        )


def unwinder_frames(path: Path | None = None) -> int:
    """Return the most frames that the kernel's unwinder gives to a BPF program.

    ``kernel.perf_event_max_stack``: 127 by default (kernel/bpf/stackmap.c).
    """
    return _number(path or MAX_STACK, 127)


def _number(path: Path, default: int) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return default
