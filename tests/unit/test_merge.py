# SPDX-License-Identifier: MIT
"""Profiles added up: no count, no loss, no note goes missing."""

from __future__ import annotations

import json
import re
from collections import Counter
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import BASE, frame, profile, profiles, reread, stack, written

import kwalk
from kwalk.api.profile import Profile
from kwalk.errors import UsageError
from kwalk.model.ledger import Difference, Sampling, TreeUse, Verify
from kwalk.model.merge import merge
from kwalk.model.stack import Count, Frame, Group, Stack
from kwalk.recording.codec import summary_data, summary_of, to_json
from kwalk.recording.replay import replay
from kwalk.report import summary as summaries
from kwalk.report.formats import renderer
from kwalk.report.style import ReportOptions

A, B = stack("ip_rcv", "a", "main"), stack("ip_rcv", "b@overlay", "main")


def sums(*found: Profile) -> Counter[Any]:
    """Counts by all that tells stacks apart."""
    total: Counter[Any] = Counter()
    for count in (count for one in found for count in one):
        s = count.stack
        key = tuple(f[:3] if f.name else f for f in s.frames)
        total[key, s.truncated, s.fallback, count.group] += count.count
    return total


@given(st.lists(profiles(), min_size=1, max_size=4))
def test_counts_and_ledgers_add_up(given_profiles: list[Profile]) -> None:
    before = deepcopy([(p.counts, p.summary, p.facts) for p in given_profiles])
    merged = kwalk.merge(*given_profiles)
    assert sums(merged) == sums(*given_profiles)
    assert len(merged) == len(sums(merged))
    ledgers = [p.summary.ledger for p in given_profiles]
    found = merged.summary.ledger
    for name in ("hits", "recorded", "truncated", "fallback"):
        assert getattr(found, name) == sum(getattr(ledger, name) for ledger in ledgers)
    assert found.lost == {"recursion": len(ledgers)}
    assert found.balance == 0
    assert found.recorded == sum(count.count for count in merged)
    calls = [count.calls for count in merged]
    assert calls == sorted(calls)
    assert sum(calls) == pytest.approx(sum(p.calls for p in given_profiles))
    now = [(p.counts, p.summary, p.facts) for p in given_profiles]
    assert [(len(c), s, f) for c, s, f in now] == [(len(c), s, f) for c, s, f in before]


@given(st.lists(profiles(), min_size=1, max_size=4))
def test_timelines_lie_behind_each_other(given_profiles: list[Profile]) -> None:
    merged = kwalk.merge(*given_profiles)
    assert merged.seconds == sum(p.seconds for p in given_profiles)
    assert merged.timeline.ends == sorted(set(merged.timeline.ends))
    totals = [0] * len(merged)
    for _, index, number in merged.timeline.rows():
        totals[index] += number
    assert totals == [count.count for count in merged]
    assert list(merged.timeline.intervals) == sorted(merged.timeline.intervals)


@given(profiles(), profiles(), profiles())
def test_merge_is_associative(a: Profile, b: Profile, c: Profile) -> None:
    b.summary.method = "helper"
    c.summary.function = "ip6_rcv"
    b.summary.notes = ["one", "two"]
    c.summary.notes = ["two"]
    left, right, all_ = (a + b) + c, a + (b + c), kwalk.merge(a, b, c)
    assert sums(left) == sums(right) == sums(all_)
    assert left.summary == right.summary == all_.summary
    assert left.facts == right.facts == all_.facts
    assert left.timeline.ends == right.timeline.ends == all_.timeline.ends


def test_stacks_of_two_boots_are_one() -> None:
    """The kernel lies elsewhere after each."""
    moved = tuple(f._replace(address=f.address + (1 << 30)) for f in A.frames)
    other = Stack(tuple(f.address for f in moved), frames=moved)
    merged = profile(Count(A, 5)) + profile(Count(other, 7))
    assert [(count.count, count.stack.frames) for count in merged] == [(12, A.frames)]


@pytest.mark.parametrize(
    "other",
    [
        Stack(A.addresses, truncated=True, frames=A.frames),
        Stack(A.addresses, fallback=True, frames=A.frames),
        Stack(A.addresses, frames=(A.frames[0], frame("a", 0x18), A.frames[2])),
        Stack(A.addresses, frames=(A.frames[0], frame("a", 0x10, "overlay"), A.frames[2])),
        Stack(A.addresses, frames=A.frames[:2]),
    ],
    ids=["truncated", "fallback", "offset", "module", "shorter"],
)
def test_merge_keeps_different_stacks_apart(other: Stack) -> None:
    merged = profile(Count(A, 5)) + profile(Count(other, 7))
    assert [count.count for count in merged] == [5, 7]
    assert merged.summary.ledger.truncated == 7 * other.truncated
    assert merged.summary.ledger.fallback == 7 * other.fallback


