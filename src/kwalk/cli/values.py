# SPDX-License-Identifier: MIT
"""Types of options: a text to a value that has been checked."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable

from kwalk.options import limits
from kwalk.options.limits import Limit
from kwalk.support.regex import BadPattern, compiled

Type = Callable[[str], object]
# 30 years: clocks and timers of the system take no more than some hundred.
LONGEST = 1_000_000_000


def span(text: str) -> tuple[float, float]:
    """Two times in seconds, such as ``10-20``; ``10-`` is from then on."""
    first, dash, last = text.partition("-")
    start, end = _number(first), _number(last) if last else math.inf
    if not dash or not 0 <= start < end:
        raise argparse.ArgumentTypeError(f"{text!r} are not seconds such as 10-20, or 10-")
    return start, end


def positive_int(text: str) -> int:
    """A whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def output(text: str) -> str | None:
    """The path of a file; None is standard output."""
    if not text:
        raise argparse.ArgumentTypeError("a file cannot have an empty name")
    return None if text == "-" else text


def within(limit: Limit) -> Callable[[str], int]:
    """Return the type of the numbers that a limit allows."""

    def number(text: str) -> int:
        value = positive_int(text)
        if value not in limit:
            raise argparse.ArgumentTypeError(f"{text} is not from {limit.least} to {limit.most}")
        return value

    return number


def ring_mib(text: str) -> int:
    """A size in MiB that is a power of two."""
    value = positive_int(text)
    limit = limits.RING_MIB
    if value not in limit or not limits.is_power_of_two(value):
        raise argparse.ArgumentTypeError(
            f"{text} is not a power of two from {limit.least} to {limit.most} (MiB)"
        )
    return value


def one_in(text: str) -> int:
    """``1/N``, or ``1`` for every one; returns N."""
    whole, slash, number = text.partition("/")
    fits = number.isdecimal() and int(number) in limits.SAMPLE
    if whole != "1" or (slash and not fits):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form 1/N, such as 1/100")
    return int(number or "1")


def seconds(text: str) -> float:
    """A time above 0 in seconds."""
    value = _number(text)
    if not 0 < value <= LONGEST:
        raise argparse.ArgumentTypeError(
            f"{text!r:.200} is not a number of seconds above 0, up to {LONGEST:,}"
        )
    return value


def percent(text: str) -> float:
    """A share such as ``2%`` or ``2``, as a number below 1."""
    value = _number(text.removesuffix("%"))
    if not 0 < value < 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not a percentage such as 2%")
    return value / 100


def share(text: str) -> float:
    """A percentage from 0 to 100, as a number up to 1."""
    value = _number(text.removesuffix("%"))
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not a percentage from 0 to 100")
    return value / 100


def _number(text: str) -> float:
    """Return the number, NaN if it is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def expression(text: str) -> re.Pattern[str]:
    """A regular expression."""
    try:
        return compiled(text)
    except BadPattern as error:
        raise argparse.ArgumentTypeError(
            f"{text!r:.99} is no regular expression: {error}"
        ) from None


def numbers(text: str) -> list[int]:
    """Whole numbers with commas between them."""
    words = text.split(",")
    if not all(word.isdecimal() and len(word) < 10 for word in words):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number, or several with commas")
    return [int(word) for word in words]


def ranges(text: str) -> list[int]:
    """Numbers of CPUs and ranges of them: ``0-3,5``."""
    found: list[int] = []
    for word in text.split(","):
        match = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", word, re.ASCII)
        if not match:
            raise argparse.ArgumentTypeError(f"{text!r} is not of the form 0-3,5")
        low, high = int(match[1]), int(match[2] or match[1])
        if low > high:
            raise argparse.ArgumentTypeError(f"{word} has no CPU in it: {high}-{low} has")
        found += range(low, high + 1)
    return found


def words(text: str) -> list[str]:
    """Words with commas between them."""
    return text.split(",")
