# SPDX-License-Identifier: MIT
"""Names of processes as the kernel keeps them."""

from __future__ import annotations

from functools import lru_cache

from kwalk.support.printable import plain


@lru_cache(maxsize=4096)
def process_name(comm: bytes) -> str:
    """Return the name in a ``comm`` of the kernel's, ended by a zero byte."""
    # A process may call itself anything, line ends and terminal escapes included.
    return plain(comm.split(b"\0", 1)[0].decode(errors="replace"))
