# SPDX-License-Identifier: MIT
"""Name the frames of a stack."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import suppress

from kwalk.errors import KwalkError
from kwalk.kernel.kallsyms import Kallsyms, Symbol
from kwalk.stack import Frame, Stack
from kwalk.transport.abi import NO_ADDRESS

# Reading the table takes tens of milliseconds.
READ_SECONDS = 2.0


class Symbolizer:
    """Names addresses once and remembers them.

    A return address stands behind its call, which may be the last instruction of a function
    that never gets back; so the symbol is that of the byte before it, as in sprint_backtrace()
    of kernel/kallsyms.c, while the offset is that of the address itself. An address right behind a
    function's padding (``__pfx_...``), which calls nothing, is that of an instruction that was
    interrupted: the function's first.

    Modules and BPF programs come and go: for their addresses the table is read again, and of what
    it said before and says now, the nearer symbol is the one.

    :param called: A stack's first address is a return address, too.
    :param read: Reads the table of now; None where the one given is all there is.
    """

    def __init__(
        self,
        symbols: Kallsyms,
        called: bool = False,
        read: Callable[[], Kallsyms] | None = None,
    ) -> None:
        self._symbols = symbols
        self._called = called
        self._read = read
        self._now: Kallsyms | None = None
        self._read_at = -math.inf
        self._frames: dict[int, Frame] = {}
        self._entries: dict[int, Frame] = {}

    def frames(self, stack: Stack) -> list[Frame]:
        """Return the stack's frames, the traced function first."""
        if self._called:
            return [self.frame(address) for address in stack.addresses]
        entry, *returns = stack.addresses
        if entry not in self._entries:
            self._entries[entry] = self._name(entry, entry)
        return [self._entries[entry], *(self.frame(address) for address in returns)]

    def frame(self, address: int) -> Frame:
        """Return the frame of a return address."""
        frame = self._frames.get(address)
        if frame is None:
            frame = self._frames[address] = self._name(address, address - 1)
        return frame

    def _name(self, address: int, place: int) -> Frame:
        if address == NO_ADDRESS:  # there was no room to keep which function it was
            return Frame("[unknown]", 0, "", 0)
        symbol = self._lookup(place)
        if symbol and symbol.name.startswith("__pfx_"):
            symbol = self._lookup(address)
        if symbol is None:
            return Frame("", 0, "", address)
        return Frame(symbol.name, address - symbol.address, symbol.module, address)

    def _lookup(self, place: int) -> Symbol | None:
        before = self._symbols.lookup(place)
        if self._read is None or (before and not before.module):
            return before
        if time.monotonic() > self._read_at + READ_SECONDS:
            with suppress(KwalkError):
                self._now = self._read()
            self._read_at = time.monotonic()
        now = self._now.lookup(place) if self._now else None
        return max((s for s in (before, now) if s), key=lambda s: s.address, default=None)
