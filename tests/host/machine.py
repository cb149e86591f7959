# SPDX-License-Identifier: MIT
"""Parts for the architecture under test: its folder's execution and reference unwinder."""

from __future__ import annotations

from built import X86

if X86:
    from x86 import reference
    from x86.execution import USER, Body, Execution, copies, make
else:
    from arm64 import reference
    from arm64.execution import USER, Body, Execution, copies, make

__all__ = ["USER", "Body", "Execution", "copies", "make", "reference"]
