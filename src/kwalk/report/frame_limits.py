# SPDX-License-Identifier: MIT
"""Limits of frames in drawings, against recordings made to exhaust time or memory.

Real captures stay far below: the BPF program's tree has about as many nodes (``--nodes``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from kwalk.support.text import counted, plural

MOST_FRAMES = 100_000
"""Most nodes of a call tree or of an HTML page."""
MOST_DRAWN = 25_000
"""Most frames of an SVG."""

_Item = TypeVar("_Item")


class Room(Generic[_Item]):
    """A budget of frames, shared by the trees of a report.

    :param frames: Frames in all; None for ``MOST_FRAMES``.
    :ivar left_out: Stacks that did not fit.
    """

    def __init__(self, frames: int | None = None) -> None:
        self._frames = MOST_FRAMES if frames is None else frames
        self._limited = False
        self.left_out: list[_Item] = []

    def limits(self, frames: int) -> bool:
        """Return whether this many frames, or any before, may not fit."""
        self._limited = self._limited or frames > self._frames
        return self._limited

    def ordered(
        self,
        items: Sequence[_Item],
        size: Callable[[_Item], int],
        weight: Callable[[_Item], Any],
    ) -> Sequence[_Item]:
        """Return the stacks unchanged if all of them fit for sure, else sorted by falling weight.

        :param size: Returns the number of frames of a stack.
        """
        if not self.limits(sum(map(size, items))):
            return items
        return sorted(items, key=weight, reverse=True)

    def takes(self, item: _Item, top: Any, path: Sequence[str]) -> bool:
        """Reserve the frames that a stack adds to a tree; return whether they fit.

        :param top: Root of the tree; each node has ``children``, a mapping by name.
        """
        if not self._limited:
            return True
        there = 0
        children: Mapping[str, Any] = top.children
        for name in path:
            if name not in children:
                break
            children = children[name].children
            there += 1
        if len(path) - there > self._frames:
            self.left_out.append(item)
            return False
        self._frames -= len(path) - there
        return True

    def told(self, calls: Callable[[_Item], float], unit: str) -> list[str]:
        """Return a sentence about the stacks left out; [] if there are none."""
        if not self.left_out:
            return []
        number = counted(round(sum(map(calls, self.left_out))), unit)
        return [
            f"left out, beyond the limit of {MOST_FRAMES:,} frames: "
            f"{plural(len(self.left_out), 'stack')}, {number}, in no frame shown; "
            "narrow the report with --from-caller, --group or --seconds"
        ]
