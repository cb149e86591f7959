# SPDX-License-Identifier: MIT
"""Processor architectures: everything in user space that depends on one.

``bpf/arch/arch.h`` is the counterpart for the BPF programs.
"""

from __future__ import annotations

import functools
import os

from kwalk.arch.aarch64 import AARCH64
from kwalk.arch.architecture import Architecture, UnknownFormat
from kwalk.arch.x86_64 import X86_64
from kwalk.errors import NotSupported

__all__ = ["ARCHITECTURES", "Architecture", "UnknownFormat", "here", "of_recording"]

ARCHITECTURES = {architecture.name: architecture for architecture in (X86_64, AARCH64)}


@functools.cache
def here() -> Architecture:
    """Return the architecture of this machine.

    :raises NotSupported: if kwalk cannot trace on it.
    """
    machine = os.uname().machine
    known = ARCHITECTURES.get(machine)
    if known is None:
        raise NotSupported(
            f"kwalk cannot trace on {machine}, only on {', '.join(ARCHITECTURES)}",
            "Record on such a machine; any other reads recordings. To add an architecture, see "
            "CONTRIBUTING.md.",
        )
    return known


def of_recording(machine: object) -> Architecture:
    """Return the architecture that a recording was made on.

    :param machine: The recording's fact ``machine``, as ``uname -m`` prints it. Recordings
        without it, or from an architecture that this kwalk does not know, are read as x86-64's.
    """
    return ARCHITECTURES.get(str(machine), X86_64)
