# SPDX-License-Identifier: MIT
"""Name the frames of a stack."""

from __future__ import annotations

from kwalk.kernel.kallsyms import Kallsyms
from kwalk.profile import Frame, Stack


class Symbolizer:
    """Names addresses once and remembers them.

    A return address stands behind its call, which may be the last instruction of a function
    that never gets back; so the symbol is that of the byte before it, as in sprint_backtrace()
    of kernel/kallsyms.c, while the offset is that of the address itself. An address right behind a
    function's padding (``__pfx_...``), which calls nothing, is that of an instruction that was
    interrupted: the function's first.
    """

    def __init__(self, symbols: Kallsyms) -> None:
        self._symbols = symbols
        self._frames: dict[int, Frame] = {}
        self._entries: dict[int, Frame] = {}

    def frames(self, stack: Stack) -> list[Frame]:
        """Return the stack's frames, the traced function first."""
        entry, *returns = stack.addresses
        if entry not in self._entries:
            self._entries[entry] = self._name(entry, entry)
        frames = [self._entries[entry]]
        for address in returns:
            frame = self._frames.get(address)
            if frame is None:
                frame = self._frames[address] = self._name(address, address - 1)
            frames.append(frame)
        return frames

    def _name(self, address: int, place: int) -> Frame:
        symbol = self._symbols.lookup(place)
        if symbol and symbol.name.startswith("__pfx_"):
            symbol = self._symbols.lookup(address)
        if symbol is None:
            return Frame("", 0, "", address)
        return Frame(symbol.name, address - symbol.address, symbol.module, address)
