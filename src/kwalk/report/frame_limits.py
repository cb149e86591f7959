# SPDX-License-Identifier: MIT
"""Limits on what is drawn, so that a small recording of many frames takes little time and memory.

Trees of what a capture records come nowhere near: the tree of the program itself has about as many
frames (``--nodes``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from kwalk.support.text import counted, plural

MOST_FRAMES = 100_000
"""Frames of a tree or of a page, each in its context."""
MOST_DRAWN = 25_000
"""Frames of a still picture."""

_Item = TypeVar("_Item")


class Room(Generic[_Item]):
    """The frames that trees may still have, and the stacks for which there was no room.

    :ivar left_out: These stacks.
    """

    def __init__(self, frames: int | None = None) -> None:
        self._frames = MOST_FRAMES if frames is None else frames
        self._limited = False
        self.left_out: list[_Item] = []

    def ordered(
        self,
        items: Sequence[_Item],
        size: Callable[[_Item], int],
        weight: Callable[[_Item], Any],
    ) -> Sequence[_Item]:
        """Return the stacks as they are if there is room for all of them, else the heaviest first.

        :param size: How many frames a stack has.
        """
        self._limited = self._limited or sum(map(size, items)) > self._frames
        return sorted(items, key=weight, reverse=True) if self._limited else items

    def takes(self, item: _Item, top: Any, path: Sequence[str]) -> bool:
        """Return whether a stack can be added to a tree; one that cannot is left out.

        :param top: Has ``children``, by name, as each of these has.
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
        """Return a sentence about what was left out, if something was."""
        if not self.left_out:
            return []
        number = counted(round(sum(map(calls, self.left_out))), unit)
        return [
            f"left out, since {MOST_FRAMES:,} frames are drawn at most: "
            f"{plural(len(self.left_out), 'stack')}, {number}, which no frame shown contains; "
            "other options choose among them (--from-caller, --group, --seconds)"
        ]
