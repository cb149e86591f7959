# SPDX-License-Identifier: MIT
"""How tests in virtual machines compare kwalk's hits with another tracer's calls."""

from __future__ import annotations

import pytest

from unseen import unseen


@pytest.mark.parametrize("late", [(5_000, 5_000, 5_000), (85_000, 85_000, 60_000)])
@pytest.mark.parametrize("missing", [0, 1])
def test_hits_are_seen_however_late(late: tuple[int, ...], missing: int) -> None:
    calls = list(range(0, 10**8, 10**5))
    after = [10_000] * 700 + [*late] * 100
    hits = [at + by for at, by in zip(calls, after, strict=True)]
    del hits[500 : 500 + missing]
    assert unseen(calls, hits) == missing


def test_hits_without_a_call_are_negative() -> None:
    calls = list(range(0, 10**8, 10**5))
    assert unseen(calls, sorted([*calls[1:], 4 * 10**7, 5 * 10**7])) == -2
