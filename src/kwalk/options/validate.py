# SPDX-License-Identifier: MIT
"""Checks of what users of the library give: each names the argument that won't do."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TypeVar

from kwalk.errors import UsageError
from kwalk.options.limits import Limit
from kwalk.support.regex import BadPattern, compiled

_Key = TypeVar("_Key")
_Item = TypeVar("_Item")
_KINDS: dict[type, str] = {int: "number", str: "text", os.PathLike: "path"}


def number(limit: Limit, value: object, truth: bool = False) -> int:
    """Return a whole number that the limit allows.

    :param truth: True will do, for 1, and False for 0.
    :raises UsageError: if it is none; as all checks do.
    """
    if value not in limit or not isinstance(value, int) or (isinstance(value, bool) and not truth):
        raise UsageError(
            f"{limit.name}={shown(value)} is not from {limit.least} to {limit.most:,}",
            "Give a whole number of these.",
        )
    return int(value)


def one_of(name: str, value: object, known: Mapping[_Key, _Item]) -> _Item:
    """Return what a word of a choice stands for."""
    for key, item in known.items():
        if key == value:
            return item
    raise UsageError(
        f"{name}={shown(value)} is unknown", f"There are {', '.join(map(repr, known))}."
    )


def share(name: str, value: object) -> float:
    """Return a number between 0 and 1."""
    if not isinstance(value, float) or not 0 < value < 1:
        raise UsageError(f"{name}={shown(value)} is not between 0 and 1", "Give 0.02 for 2 %.")
    return value


def span(name: str, value: object) -> tuple[float, float] | None:
    """Return two times, the earlier first; None of None."""
    if value is None:
        return None
    if isinstance(value, tuple | list) and len(value) == 2:
        start, end = value
        if all(isinstance(time, int | float) for time in value) and 0 <= start < end:
            with suppress(OverflowError):  # a whole number beyond all floats
                return float(start), float(end)
    raise UsageError(f"{name}={shown(value)} are not two times", f"Give {name}=(10, 20).")


def truth(name: str, value: object) -> bool:
    """Return True or False."""
    if not isinstance(value, bool):
        raise UsageError(f"{name}={shown(value)} is neither True nor False", f"Give {name}=True.")
    return value


def several(name: str, values: object, *kinds: type[_Item]) -> tuple[_Item, ...]:
    """Return values of some kinds, each of which may be a number, a text, or a path."""
    what = " or ".join(_KINDS[kind] for kind in kinds)
    if isinstance(values, str | bytes | os.PathLike) or not isinstance(values, Iterable):
        raise UsageError(
            f"{name}={shown(values)} is not several", f"Give {name}=[{shown(values)}]."
        )
    found = tuple(values)
    for value in found:
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise UsageError(f"{name} has {shown(value)}, which is no {what}", "Give nothing else.")
        if isinstance(value, int) and not 0 <= value < 1 << 32:
            raise UsageError(f"{name} has {shown(value)}", "Give numbers from 0 to 2^32 - 1.")
        if isinstance(value, str | os.PathLike):
            _check_text(name, os.fspath(value))
    return found


def _check_text(name: str, text: object) -> None:
    """See to it that the kernel can be given a text."""
    try:
        if not isinstance(text, str) or "\0" in text:
            raise ValueError("a zero byte, or bytes")
        os.fsencode(text)
    except ValueError as error:
        raise UsageError(
            f"{name} has {shown(text)}, which is no name: {error}", "Give the name as text."
        ) from None


def shown(value: object) -> str:
    """Return a value as a program would write it, cut off where that is long."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no whole numbers of more than 4,300 digits
        return "a number of thousands of digits"
    return text if len(text) <= 200 else f"{text[:200]}..."


def glob(name: str, text: object) -> re.Pattern[str] | None:
    """Return what matches a name with ``*`` in it; None of None."""
    if text is None:
        return None
    if not isinstance(text, str):
        raise UsageError(f"{name}={shown(text)} is no text", "Give a name, such as '*_sendmsg'.")
    try:
        return compiled(fnmatch.translate(text))
    except BadPattern as error:
        raise UsageError(
            f"{name}={shown(text)} is no pattern: {error}", "Give a name, such as '*_sendmsg'."
        ) from None


def expression(name: str, text: object) -> re.Pattern[str] | None:
    """Return a regular expression, given as one or as text; None of None."""
    if text is None:
        return None
    if isinstance(text, re.Pattern) and isinstance(text.pattern, str):
        return text
    if not isinstance(text, str):
        raise UsageError(f"{name}={shown(text)} is no text", "Give a regular expression.")
    try:
        return compiled(text)
    except BadPattern as error:
        raise UsageError(
            f"{name}={shown(text)} is no regular expression: {error}", "See Python's module re."
        ) from None
