# SPDX-License-Identifier: MIT
"""Whether KVM works on this machine: asked once by booting with it, then remembered.

``/dev/kvm`` can exist, and even create a machine, yet never get past the boot loader.
"""

from __future__ import annotations

import hashlib
import os
import platform
from pathlib import Path

from kwalk.lab import cache, qemu

#: Seconds that a first boot with KVM may take to start the command.
ANSWER_TIMEOUT = 15.0


def worth_a_try() -> bool:
    """Tell whether to boot with KVM: it may work here and has not failed before."""
    cpuinfo = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    return qemu.kvm_possible(cpuinfo) and not _verdict().with_suffix(".fails").exists()


def remember(works: bool) -> None:
    """Keep the verdict of a boot. One success outweighs later failures of other causes."""
    name = _verdict()
    if works:
        name.with_suffix(".works").touch()
    elif not name.with_suffix(".works").exists():
        name.with_suffix(".fails").touch()


def _verdict() -> Path:
    """Name the verdict's file after the machine: a home folder may be shared by several."""
    facts = (platform.node(), os.uname().release, os.uname().version)
    return cache.folder("kvm") / hashlib.sha256("|".join(facts).encode()).hexdigest()[:16]
