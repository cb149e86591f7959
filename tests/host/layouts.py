# SPDX-License-Identifier: MIT
"""Layouts of the kernel's types in several kernels of the architecture under test.

``ORC`` are the layouts with ORC tables, ``FP`` the ones of kernels that follow frame pointers.
"""

from __future__ import annotations

from btf import Layout, Types, answer, types
from built import X86

if X86:
    from x86.layouts import ALL, FP, FP_NEW, ORC, V6_1, V6_12, V7_1
else:
    from arm64.layouts import ALL, FP, FP_NEW, ORC, V6_1, V6_12, V7_1

__all__ = [
    "ALL",
    "FP",
    "FP_NEW",
    "ORC",
    "V6_1",
    "V6_12",
    "V7_1",
    "Layout",
    "Types",
    "answer",
    "types",
]
