# SPDX-License-Identifier: MIT
"""Selections: the functions that the user's words name, one or many."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from kwalk.abi import Place
from kwalk.errors import UsageError
from kwalk.kernel.kallsyms import Kallsyms, Symbol
from kwalk.probe.ftrace_sites import Traceable
from kwalk.probe.target import Target, find, is_init, near_misses, no_function, split
from kwalk.support.regex import BadPattern, compiled

SHOWN = 3


class Skipped(NamedTuple):
    """A function that is not traced, with the reason."""

    target: Target
    why: str


def reasons_of(skipped: Sequence[Skipped]) -> str:
    """Return the first reasons why functions are not taken."""
    reasons = list(dict.fromkeys(skip.why for skip in skipped))
    return "; ".join(reasons[:SHOWN]) + ("; ..." if len(reasons) > SHOWN else "")


def names_of(skipped: Sequence[Skipped]) -> str:
    """Return the names of the first functions, and how many more there are."""
    names = list(dict.fromkeys(skip.target.name for skip in skipped))
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


class Selection(NamedTuple):
    """Places to trace, at least one and all of one kind.

    :ivar label: The user's words.
    :ivar skipped: Functions that a pattern matched and that cannot be traced.
    :ivar open: Targets of a pattern are not checked against ftrace's list yet (``sifted``).
    """

    label: str
    targets: tuple[Target, ...]
    skipped: tuple[Skipped, ...] = ()
    open: bool = False

    @classmethod
    def one(cls, target: Target) -> Selection:
        """Return the selection of one place."""
        return cls(target.label, (target,))

    @property
    def place(self) -> Place:
        """Kind of the places."""
        return self.targets[0].place

    @property
    def unit(self) -> str:
        """Word for hits in messages: ``calls``, ``samples``, or ``events`` of a tracepoint."""
        return {Place.SAMPLE: "samples", Place.TRACEPOINT: "events"}.get(self.place, "calls")

    def sifted(self, traceable: Traceable) -> Selection:
        """Return the selection with untraceable functions moved to ``skipped``.

        :raises UsageError: if no target is left.
        """
        judged = [Skipped(target, traceable.why_not(target)) for target in self.targets]
        skipped = tuple(skip for skip in judged if skip.why)
        left = tuple(skip.target for skip in judged if not skip.why)
        if not left:
            first, *others = (skip.target.name for skip in skipped)
            more = f" and {len(others):,} more" if others else ""
            raise UsageError(
                f"no function of {self.label} can be traced: {skipped[0].why} ({first}{more})",
                "`kwalk functions` says which can be, and why others can't.",
            )
        return self._replace(targets=left, skipped=skipped, open=False)


def is_pattern(spelling: str) -> bool:
    """Return whether the user's word is a pattern, which may match several functions."""
    return any(sign in spelling for sign in "*?[/")


def select(spellings: Sequence[str], symbols: Kallsyms) -> Selection:
    """Return the selection for the user's words.

    :param spellings: Each is ``[r:][MODULE:]FUNC[+OFFSET]``; a FUNC with ``*``, ``?`` or ``[...]``,
        or ``/REGEX/`` in its place, stands for many functions.
    :raises UsageError: if a word matches no function, or these places cannot be traced together.
    """
    targets: dict[int, Target] = {}
    symbols.learn([split(each).function for each in spellings if not is_pattern(each)])
    for spelling in spellings:
        if is_pattern(spelling):
            matched = matching(spelling, symbols)
            found = [target for target in matched if not uncallable(target, symbols)]
            if not found:
                raise UsageError(
                    f"no function of {spelling} can be called: {matched[0].name}: "
                    f"{uncallable(matched[0], symbols)}",
                    "`kwalk functions` lists them all.",
                )
        else:
            found = named(spelling, symbols)
        for target in found:  # the first name of a function is the one shown
            targets.setdefault(target.traced, target)
    chosen = tuple(targets.values())
    if len({target.place for target in chosen}) > 1 or (len(chosen) > 1 and chosen[0].offset):
        raise UsageError(
            f"{' and '.join(spellings)} cannot be traced together",
            "Trace entries (FUNC) or returns (r:FUNC) at a time, or one place inside a function.",
        )
    return Selection(", ".join(spellings), chosen, open=any(map(is_pattern, spellings)))


