# SPDX-License-Identifier: MIT
"""The function to trace: find it, or say why it cannot be traced."""

from __future__ import annotations

import difflib
import re
from typing import NamedTuple

from kwalk.errors import UsageError
from kwalk.kernel.kallsyms import Kallsyms, Symbol


class Target(NamedTuple):
    """A function of the running kernel and the address of its first instruction."""

    name: str
    address: int
    module: str


def find(function: str, symbols: Kallsyms) -> Target:
    """Return the function called ``function``.

    :raises UsageError: if there is none, several, or it was freed after boot.
    """
    if not re.fullmatch(r"[A-Za-z_][\w.$]*", function):
        raise UsageError(
            f"{function!r} is not the name of a kernel function",
            "Give a name as /proc/kallsyms shows it, such as ip_rcv.",
        )
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
