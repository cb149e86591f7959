# SPDX-License-Identifier: MIT
"""Protocol buffers, as far as they have to be written: numbers, texts, messages in messages.

The encoding is that of https://protobuf.dev/programming-guides/encoding/. A message is the bytes of
its fields, joined; which number and type a field has is for the caller to know. The functions
always write what they are given, the defaults too.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from functools import cache

from kwalk.support.printable import plain

_DOUBLE = struct.Struct("<d")
# Wire types: a varint, 8 bytes, and a length with so many bytes behind it.
_VARINT, _FIXED64, _BYTES = 0, 1, 2
_U64 = (1 << 64) - 1


def varint(value: int) -> bytes:
    """Return a number in 1 to 10 bytes, 7 bits in each, the lowest first; a sign makes it 10."""
    value &= _U64
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


@cache
def tag(field: int, kind: int) -> bytes:
    """Return what stands before a field's value."""
    return varint(field << 3 | kind)


def number(field: int, value: int) -> bytes:
    """Return a field of type int32, int64, uint32, uint64, bool or an enum."""
    return tag(field, _VARINT) + varint(value)


def double(field: int, value: float) -> bytes:
    """Return a field of type double."""
    return tag(field, _FIXED64) + _DOUBLE.pack(value)


def message(field: int, *parts: bytes) -> bytes:
    """Return a field that is a message of these fields, or bytes."""
    size = sum(map(len, parts))
    return b"".join((tag(field, _BYTES), varint(size), *parts))


def text(field: int, value: str) -> bytes:
    """Return a field of type string; other tools print it, so it has no control characters."""
    return message(field, plain(value).encode("utf-8", "replace"))


def packed(field: int, values: Iterable[int]) -> bytes:
    """Return a field of many numbers, packed."""
    return message(field, b"".join(map(varint, values)))
