# SPDX-License-Identifier: MIT
"""Names of processes as the kernel keeps them."""

from __future__ import annotations

from functools import lru_cache


@lru_cache(maxsize=4096)
def process_name(comm: bytes) -> str:
    """Return the name in a ``comm`` of the kernel's, ended by a zero byte."""
    text = comm.split(b"\0", 1)[0].decode(errors="replace")
    # A process may call itself anything, line ends and terminal escapes included.
    return "".join(char if char.isprintable() else "?" for char in text)
