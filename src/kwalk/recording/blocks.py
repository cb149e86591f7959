# SPDX-License-Identifier: MIT
"""A recording's blocks: kind, length, checksum, compressed contents, one behind the other.

Each block is written by one write, so whatever ends the writer, what is before its last block is
whole.
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
# What a block may hold, so that a broken length takes no memory that is not there.
MAX_BYTES = 64 << 20
_HEAD = struct.Struct("<4sII")
_LEVEL = 3


class BlockKind(enum.Enum):
    """What a block holds."""

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
    """Return a block.

    :raises TooLarge: if there is more than a block may hold.
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
    """Return blocks of so many stored zeros or a few more."""
    largest = MAX_BYTES // 2
    sizes = [largest] * (size // largest) + [size % largest]
    return b"".join(pack(BlockKind.ROOM, bytes(each), level=0) for each in sizes)


def blocks(
    file: BinaryIO, allowance: Allowance | None = None
) -> Iterator[tuple[BlockKind | None, bytes]]:
    """Iterate over the blocks; those of a kind that is not known have kind None.

    :param allowance: Is told of each.
    :raises Broken: where the next one is cut off or damaged, or unpacks to more than it may.
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
    """Read so many bytes, fewer only at the end; a pipe gives them in pieces."""
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
    """Unpack a block's contents.

    :param room: Bytes that they may have, by the limit for the file.
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
