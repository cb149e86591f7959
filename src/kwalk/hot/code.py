# SPDX-License-Identifier: MIT
"""Whether frames of the kernel's functions are static, as their code tells."""

from __future__ import annotations

from kwalk.arch import here
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.libbpf.object import Object
from kwalk.probe import function_code


class StaticFrames:
    """Tells whether the function that holds an address has a static frame; each is read once.

    :param obj: A loaded object with the program ``kw_code``.
    """

    def __init__(self, obj: Object, symbols: Kallsyms) -> None:
        self._obj, self._symbols = obj, symbols
        self._code: dict[int, bytes] = {}
        self._known: dict[int, bool] = {}

    def __call__(self, address: int) -> bool:
        """Return whether it is proved that the frame is static at a return address."""
        if address not in self._known:
            self._known[address] = self._is_static(address)
        return self._known[address]

    def _is_static(self, address: int) -> bool:
        symbol = self._symbols.lookup(address - 1)
        if symbol is None or symbol.module:
            return False
        start = symbol.address
        if start not in self._code:
            size = self._symbols.above(start) - start
            self._code[start] = function_code.read(self._obj, start, size)
        return here().static_frame(self._code[start], address - start)
