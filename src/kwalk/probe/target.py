# SPDX-License-Identifier: MIT
"""Targets: find the place that a user's word names, or say why it cannot be traced."""

from __future__ import annotations

import re
from typing import NamedTuple

from kwalk.abi import Place
from kwalk.errors import UsageError
from kwalk.kernel.kallsyms import Kallsyms, Symbol


class Target(NamedTuple):
    """A place to attach to in the running kernel: in a function, a tracepoint, or samples.

    :ivar name: Function, ``category:name`` of a tracepoint, or samples a second.
    :ivar address: Address of the function's first instruction; ``NO_ADDRESS`` for others.
    :ivar module: Module of the function, "" for vmlinux.
    :ivar offset: Bytes from there to the traced instruction.
    :ivar returns: The function's return is traced, not its entry.
    :ivar event: ``TRACEPOINT`` or ``SAMPLE``; None for a function.
    """

    name: str
    address: int
    module: str
    offset: int = 0
    returns: bool = False
    event: Place | None = None

    @property
    def place(self) -> Place:
        """Kind of the place."""
        if self.event:
            return self.event
        if self.returns:
            return Place.RETURN
        return Place.INSIDE if self.offset else Place.ENTRY

    @property
    def traced(self) -> int:
        """Address of the traced instruction."""
        return self.address + self.offset

    @property
    def label(self) -> str:
        """Spelling for the user: ``ip_rcv``, ``ip_rcv+0x1f``, ``r:ip_rcv``, ``t:sched:...``."""
        if self.event == Place.SAMPLE:
            return f"{self.name} Hz"
        if self.event:
            return f"t:{self.name}"
        if self.returns:
            return f"r:{self.name}"
        return f"{self.name}+{self.offset:#x}" if self.offset else self.name


_SPELLING = re.compile(
    r"(r:)?(?:([A-Za-z_]\w*):)?([A-Za-z_][\w.$]*)(?:\+(0x[0-9a-fA-F]{1,16}|[0-9]{1,19}))?",
    re.ASCII,
)
_TOP = 1 << 64


class Spelling(NamedTuple):
    """Parts of a user's word; ``module`` None means any module."""

    returns: bool
    module: str | None
    function: str
    offset: int


def no_function(spelling: str) -> UsageError:
    """Return the error for a word that cannot be a function's name."""
    return UsageError(
        f"{spelling!r} is not the name of a kernel function",
        "Give a name as /proc/kallsyms shows it, such as ip_rcv; ip_rcv+0x1f for a place "
        "inside, r:ip_rcv for its return, overlay:ovl_lookup for one of a module, 'tcp_*' or "
        "'/^ip6?_rcv$/' for many.",
    )


def split(spelling: str) -> Spelling:
    """Take ``[r:][MODULE:]FUNC[+OFFSET]`` apart; OFFSET is in bytes, hexadecimal with ``0x``.

    :raises UsageError: if the word does not have this form.
    """
    match = _SPELLING.fullmatch(spelling)
    if not match:
        raise no_function(spelling)
    digits = match[4] or "0"
    offset = int(digits, 16 if digits.startswith("0x") else 10)
    if match[1] and offset:
        raise UsageError(
            f"{spelling}: a return has no offset", f"Give r:{match[3]}, or {match[3]}+{digits}."
        )
    return Spelling(bool(match[1]), match[2], match[3], offset)


def find(spelling: str, symbols: Kallsyms) -> Target:
    """Return the place that ``[r:][MODULE:]FUNC[+OFFSET]`` names.

    :raises UsageError: if the word is malformed, there is no such function, the name is ambiguous,
        the function was freed after boot, or it ends before the offset.
    """
    returns, module, function, offset = split(spelling)
    target = _function(function, module, symbols)._replace(offset=offset, returns=returns)
    if offset and not _is_inside(target, symbols):
        raise UsageError(
            f"{function} ends before {function}+{offset:#x}",
            "Offsets are in bytes, as stacks show them; objdump or gdb shows the instructions.",
        )
    return target


def _is_inside(target: Target, symbols: Kallsyms) -> bool:
    own = symbols.lookup(target.address)
    return target.traced < _TOP and symbols.lookup(target.traced) == own


def _function(function: str, module: str | None, symbols: Kallsyms) -> Target:
    found = symbols.find(function, code=True)
    if module is not None and found:
        found = [symbol for symbol in found if symbol.module == module]
        if not found:
            raise UsageError(
                f"module {module} has no function {function}",
                f"It is in another module or in vmlinux: see `kwalk functions {function}`.",
            )
    if not found:
        raise UsageError(f"this kernel has no function {function}", _hint(function, symbols))
    addresses = sorted({symbol.address for symbol in found})
    if len(addresses) > 1:
        places = ", ".join(f"{symbol.address:#x}{_in(symbol)}" for symbol in found)
        raise UsageError(
            f"{len(addresses)} functions are called {function}: {places}",
            "Give the module (MODULE:FUNC), or trace the entries or returns of all of them.",
        )
    symbol = found[0]
    if is_init(symbol, symbols):
        raise UsageError(
            f"{function} is an init function: the kernel freed its code after boot",
            "It can't run any more, so there is nothing to trace.",
        )
    return Target(symbol.name, symbol.address, symbol.module)


def _in(symbol: Symbol) -> str:
    return f" [{symbol.module}]" if symbol.module else ""


def is_init(symbol: Symbol, symbols: Kallsyms) -> bool:
    """Return whether a symbol is init code of vmlinux, which is freed after boot."""
    start, end = symbols.address("_sinittext"), symbols.address("_einittext")
    return not symbol.module and start <= symbol.address < end


def _hint(function: str, symbols: Kallsyms) -> str:
    names = symbols.functions()
    parts = sorted(name for name in names if name.startswith(function + "."))
    if parts:
        return (
            f"The compiler turned it into {', '.join(parts[:3])}, which may be traced instead; "
            "the rest is inlined."
        )
    inlined = "If it is in the source, it is inlined into its callers or its module is not loaded."
    return near_misses(function, symbols) + inlined


def near_misses(function: str, symbols: Kallsyms) -> str:
    """Return "Did you mean ...?" with up to three functions of similar names, or ""."""
    import difflib

    # Comparing with all of 60,000 names takes seconds; a typo leaves one end of a name as it is.
    names = symbols.functions()
    alike = [n for n in names if n[:2] == function[:2] or n[-3:] == function[-3:]]
    alike = [n for n in alike if abs(len(n) - len(function)) < 4]
    close = difflib.get_close_matches(function, alike, n=3, cutoff=0.75)
    return f"Did you mean {', '.join(close)}? " if close else ""
