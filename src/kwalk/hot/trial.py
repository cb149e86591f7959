# SPDX-License-Identifier: MIT
"""A trial of generated programs on a probe whose function kwalk calls itself."""

from __future__ import annotations

from collections.abc import Callable

from kwalk.hot.maker import HotPrograms
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.probe.probe import Probe

CALLS = 3


def trial(probe: Probe, symbols: Kallsyms, call: Callable[[], object]) -> tuple[bool, str]:
    """Have a program generated for a probe that was hit; return whether it took calls, and a text.

    :param probe: Attached; its function has been called by ``call``.
    """
    if not probe.loaded.hot:
        return False, f"the kernel refuses their entry program by {probe.attach}"
    hot = HotPrograms(probe, symbols)
    try:
        hot.look(now=True)
        before = hot.use()
        if not before.programs:
            return False, before.why or "none could be made for this kernel's stacks"
        for _ in range(CALLS):
            call()
        taken = min(hot.use().taken - before.taken, CALLS)
    finally:
        hot.close()
    return taken > 0, f"took {taken} of {CALLS} calls by {probe.attach}"
