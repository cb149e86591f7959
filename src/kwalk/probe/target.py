# SPDX-License-Identifier: MIT
"""The function to trace: find it, or say why it cannot be traced."""

from __future__ import annotations

import difflib
import re
from typing import NamedTuple

from kwalk.errors import UsageError
from kwalk.kernel.kallsyms import Kallsyms, Symbol
from kwalk.transport.abi import Place


class Target(NamedTuple):
    """A place in a function of the running kernel.

    :ivar address: Of the function's first instruction.
    :ivar offset: Of the traced instruction from there, in bytes.
    :ivar returns: The function's return is traced, not its entry.
    """

    name: str
    address: int
    module: str
    offset: int = 0
    returns: bool = False

    @property
    def place(self) -> Place:
        """Where in the function the probe is."""
        if self.returns:
            return Place.RETURN
        return Place.INSIDE if self.offset else Place.ENTRY

    @property
    def traced(self) -> int:
        """The address of the traced instruction."""
        return self.address + self.offset

    @property
    def label(self) -> str:
        """As a user writes it: ``ip_rcv``, ``ip_rcv+0x1f``, ``r:ip_rcv``."""
        if self.returns:
            return f"r:{self.name}"
        return f"{self.name}+{self.offset:#x}" if self.offset else self.name


_SPELLING = re.compile(r"(r:)?([A-Za-z_][\w.$]*)(?:\+(0x[0-9a-fA-F]{1,16}|[0-9]{1,19}))?")
_TOP = 1 << 64


def find(spelling: str, symbols: Kallsyms) -> Target:
    """Return the place that a user named: ``FUNC``, ``FUNC+0x1f``, or ``r:FUNC``.

    :raises UsageError: if there is no such function, several, it was freed after boot, or it
        is shorter than that.
    """
    match = _SPELLING.fullmatch(spelling)
    if not match:
        raise UsageError(
            f"{spelling!r} is not the name of a kernel function",
            "Give a name as /proc/kallsyms shows it, such as ip_rcv; ip_rcv+0x1f for a place "
            "inside, r:ip_rcv for its return.",
        )
    returns, function, digits = bool(match[1]), match[2], match[3] or "0"
    offset = int(digits, 16 if digits.startswith("0x") else 10)
    if returns and offset:
        raise UsageError(
            f"{spelling}: a return has no offset", f"Give r:{function}, or {function}+{digits}."
        )
    target = _function(function, symbols)._replace(offset=offset, returns=returns)
    own = symbols.lookup(target.address)
    if offset and (target.traced >= _TOP or symbols.lookup(target.traced) != own):
        raise UsageError(
            f"{function} ends before {function}+{offset:#x}",
            "Offsets are in bytes, as stacks show them; objdump or gdb shows the instructions.",
        )
    return target


def _function(function: str, symbols: Kallsyms) -> Target:
    found = symbols.find(function, code=True)
    if not found:
        raise UsageError(f"this kernel has no function {function}", _hint(function, symbols))
    addresses = sorted({symbol.address for symbol in found})
    if len(addresses) > 1:
        places = ", ".join(f"{symbol.address:#x}{_in(symbol)}" for symbol in found)
        raise UsageError(
            f"{len(addresses)} functions are called {function}: {places}",
            "kwalk traces one function at a time, by name; choose one whose name is unique.",
        )
    symbol = found[0]
    if _is_init(symbol, symbols):
        raise UsageError(
            f"{function} is an init function: the kernel freed its code after boot",
            "It can't run any more, so there is nothing to trace.",
        )
    return Target(symbol.name, symbol.address, symbol.module)


def _in(symbol: Symbol) -> str:
    return f" [{symbol.module}]" if symbol.module else ""


def _is_init(symbol: Symbol, symbols: Kallsyms) -> bool:
    start, end = symbols.address("_sinittext"), symbols.address("_einittext")
    return not symbol.module and start <= symbol.address < end


def _hint(function: str, symbols: Kallsyms) -> str:
    names = symbols.functions()
    parts = sorted(name for name in names if name.startswith(function + "."))
    if parts:
        return (
            f"The compiler made {', '.join(parts[:3])} of it, which may be traced instead; "
            "the rest of it is inlined."
        )
    # Comparing with all of 60,000 names takes seconds; a slip of the fingers keeps one end.
    alike = [n for n in names if n[:2] == function[:2] or n[-3:] == function[-3:]]
    alike = [n for n in alike if abs(len(n) - len(function)) < 4]
    close = difflib.get_close_matches(function, alike, n=3, cutoff=0.75)
    inlined = "If the source has it, it is inlined into its callers or its module is not loaded."
    return f"Did you mean {', '.join(close)}? {inlined}" if close else inlined
