# SPDX-License-Identifier: MIT
"""Options of a report: how to show a profile, whatever the format."""

from __future__ import annotations

from dataclasses import dataclass

LEAST = 0.005
"""The share of all calls under which trees sum branches up, unless the user says otherwise."""


@dataclass(frozen=True)
class ReportOptions:
    """How to show a profile; each format heeds what means something there.

    :ivar top: Show the so many hottest stacks at most; None for all.
    :ivar addresses: Show addresses; None where the format is to decide.
    :ivar callers: The traced function is the root, its callers are below it.
    :ivar least: Sum up branches of trees with a smaller share of all calls, from 0 to 1; None where
        the format is to decide.
    :ivar terminal: It is read in a terminal: lines are to fit into ``width``.
    :ivar width: Columns of the terminal.
    :ivar color: Whether colours are wanted.
    :ivar title: What stands above a picture; "" where the format is to decide.
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
        """``least``, where a tree decides: all of what ``top`` chooses, else from ``LEAST`` on."""
        if self.least is not None:
            return self.least
        return 0.0 if self.top else LEAST
