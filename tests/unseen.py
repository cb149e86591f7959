# SPDX-License-Identifier: MIT
"""Calls that an independent tracer saw and kwalk did not, from the times of both."""

from __future__ import annotations

import bisect
import heapq
from collections.abc import Sequence
from itertools import pairwise
from statistics import median_low

_QUIET_NS = 20_000


def unseen(calls: Sequence[int], hits: Sequence[int]) -> int:
    """Return the calls without a hit, less the hits without a call, while both traced.

    Between a hit and the next call, the number of calls so far differs from that of the hits by
    those before both traced, by what is unseen, and, seldom, by a call on another CPU that is only
    half done. Between a call and its hit it differs by one more, and on a slow machine that takes
    long.

    :param calls: When the function was called, in order, in nanoseconds.
    :param hits: When its hits were recorded, likewise. A hit comes after its call.
    """
    first, last = max(calls[0], hits[0]), min(calls[-1], hits[-1])
    share = (last - first) // 4
    return _ahead(calls, hits, last - share, last) - _ahead(calls, hits, first, first + share)


def _ahead(calls: Sequence[int], hits: Sequence[int], low: int, high: int) -> int:
    """Return by how many the calls are ahead of the hits between two times."""
    events = heapq.merge(((at, False) for at in calls), ((at, True) for at in hits))
    quiet = [
        (hit + call) // 2
        for (hit, is_hit), (call, next_is_hit) in pairwise(events)
        if is_hit and not next_is_hit and call - hit > _QUIET_NS and low < hit < high
    ]
    return median_low(bisect.bisect(calls, at) - bisect.bisect(hits, at) for at in quiet)
