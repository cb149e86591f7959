# SPDX-License-Identifier: MIT
"""Code that comes and goes, by name: modules, BPF programs, trampolines.

One address can be one module's code now and another's a moment later. A frame that was walked tells
which one it was (``kw_code_at()`` in ``text.bpf.h``), and has the name that this code had, or
none. Of an address alone nobody knows that: what is there now goes before what was there, and where
both are known the address is one of ``moved``.
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
    """Return what frames of it say that they are of; 0 if it is not known."""
    return module.number and Source.MODULE << 32 | module.number & 0xFFFFFFFF


def code_of_program(name: str) -> int:
    """Return what frames of a BPF program or trampoline of this name say: ``kw_code_at()``."""
    text = name.encode()[:_HASHED].ljust(_HASHED, b"\0")
    value = 0
    for at in range(0, _HASHED, 8):
        value = (value ^ int.from_bytes(text[at : at + 8], "little")) * 0x9E3779B97F4A7C15 & _WORD
    return Source.BPF << 32 | value >> 32


def _page_end(address: int) -> int:
    return (address // PAGE + 1) * PAGE


class _Code:
    """Symbols of one load of a module, or all places of BPF programs of one name."""

    def __init__(self, symbols: list[Symbol], module: Module | None = None) -> None:
        # Stable: of symbols at one address the first in the table stays first.
        self.symbols = sorted(dict.fromkeys(symbols), key=lambda symbol: symbol.address)
        self.module = module

    @cached_property
    def _addresses(self) -> list[int]:
        return [symbol.address for symbol in self.symbols]

    def lookup(self, place: int) -> Symbol | None:
        """Return the symbol that ``place`` lies in."""
        if self.module and not self.module.holds(place):
            return None
        index = bisect.bisect_right(self._addresses, place) - 1
        if index < 0:
            return None
        return self.symbols[bisect.bisect_left(self._addresses, self._addresses[index])]

    def near(self, place: int) -> Symbol | None:
        """Return the symbol, unless it is far behind the last one: nobody says where that ends."""
        end = _page_end(self._addresses[-1]) if self._addresses else 0
        return self.lookup(place) if place < end else None


class Passing:
    """What the tables that were read one after another say of such code.

    :param first: The table of when tracing began.
    :ivar moved: Addresses that have been code of one and then of another.
    """

    def __init__(self, first: Kallsyms) -> None:
        self.moved: dict[int, tuple[Symbol, Symbol]] = {}
        self._codes: dict[int, _Code] = {}
        self._first = self._now = first
        self._ends: dict[str, int] = {}
        self._learn(first)

    @property
    def modules(self) -> tuple[Module, ...]:
        """Those of the newest table."""
        return self._now.modules

    def renew(self, now: Kallsyms) -> None:
        """Take note of a newer table."""
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
        """Return the symbol of an address.

        :param code: Which code it was; 0 if nobody knows.
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
        """Whether a place is not far behind the last symbol of the module of now that it is in."""
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
        """Return the symbol of what lay there last before what lies there now."""
        there = set(map(code_of_module, self.modules))
        for code, known in reversed(self._codes.items()):
            if known.module and code not in there and (symbol := known.near(place)):
                return symbol
        before = self._in(self._first, place)
        if before and any(m.name == before.module for m in self._first.modules):
            return None  # it is one of those above, or still there
        return before
