# SPDX-License-Identifier: MIT
"""Two recordings compared: nothing is lost, nothing is found where nothing changed."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import profile, profiles, reread, stack, written

from kwalk.api.profile import Profile
from kwalk.errors import UsageError
from kwalk.model.stack import Count, Group, Stack
from kwalk.report.calltree import build
from kwalk.report.diff.change import By, Change, Diff, DiffNode
from kwalk.report.diff.compare import UNKNOWN, compare

WAYS = st.sampled_from(list(By))


def nodes(top: DiffNode) -> list[DiffNode]:
    found = [top]
    for node in found:
        found += node.children.values()
    return found


def by_names(diff: Diff) -> dict[tuple[tuple[str, ...], str], Change]:
    return {(change.names, change.group): change for change in diff.stacks}


@given(profiles(), profiles(), WAYS, st.booleans())
def test_stacks_and_tree_have_all_calls_of_both(
    before: Profile, after: Profile, by: By, callers: bool
) -> None:
    diff = compare(before, after, by)
    for side, found in ((0, before), (1, after)):
        tallies = [change.tallies[side] for change in diff.stacks]
        assert sum(tally.count for tally in tallies) == sum(count.count for count in found)
        assert sum(tally.calls for tally in tallies) == pytest.approx(found.calls)
    top = diff.tree(callers)
    wholes = {
        By.RATE: [found.calls / found.seconds for found in (before, after)],
        By.SHARE: [100 if found.calls else 0 for found in (before, after)],
        By.COUNT: [found.calls for found in (before, after)],
    }[by]
    assert [top.before, top.total] == pytest.approx(wholes)
    assert top.stacks == len(diff.stacks)
    for node in nodes(top):
        children = list(node.children.values())
        assert node.before == pytest.approx(node.own_before + sum(c.before for c in children))
        assert node.total == pytest.approx(node.own + sum(c.total for c in children))
        assert node.stacks >= sum(child.stacks for child in children)


@given(profiles(), WAYS)
def test_recording_compared_with_itself_has_no_change(found: Profile, by: By) -> None:
    diff = compare(found, found, by)
    for change in [*diff.stacks, *diff.functions, diff.total]:
        assert change.change == 0
        assert change.surprise == 0
        assert not change.certain
        assert change.kind == "same" or not change.tallies[0].calls
    assert all(node.moved == node.changed == 0 for node in nodes(diff.tree()))


@given(profiles(), profiles(), WAYS)
def test_compare_is_antisymmetric(one: Profile, other: Profile, by: By) -> None:
    there, back = compare(one, other, by), compare(other, one, by)
    assert by_names(there).keys() == by_names(back).keys()
    opposite = {"new": "gone", "gone": "new", "more": "less", "less": "more", "same": "same"}
    for key, change in by_names(there).items():
        mirrored = by_names(back)[key]
        assert (change.before, change.after) == (mirrored.after, mirrored.before)
        assert change.tallies == mirrored.tallies[::-1]
        assert change.surprise == pytest.approx(mirrored.surprise, rel=1e-3, abs=1e-3)
        if change.before or change.after:
            assert mirrored.kind == opposite[change.kind]


@given(profiles())
def test_merged_tree_of_one_recording_is_its_call_tree(found: Profile) -> None:
    """Where groups are compared as they are and each function has a symbol."""
    counts = [
        count for count in found if not count.group and all(f.name for f in count.stack.frames)
    ]
    only = replace(found, counts=counts)
    tree, merged = build(counts), compare(only, only, By.COUNT).tree()

    def same(node: object, other: DiffNode) -> None:
        assert (node.total, node.own) == pytest.approx((other.total, other.own))  # type: ignore[attr-defined]
        children = node.children  # type: ignore[attr-defined]
        assert children.keys() == other.children.keys()
        for name, child in children.items():
            same(child, other.children[name])

    same(tree, merged)


def timed(*ticks: list[Count]) -> Profile:
    return reread(written(list(ticks)))


def test_rates_are_compared_where_both_know_their_seconds() -> None:
    found = [Count(stack("ip_rcv", "a"), 1000)]
    twice = [replace(found[0], count=2000)]
    diff = compare(timed(found), timed(found, twice))
    assert (diff.by, diff.unit) == (By.RATE, "calls/s")
    assert (diff.total.before, diff.total.after, diff.total.kind) == (1000, 1000, "same")
    assert compare(profile(*found), timed(found)).by == By.SHARE
    with pytest.raises(UsageError, match="has no duration, so it has no rate"):
        compare(profile(*found), timed(found), By.RATE)


def test_addresses_do_not_matter_and_offsets_neither() -> None:
    there = stack("ip_rcv", "a@overlay", "b")
    moved = tuple(
        frame._replace(offset=0x99, address=frame.address + 0x1000) for frame in there.frames
    )
    here = Stack(tuple(frame.address for frame in moved), frames=moved)
    diff = compare(profile(Count(there, 7)), profile(Count(here, 7)))
    assert [change.names for change in diff.stacks] == [("b", "a [overlay]", "ip_rcv")]
    other = compare(profile(Count(there, 7)), profile(Count(stack("ip_rcv", "a", "b"), 7)))
    assert len(other.stacks) == 2  # another module's function of that name


def test_functions_without_a_symbol_are_one_unknown() -> None:
    def unknown(address: int) -> Count:
        frames = (*stack("ip_rcv").frames, stack("x").frames[0]._replace(name="", address=address))
        return Count(Stack((1, address), frames=frames), 5)

    diff = compare(profile(unknown(1)), profile(unknown(2), unknown(3)), By.COUNT)
    assert [change.names for change in diff.stacks] == [(UNKNOWN, "ip_rcv")]
    assert diff.stacks[0].tallies[1].count == 10


def test_tree_has_the_net_change_of_stacks_beyond_chance_only() -> None:
    steady, rising, falling = (stack("ip_rcv", name, "main") for name in ("a", "b", "c"))
    before = profile(Count(steady, 1000), Count(rising, 1000), Count(falling, 1000))
    after = profile(Count(steady, 1010), Count(rising, 3000), Count(falling, 500))
    (main,) = compare(before, after, By.COUNT).tree().children.values()
    assert (main.before, main.total) == (3000, 4510)
    assert (main.net, main.moved, main.changed) == (1500, 2500, 2)
    found = {name: (node.net, node.moved) for name, node in main.children.items()}
    assert found == {"a": (0, 0), "b": (2000, 2000), "c": (-500, 500)}


def test_groups_are_matched_by_name_where_both_have_the_same_kind() -> None:
    found = stack("ip_rcv", "a")
    before = profile(Count(found, 5, Group("pid", 7, "redis")))
    after = profile(
        Count(found, 5, Group("pid", 9, "redis")), Count(found, 1, Group("pid", 8, "x"))
    )
    diff = compare(before, after, By.COUNT)
    assert {change.group: change.kind for change in diff.stacks} == {"redis": "same", "x": "new"}
    assert list(diff.tree().children) == ["redis", "x"]
    diff = compare(before, profile(Count(found, 6)), By.COUNT)
    assert not diff.grouped
    assert [(change.group, change.before, change.after) for change in diff.stacks] == [("", 5, 6)]


def test_truncated_stack_is_a_stack_of_its_own() -> None:
    whole, cut = stack("ip_rcv", "a"), stack("ip_rcv", "a", truncated=True)
    diff = compare(profile(Count(whole, 5)), profile(Count(cut, 5)), By.COUNT)
    assert [(change.names[0], change.kind) for change in diff.stacks] == [
        ("[truncated]", "new"),
        ("a", "gone"),
    ]


def test_functions_of_the_same_stacks_are_one_change() -> None:
    before = profile(
        Count(stack("ip_rcv", "a", "b", "main"), 10), Count(stack("ip_rcv", "main"), 10)
    )
    after = profile(Count(stack("ip_rcv", "main"), 10), Count(stack("ip_rcv", "c", "main"), 10))
    functions = {
        change.names: (change.before, change.after)
        for change in compare(before, after, By.COUNT).functions
    }
    assert functions == {
        ("main", "ip_rcv"): (20, 20),
        ("b", "a"): (10, 0),  # as many as c had after: yet other stacks
        ("c",): (0, 10),
    }


def test_recursive_function_counts_once_per_stack() -> None:
    found = profile(Count(stack("ip_rcv", "a", "b", "a"), 10))
    functions = compare(found, found, By.COUNT).functions
    assert {change.names: change.before for change in functions} == {("a", "b", "ip_rcv"): 10}


def test_shares_are_unchanged_by_a_busier_load() -> None:
    rows = [Count(stack("ip_rcv", f"f{index}"), 1000) for index in range(5)]
    before, after = profile(*rows), profile(*(replace(row, count=3000) for row in rows))
    assert not any(change.certain for change in compare(before, after, By.SHARE).stacks)
    assert all(change.certain for change in compare(before, after, By.COUNT).stacks)


def test_shares_are_compared_as_shares_are() -> None:
    """By the test of two proportions: what one stack gains others lose."""
    found, rest = stack("ip_rcv", "a"), stack("ip_rcv", "b")
    diff = compare(
        profile(Count(found, 6000), Count(rest, 4000)),
        profile(Count(found, 5800), Count(rest, 4200)),
        By.SHARE,
    )
    known = 0.02 / math.sqrt(0.59 * 0.41 * 2 / 10_000)
    assert [change.surprise for change in diff.stacks] == pytest.approx([known, known], rel=0.02)


def test_unsteady_load_raises_the_threshold() -> None:
    found = stack("ip_rcv", "a")

    def load(*seconds: int) -> Profile:
        sums = [sum(seconds[:end]) for end in range(1, len(seconds) + 1)]
        return timed(*([Count(found, number)] for number in sums))

    steady = compare(load(1000, 1000, 1000, 1000), load(1200, 1200, 1200, 1200))
    rough = compare(load(500, 1500, 600, 1400), load(1800, 700, 600, 1700))
    assert steady.total.before == rough.total.before
    assert steady.total.after == rough.total.after
    assert steady.total.certain
    assert not rough.total.certain


def test_sampled_calls_are_compared_as_calls_but_are_less_certain() -> None:
    found = stack("ip_rcv", "a")
    sampled = profile(Count(found, 10, scaled=1000.0))
    assert compare(sampled, profile(Count(found, 1000)), By.COUNT).total.change == 0
    assert not compare(sampled, profile(Count(found, 1300)), By.COUNT).total.certain
    assert compare(profile(Count(found, 1000)), profile(Count(found, 1300)), By.COUNT).total.certain


def test_empty_recording_is_compared() -> None:
    full, empty = profile(Count(stack("ip_rcv"), 9)), profile(recursion=1)
    for by in (By.SHARE, By.COUNT, None):
        assert compare(empty, empty, by).stacks == []
        assert compare(empty, empty, by).total.kind == "same"
        assert [change.kind for change in compare(full, empty, by).stacks] == ["gone"]
        assert [change.kind for change in compare(empty, full, by).stacks] == ["new"]
