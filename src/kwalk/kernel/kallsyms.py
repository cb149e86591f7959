# SPDX-License-Identifier: MIT
"""The kernel's symbol table, ``/proc/kallsyms``: lookup by name and by address.

Lookups search the text in place (ten megabytes, vmlinux's part sorted by address). Only the part of
modules, which is unsorted, is parsed, when a lookup needs it. That keeps start-up short.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable, Collection, Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from kwalk.errors import NotSupported
from kwalk.kernel import capabilities
from kwalk.kernel.modules import Module

PATH = Path("/proc/kallsyms")
_LINE = re.compile(rb"^.{17}(.) ([^\t\n]+).*$", re.MULTILINE)
# Number of names from which on one pass over all lines takes less than a search for each.
_MANY = 50


class Symbol(NamedTuple):
    """A symbol: ``module`` is "" for vmlinux, ``bpf`` for BPF programs."""

    address: int
    name: str
    module: str


class Kallsyms:
    """A snapshot of the symbol table.

    :param text: The file's contents: ``<16 hex digits> <type> <name>[\\t[<module>]]`` lines.
    :param known: Results of ``address`` for some names.
    :param rest: Reads the current end of the table, if ``text`` lacks it.
    :ivar state: Cache key (``kallsyms_cache.state``) when it was read; b"" if unknown.
    :ivar modules: The modules whose symbols it has; () if unknown.
    :raises NotSupported: if the addresses are hidden (all zero).
    """

    state = b""
    modules: tuple[Module, ...] = ()

    def __init__(
        self,
        text: bytes,
        known: dict[str, int] | None = None,
        rest: Callable[[], bytes] | None = None,
    ) -> None:
        tab = text.find(b"\t")
        self._text = text
        self.known = dict(known or {})
        self._kept = None if known is None else len(known)
        self._rest = rest
        self._found: dict[str, list[tuple[Symbol, bool]]] = {}
        self._end = text.rfind(b"\n", 0, tab) + 1 if tab >= 0 else len(text)
        if not text or (not text.strip(b"0\n") or self._address(text.rfind(b"\n", 0, -1) + 1) == 0):
            raise NotSupported(
                "the kernel hides its symbols' addresses (/proc/kallsyms shows zeros)",
                _how_to_see(),
            )

    @property
    def has_news(self) -> bool:
        """Whether the cache lacks this table, or the address of a name that was looked up."""
        return self._kept != len(self.known)

    @property
    def lasting(self) -> bytes:
        """The text without its end: BPF programs, trampolines and kprobes, which change often."""
        ends = (self._text.find(mark, self._end) for mark in (b"\t[bpf]\n", b"\t[__builtin__"))
        first = min((end for end in ends if end >= 0), default=len(self._text))
        return self._text[: self._text.rfind(b"\n", 0, first) + 1]

    @cached_property
    def _others(self) -> tuple[list[Symbol], list[int]]:
        """Symbols outside of vmlinux, sorted by address, and their addresses."""
        rest = _functions_and_data(self._rest()) if self._rest else ()
        # Stable: of symbols at one address the first in the table stays first.
        others = sorted([*self.own, *rest], key=lambda symbol: symbol.address)
        return others, [symbol.address for symbol in others]

    @cached_property
    def own(self) -> list[Symbol]:
        """Symbols outside of vmlinux, except the ones that ``rest`` reads."""
        return list(_functions_and_data(self._text[self._end :]))

    @property
    def others(self) -> list[Symbol]:
        """Symbols outside of vmlinux, sorted by address."""
        return self._others[0]

    def renew(self) -> None:
        """Read the end of the table now: later its code may be gone."""
        if self._rest:
            self._others  # noqa: B018

    @classmethod
    def read(cls, path: Path = PATH) -> Kallsyms:
        """Read the running kernel's table.

        :raises NotSupported: if there is none, or its addresses are hidden.
        """
        try:
            return cls(path.read_bytes())
        except OSError as error:
            raise NotSupported(
                f"{path} cannot be read ({error.strerror})",
                "The kernel needs CONFIG_KALLSYMS, and /proc must be mounted.",
            ) from None

    def _address(self, start: int) -> int:
        return int(self._text[start : start + 16], 16)

    def _line(self, start: int) -> Symbol:
        end = self._text.find(b"\n", start) + 1 or len(self._text)
        return next(_parse(self._text[start:end]))

    def find(self, name: str, code: bool = False) -> list[Symbol]:
        """Return every symbol with a name, in the table's order.

        :param code: Functions only.
        """
        if name not in self._found:
            self._found[name] = list(self._search(name))
        return [symbol for symbol, is_code in self._found[name] if is_code or not code]

    def _search(self, name: str) -> Iterator[tuple[Symbol, bool]]:
        word = b" %s" % name.encode(errors="replace")
        at = self._text.find(word)
        while at >= 0:
            if self._text[at + len(word) : at + len(word) + 1] in (b"\t", b"\n"):
                symbol = self._line(self._text.rfind(b"\n", 0, at) + 1)
                yield symbol, self._text[at - 1] in b"tTwW"
            at = self._text.find(word, at + 1)

    def repeated(self, names: Collection[str]) -> set[str]:
        """Return which of these names several addresses of vmlinux have."""
        self.learn(names)
        return {
            name for name in names if len({s.address for s in self.find(name) if not s.module}) > 1
        }

    def learn(self, names: Collection[str]) -> None:
        """Look many names up in one pass, for ``find``."""
        new = [name for name in names if name not in self._found]
        if len(new) < _MANY:
            return
        wanted: dict[bytes, list[tuple[Symbol, bool]]] = {
            name.encode(errors="replace"): self._found.setdefault(name, []) for name in new
        }
        for line in _LINE.finditer(self._text):
            if line[2] in wanted:
                symbol = next(_parse(line[0]))
                wanted[line[2]].append((symbol, line[1] in b"tTwW"))

    def address(self, name: str) -> int:
        """Return the address of vmlinux's symbol ``name``, or 0 if there is none."""
        known = self.known.get(name)
        if known is None:
            # Modules' names have a tab behind them.
            at = self._text.find(b" %s\n" % name.encode(errors="replace"), 0, self._end)
            known = self._address(self._text.rfind(b"\n", 0, at) + 1) if at >= 0 else 0
            self.known[name] = known
        return known

    def aliases(self, symbol: Symbol) -> list[str]:
        """Return the names of all symbols at a symbol's address, its own included."""
        if symbol.module:
            others, addresses = self._others
            first = bisect.bisect_left(addresses, symbol.address)
            last = bisect.bisect_right(addresses, symbol.address)
            found = [s.name for s in others[first:last] if s.module == symbol.module]
            return list(dict.fromkeys(found))
        names = []
        at = self._first(symbol.address)
        while at is not None and at < self._end and self._address(at) == symbol.address:
            names.append(self._line(at).name)
            at = self._text.find(b"\n", at) + 1
        return list(dict.fromkeys(names))

    def functions(self) -> set[str]:
        """Return the names of all functions (symbols of type t, T, w or W)."""
        names = re.findall(rb"^[0-9a-f]{16} [tTwW] ([^$\t\n][^\t\n]*)", self._text, re.MULTILINE)
        return {name.decode(errors="replace") for name in names}

    def functions_of(self, prefix: str = "", module: str | None = None) -> Iterator[Symbol]:
        """Iterate over the functions whose names have a prefix.

        :param module: Only functions of this module.
        """
        name = re.escape(prefix.encode(errors="replace"))
        pattern = re.compile(rb" [tTwW] (?!\$)%s[^\t\n]*" % name)
        for match in pattern.finditer(self._text, self._end if module else 0):
            symbol = self._line(match.start() - 16)
            if module is None or symbol.module == module:
                yield symbol

    def lookup(self, address: int) -> Symbol | None:
        """Return the symbol that holds an address, the first of several aliases.

        It follows kallsyms_lookup() in kernel/kallsyms.c.
        """
        if self._image_start <= address < self._image_end:
            return self._lookup_vmlinux(address)
        others, addresses = self._others
        if not others or address < others[0].address:
            return self._lookup_vmlinux(address)
        index = bisect.bisect_right(addresses, address) - 1
        index = bisect.bisect_left(addresses, addresses[index])
        other = others[index]
        own = self._lookup_vmlinux(address)
        # vmlinux can lie above modules (no KASLR) or below: take the nearer symbol.
        return own if own and own.address > other.address else other

    @cached_property
    def _image_start(self) -> int:
        return self.address("_text") if self.address("_end") else 1 << 64

    @cached_property
    def _image_end(self) -> int:
        return self.address("_end") or 1 << 64

    def _lookup_vmlinux(self, address: int) -> Symbol | None:
        if address >= self._image_end:
            return None  # code without a symbol, such as a classic BPF filter
        low = self._first(address)
        return None if low is None else self._line(low)

    def _first(self, address: int) -> int | None:
        """Return the offset of the first line of vmlinux's symbols nearest below ``address``."""
        low = self._last(address)
        if low is None:
            return None
        start = self._address(low)
        while low and self._address(before := self._text.rfind(b"\n", 0, low - 1) + 1) == start:
            low = before
        return low

    def above(self, address: int) -> int:
        """Return the address of vmlinux's next symbol above ``address``, or 0."""
        low = self._last(address)
        after = self._text.find(b"\n", low) + 1 if low is not None else 0
        return self._address(after) if after < self._end else 0

    def _last(self, address: int) -> int | None:
        """Return the offset of the line of vmlinux's last symbol up to ``address``."""
        low, high = 0, self._end  # line starts: [low] <= address < [high]
        if not high or self._address(low) > address:
            return None
        while True:
            middle = self._text.rfind(b"\n", 0, (low + high) // 2) + 1
            if middle <= low:
                middle = self._text.find(b"\n", low) + 1
                if middle >= high:
                    return low
            if self._address(middle) <= address:
                low = middle
            else:
                high = middle


def _how_to_see() -> str:
    if capabilities.in_user_namespace():
        return capabilities.NESTED[:1].upper() + capabilities.NESTED[1:] + "."
    if (level := capabilities.kptr_restrict()) >= 2:
        return (
            f"The sysctl kernel.kptr_restrict is {level}, which hides them from root: set 0 or 1."
        )
    if capabilities.lacks("CAP_SYSLOG"):
        return "This process lacks CAP_SYSLOG: run as root (sudo)."
    return f"The sysctl kernel.kptr_restrict is {level}: a policy of this machine may forbid it."


def _functions_and_data(text: bytes) -> Iterator[Symbol]:
    """Parse lines and drop mapping symbols, as is_mapping_symbol() (include/linux/module_symbol.h).

    arm64 and RISC-V have them (``$x``, ``$d``) at addresses of modules' functions.
    """
    return (symbol for symbol in _parse(text) if not symbol.name.startswith("$"))


def _parse(text: bytes) -> Iterator[Symbol]:
    for line in text.splitlines():
        head, _, module = line.partition(b"\t")
        address, _, name = head.split(b" ", 2)
        yield Symbol(
            int(address, 16),
            name.decode(errors="replace"),
            module.strip(b"[]").decode(errors="replace"),
        )
