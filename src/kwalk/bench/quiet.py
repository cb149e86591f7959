# SPDX-License-Identifier: MIT
"""Wait until the start-up work of an attached tool is over.

Tools go on working after they have announced that they trace: they read symbols, free memory,
compile. In a short benchmark that is a good part of their figure.
"""

from __future__ import annotations

import time

from kwalk.bench.tool import Running

WINDOW_SECONDS = 0.2
LONGEST_SECONDS = 20.0
# A tool is quiet if in all of these windows it uses next to nothing, or little and always the
# same, as one that polls.
_WINDOWS = 4
_IDLE_SHARE = 0.01
_POLLING_SHARE = 0.2
_SPREAD = 1.25


def wait(running: Running) -> bool:
    """Wait; return False if the tool was still busy after ``LONGEST_SECONDS``."""
    end = time.monotonic() + LONGEST_SECONDS
    shares: list[float] = []
    while not steady(shares[-_WINDOWS:]):
        if time.monotonic() >= end:
            return False
        shares.append(_share(running))
    return True


def steady(shares: list[float]) -> bool:
    """Return whether a tool is at rest, by its shares of a CPU in the last windows."""
    if len(shares) < _WINDOWS:
        return False
    return max(shares) <= max(_IDLE_SHARE, min(_POLLING_SHARE, _SPREAD * min(shares)))


def _share(running: Running) -> float:
    """Return the share of a CPU that a tool uses in one window."""
    started, before = time.monotonic(), running.cpu_seconds()
    time.sleep(WINDOW_SECONDS)
    return (running.cpu_seconds() - before) / (time.monotonic() - started)