def test_merge_tells_unnamed_frames_by_their_addresses() -> None:
    one, two = (Stack((BASE + n,), frames=(Frame("", 0, "", BASE + n),)) for n in (1, 2))
    assert len(profile(Count(one, 1)) + profile(Count(two, 1))) == 2
    assert len(profile(Count(one, 1)) + profile(Count(one, 1))) == 1


def test_groups_stay_apart_and_share_their_stack() -> None:
    redis, curl = Group("comm", 0, "redis"), Group("comm", 0, "curl")
    merged = profile(Count(A, 1, redis), Count(A, 2, curl)) + profile(Count(A, 4, redis))
    assert {(count.group, count.count) for count in merged} == {(redis, 5), (curl, 2)}
    assert len({count.stack for count in merged}) == 1


def test_sampled_calls_and_all_calls_are_added_as_calls() -> None:
    merged = profile(Count(A, 2, scaled=20.5), Count(B, 1, scaled=1.5)) + profile(Count(A, 3))
    assert {(c.count, c.scaled) for c in merged} == {(5, 23.5), (1, 1.5)}


def test_merge_notes_what_differs() -> None:
    a, b = profile(Count(A, 1), ring_full=2), profile(Count(A, 2), ring_full=3, efault=1)
    b.summary.method, b.summary.attach, b.summary.kernel = "helper", "kprobe", "6.1.0"
    b.summary.function, b.summary.unit = "tcp_*", "events"
    a.summary.ledger.uncounted = b.summary.ledger.uncounted = ["misses of kprobes"]
    b.facts["cpus"] = 8
    merged = a + b
    assert merged.summary.notes == [
        "merged: different functions: ip_rcv, tcp_*",
        "merged: different methods: manual, helper",
        "merged: different ways to attach: fentry, kprobe",
        "merged: different kernels: 6.12.107, 6.1.0",
        "merged: different units: calls, events",
    ]
    same = {name: value for name, value in a.facts.items() if name != "cpus"}
    assert merged.facts == same | {"merged": [a.facts, b.facts]}
    text = summaries.as_text(merged.summary)
    assert text.startswith(
        "ip_rcv + tcp_*: 9 calls + events = 3 stacks + 6 lost  "
        "(manual + helper by fentry + kprobe, 6.12.107 + 6.1.0)\n"
    )
    assert "  lost: 5 ring_full: " in text
    assert merged.summary.ledger.uncounted == ["misses of kprobes"]


def test_program_that_the_kernel_did_not_run_for_one_part_is_told() -> None:
    whole, parts = profile(), [profile(), profile()]
    parts[0].summary.unseen = parts[1].summary.unseen = "ftrace is switched off"
    assert merge([whole, *parts]).summary.unseen == "ftrace is switched off"
    assert merge([whole, whole]).summary.unseen == ""


def test_program_that_the_kernel_did_not_run_is_told_by_its_recording() -> None:
    summary = profile().summary
    summary.unseen = "ftrace is switched off"
    assert summary_of(json.loads(to_json(summary_data(summary)))) == summary


def test_merge_takes_a_profile_without_a_timeline_as_one_interval() -> None:
    timed = reread(written([[Count(A, 5)], [Count(A, 6)]]))
    first, last = profile(Count(B, 7)), profile(Count(A, 4))
    first.summary.seconds, last.summary.seconds = 0.5, 3.0
    merged = kwalk.merge(first, timed, last)
    assert merged.timeline.ends == [0.5, 1.5, 2.5, 5.5]
    assert merged.timeline.totals() == [7, 5, 1, 4]
    for untimed in (profile(Count(B, 7)), profile()):
        found = kwalk.merge(first, timed, untimed)
        assert not found.timeline.ends
        assert (found.seconds, found.summary.seconds) == (0, None)
    assert not (profile(Count(A, 1)) + profile(Count(B, 1))).timeline


def by_stack(found: Profile) -> dict[tuple[int, str], int]:
    """Rows of a timeline, by interval and the stack's direct caller."""
    names = [count.stack.frames[1].name for count in found]
    return {(i, names[c]): n for i, c, n in found.timeline.rows() if n}


