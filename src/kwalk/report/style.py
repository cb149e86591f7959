# SPDX-License-Identifier: MIT
"""Options of a report, common to all formats."""

from __future__ import annotations

from dataclasses import dataclass

LEAST = 0.005
"""Default of ``--min`` for trees: branches with a smaller share of all hits are summed up."""


@dataclass(frozen=True)
class ReportOptions:
    """Options of a report; a format ignores options that it has no use for.

    :ivar top: Show this many of the hottest stacks; None for all.
    :ivar addresses: Show addresses; None for the format's default.
    :ivar callers: Draw the traced function as the root, with its callers below.
    :ivar least: Sum up branches of trees with a smaller share of all hits, from 0 to 1; None for
        the format's default.
    :ivar terminal: The output is a terminal: lines must fit into ``width``.
    :ivar width: Columns of the terminal.
    :ivar color: Use colours.
    :ivar title: Heading of a picture; "" for the format's default.
    """

    top: int | None = None
    addresses: bool | None = None
    callers: bool = False
    least: float | None = None
    terminal: bool = False
    width: int = 80
    color: bool = False
    title: str = ""

    @property
    def smallest(self) -> float:
        """``least`` or the default of trees: ``LEAST``, or 0 with ``top``, which hides enough."""
        if self.least is not None:
            return self.least
        return 0.0 if self.top else LEAST