def named(spelling: str, symbols: Kallsyms) -> list[Target]:
    """Return the place of this name; without a module or offset, each function of this name.

    :raises UsageError: see ``target.find``.
    """
    returns, module, name, offset = split(spelling)
    symbol = {s.address: s for s in reversed(symbols.find(name, code=True))}
    if offset or len(symbol) < 2 or module is not None:
        return [find(spelling, symbols)]
    alive = [s for s in symbol.values() if not is_init(s, symbols)]
    if not alive:
        return [find(spelling, symbols)]  # raises
    return [_target(s, returns) for s in sorted(alive)]


def _target(symbol: Symbol, returns: bool) -> Target:
    return Target(symbol.name, symbol.address, symbol.module, returns=returns)


def matching(spelling: str, symbols: Kallsyms) -> list[Target]:
    """Return the functions that a pattern matches, sorted by address.

    Padding symbols (``__pfx_*``, ``__cfi_*``) and BPF programs are left out. A function with
    several matching names gets the first one in kallsyms.

    :raises UsageError: if the pattern is malformed or matches nothing.
    """
    returns, module, name = _split_pattern(spelling)
    literal = ""
    if name.startswith("/"):
        expression = name[1:-1] if name.endswith("/") and len(name) > 2 else ""
        try:
            if not expression:
                raise BadPattern("it must stand between two slashes")
            match = compiled(expression).search
        except BadPattern as error:
            raise UsageError(
                f"{spelling!r:.200} is not a regular expression: {error}",
                "Give it between slashes, such as '/^ip6?_rcv$/'.",
            ) from None
    else:
        literal = re.split(r"[*?\[]", name)[0]
        match = re.compile(fnmatch.translate(name)).match
    found: dict[int, Target] = {}
    for symbol in symbols.functions_of(literal, module):
        if match(symbol.name) and not _is_no_function(symbol):
            found.setdefault(symbol.address, _target(symbol, returns))
    if not found:
        where = f" of module {module}" if module else ""
        raise UsageError(
            f"no function{where} matches {name}",
            "Inlined functions, and functions of modules that are not loaded, have no symbol. "
            + near_misses(literal, symbols),
        )
    return sorted(found.values(), key=lambda target: target.address)


def _split_pattern(spelling: str) -> tuple[bool, str | None, str]:
    """Split off ``r:`` and ``MODULE:``; return whether it is for returns, the module, the rest."""
    match = re.fullmatch(r"(r:)?(?:(\w+):)?(/.*|[\w.$*?\[\]!-]+)", spelling)
    if not match:
        raise no_function(spelling)
    return bool(match[1]), match[2], match[3]


def _is_no_function(symbol: Symbol) -> bool:
    return (
        symbol.name.startswith(("__pfx_", "__cfi_"))
        or symbol.module == "bpf"
        or symbol.module.startswith("__builtin__")
    )


def uncallable(target: Target, symbols: Kallsyms) -> str:
    """Return why a function is never called (again); "" if it can be called."""
    whole, cold, _ = target.name.partition(".cold")
    if cold:
        return f"it is a part of {whole} that the compiler moved away: jumped to, not called"
    if is_init(Symbol(target.address, target.name, target.module), symbols):
        return "it is an init function: the kernel freed its code after boot"
    return ""


def sift(targets: Iterable[Target], symbols: Kallsyms, traceable: Traceable) -> list[Skipped]:
    """Return each function with the reason why it can't be traced, "" if it can."""
    return [
        Skipped(target, uncallable(target, symbols) or traceable.why_not(target))
        for target in targets
    ]
