# SPDX-License-Identifier: MIT
"""Generated code that compares a stack with known ones, on x86-64.

It follows the same rules as the walk (``bpf/arch/x86/step.bpf.h``, ``walk.bpf.h``,
``bpf/cct/walk.bpf.h``), with every offset that the rules make constant as an immediate. Each return
address is compared, all 64 bits of it, where the rules say that it stands; where they go by a value
of memory, the value is loaded and checked as in the walk. All else is a miss.
"""

from __future__ import annotations

from kwalk.abi import Unwinder
from kwalk.arch.hot_frame import HotFrame, HotKernel, HotStart, HotTarget
from kwalk.arch.x86_64.hot_records import X86RecordsFollower
from kwalk.arch.x86_64.hot_tables import TablesFollower


def emit(root: HotFrame, start: HotStart, kernel: HotKernel, target: HotTarget) -> None:
    """Emit the comparison of a hit's stack with those under ``root``.

    :raises Unsupported: if one of them cannot be followed.
    """
    kind = TablesFollower if kernel.unwinder == Unwinder.ORC else X86RecordsFollower
    follower = kind(kernel, target)
    follower.begin(root, start)
    follower.finish()
