# SPDX-License-Identifier: MIT
"""Symbols of code that is loaded and unloaded: modules, BPF programs, trampolines.

An address can belong to one module now and to another a moment later. The manual walk stores the
code id of each frame (``kw_code_at()`` in ``bpf/unwind/text.bpf.h``), and such a frame gets that
code's symbol or none. If only the address is known, code that is loaded now takes precedence over
unloaded code, and if there are both, the address is recorded in ``moved``.
"""

from __future__ import annotations

import bisect
from functools import cached_property

from kwalk.abi import Source
from kwalk.kernel.kallsyms import Kallsyms, Symbol
from kwalk.kernel.modules import Module

PAGE = 4096
_WORD = (1 << 64) - 1
_HASHED = 64  # KW_NAME_WORDS * 8


def code_of_module(module: Module) -> int:
    """Return the code id of a module's frames (``Stack.codes``); 0 if unknown."""
    return module.number and Source.MODULE << 32 | module.number & 0xFFFFFFFF


def code_of_program(name: str) -> int:
    """Return the code id of a BPF program or trampoline by its name; mirrors ``kw_code_at()``."""
    text = name.encode()[:_HASHED].ljust(_HASHED, b"\0")
    value = 0
    for at in range(0, _HASHED, 8):
        value = (value ^ int.from_bytes(text[at : at + 8], "little")) * 0x9E3779B97F4A7C15 & _WORD
    return Source.BPF << 32 | value >> 32


def _page_end(address: int) -> int:
    return (address // PAGE + 1) * PAGE


class _Code:
    """Symbols of one load of a module, or of all BPF programs of one name."""

    def __init__(self, symbols: list[Symbol], module: Module | None = None) -> None:
        # A stable sort: of several symbols at one address, the table's first stays first.
        self.symbols = sorted(dict.fromkeys(symbols), key=lambda symbol: symbol.address)
        self.module = module

    @cached_property
    def _addresses(self) -> list[int]:
        return [symbol.address for symbol in self.symbols]

    def lookup(self, place: int) -> Symbol | None:
        """Return the symbol that contains an address, or None."""
        if self.module and not self.module.holds(place):
            return None
        index = bisect.bisect_right(self._addresses, place) - 1
        if index < 0:
            return None
        return self.symbols[bisect.bisect_left(self._addresses, self._addresses[index])]

    def near(self, place: int) -> Symbol | None:
        """Return the symbol, or None beyond the page of the last one, whose size is unknown."""
        end = _page_end(self._addresses[-1]) if self._addresses else 0
        return self.lookup(place) if place < end else None


class DynamicSymbols:
    """Symbols of dynamic code, from successive reads of kallsyms.

    :param first: The table at the start of tracing.
    :ivar moved: Addresses that two codes have used: address -> old symbol, current symbol.
    """

    def __init__(self, first: Kallsyms) -> None:
        self.moved: dict[int, tuple[Symbol, Symbol]] = {}
        self._codes: dict[int, _Code] = {}
        self._first = self._now = first
        self._ends: dict[str, int] = {}
        self._learn(first)

    @property
    def modules(self) -> tuple[Module, ...]:
        """Modules of the newest table."""
        return self._now.modules

    def renew(self, now: Kallsyms) -> None:
        """Add a newer table."""
        self._now = now
        self._ends.clear()
        self._learn(now)

    def _learn(self, table: Kallsyms) -> None:
        new = {m.name: m for m in table.modules if code_of_module(m) not in self._codes}
        found: dict[str, list[Symbol]] = {name: [] for name in new}
        for symbol in table.own:
            if symbol.module in found:
                found[symbol.module].append(symbol)
        for name, module in new.items():
            if code := code_of_module(module):
                self._codes[code] = _Code(found[name], module)
        programs: dict[str, list[Symbol]] = {}
        for symbol in table.others:
            if symbol.module == "bpf":
                programs.setdefault(symbol.name, []).append(symbol)
        for name, symbols in programs.items():
            code = code_of_program(name)
            before = self._codes.get(code)
            self._codes[code] = _Code([*(before.symbols if before else ()), *symbols])

    def lookup(self, place: int, code: int) -> Symbol | None:
        """Return the symbol of an address, or None.

        :param code: Code id of the frame; 0 if unknown.
        """
        if code:
            known = self._codes.get(code)
            return known.lookup(place) if known else None
        now, gone = self._in(self._now, place), self._gone(place)
        if now is None or gone is None or now == gone:
            return now or gone
        if now.module == gone.module == "bpf" or self._is_near(now, place):
            self.moved[place] = gone, now
            return now
        return max(now, gone, key=lambda symbol: symbol.address)

    def _is_near(self, symbol: Symbol, place: int) -> bool:
        """Return whether ``place`` is at most in the page of its loaded module's last symbol."""
        if symbol.module not in self._ends:
            ends = (s.address for s in self._now.others if s.module == symbol.module)
            self._ends[symbol.module] = _page_end(max(ends))
        return symbol.module != "bpf" and place < self._ends[symbol.module]

    @staticmethod
    def _in(table: Kallsyms, place: int) -> Symbol | None:
        symbol = table.lookup(place)
        if symbol is None or not symbol.module:
            return None
        own = next((m for m in table.modules if m.name == symbol.module), None)
        return symbol if own is None or own.holds(place) else None

    def _gone(self, place: int) -> Symbol | None:
        """Return the symbol of the code that was unloaded last at an address, or None."""
        there = set(map(code_of_module, self.modules))
        for code, known in reversed(self._codes.items()):
            if known.module and code not in there and (symbol := known.near(place)):
                return symbol
        before = self._in(self._first, place)
        if before and any(m.name == before.module for m in self._first.modules):
            return None  # still loaded, or handled by the loop above
        return before
