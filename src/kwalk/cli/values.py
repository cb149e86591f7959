# SPDX-License-Identifier: MIT
"""Types of options: parse a word of the command line, and have ``options.validate`` check it."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Iterable
from typing import TypeVar

from kwalk.options import limits, validate
from kwalk.options.limits import Limit
from kwalk.options.validate import BadValue

Type = Callable[[str], object]
_Value = TypeVar("_Value")
# More digits than any limit.
_DIGITS = 20


def checked(
    parse: Callable[[str], object], check: Callable[[object], _Value]
) -> Callable[[str], _Value]:
    """Return a type that parses a word and checks the result.

    argparse puts the option's name in front of the error.
    """

    def convert(text: str) -> _Value:
        try:
            return check(parse(text))
        except BadValue as bad:
            raise argparse.ArgumentTypeError(f"{validate.shown(text)} {bad.fault}") from None

    return convert


def _whole(text: str) -> object:
    """Return the number, or the text if it is not one."""
    return int(text) if text.isdecimal() and len(text) <= _DIGITS else text


def _number(text: str) -> float:
    """Return the number, or NaN."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _share(text: str) -> float:
    """Return ``2%`` or ``2`` as 0.02, or NaN."""
    return _number(text.removesuffix("%")) / 100


def _span(text: str) -> object:
    """Return the two times of ``10-20``; ``10-`` ends at infinity."""
    first, dash, last = text.partition("-")
    return (_number(first), _number(last) if last else math.inf) if dash else text


def _one_in(text: str) -> object:
    """Return N for ``1/N``, 1 for ``1``."""
    if text == "1":
        return 1
    whole, _, number = text.partition("/")
    if whole != "1" or not number.isdecimal():
        raise BadValue("is not of the form 1/N, such as 1/100", "")
    return _whole(number)


def _cpus(text: str) -> list[int]:
    """Return the CPU numbers of ``0-3,5``."""
    found: list[int] = []
    for word in text.split(","):
        match = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", word, re.ASCII)
        if not match:
            raise BadValue("is not of the form 0-3,5", "")
        low, high = int(match[1]), int(match[2] or match[1])
        if low > high:
            raise argparse.ArgumentTypeError(f"{word} has no CPU in it: {high}-{low} has")
        found += range(low, high + 1)
    return found


def words(text: str) -> list[str]:
    """Split a comma-separated list."""
    return text.split(",")


def file_name(text: str) -> str:
    """Return the path of a file."""
    if not text:
        raise argparse.ArgumentTypeError("a file cannot have an empty name")
    return text


def output(text: str) -> str | None:
    """Return the path of a file; None is standard output."""
    return None if text == "-" else file_name(text)


def within(limit: Limit) -> Callable[[str], int]:
    """Return the type of whole numbers within a limit."""
    return checked(_whole, validate.within(limit))


def word_of(known: Iterable[str]) -> Callable[[str], str]:
    """Return the type of words of a choice."""
    return checked(str, validate.one_of({word: word for word in known}))


positive_int = checked(_whole, validate.positive)
ring_mib = checked(_whole, validate.ring_mib)
one_in = checked(_one_in, validate.within(limits.SAMPLE))
seconds = checked(_number, validate.seconds)
percent = checked(_share, validate.share)
share = checked(_share, validate.least_share)
span = checked(_span, validate.span)
expression = checked(str, validate.expression)
numbers = checked(lambda text: [_whole(word) for word in text.split(",")], validate.several(int))
cpus = checked(_cpus, validate.several(int))


def name_pattern(text: str) -> str:
    """Check a name in which ``*`` matches any text, and return it unchanged."""
    checked(str, validate.glob)(text)
    return text
