# SPDX-License-Identifier: MIT
"""Contents of blocks: JSON for names, columns of little-endian numbers for rows."""

from __future__ import annotations

import json
import math
import re
import struct
import sys
from array import array
from typing import Any

from kwalk.model.ledger import Difference, Summary
from kwalk.model.profile import MOST_CALLS, MOST_SECONDS, check_numbers
from kwalk.model.stack import Frame, Group, Stack
from kwalk.recording import schema

_U32 = struct.Struct("<I")
SHORTEST = 1e-9
"""Shortest interval, in seconds: the unit of the kernel's clock."""
# A tick begins with its time.
SECONDS = struct.Struct("<d")
TRUNCATED, FALLBACK = 1, 2
DIFFERENCES = 64
"""Most differences of a comparison that are read; kwalk writes fewer."""


def to_json(data: Any) -> bytes:
    """Return data as JSON without blanks."""
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")


def from_json(contents: bytes) -> Any:
    """Return the data of a block's JSON, as RFC 8259 has it: no NaN, no Infinity.

    Lone surrogates become question marks, as ``to_json`` would write them.

    :raises ValueError: if it is not JSON, or has a number that no 64-bit float can hold.
    """
    data = json.loads(contents.decode(), parse_float=_finite, parse_constant=_finite)
    if _SURROGATE.search(contents):
        data = json.loads(to_json(data))
    return data


_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not a number")
    return value


def pack_columns(*columns: array[Any]) -> bytes:
    """Return columns of equal length, one after the other, behind their length."""
    parts = [_U32.pack(len(columns[0]))]
    for column in columns:
        if sys.byteorder == "big":
            column = column[:]
            column.byteswap()
        parts.append(column.tobytes())
    return b"".join(parts)


def unpack_columns(data: bytes, codes: str) -> list[array[Any]]:
    """Return the columns, one for each type code of ``array``.

    :raises ValueError: if ``data`` has another length.
    """
    (length,) = _U32.unpack_from(data)
    columns, at = [], _U32.size
    for code in codes:
        column: array[Any] = array(code)
        size = length * column.itemsize
        column.frombytes(data[at : at + size])
        if len(column) != length:
            raise ValueError("columns are cut off")
        if sys.byteorder == "big":
            column.byteswap()
        columns.append(column)
        at += size
    if at != len(data):
        raise ValueError("there is more than columns")
    return columns


def tick_rows(data: bytes, keys: int) -> list[array[Any]]:
    """Return the columns of a tick: keys, hits, and scaled calls if there are any.

    :param keys: Number of keys so far.
    :raises ValueError: if a row has no key, or a number is out of bounds.
    """
    length = int.from_bytes(data[:4], "little")
    codes = "Iqd" if len(data) > 4 + 12 * length else "Iq"
    columns = unpack_columns(data, codes)
    if columns[0] and max(columns[0]) >= keys:
        raise ValueError("a row of nothing")
    if columns[1] and min(columns[1]) < 0:
        raise ValueError("a count below nothing")
    for calls in columns[2:]:
        if calls and not (0 <= min(calls) <= max(calls) < MOST_CALLS and math.isfinite(sum(calls))):
            raise ValueError("a number of calls out of range")
    return columns


def frame_of(name: object, offset: object, module: object, address: object) -> Frame:
    """Return a frame of values from JSON.

    :raises ValueError: if a value is of another type, or not an unsigned number of 64 bits.
    """
    if type(name) is not str or type(module) is not str:
        raise ValueError("a frame without a name")
    return Frame(name, _unsigned(offset), module, _unsigned(address))


def group_of(kind: object, number: object, name: object) -> Group:
    """Return a group of values from JSON; the number of a ``pid`` may be None.

    :raises ValueError: as ``frame_of`` does.
    """
    if type(kind) is not str or type(name) is not str:
        raise ValueError("a group without a name")
    nobody = kind == "pid" and number is None
    return Group(kind, None if nobody else _unsigned(number), name)


def _unsigned(value: object) -> int:
    if type(value) is not int or not 0 <= value < 1 << 64:
        raise ValueError(f"{value!r:.100} is not an unsigned number of 64 bits")
    return value


def flags(stack: Stack) -> int:
    """Return a stack's flags: ``TRUNCATED``, ``FALLBACK``."""
    return TRUNCATED * stack.truncated | FALLBACK * stack.fallback


def summary_data(summary: Summary) -> dict[str, Any]:
    """Return the summary as JSON-ready data, for ``summary_of``."""
    data = {key: value for key, value in vars(summary).items() if value is not None}
    data["seconds"] = summary.seconds  # null says that it is not known
    data["ledger"] = vars(summary.ledger) | {"lost": summary.ledger.causes}
    del data["ledger"]["not_wanted"]
    if summary.verify:
        differences = [[list(stack.addresses) for stack in d] for d in summary.verify.differences]
        data["verify"] = vars(summary.verify) | {"differences": differences}
    return data


def summary_of(data: dict[str, Any]) -> Summary:
    """Return the summary of ``summary_data``; members of later versions are dropped.

    :raises KeyError, TypeError, ValueError: if the data does not make a summary.
    """
    differences: list[list[list[int]]] = []
    if "verify" in data:
        first = data["verify"]["differences"][:DIFFERENCES]
        differences = schema.of(list[list[list[int]]], first)
        data = data | {"verify": data["verify"] | {"differences": []}}
    summary: Summary = schema.of(Summary, data)
    if summary.seconds is not None:
        if not 0 <= summary.seconds < MOST_SECONDS:
            raise ValueError("a time out of range")
        if summary.seconds < SHORTEST:
            summary.seconds = 0.0
    # The format has one object for both; a cause says which it is.
    ledger = summary.ledger
    causes, ledger.lost, ledger.not_wanted = ledger.lost, {}, {}
    for cause, number in causes.items():
        ledger.lose(cause, number)
    check_numbers(summary.ledger)
    if summary.verify:
        summary.verify.differences = [
            Difference(*(Stack(tuple(side)) for side in pair)) for pair in differences
        ]
    return summary
