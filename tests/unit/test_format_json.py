# SPDX-License-Identifier: MIT
"""All of a profile as one JSON object."""

from __future__ import annotations

import json
from typing import Any

import pytest
from converted import exact, report
from hypothesis import given
from recorded import BASE, FACTS, profile, profiles, reread, stack, written

from kwalk.api.profile import Profile
from kwalk.model.stack import Count
from kwalk.report.calls import scaled_timeline


def parsed(found: Profile, **options: Any) -> Any:
    return json.loads(report("json", found, **options))


@given(profiles())
def test_timeline_adds_up_to_the_stacks(found: Profile) -> None:
    data = parsed(found)
    timeline = data["timeline"]
    assert timeline["ends"] == found.timeline.ends
    assert timeline["counts"] == found.timeline.totals()
    assert sum(timeline["counts"]) == sum(row["count"] for row in data["stacks"])
    assert timeline.get("scaled") == (None if exact(found) else scaled_timeline(found).totals())


def test_timeline_of_a_sampled_recording_has_scaled_calls() -> None:
    one = stack("ip_rcv", "a")
    ticks = [[Count(one, 2, None, 200.0)], [Count(one, 3, None, 300.0)]]
    timeline = parsed(reread(written(ticks)))["timeline"]
    assert timeline == {"ends": [1.0, 2.0], "counts": [2, 1], "scaled": [200, 100]}


def test_timeline_is_empty_where_none_was_recorded() -> None:
    data = parsed(profile(Count(stack("ip_rcv"), 5, None, 7.0)))
    assert data["timeline"] == {"ends": [], "counts": []}
    assert data["facts"] == FACTS


def test_addresses_are_there_unless_they_are_not_wanted() -> None:
    found = profile(Count(stack("a"), 5))
    (frame,) = parsed(found)["stacks"][0]["frames"]
    assert int(frame["addr"], 16) == found.counts[0].stack.addresses[0] > BASE
    assert parsed(found, addresses=None) == parsed(found, addresses=True) == parsed(found)
    (frame,) = parsed(found, addresses=False)["stacks"][0]["frames"]
    assert frame == {"name": "a", "offset": 0, "module": ""}


@pytest.mark.parametrize("number", [0, 1, 2, 3, 4, 5])
def test_stacks_that_are_handed_on_in_parts_are_one_list(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr("kwalk.report.rows._ROWS", 2)
    found = profile(*(Count(stack("f", f"a{index}"), index + 1) for index in range(number)))
    stacks = parsed(found)["stacks"]
    assert [len(each["frames"]) for each in stacks] == [2] * number
    assert [each["count"] for each in stacks] == list(range(1, number + 1))
