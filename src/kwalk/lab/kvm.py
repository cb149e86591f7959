# SPDX-License-Identifier: MIT
"""Verdict whether KVM works on this machine, from the first boot with it; kept in the cache.

``/dev/kvm`` can exist, and even create a machine that never gets past the boot loader.
"""

from __future__ import annotations

import hashlib
import os
import platform
from pathlib import Path

from kwalk.lab import cache, qemu
from kwalk.lab.platforms import Platform

#: Seconds that a first boot with KVM may take to start the command.
ANSWER_TIMEOUT = 15.0


def worth_a_try(platform: Platform) -> bool:
    """Return whether to try KVM: the CPU may have it and it has not failed before.

    :param platform: The guest's architecture.
    """
    cpuinfo = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    return qemu.kvm_possible(platform, cpuinfo) and not _verdict().with_suffix(".fails").exists()


def remember(works: bool) -> None:
    """Store the verdict of a boot. After one success, failures are taken to have other causes."""
    name = _verdict()
    if works:
        name.with_suffix(".works").touch()
    elif not name.with_suffix(".works").exists():
        name.with_suffix(".fails").touch()


def _verdict() -> Path:
    """Return the verdict's path, named after the machine: machines may share a home folder."""
    facts = (platform.node(), os.uname().release, os.uname().version)
    return cache.folder("kvm") / hashlib.sha256("|".join(facts).encode()).hexdigest()[:16]
