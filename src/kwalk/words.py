# SPDX-License-Identifier: MIT
"""Words of messages."""

from __future__ import annotations


def plural(number: int, noun: str) -> str:
    """Return ``1 function``, ``2 functions``."""
    return f"{number:,} {noun}" + ("s" if number != 1 else "")
