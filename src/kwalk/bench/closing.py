# SPDX-License-Identifier: MIT
"""Parser of the ledger that ends kwalk's output, from its JSON or its text."""

from __future__ import annotations

import json
import re
from typing import NamedTuple

_HEAD = re.compile(
    r": ([\d,]+) [^=\n]+ = ([\d,]+) stacks? (?:\+ [\d,]+ not wanted )?\+ ([\d,]+) lost  \("
)
_FALLBACK = re.compile(r"^  fallback: ([\d,]+) ", re.MULTILINE)


class FinalLedger(NamedTuple):
    """Ledger of a run; ``lost`` excludes hits that were not wanted."""

    hits: int
    recorded: int
    lost: int
    fallback: int = 0


def from_json(text: str) -> FinalLedger | None:
    """Parse the last line of ``--format json``; return None if it is not a summary."""
    try:
        ledger = json.loads(_last_line(text))["ledger"]
    except (ValueError, KeyError, TypeError):
        return None
    lost = sum(ledger["lost"].values())
    return FinalLedger(ledger["hits"], ledger["recorded"], lost, ledger["fallback"])


def counted(text: str) -> int:
    """Return the sum of the counts in the last line of ``count --format json``."""
    return sum(stack["count"] for stack in json.loads(_last_line(text))["stacks"])


def _last_line(text: str) -> str:
    return text[text.rstrip().rfind("\n") + 1 :]


def from_text(text: str) -> FinalLedger | None:
    """Find and parse the text of ``report.summary.as_text``; return None if there is none."""
    head = _HEAD.search(text)
    if not head:
        return None
    fallback = _FALLBACK.search(text)
    numbers = [*head.groups(), *(fallback.groups() if fallback else ())]
    return FinalLedger(*(int(number.replace(",", "")) for number in numbers))
