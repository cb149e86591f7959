# SPDX-License-Identifier: MIT
"""Which functions can be traced: those with a call of ftrace."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

from kwalk.abi import CALLS, CALLS_BYTES
from kwalk.arch import here
from kwalk.errors import KwalkError
from kwalk.kernel.kallsyms import Kallsyms, Symbol
from kwalk.libbpf.object import Object
from kwalk.probe.target import Target

PROGRAM = "kw_calls"
TRACING = Path("/sys/kernel/tracing")
NOTRACE = "it is notrace, or compiled without a place for ftrace"


class Traceable:
    """Tells functions that can be traced from others.

    :param places: Addresses where ftrace can get itself called; None if they are not known.
    :param lines: The kernel's own list of names, where that is all there is.
    :param names: Returns all names of a function: that list has one of them.
    """

    def __init__(
        self,
        places: frozenset[int] | None = None,
        lines: frozenset[bytes] | None = None,
        names: Callable[[Target], Sequence[str]] | None = None,
    ) -> None:
        self._names = names
        self._places = places
        self._lines = lines

    @property
    def known(self) -> bool:
        """Whether there is a list at all."""
        return self._places is not None or self._lines is not None

    def why_not(self, target: Target) -> str:
        """Return why a function can't be traced; "" if it can, or nobody knows."""
        if self._places is not None:
            able = any(target.address + more in self._places for more in here().ftrace_sites)
        elif self._lines is not None:
            module = f" [{target.module}]" if target.module else ""
            names = self._names(target) if self._names else [target.name]
            able = any(f"{name}{module}".encode() in self._lines for name in names)
        else:
            able = True
        return "" if able else NOTRACE


def listed(folder: Path | None = None, symbols: Kallsyms | None = None) -> Traceable:
    """Return what tracefs lists, which takes the kernel seconds to write."""

    def names(target: Target) -> list[str]:
        own = Symbol(target.address, target.name, target.module)
        return [target.name, *(symbols.aliases(own) if symbols else [])]

    for name in ("available_filter_functions_addrs", "available_filter_functions"):
        try:
            text = ((folder or TRACING) / name).read_bytes()
        except OSError:
            continue
        found = re.findall(rb"^(?:0x)?([0-9a-f]{16}) ", text, re.MULTILINE)
        if found:
            return Traceable(frozenset(int(address, 16) for address in found))
        return Traceable(lines=frozenset(text.splitlines()), names=names)
    return Traceable()


def in_memory(obj: Object, symbols: Kallsyms) -> Traceable:
    """Return what the kernel keeps the list from: ``struct ftrace_page``.

    :param obj: Loaded, with the program ``kw_calls``.
    """
    first = symbols.address("ftrace_pages_start")
    if not first:
        return listed(symbols=symbols)
    found: set[int] = set()
    ask: dict[str, int | bytes] = {"page": first, "first": 1}
    while ask["page"]:
        code, answer = obj.run(PROGRAM, CALLS.pack(ask))
        if code:
            return listed(symbols=symbols)
        got = CALLS.unpack(answer)
        if got["nr"]:
            data = obj.map("calls").lookup(bytes(4), CALLS_BYTES) or b""
            record = struct.Struct(f"<Q{got['size'] - 8}x")
            found.update(row[0] for row in record.iter_unpack(data[: got["nr"] * record.size]))
        ask = dict(got)
    return Traceable(frozenset(found))


def read(symbols: Kallsyms, image: Callable[[], bytes]) -> Traceable:
    """Return the best there is, from the kernel's memory if that may be read.

    :param image: Gives the BPF object.
    """
    try:
        with Object(image()) as obj:
            obj.choose({PROGRAM: None})
            obj.load()
            return in_memory(obj, symbols)
    except KwalkError:
        return listed(symbols=symbols)
