# SPDX-License-Identifier: MIT
"""What is told of a profile beside its stacks: by ``kwalk info``, and in formats of others."""

from __future__ import annotations

import pytest
from recorded import profile, reread, stack, written

from kwalk.model.stack import Count, Group
from kwalk.report import headings, info
from kwalk.report.summary import as_text


@pytest.mark.parametrize(
    ("started", "wanted"),
    [
        ("1970-01-01T00:00:01.000250+00:00", 1_000_250_000),
        ("1970-01-01T00:00:01.000250", 1_000_250_000),  # UTC goes without saying
        ("1970-01-01T01:00:01+01:00", 1_000_000_000),
        ("yesterday", 0),
        (None, 0),
        (7, 0),
    ],
)
def test_start_time_is_parsed_to_nanoseconds(started: object, wanted: int) -> None:
    found = profile(Count(stack("f"), 1))
    found.facts["started"] = started
    assert headings.started_ns(found) == wanted
    del found.facts["started"]
    assert headings.started_ns(found) == 0


def test_lines_are_the_ledger_then_the_machine() -> None:
    found = profile(Count(stack("f"), 1), ring_full=2)
    found.facts |= {"command": ["kwalk", "record", "a b"], "host": "pine", "kernel": ""}
    lines = headings.lines(found)
    ledger = [line.strip() for line in as_text(found.summary).splitlines()]
    assert lines == [*ledger, "command: kwalk record 'a b'", "host: pine", "kwalk: 0.1.0"]
    assert headings.title(found) == ledger[0]
    assert headings.title(found, "A title") == f"A title - {ledger[0]}"


def test_info_says_what_a_recording_holds() -> None:
    one, redis, curl = stack("f", "a"), Group("comm", 0, "redis"), Group("comm", 0, "curl")
    counts = [Count(one, 1, redis), Count(one, 2, curl), Count(stack("f"), 4)]
    found = reread(written([counts, [*counts[:1], Count(one, 5, curl)]]))
    found.facts |= {"kernel": "6.12.107", "kernel_version": "#1 SMP", "host": "pine"}
    data = info.as_data(found)
    numbers = {name: data[name] for name in ("schema", "seconds", "stacks", "groups", "rows")}
    assert numbers == {
        "schema": "kwalk.info/2", "seconds": 2.0, "stacks": 2, "groups": 2, "rows": 4
    }  # fmt: skip
    assert data["facts"] == found.facts
    assert info.as_text(found) == (
        "command   kwalk record ip_rcv\n"
        "host      pine\n"
        "CPUs      2\n"
        "kernel    6.12.107\n"
        "          #1 SMP\n"
        "kwalk     0.1.0\n"
        "holds     2 stacks in 2 groups, 2.0 s, 4 rows\n"
        "\n" + as_text(found.summary)
    )


def test_info_of_stacks_without_groups_speaks_of_none() -> None:
    text = info.as_text(profile(Count(stack("f"), 4), Count(stack("g"), 4)))
    assert "holds     2 stacks, 0 rows\n" in text


@pytest.mark.parametrize(
    ("started", "wanted"),
    [
        ("2026-11-25T16:50:56.123+00:00", "2026-11-25 16:50:56 UTC"),
        ("2026-11-25T16:50:56", "2026-11-25 16:50:56"),
        ("2026-11-25T16:50:56+02:00", "2026-11-25 16:50:56 UTC+02:00"),
        ("some\nday", "some?day"),
    ],
)
def test_start_time_is_shown_with_its_zone(started: str, wanted: str) -> None:
    found = profile(Count(stack("f"), 1))
    found.facts["started"] = started
    assert f"started   {wanted}\n" in info.as_text(found)


def test_command_and_merged_parts_are_shown() -> None:
    one = profile(Count(stack("f"), 1))
    one.facts |= {"command": ["kwalk", "record", "tcp_*", "--", "sh", "-c", "echo hi; sleep 1"]}
    assert "command   kwalk record 'tcp_*' -- sh -c 'echo hi; sleep 1'\n" in info.as_text(one)
    assert "merged" not in info.as_text(one)
    assert "merged    of 3 recordings\n" in info.as_text(one + one + one)


def test_stacks_of_several_groups_are_counted_once() -> None:
    one = stack("f", "a")
    rows = [Count(one, 1, Group("comm", 0, name)) for name in "xy"]
    assert info.extent(rows) == "1 stack in 2 groups"
    assert info.extent([Count(one, 1), Count(stack("f", "b"), 1)]) == "2 stacks"
