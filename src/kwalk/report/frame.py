# SPDX-License-Identifier: MIT
"""One frame as text."""

from __future__ import annotations

from kwalk.profile import Frame


def frame_text(frame: Frame) -> str:
    """Return ``symbol+0x1f [module]``, or the address where no symbol is known."""
    name = f"{frame.name}+{frame.offset:#x}" if frame.name else f"{frame.address:#x}"
    return f"{name} [{frame.module}]" if frame.module else name
