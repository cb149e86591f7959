# SPDX-License-Identifier: MIT
"""Blocks of a recording: kind, length, checksum, compressed contents.

Each block is written by one write, so all blocks but the last are whole, whatever ends the writer.
"""

from __future__ import annotations

import enum
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO

from kwalk.recording.broken import Broken, TooLarge
from kwalk.recording.size_limits import Allowance

MAGIC = b"kwalk rec\n\x00\x01"
# Most bytes of a block: a broken length must not take all memory.
MAX_BYTES = 64 << 20
_HEAD = struct.Struct("<4sII")
_LEVEL = 3


class BlockKind(enum.Enum):
    """Kind of a block's contents."""

    BEGIN = b"BEGN"
    FRAMES = b"FRAM"
    NODES = b"NODE"
    GROUPS = b"GRUP"
    KEYS = b"KEYS"
    TICK = b"TICK"
    LEDGER = b"LEDG"
    ROOM = b"ROOM"
    END = b"DONE"


def pack(kind: BlockKind, contents: bytes, level: int = _LEVEL) -> bytes:
    """Return a block as bytes.

    :raises TooLarge: if the contents have more than ``MAX_BYTES``.
    """
    if len(contents) > MAX_BYTES:
        raise TooLarge(
            f"a recording cannot hold this: {len(contents):,} bytes would be in one block",
            f"A block holds {MAX_BYTES:,} at most: save parts of it (Profile.narrow()).",
        )
    packed = zlib.compress(contents, level)
    check = zlib.crc32(packed, zlib.crc32(kind.value))
    return _HEAD.pack(kind.value, len(packed), check) + packed


def padding(size: int) -> bytes:
    """Return ``ROOM`` blocks of ``size`` stored zeros, which take a few bytes more."""
    largest = MAX_BYTES // 2
    sizes = [largest] * (size // largest) + [size % largest]
    return b"".join(pack(BlockKind.ROOM, bytes(each), level=0) for each in sizes)


def blocks(
    file: BinaryIO, allowance: Allowance | None = None
) -> Iterator[tuple[BlockKind | None, bytes]]:
    """Iterate over the kind and the unpacked contents of blocks; None for an unknown kind.

    :param allowance: Account that each block is added to.
    :raises Broken: if the next block is cut off, damaged, or unpacks to more than it may.
    """
    allowance = allowance or Allowance()
    while head := _exactly(file.read, _HEAD.size):
        if len(head) < _HEAD.size:
            raise Broken("it ends in the middle of a block")
        name, length, check = _HEAD.unpack(head)
        if head[:-1] == MAGIC[:-1]:
            raise Broken("another recording follows; `kwalk report A B` adds up files")
        if length > MAX_BYTES:
            raise Broken("a block's length is damaged")
        packed = _exactly(file.read, length)
        if len(packed) < length:
            raise Broken("it ends in the middle of a block")
        if zlib.crc32(packed, zlib.crc32(name)) != check:
            raise Broken("a block's checksum is wrong")
        size = _HEAD.size + length
        contents = _unpack(packed, allowance.room(size))
        allowance.add_block(size, len(contents))
        yield _kind(name), contents


def _exactly(read: Callable[[int], bytes], size: int) -> bytes:
    """Read ``size`` bytes, fewer only at the end; a pipe gives them in pieces."""
    pieces = []
    while size and (piece := read(min(size, 1 << 20))):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def _kind(name: bytes) -> BlockKind | None:
    try:
        return BlockKind(name)
    except ValueError:
        return None


def _unpack(packed: bytes, room: int) -> bytes:
    """Return a block's contents.

    :param room: Most bytes of the contents, by the limit for the file.
    """
    unpacker = zlib.decompressobj()
    most = min(MAX_BYTES, room)
    try:
        contents = unpacker.decompress(packed, most + 1)
    except zlib.error:
        raise Broken("a block cannot be unpacked") from None
    if len(contents) > most:
        large = "a block is larger than it may be"
        raise Broken(large if most == MAX_BYTES else "it unpacks to more than its size allows")
    if not unpacker.eof:
        raise Broken("a block is larger than it may be, or not whole")
    return contents
