# SPDX-License-Identifier: MIT
"""Functions that ftrace can trace: those with a call of ftrace (``struct dyn_ftrace``)."""

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
    """The set of functions that ftrace can trace, by address or, failing that, by name.

    :param places: Addresses of the calls of ftrace; None if they are unknown.
    :param lines: Lines of ``available_filter_functions``, on kernels that list no addresses.
    :param names: Returns all names of a function, of which a line has only one.
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
        """Whether the set is known; ``why_not`` rules nothing out otherwise."""
        return self._places is not None or self._lines is not None

    def why_not(self, target: Target) -> str:
        """Return why a function can't be traced; "" if it can, or if that is unknown."""
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
    """Read the set from tracefs, which takes the kernel seconds.

    :param folder: ``TRACING``, or a folder of a test.
    """

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
    """Read the set from the kernel's memory (``struct ftrace_page``), else from tracefs.

    :param obj: A loaded object with the program ``kw_calls``.
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
    """Load ``kw_calls`` alone and read the set with it; from tracefs if it cannot be loaded.

    :param image: Returns the bytes of the BPF object.
    """
    try:
        with Object(image()) as obj:
            obj.set_autoload({PROGRAM: None})
            obj.load()
            return in_memory(obj, symbols)
    except KwalkError:
        return listed(symbols=symbols)
