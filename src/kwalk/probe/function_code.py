# SPDX-License-Identifier: MIT
"""Machine code of kernel functions, read by a BPF program."""

from __future__ import annotations

from kwalk.abi import CALLS_BYTES, CODE
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.libbpf.object import Object

PROGRAM = "kw_code"
AROUND = 16  # bytes behind a function, or behind an address in it, that ``of`` reads as well


def read(obj: Object, start: int, size: int) -> bytes:
    """Return code at an address; empty if it cannot be read, or is larger than ``CALLS_BYTES``.

    :param obj: A loaded object with ``PROGRAM``.
    """
    if not 0 < size <= CALLS_BYTES:
        return b""
    code, _ = obj.run(PROGRAM, CODE.pack({"address": start, "size": size}))
    data = obj.map("calls").lookup(bytes(4), CALLS_BYTES) or b""
    return b"" if code else data[:size]


def of(obj: Object, symbols: Kallsyms, start: int, offset: int) -> bytes:
    """Return the code of the function at ``start``, and ``AROUND`` bytes more."""
    size = max(symbols.above(start) - start, offset) + AROUND
    return read(obj, start, size) or read(obj, start, offset + AROUND)
