# SPDX-License-Identifier: MIT
"""Numbers and nouns in messages."""

from __future__ import annotations

import re


def plural(number: int, noun: str) -> str:
    """Return ``1 function``, ``2 functions``."""
    return f"{number:,} {form(number, noun, f'{noun}s')}"


def counted(number: float | str, units: str) -> str:
    """Return ``1 call``, ``2 calls``, ``2.5 calls``.

    :param number: A number, or its formatted text.
    :param units: Plural, as in ``Summary.unit``: ``calls``.
    """
    if not isinstance(number, str):
        number = f"{round(number):,}" if number == round(number) else f"{number:,.1f}"
    return f"{number} {one_of(units) if number == '1' else units}"


def one_of(units: str) -> str:
    """Return the singular of ``units``: ``call``, ``call + event``, ``call/s``."""
    return re.sub(r"(^|\+ )(\w+)s\b", r"\1\2", units)


def form(number: int, one: str, more: str) -> str:
    """Return the form of a word that agrees with the number: ``is`` or ``are``."""
    return one if number == 1 else more
