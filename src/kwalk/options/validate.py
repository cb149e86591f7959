# SPDX-License-Identifier: MIT
"""Checks of option values, for the command line and the library alike.

A check returns the value, converted, or raises ``BadValue``, whose fault is a sentence without its
subject. The library puts ``depth=1`` in front (``named``), the command line ``--depth: '1'``
(``cli/values.py``).
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import TypeVar

from kwalk.errors import UsageError
from kwalk.options import limits
from kwalk.options.limits import Limit
from kwalk.support.regex import BadPattern, compiled

_Key = TypeVar("_Key")
_Item = TypeVar("_Item")
_KINDS: dict[type, str] = {int: "number", str: "text", os.PathLike: "path"}
# 30 years: system clocks and timers overflow after some hundred.
LONGEST_SECONDS = 1_000_000_000


class BadValue(ValueError):
    """A value that an option does not take.

    :ivar fault: Predicate of a sentence about the value, such as ``is not a whole number above 0``.
    :ivar hint: A sentence for users of the library.
    :ivar whole: The subject is the option, not its value.
    """

    def __init__(self, fault: str, hint: str, whole: bool = False) -> None:
        super().__init__(fault)
        self.fault = fault
        self.hint = hint
        self.whole = whole


def named(name: str, check: Callable[[object], _Item], value: object) -> _Item:
    """Return what a check makes of a keyword's value.

    :raises UsageError: if it refuses it.
    """
    try:
        return check(value)
    except BadValue as bad:
        subject = name if bad.whole else f"{name}={shown(value)}"
        raise UsageError(f"{subject} {bad.fault}", bad.hint) from None


def within(limit: Limit, truth: bool = False) -> Callable[[object], int]:
    """Return the check for a whole number within a limit.

    :param truth: True and False are taken, too, for 1 and 0.
    """

    def check(value: object) -> int:
        if (
            value not in limit
            or not isinstance(value, int)
            or (isinstance(value, bool) and not truth)
        ):
            raise BadValue(
                f"is not a whole number from {limit.least} to {limit.most:,}",
                "Give a number within these bounds.",
            )
        return int(value)

    return check


def positive(value: object) -> int:
    """Return a whole number above 0."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise BadValue("is not a whole number above 0", "Give one.")
    return value


def ring_mib(value: object) -> int:
    """Return a size of the ring in MiB."""
    limit = limits.RING_MIB
    if (
        not isinstance(value, int)
        or isinstance(value, bool)
        or value not in limit
        or not limits.is_power_of_two(value)
    ):
        raise BadValue(
            f"is not a power of two from {limit.least} to {limit.most:,} (MiB)",
            "Give 8, 16, 32, ...",
        )
    return value


def one_of(known: Mapping[_Key, _Item]) -> Callable[[object], _Item]:
    """Return the check for a word of a choice, which returns what the word stands for."""

    def check(value: object) -> _Item:
        for key, item in known.items():
            if key == value:
                return item
        raise BadValue(f"is not one of {', '.join(map(repr, known))}", "Give one of them.")

    return check


def share(value: object) -> float:
    """Return a share of the CPU time, as a number between 0 and 1."""
    if not isinstance(value, float) or not 0 < value < 1:
        raise BadValue("is not between 0 % and 100 %", "Give 0.02 for 2 %.")
    return value


def least_share(value: object) -> float:
    """Return a share of all calls, as a number from 0 to 1."""
    if not isinstance(value, float) or not 0 <= value <= 1:
        raise BadValue("is not from 0 % to 100 %", "Give 0.02 for 2 %.")
    return value


def seconds(value: object) -> float:
    """Return a length of time in seconds."""
    if not isinstance(value, int | float) or not 0 < value <= LONGEST_SECONDS:
        raise BadValue(
            f"is not a number of seconds above 0, up to {LONGEST_SECONDS:,}", "Give 1.5, or 10."
        )
    return float(value)


def span(value: object) -> tuple[float, float] | None:
    """Return two times in seconds, the earlier first; None for None."""
    if value is None:
        return None
    if isinstance(value, tuple | list) and len(value) == 2:
        start, end = value
        if all(isinstance(time, int | float) for time in value) and 0 <= start < end:
            with suppress(OverflowError):  # an int too large for a float
                return float(start), float(end)
    raise BadValue("is not two times in seconds, the earlier first", "Give (10, 20).")


def truth(value: object) -> bool:
    """Return True or False."""
    if not isinstance(value, bool):
        raise BadValue("is neither True nor False", "Give one of them.")
    return value


def several(*kinds: type[_Item]) -> Callable[[object], tuple[_Item, ...]]:
    """Return the check for values of some kinds: numbers, texts or paths."""
    what = " or ".join(_KINDS[kind] for kind in kinds)

    def check(values: object) -> tuple[_Item, ...]:
        if isinstance(values, str | bytes | os.PathLike) or not isinstance(values, Iterable):
            raise BadValue("is not several", f"Give several: [{shown(values)}].")
        found = tuple(values)
        for value in found:
            if not isinstance(value, kinds) or isinstance(value, bool):
                raise BadValue(
                    f"has {shown(value)}, which is not a {what}", "Give nothing else.", whole=True
                )
            if isinstance(value, int) and not 0 <= value < 1 << 32:
                raise BadValue(
                    f"has {shown(value)}, which is not from 0 to {(1 << 32) - 1:,}",
                    "Give numbers within these bounds.",
                    whole=True,
                )
            if isinstance(value, str | os.PathLike):
                _check_text(os.fspath(value))
        return found

    return check


def _check_text(text: object) -> None:
    """Check that a text can be passed to the kernel."""
    try:
        if not isinstance(text, str) or "\0" in text:
            raise ValueError("a zero byte, or bytes")
        os.fsencode(text)
    except ValueError as error:
        raise BadValue(
            f"has {shown(text)}, which is not a name: {error}", "Give the name as text.", whole=True
        ) from None


def shown(value: object) -> str:
    """Return the ``repr`` of a value, cut after 200 characters."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no whole numbers of more than 4,300 digits
        return "a number of thousands of digits"
    return text if len(text) <= 200 else f"{text[:200]}..."


def glob(text: object) -> re.Pattern[str] | None:
    """Compile a name in which ``*`` matches any text; None for None."""
    if text is None:
        return None
    if not isinstance(text, str):
        raise BadValue("is not text", "Give a name, such as '*_sendmsg'.")
    try:
        return compiled(fnmatch.translate(text))
    except BadPattern as error:
        raise BadValue(f"is not a pattern: {error}", "Give a name, such as '*_sendmsg'.") from None


def expression(text: object) -> re.Pattern[str] | None:
    """Compile a regular expression, or return a compiled one; None for None."""
    if text is None:
        return None
    if isinstance(text, re.Pattern) and isinstance(text.pattern, str):
        return text
    if not isinstance(text, str):
        raise BadValue("is not text", "Give a regular expression.")
    try:
        return compiled(text)
    except BadPattern as error:
        raise no_expression(error) from None


def no_expression(error: BadPattern) -> BadValue:
    """Return the fault of a text that does not compile."""
    return BadValue(f"is not a regular expression: {error}", "See Python's module re.")
