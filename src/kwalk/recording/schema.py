# SPDX-License-Identifier: MIT
"""Typed values of JSON from a file that can come from anywhere."""

from __future__ import annotations

import dataclasses
import types
import typing
from functools import lru_cache
from typing import Any

_LEAST, _END = -(1 << 63), 1 << 64  # addresses and numbers of cgroups need all 64 bits
_LARGEST = 1e18


def of(kind: Any, value: Any) -> Any:
    """Return ``value`` converted to type ``kind``.

    :param kind: int (64 bits), float (finite), str, object (anything); lists, dicts by name, unions
        and named tuples of these; dataclasses, whose members of later versions are dropped.
    :raises ValueError: if the value has another type.
    :raises TypeError: if a dataclass lacks a member.
    """
    made = _made(kind, value)
    if made is _NONE:
        name = kind.__name__ if isinstance(kind, type) else kind
        raise ValueError(f"{value!r:.100} is not of type {name}")
    return made


_NONE = object()


def _made(kind: Any, value: Any) -> Any:
    if kind is int:
        fits = type(value) is int and _LEAST <= value < _END
        return value if fits else _NONE
    if kind is float:
        # NaN fails the comparison.
        fits = type(value) in (int, float) and abs(value) < _LARGEST
        return float(value) if fits else _NONE
    if kind is object:
        return value
    if kind in (str, bool, type(None)):
        return value if type(value) is kind else _NONE
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, value)
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:
        found = (made for one in inner if (made := _made(one, value)) is not _NONE)
        return next(found, _NONE)
    if origin is dict:
        if not isinstance(value, dict):
            return _NONE
        return {name: of(inner[1], one) for name, one in value.items()}
    if not isinstance(value, list):
        return _NONE
    if origin is list and inner == (str,):
        return value if all(type(one) is str for one in value) else _NONE
    if origin is list:
        return [of(inner[0], one) for one in value]
    fields = _hints(kind)  # a named tuple
    if len(fields) != len(value):
        return _NONE
    return kind(*(of(one, part) for one, part in zip(fields.values(), value, strict=True)))


@lru_cache
def _hints(kind: Any) -> dict[str, Any]:
    """Return the types of members, which take long to find: a recording has a ledger a second."""
    return typing.get_type_hints(kind)


def _dataclass(kind: Any, value: Any) -> Any:
    if not isinstance(value, dict):
        return _NONE
    hints = _hints(kind)
    known = {name: of(hints[name], value[name]) for name in hints if name in value}
    return kind(**known)
