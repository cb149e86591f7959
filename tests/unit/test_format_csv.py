# SPDX-License-Identifier: MIT
"""The table: all counts and the ledger, as Python's csv reads them again."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from fractions import Fraction

import pytest
from converted import by_name, report
from hypothesis import given
from hypothesis import strategies as st
from recorded import BASE, profile, profiles, stack

from kwalk.api.profile import Profile
from kwalk.model.ledger import Sampling, TreeUse, Verify
from kwalk.model.stack import Count, Group
from kwalk.report.formats.csv_ import COLUMNS
from kwalk.support.printable import plain


def table(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode(), newline=""), strict=True))


def clean(name: str) -> str:
    return plain(name, kept="\r\n\t")


def stacks(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return [row for row in rows if row["kind"] == "stack"]


@given(profiles())
def test_table_has_every_count(found: Profile) -> None:
    sums: dict[str, Fraction] = defaultdict(Fraction)
    wanted: dict[str, Fraction] = defaultdict(Fraction)
    rows = stacks(table(report("csv", found)))
    for row in rows:
        sums[row["frames"]] += Fraction(float(row["calls"]))
    for names, calls in by_name(found, clean).items():
        wanted[";".join(name.replace(";", ":") for name in names)] += calls
    assert sums == wanted
    assert sum(int(row["count"]) for row in rows) == found.summary.ledger.recorded
    assert [int(row["count"]) for row in rows] == [count.count for count in reversed(found.counts)]
    for row, count in zip(rows, reversed(found.counts), strict=True):
        data = count.group.as_data() if count.group else {}
        group = {key: "" if value is None else clean(str(value)) for key, value in data.items()}
        assert {key: row[key] for key in group} == group
        assert row["truncated"] == str(int(count.stack.truncated))
        assert row["fallback"] == str(int(count.stack.fallback))


@given(profiles(), st.integers(1, 4))
def test_top_leaves_the_sum_as_it_was(found: Profile, top: int) -> None:
    rows = stacks(table(report("csv", found, top=top)))
    assert sum(int(row["count"]) for row in rows) == found.summary.ledger.recorded
    kept = [row for row in rows if row["frames"] != "[left out by --top]"]
    assert len(kept) == min(top, len(found))


def test_ledger_rows_have_kinds_of_their_own() -> None:
    found = profile(Count(stack("ip_rcv", "a"), 5), recursion=2, sampled_out=3)
    found.summary.notes.append('a "note", with\r\nmore')
    found.summary.ledger.uncounted.append("NMIs are not counted")
    rows = table(report("csv", found))
    rows = [row for row in rows if row["kind"] not in ("stack", "fact")]
    assert [(row["kind"], row["name"], row["count"]) for row in rows] == [
        ("total", "hits", "10"),
        ("total", "recorded", "5"),
        ("total", "truncated", "0"),
        ("total", "fallback", "0"),
        ("not_wanted", "sampled_out", "3"),
        ("lost", "recursion", "2"),
        ("not_counted", "NMIs are not counted", ""),
        ("note", 'a "note", with\r\nmore', ""),
    ]


def test_unexplained_hits_are_a_row() -> None:
    found = profile(Count(stack("ip_rcv"), 5))
    found.summary.ledger.hits += 1
    assert b"total,unexplained,1," in report("csv", found)


def test_rest_of_the_summary_and_facts_are_rows() -> None:
    found = profile(Count(stack("ip_rcv"), 5))
    found.summary.verify = Verify(10, 9, 1, 2, {"nested_nmi": 3})
    found.summary.tree = TreeUse(7, 240, 0)
    found.summary.sampling = Sampling(0.02, 0.013, 40.5)
    found.summary.unit = "samples"
    rows = [row for row in table(report("csv", found)) if row["kind"] not in ("stack", "total")]
    assert [(row["kind"], row["name"], row["count"], row["value"]) for row in rows] == [
        ("verify", "every", "10", ""),
        ("verify", "checked", "9", ""),
        ("verify", "mismatches", "1", ""),
        ("verify", "missing_caller", "2", ""),
        ("kernel_wrong", "nested_nmi", "3", ""),
        ("tree", "used", "7", ""),
        ("tree", "size", "240", ""),
        ("tree", "full", "0", ""),
        ("sampling", "budget", "", "0.02"),
        ("sampling", "cost", "", "0.013"),
        ("sampling", "scale", "", "40.5"),
        ("fact", "function", "", "ip_rcv"),
        ("fact", "method", "", "manual"),
        ("fact", "attach", "", "fentry"),
        ("fact", "kernel", "", "6.12.107"),
        ("fact", "unit", "", "samples"),
        ("fact", "kwalk", "", "0.1.0"),
        ("fact", "command", "", '["kwalk", "record", "ip_rcv"]'),
        ("fact", "text", "", str(BASE)),
        ("fact", "cpus", "", "2"),
    ]


@pytest.mark.parametrize("size", [4095, 4096, 4097, 9000])
def test_however_many_rows_there_are_each_is_there_once(size: int) -> None:
    rows = [Count(stack("ip_rcv", f"f{index}"), index + 1) for index in range(size)]
    found = stacks(table(report("csv", profile(*rows))))
    assert [int(row["count"]) for row in found] == list(range(size, 0, -1))


@pytest.mark.parametrize(
    ("group", "cells"),
    [
        (Group("pid", 7, "redis, server"), {"pid": "7", "comm": "redis, server"}),
        (Group("cpu", 0, ""), {"cpu": "0"}),
        (Group("cgroup", 9, "/a"), {"cgroup": "/a", "cgroup_id": "9"}),
    ],
)
def test_groups_have_columns(group: Group, cells: dict[str, str]) -> None:
    (row,) = stacks(table(report("csv", profile(Count(stack("ip_rcv", "b"), 4, group, 8.5)))))
    assert {key: row[key] for key in cells} == cells
    assert (row["count"], row["calls"], row["share"]) == ("4", "8.5", "1")
    assert row["frames"] == "b;ip_rcv"


def test_lines_end_as_the_rfc_wants_it() -> None:
    text = report("csv", profile(Count(stack("ip_rcv"), 1))).decode()
    assert text.splitlines(keepends=True)[0] == ",".join(COLUMNS) + "\r\n"
    assert all(line.endswith("\r\n") for line in text.splitlines(keepends=True))
