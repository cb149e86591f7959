# SPDX-License-Identifier: MIT
"""What kwalk says of a run in the end, read back: its JSON, or the sentence where there is none."""

from __future__ import annotations

import json
import re
from typing import NamedTuple

_HEAD = re.compile(
    r": ([\d,]+) [^=\n]+ = ([\d,]+) stacks? (?:\+ [\d,]+ not wanted )?\+ ([\d,]+) lost  \("
)
_FALLBACK = re.compile(r"^  fallback: ([\d,]+) ", re.MULTILINE)


class Closing(NamedTuple):
    """The ledger of a run; calls that were not wanted are not among those that it lost."""

    hits: int
    recorded: int
    lost: int
    fallback: int = 0


def from_json(text: str) -> Closing | None:
    """Read the last line of ``--format json``; None if that is no summary."""
    try:
        ledger = json.loads(text[text.rstrip().rfind("\n") + 1 :])["ledger"]
    except (ValueError, KeyError, TypeError):
        return None
    lost = sum(ledger["lost"].values())
    return Closing(ledger["hits"], ledger["recorded"], lost, ledger["fallback"])


def from_text(text: str) -> Closing | None:
    """Read what ``report.summary.as_text`` has written; None if it is not there."""
    head = _HEAD.search(text)
    if not head:
        return None
    fallback = _FALLBACK.search(text)
    numbers = [*head.groups(), *(fallback.groups() if fallback else ())]
    return Closing(*(int(number.replace(",", "")) for number in numbers))
