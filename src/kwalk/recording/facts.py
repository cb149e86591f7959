# SPDX-License-Identifier: MIT
"""What a recording says of the machine that it comes from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from kwalk import __version__


def facts(command: Sequence[str], unwinder: str, text: int) -> dict[str, Any]:
    """Return ``Profile.facts`` of a capture that begins now.

    :param command: The command line.
    :param unwinder: How the kernel unwinds.
    :param text: Address of the kernel's symbol ``_text``, by which addresses of this boot become
        those of the kernel's file.
    """
    machine = os.uname()
    return {
        "kwalk": __version__,
        "command": list(command),
        "started": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "host": machine.nodename,
        "machine": machine.machine,
        "cpus": os.cpu_count(),
        "kernel": machine.release,
        "kernel_version": machine.version,
        "unwinder": unwinder,
        "text": text,
    }