def test_merged_rows_stay_with_their_stacks() -> None:
    """Also where the order of the counts changes, and where all numbers are equal."""
    one = reread(written([[Count(A, 5)], [Count(A, 5), Count(B, 9)]]))
    two = reread(written([[Count(B, 1)], [Count(B, 1), Count(A, 20)]]))
    assert by_stack(one + two) == {(0, "a"): 5, (1, "b"): 9, (2, "b"): 1, (3, "a"): 20}
    same = reread(written([[Count(A, 7)], [Count(A, 7), Count(B, 7)]]))
    other = reread(written([[Count(B, 7)], [Count(B, 7), Count(A, 8)]]))
    assert by_stack(same + other) == {(0, "a"): 7, (1, "b"): 7, (2, "b"): 7, (3, "a"): 8}


@pytest.mark.parametrize("wrong", ["number", "count", "interval", "missing"])
def test_timelines_that_do_not_add_up_are_refused(wrong: str) -> None:
    """And never made to: what would be wrong is the timeline, or the counts."""
    found = reread(written([[Count(A, 5)], [Count(A, 6), Count(B, 2)]]))
    if wrong == "number":
        found.timeline.numbers[0] += 1
    elif wrong == "count":
        found.timeline.counts[0] ^= 1
    elif wrong == "interval":
        found.timeline.intervals[0] = 9
    else:
        found.timeline = found.timeline.only([index == 0 for index in range(len(found))])
    for use in (
        lambda: found + found,
        lambda: found.narrow(from_caller="a"),
        lambda: found.narrow(seconds=(0, 1)),
        lambda: list(renderer("json")(found, ReportOptions())),
        lambda: list(renderer("perfetto")(found, ReportOptions())),
        lambda: replay(found, bytearray().extend),
    ):
        with pytest.raises(kwalk.KwalkError, match="timeline"):
            use()


def test_narrow_leaves_out_an_interval_whose_middle_is_the_end() -> None:
    found = reread(written([[Count(A, 1)], [Count(A, 3)], [Count(A, 7)]]))
    assert found.narrow(seconds=(0, 1.5)).calls == 1
    assert found.narrow(seconds=(0.5, 1.5)).calls == 1
    assert found.narrow(seconds=(1.5, 2.5)).calls == 2


def test_alike_nothing_is_told_of_it() -> None:
    merged = profile(Count(A, 1)) + profile(Count(B, 1))
    assert merged.summary.notes == []
    assert (merged.summary.function, merged.summary.method) == ("ip_rcv", "manual")


@pytest.mark.parametrize("seconds", [(1, 1), (2, 1), (-1, 1), (1,), "12", (1, "2")])
def test_narrow_refuses_seconds_that_are_no_span(seconds: Any) -> None:
    with pytest.raises(UsageError, match="is not two times in seconds"):
        reread(written([[Count(A, 1)], [Count(A, 3)]])).narrow(seconds=seconds)


def test_merge_notes_different_kinds_of_groups() -> None:
    merged = profile(Count(A, 1, Group("cpu", 1, ""))) + profile(Count(A, 1))
    assert merged.summary.notes == ["merged: different kinds of groups: cpu, none"]


def test_trees_comparisons_and_budgets() -> None:
    one, two = profile(Count(A, 1)), profile(Count(A, 1))
    one.summary.tree, two.summary.tree = TreeUse(5, 10, 0), TreeUse(30, 30, 7)
    one.summary.verify = Verify(0, 64)
    two.summary.verify = Verify(10, 100, 9, 3, {"nested_nmi": 1}, [Difference(A, B)] * 9)
    one.summary.sampling = Sampling(0.02, 0.013, 40.0)
    merged = one + two
    assert merged.summary.tree == TreeUse(30, 30, 7)
    assert merged.summary.verify == Verify(10, 164, 9, 3, {"nested_nmi": 1}, [Difference(A, B)] * 8)
    assert merged.summary.sampling is None
    assert merged.summary.notes == [
        "budget of one part: 2 %; tracing cost about 1.3 %; 40 calls for each one recorded"
    ]
    assert kwalk.merge(one).summary == one.summary


