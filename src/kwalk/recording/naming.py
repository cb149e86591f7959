# SPDX-License-Identifier: MIT
"""Frames and groups of what a recording's JSON says, or is to say, of them."""

from __future__ import annotations

from kwalk.model.stack import Frame, Group


def frame_of(name: object, offset: object, module: object, address: object) -> Frame:
    """Return a frame.

    :raises ValueError: if a value is of another type, or no unsigned number of 64 bits.
    """
    if type(name) is not str or type(module) is not str:
        raise ValueError("a frame without a name")
    return Frame(name, _unsigned(offset), module, _unsigned(address))


def group_of(kind: object, number: object, name: object) -> Group:
    """Return a group; the number of a ``pid`` may be None.

    :raises ValueError: as ``frame_of`` does.
    """
    if type(kind) is not str or type(name) is not str:
        raise ValueError("a group without a name")
    nobody = kind == "pid" and number is None
    return Group(kind, None if nobody else _unsigned(number), name)


def _unsigned(value: object) -> int:
    if type(value) is not int or not 0 <= value < 1 << 64:
        raise ValueError(f"{value!r:.100} is no unsigned number of 64 bits")
    return value
