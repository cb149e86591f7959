# SPDX-License-Identifier: MIT
"""The ring's records: ``struct kw_event`` and the frames behind it."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from kwalk.transport.abi import EVENT

_unpack = EVENT.struct.unpack_from
_HEADER = EVENT.size


class Record(NamedTuple):
    """One record; ``frames`` holds 8 bytes per address."""

    time_ns: int
    caller: int
    tgid: int
    pid: int
    cpu: int
    stack_id: int
    flags: int
    comm: str
    frames: bytes


@lru_cache(maxsize=4096)
def _text(comm: bytes) -> str:
    text = comm.split(b"\0", 1)[0].decode(errors="replace")
    # A process may call itself anything, line ends and terminal escapes included.
    return "".join(char if char.isprintable() else "?" for char in text)


def decode(view: memoryview) -> Record:
    """Copy a record out of the ring."""
    time_ns, caller, tgid, pid, cpu, stack_id, count, flags, _, comm = _unpack(view)
    frames = bytes(view[_HEADER : _HEADER + 8 * count])
    return Record(time_ns, caller, tgid, pid, cpu, stack_id, flags, _text(comm), frames)
