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

from kwalk.errors import KwalkError

MAGIC = b"kwalk rec\n\x00\x01"
# What a block may hold, so that a broken length takes no memory that is not there.
MAX_BYTES = 64 << 20
_HEAD = struct.Struct("<4sII")
_LEVEL = 3


class Kind(enum.Enum):
    """What a block holds."""

    BEGIN = b"BEGN"
    FRAMES = b"FRAM"
    NODES = b"NODE"
    GROUPS = b"GRUP"
    KEYS = b"KEYS"
    TICK = b"TICK"
    LEDGER = b"LEDG"
    END = b"DONE"


class BrokenRecording(KwalkError):
    """A file that is no recording, or not one that this version can read."""


def pack(kind: Kind, contents: bytes) -> bytes:
    """Return a block.

    :raises ValueError: if there is more than a block may hold.
    """
    if len(contents) > MAX_BYTES:
        raise ValueError(f"{len(contents)} bytes in one block")
    packed = zlib.compress(contents, _LEVEL)
    check = zlib.crc32(packed, zlib.crc32(kind.value))
    return _HEAD.pack(kind.value, len(packed), check) + packed


class Broken(Exception):
    """A block that is not whole; its text says what is wrong."""


def blocks(file: BinaryIO) -> Iterator[tuple[Kind | None, bytes]]:
    """Iterate over the blocks; those of a kind that is not known have kind None.

    :raises Broken: where the next one is cut off or damaged.
    """
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
        yield _kind(name), _unpack(packed)


def _exactly(read: Callable[[int], bytes], size: int) -> bytes:
    """Read so many bytes, fewer only at the end; a pipe gives them in pieces."""
    pieces = []
    while size and (piece := read(min(size, 1 << 20))):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def _kind(name: bytes) -> Kind | None:
    try:
        return Kind(name)
    except ValueError:
        return None


def _unpack(packed: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        contents = unpacker.decompress(packed, MAX_BYTES)
    except zlib.error:
        raise Broken("a block cannot be unpacked") from None
    if not unpacker.eof:
        raise Broken("a block is larger than it may be, or not whole")
    return contents
