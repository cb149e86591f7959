# SPDX-License-Identifier: MIT
"""Names of a stack's frames."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from itertools import zip_longest

from kwalk.abi import NO_ADDRESS
from kwalk.errors import KwalkError
from kwalk.kernel import modules
from kwalk.kernel.kallsyms import Kallsyms, Symbol
from kwalk.model.stack import Frame, Stack, also_called
from kwalk.support.text import plural
from kwalk.symbolize.dynamic_code import DynamicSymbols

# Minimum seconds between two reads of kallsyms, which take tens of milliseconds, and between two
# checks for changed modules, which take less than one.
READ_SECONDS = 2.0
LOOK_SECONDS = 0.5
_MAX_READ_SHARE = 0.1  # limit on reads of kallsyms for unknown code ids, by the reader's time


class Symbolizer:
    """Symbolizer of addresses, with a cache of frames.

    A return address points after its call, which may be the last instruction of a function that
    never returns. So the symbol is looked up at the byte before it, as in sprint_backtrace() of
    kernel/kallsyms.c; the offset is the address's own. If that byte is in a function's padding
    (``__pfx_...``), which contains no call, the address is an interrupted instruction: the
    function's first.

    Modules and BPF programs come and go: their symbols are read again when they have changed, and
    ``DynamicSymbols`` decides which code an address belonged to. A name that may differ at the next
    look-up is cached for ``LOOK_SECONDS`` only.

    :param symbols: kallsyms at the start of tracing.
    :param called: A stack's innermost address is a return address, too.
    :param read: Reads the current kallsyms; None if ``symbols`` is the only table.
    :param entries: Frames of traced functions by address, with the names that the user gave.
    """

    def __init__(
        self,
        symbols: Kallsyms,
        called: bool = False,
        read: Callable[[], Kallsyms] | None = None,
        entries: Mapping[int, Frame] | None = None,
    ) -> None:
        self._symbols = symbols
        self._called = called
        self._read = read
        self._read_at = -math.inf
        self._read_took = 0.0
        self._looked_at = -math.inf
        self._loaded: tuple[modules.Module, ...] | None = None
        self._sought: set[int] = set()
        self._frames: dict[tuple[int, int], Frame] = {}
        self._for_now: dict[int, Frame] = {}
        self._entries = dict(entries or {})
        self._also: dict[Frame, list[str]] = {}

    @cached_property
    def _dynamic(self) -> DynamicSymbols:
        return DynamicSymbols(self._symbols)

    def frames(self, stack: Stack) -> list[Frame]:
        """Return the stack's frames, the traced function first."""
        rows = zip_longest(stack.addresses, stack.codes[: len(stack.addresses)], fillvalue=0)
        frames = [self.frame(address, code) for address, code in rows]
        if not self._called:
            frames[0] = self._entry(stack.addresses[0])
        return frames

    def _entry(self, address: int) -> Frame:
        if address not in self._entries:
            self._entries[address] = self._name(address, address, 0)[0]
        return self._entries[address]

    def frame(self, address: int, code: int = 0) -> Frame:
        """Return the frame of a return address.

        :param code: The frame's code id (``Stack.codes``); 0 if unknown.
        """
        frame = self._frames.get((address, code))
        if frame is None and not code and time.monotonic() < self._looked_at + LOOK_SECONDS:
            frame = self._for_now.get(address)
        if frame is None:
            frame, lasting = self._name(address, address - 1, code)
            if lasting:
                self._frames[address, code] = frame
            elif not code:
                self._for_now[address] = frame
        return frame

    def look_again(self) -> None:
        """Allow another look-up of unknown names at once, for the last stacks of a capture."""
        self._sought.clear()
        self._looked_at = -math.inf

    def also(self, stack: Stack) -> list[Sequence[str]]:
        """Return the other names of each frame's function."""
        return [self._others(frame) for frame in self.frames(stack)]

    def _others(self, frame: Frame) -> list[str]:
        if frame not in self._also:
            symbol = Symbol(frame.address - frame.offset, frame.name, frame.module)
            names = self._symbols.aliases(symbol) if frame.name else []
            every = [*names, *(part for name in (frame.name, *names) for part in also_called(name))]
            self._also[frame] = [name for name in dict.fromkeys(every) if name != frame.name]
        return self._also[frame]

    @property
    def moved(self) -> list[str]:
        """Notes for the summary on addresses that two codes have used."""
        if "_dynamic" not in vars(self) or not self._dynamic.moved:
            return []
        pairs = {(old.module, new.module) for old, new in self._dynamic.moved.values()}
        told = "; ".join(f"first [{old}], then [{new}]" for old, new in sorted(pairs))
        addresses = plural(len(self._dynamic.moved), "place")
        return [
            f"{addresses} held code of two modules or programs in turn ({told}): frames there that "
            "the kernel's unwinder found are named after the later one"
        ]

    def _name(self, address: int, place: int, code: int) -> tuple[Frame, bool]:
        """Return a frame, and whether its name is final."""
        if address == NO_ADDRESS:  # the tree had no room to store which function it was
            return Frame("[unknown]", 0, "", 0), True
        symbol = self._lookup(place, code)
        if symbol and symbol.name.startswith("__pfx_"):
            symbol = self._lookup(address, code)
        if symbol is None:
            return Frame("", 0, "", address), self._read is None
        lasting = not symbol.module or bool(code) or self._read is None
        return Frame(symbol.name, address - symbol.address, symbol.module, address), lasting

    def _lookup(self, place: int, code: int) -> Symbol | None:
        if not code and (own := self._symbols.lookup(place)) and not own.module:
            return own
        found = self._dynamic.lookup(place, code)
        if not (found and code) and self._renew(bool(found), code):
            found = self._dynamic.lookup(place, code)
        return found

    def _renew(self, known: bool, code: int) -> bool:
        """Read kallsyms again if it may have changed; return whether it was read."""
        now = time.monotonic()
        new = bool(code) and code not in self._sought
        if self._read is None or not (new or now > self._looked_at + LOOK_SECONDS):
            return False
        self._sought.add(code)
        self._looked_at = now
        before = self._loaded
        with suppress(OSError, ValueError):
            self._loaded = modules.read()
        if self._loaded != before or self._read_at == -math.inf:
            return self._read_table()
        pace = self._read_took / _MAX_READ_SHARE if new else math.inf
        if known or now < self._read_at + min(READ_SECONDS, pace):
            return False
        return self._read_table()

    def _read_table(self) -> bool:
        assert self._read
        began = time.monotonic()
        with suppress(KwalkError):
            self._dynamic.renew(self._read())
        self._for_now.clear()
        self._read_at = time.monotonic()
        self._read_took = self._read_at - began
        return True
