# SPDX-License-Identifier: MIT
"""What conversions of profiles are compared with."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any

from kwalk.model.profile import ProfileData
from kwalk.model.stack import Count
from kwalk.report.calltree import path
from kwalk.report.formats import renderer
from kwalk.report.style import ReportOptions


def report(name: str, profile: ProfileData, **options: Any) -> bytes:
    """A report in this format."""
    pieces = renderer(name)(profile, ReportOptions(**options))
    return b"".join(p if isinstance(p, bytes) else p.encode() for p in pieces)


def by_name(
    counts: Iterable[Count], shown: Callable[[str], str] = str
) -> dict[tuple[str, ...], Fraction]:
    """Calls of each stack, told apart by the names of its functions, root first; exactly.

    :param shown: Makes what a format shows of a name.
    """
    sums: dict[tuple[str, ...], Fraction] = defaultdict(Fraction)
    for count in counts:
        sums[tuple(map(shown, path(count, groups=False)))] += Fraction(count.calls)
    return dict(sums)


def close(found: dict[Any, int], wanted: dict[Any, Fraction], parts: int) -> bool:
    """Whether whole numbers are the calls wanted, each part of a sum rounded by 1 at most."""
    found = {key: value for key, value in found.items() if value}
    keys = found.keys() | wanted.keys()
    off = [abs(found.get(key, 0) - wanted.get(key, Fraction())) for key in keys]
    total = sum(wanted.values(), Fraction())
    return max(off, default=0) <= parts and abs(sum(found.values()) - total) <= Fraction(1, 2)


def exact(profile: ProfileData) -> bool:
    """Whether every call was taken."""
    return all(count.scaled is None for count in profile)
