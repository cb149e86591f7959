# SPDX-License-Identifier: MIT
"""What every report reads: stacks with their counts; plain data, no kernel, no drawing."""

from __future__ import annotations

from dataclasses import dataclass

from kwalk.ledger import Summary
from kwalk.stack import Count


@dataclass
class Profile:
    """Stacks with their counts, and how they were captured."""

    counts: list[Count]
    summary: Summary