@pytest.mark.parametrize("number", [1, 2])
def test_merge_shares_no_mutable_data_with_its_parts(number: int) -> None:
    given_profiles = [profile(Count(A, 5), ring_full=1) for _ in range(number)]
    for one in given_profiles:
        one.summary.verify = Verify(1, 9, 1, 0, {"nested_nmi": 1}, [Difference(A, B)])
        one.summary.ledger.uncounted.append("misses")
    before = deepcopy([(p.summary, p.facts) for p in given_profiles])
    merged = kwalk.merge(*given_profiles)
    found, verify = merged.summary, merged.summary.verify
    assert verify
    found.notes.append("a note")
    found.ledger.uncounted.append("more")
    found.ledger.lose("ring_full", 1)
    verify.kernel_wrong["nested_nmi"] += 1
    verify.differences.clear()
    merged.facts["cpus"] = 99
    assert repr([(p.summary, p.facts) for p in given_profiles]) == repr(before)


def test_merge_keeps_the_tree_use_that_is_the_fullest_by_share() -> None:
    small, large = profile(Count(A, 1)), profile(Count(A, 1))
    small.summary.tree, large.summary.tree = TreeUse(9, 10, 1), TreeUse(50, 1000, 2)
    assert kwalk.merge(small, large).summary.tree == TreeUse(9, 10, 3)
    assert kwalk.merge(large, small).summary.tree == TreeUse(9, 10, 3)


def test_merge_of_nothing_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="nothing to merge"):
        merge([])


def test_stacks_of_other_lines_stay_apart_when_they_are_cut() -> None:
    inner, outer = frame("f"), frame("h")
    paths = [
        (inner, frame("g")._replace(source=source, inlined=True), outer)
        for source in ("a:1", "a:2")
    ]
    counts = [Count(Stack((1, 2, 3), frames=path), 5) for path in paths]
    assert [count.count for count in profile(*counts).narrow(until="g")] == [5, 5]


def test_narrow_returns_a_profile() -> None:
    pairs = [(Group("comm", 0, name), number) for name, number in (("x", 2), ("y", 3))]
    one = profile(*(Count(stack("f", "a", "main"), number, group) for group, number in pairs))
    part = one.narrow(from_caller="^a$", until="a", group="[xy]", apart=False)
    assert [(count.count, len(count.stack.frames)) for count in part] == [(5, 2)]
    assert one.narrow(group="x").summary.ledger.not_wanted == {"other_groups": 3}
    assert (one.calls, one.summary.ledger.lost) == (5, {})
    for wrong in ({"group": "["}, {"apart": 1}, {"seconds": (3, 1)}, {"seconds": 5}, {"until": 1}):
        with pytest.raises(UsageError):
            one.narrow(**wrong)


@given(profiles(), st.sampled_from(["a", "b.cold", "nobody"]), st.booleans())
def test_narrow_by_caller_accounts_for_the_rest(found: Profile, name: str, apart: bool) -> None:
    part = found.narrow(from_caller=f"^{re.escape(name)}$", apart=apart)
    ledger, whole = part.summary.ledger, found.summary.ledger
    assert ledger.recorded + ledger.not_wanted.get("other_callers", 0) == whole.recorded
    assert ledger.balance == whole.balance
    assert sum(count.count for count in part) == ledger.recorded
    sums = [0] * len(part.counts)
    for _, index, number in part.timeline.rows():
        sums[index] += number
    assert sums == [count.count for count in part]
    assert all(name in [frame.name for frame in count.stack.frames[1:]] for count in part)


@given(profiles(), st.integers(1, 3))
def test_narrow_by_seconds_partitions_the_profile(found: Profile, cut: int) -> None:
    if cut >= found.seconds:
        with pytest.raises(UsageError, match="it ends after"):
            found.narrow(seconds=(cut, 99))
        return
    parts = [found.narrow(seconds=time) for time in ((0, cut), (cut, 99))]
    assert sum(part.summary.ledger.recorded for part in parts) == found.summary.ledger.recorded
    assert [part.seconds for part in parts] == [cut, found.seconds - cut]
    assert sum(part.calls for part in parts) == pytest.approx(found.calls)
    for part in parts:
        assert part.summary.ledger.balance == found.summary.ledger.balance
        assert part.summary.ledger.recorded == sum(part.timeline.totals())


def test_profiles_are_summed_and_shown_in_a_line() -> None:
    one = profile(Count(stack("f", "a"), 2), Count(stack("f", "b"), 3))
    assert sum([one, one]).calls == 10  # type: ignore[union-attr]
    assert repr(one) == "<Profile of ip_rcv: 5 calls, 2 stacks>"
    with pytest.raises(TypeError, match="unsupported operand"):
        one + 1  # type: ignore[operator]
