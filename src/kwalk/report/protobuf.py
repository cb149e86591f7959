# SPDX-License-Identifier: MIT
"""Writer of protocol buffers: numbers, strings, nested messages.

See https://protobuf.dev/programming-guides/encoding/. A message is the joined bytes of its fields;
the caller knows the number and type of each field. Default values are written, too.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from functools import cache

from kwalk.support.printable import plain

_DOUBLE = struct.Struct("<d")
# Wire types: VARINT, I64, LEN.
_VARINT, _FIXED64, _BYTES = 0, 1, 2
_U64 = (1 << 64) - 1


def varint(value: int) -> bytes:
    """Return a base-128 varint of 1 to 10 bytes; a negative number takes 10."""
    value &= _U64
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


@cache
def tag(field: int, kind: int) -> bytes:
    """Return the tag of a field: its number and wire type."""
    return varint(field << 3 | kind)


def number(field: int, value: int) -> bytes:
    """Return a field of type int32, int64, uint32, uint64, bool or an enum."""
    return tag(field, _VARINT) + varint(value)


def double(field: int, value: float) -> bytes:
    """Return a field of type double."""
    return tag(field, _FIXED64) + _DOUBLE.pack(value)


def message(field: int, *parts: bytes) -> bytes:
    """Return a field of a message type, made of these fields, or of type bytes."""
    size = sum(map(len, parts))
    return b"".join((tag(field, _BYTES), varint(size), *parts))


def text(field: int, value: str) -> bytes:
    """Return a field of type string, without control characters, since other tools print it."""
    return message(field, plain(value).encode("utf-8", "replace"))


def packed(field: int, values: Iterable[int]) -> bytes:
    """Return a packed repeated field of varints."""
    return message(field, b"".join(map(varint, values)))
