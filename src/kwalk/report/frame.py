# SPDX-License-Identifier: MIT
"""Frames and stacks as text and as JSON-ready data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kwalk.model.stack import Frame
from kwalk.support.printable import plain


def frame_text(frame: Frame, address: bool = False) -> str:
    """Return ``symbol+0x1f [module]``; the address if the frame has no symbol.

    An inlined function is ``function (inlined)``. ``file:line`` comes last if it is known.

    :param address: Put the address first.
    """
    if frame.inlined:
        name = f"{frame.name} (inlined)"
    else:
        name = f"{frame.name}+{frame.offset:#x}" if frame.name else f"{frame.address:#x}"
    name = f"{name} [{frame.module}]" if frame.module else name
    name = f"{name}  {frame.source}" if frame.source else name
    return f"{frame.address:016x}  {name}" if address else name


def frame_line(frame: Frame, address: bool) -> str:
    """Return a frame as an indented line."""
    return f"    {plain(frame_text(frame, address))}\n"


def stack_lines(frames: Iterable[Frame], truncated: bool, addresses: bool) -> str:
    """Return a stack as indented lines, one a frame, and a mark at the end if it is truncated."""
    return joined_lines((frame_line(frame, addresses) for frame in frames), truncated)


def joined_lines(lines: Iterable[str], truncated: bool) -> str:
    """Join the lines of a stack's frames, with a mark at the end if it is truncated."""
    return "".join(lines) + "    ... (truncated)\n" * truncated


def frame_data(frame: Frame, address: bool = True) -> dict[str, Any]:
    """Return a frame as JSON-ready data.

    ``source`` (``file:line``) and ``inlined`` (true) are absent unless they apply.

    :param address: Include the address, as ``addr``.
    """
    data: dict[str, Any] = {"name": frame.name, "offset": frame.offset, "module": frame.module}
    if frame.source:
        data["source"] = frame.source
    if frame.inlined:
        data["inlined"] = True
    return data | {"addr": f"{frame.address:#x}"} if address else data
