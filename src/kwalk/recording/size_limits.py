# SPDX-License-Identifier: MIT
"""Limits on the contents of a recording by its size, so that a small file is cheap to read.

Reader and writer keep the same account. A writer that would exceed a limit writes padding first
(``BlockKind.ROOM``), so kwalk reads every recording that it writes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kwalk.model.stack import Frame, Group
from kwalk.recording.broken import Broken

MAX_DEPTH = 1024
"""Most frames of a stack. A walk makes at most 127."""
UNPACKED, UNPACKED_EACH = 4 << 20, 32
"""Most unpacked bytes of all blocks: a fixed number, and a number for each packed byte."""
FRAMES, FRAMES_EACH = 1 << 18, 6
"""Most weight of all keys, facts and ledgers: a fixed number, and a number for each packed byte."""
LONG_NAME = 32
"""Bytes of names that add 1 to the weight of a frame or group."""
ITEM = 8
"""Weight of an item of a list or object in facts and ledgers, as reports repeat them."""


def weight_of_frame(frame: Frame) -> int:
    """Return the weight that a frame adds to each key whose stack has it."""
    return 1 + (len(frame.name) + len(frame.module)) // LONG_NAME


def weight_of_group(group: Group | None) -> int:
    """Return the weight that a group adds to each of its keys."""
    return 1 + len(group.name) // LONG_NAME if group else 1


def weight_of_text(contents: bytes) -> int:
    """Return the weight of a block of facts or of a ledger, by the items of its JSON."""
    return ITEM * contents.count(b",")


class Allowance:
    """Account of a recording: bytes packed and unpacked, and the weight of its contents."""

    def __init__(self) -> None:
        self._packed = 0
        self._unpacked = 0
        self._weight = 0

    def room(self, packed: int) -> int:
        """Return the most bytes that a block of ``packed`` bytes may unpack to."""
        return UNPACKED + UNPACKED_EACH * (self._packed + packed) - self._unpacked

    def add_block(self, packed: int, unpacked: int) -> None:
        """Count a block."""
        self._packed += packed
        self._unpacked += unpacked

    def add_keys(self, weight: int) -> None:
        """Count the weight of keys.

        :raises Broken: if the file is too small for it.
        """
        self._add(weight, "its stacks have more frames than a file of this size may hold")

    def add_text(self, contents: bytes) -> None:
        """Count the weight of a block of facts or of a ledger.

        :raises Broken: if the file is too small for it.
        """
        text = "its facts or ledger list more than a file of this size may hold"
        self._add(weight_of_text(contents), text)

    def _add(self, weight: int, reason: str) -> None:
        self._weight += weight
        if self._weight > FRAMES + FRAMES_EACH * self._packed:
            raise Broken(reason)

    def padding(
        self, sizes: Sequence[tuple[int, int]], weight: int, make: Callable[[int], bytes]
    ) -> bytes:
        """Count blocks, and the padding that makes room for them; return the padding, maybe empty.

        :param sizes: Packed and unpacked bytes of each block.
        :param weight: Weight of their contents.
        :param make: Returns padding of a size: exactly that many bytes unpacked, and at least as
            many packed.
        """
        size = 0
        for packed, unpacked in sizes:
            self.add_block(packed, unpacked)
            # Padding is unpacked as well.
            size = max(size, -(self.room(0) // (UNPACKED_EACH - 1)))
        self._weight += weight
        heavy = self._weight - FRAMES - FRAMES_EACH * self._packed
        size = max(size, -(-heavy // FRAMES_EACH))
        if size <= 0:
            return b""
        made = make(size)
        self.add_block(len(made), size)
        return made
