# SPDX-License-Identifier: MIT
"""Code of kernel functions, read by a BPF program, to see whether their frames are static."""

from __future__ import annotations

from kwalk.abi import CALLS_BYTES, CODE
from kwalk.arch import here
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.libbpf.object import Object
from kwalk.probe.hot_entry import CODE_PROGRAM


class StaticFrames:
    """Tells whether the function that holds an address has a static frame; each is read once.

    :param obj: A loaded object with the program ``kw_code``.
    """

    def __init__(self, obj: Object, symbols: Kallsyms) -> None:
        self._obj, self._symbols = obj, symbols
        self._code: dict[int, bytes] = {}

    def __call__(self, address: int) -> bool:
        """Return whether it is proved that the frame is static at a return address."""
        symbol = self._symbols.lookup(address - 1)
        if symbol is None or symbol.module:
            return False
        start = symbol.address
        if start not in self._code:
            self._code[start] = self._read(start, self._symbols.above(start))
        return here().static_frame(self._code[start], address - start)

    def _read(self, start: int, end: int) -> bytes:
        size = end - start
        if not 0 < size <= CALLS_BYTES:
            return b""
        code, _ = self._obj.run(CODE_PROGRAM, CODE.pack({"address": start, "size": size}))
        data = self._obj.map("calls").lookup(bytes(4), CALLS_BYTES) or b""
        return b"" if code else data[:size]
