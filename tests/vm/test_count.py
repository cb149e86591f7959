# SPDX-License-Identifier: MIT
"""Stacks counted in the kernel: every call once, under its own stack."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from conftest import call, only_on, start
from machine import HERE
from sockets import traffic
from test_ledger import FUNCTION, NEVER_RUN, SETTLE_SECONDS, counted
from verified import names

import forked
from kwalk.abi import Method, Output, Per
from kwalk.engine.capture import Capture
from kwalk.model.ledger import Summary
from kwalk.model.stack import Count
from kwalk.options.probe import ProbeOptions
from kwalk.symbolize.symbolizer import Symbolizer
from waiting import wait_for


def counts_of_traffic(options: ProbeOptions) -> tuple[Sequence[Count], Summary, int]:
    """Return counts of ``FUNCTION`` under traffic, and its calls by an independent counter."""
    with counted(FUNCTION) as independent, Capture(FUNCTION, options) as capture:
        traffic()
        time.sleep(SETTLE_SECONDS)
        capture.stop()
        counts, summary = capture.counts(), capture.summary()
    return counts, summary, independent.calls(summary.ledger)


@pytest.mark.parametrize(
    ("method", "attach"),
    [
        (Method.MANUAL, "kprobe"),
        (Method.HELPER, "kprobe"),
        (None, "fentry"),
    ],
)
def test_every_call_is_counted(method: Method | None, attach: str) -> None:
    counts, summary, calls = counts_of_traffic(ProbeOptions(method, attach, output=Output.COUNT))
    ledger = summary.ledger
    assert summary.attach == attach
    assert ledger.balance == 0
    assert ledger.hits == calls
    assert sum(count.count for count in counts) == ledger.recorded
    assert set(ledger.lost) <= NEVER_RUN | ({"eexist"} if method == Method.HELPER else set())
    assert len({count.stack for count in counts}) == len(counts) > 50
    assert [c.count for c in counts] == sorted(c.count for c in counts)


def test_counts_are_those_of_the_events(redis: None) -> None:
    """Both outputs at once: the hot stacks of one are the hot stacks of the other."""
    events: Counter[tuple[int, ...]] = Counter()
    counting = ProbeOptions(Method.MANUAL, "kprobe", output=Output.COUNT)
    with (
        Capture("ip_rcv", counting) as one,
        Capture("ip_rcv", ProbeOptions(Method.MANUAL, "fentry")) as other,
    ):

        def read() -> bool:
            events.update(event.stack.addresses for event in other.read())
            return events.total() >= 5000

        wait_for(read, 60)
        other.stop()
        read()
        one.stop()
        counts = {count.stack.addresses: count.count for count in one.counts()}
    hot = [stack for stack, number in events.items() if number > 500]
    assert hot
    for stack in hot:  # the first one was attached longer, at both ends
        assert counts[stack] >= events[stack]
    assert not set(events) - set(counts)


def test_full_tree_loses_no_call() -> None:
    options = ProbeOptions(Method.MANUAL, output=Output.COUNT, nodes=64)
    counts, summary, calls = counts_of_traffic(options)
    ledger = summary.ledger
    assert ledger.balance == 0
    assert ledger.hits == calls
    assert set(ledger.lost) <= NEVER_RUN
    assert summary.tree
    assert summary.tree.used == summary.tree.size == 64
    assert summary.tree.full == ledger.truncated > 0
    whole, _, _ = counts_of_traffic(ProbeOptions(Method.MANUAL, output=Output.COUNT))
    stacks = {count.stack.addresses for count in whole}
    beginnings = {stack[:length] for stack in stacks for length in range(1, len(stack) + 1)}
    known = [count for count in counts if count.stack.addresses in beginnings]
    assert sum(c.count for c in known) > 0.9 * sum(c.count for c in counts)
    for count in counts:
        if not count.stack.truncated:
            assert count.stack.addresses[-1] in {stack[-1] for stack in stacks}


@only_on("debian-12")
def test_full_tree_is_told_and_strict_accepts_it() -> None:
    process = start("kwalk", "count", FUNCTION, "--nodes", "8", "--strict")
    assert process.stderr is not None
    process.stderr.readline()
    traffic()
    assert "the tree is full (8 nodes)" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert "the tree is full" not in err
    assert "... (truncated)" in out
    assert "tree: full, 8 of 8 nodes used" in err
    assert "a larger --nodes helps" in err
    lost = "+ 0 lost" not in err
    assert process.returncode == int(lost), "truncated is not lost"


def test_depth_cuts_and_says_so() -> None:
    options = ProbeOptions(Method.MANUAL, depth=4, output=Output.COUNT)
    counts, summary, calls = counts_of_traffic(options)
    assert summary.ledger.hits == calls
    deep = [count for count in counts if count.stack.truncated]
    assert {len(count.stack.addresses) for count in deep} == {4}
    assert sum(count.count for count in deep) == summary.ledger.truncated > 0
    assert summary.tree
    assert not summary.tree.full


def test_processes_are_told_apart() -> None:
    def reads(number: int) -> int:
        def read() -> None:
            with open("/dev/zero", "rb", buffering=0) as file:
                for _ in range(number):
                    file.read(1)

        child = forked.fork(read)
        os.waitpid(child, 0)
        return child

    options = ProbeOptions(Method.MANUAL, output=Output.COUNT, per=Per.PID)
    helper = ProbeOptions(Method.HELPER, output=Output.COUNT, per=Per.PID)
    for chosen in (options, helper):
        with Capture("vfs_read", chosen) as capture:
            one, two = reads(300), reads(700)
            capture.stop()
            counts, ledger = capture.counts(), capture.summary().ledger
        assert ledger.balance == 0
        sums: Counter[int | None] = Counter()
        names = {}
        for count in counts:
            assert count.group
            sums[count.group.number] += count.count
            names[count.group.number] = count.group.name
        never_run = sum(ledger.lost.values())
        assert 300 - never_run <= sums[one] <= 330
        assert 700 - never_run <= sums[two] <= 730
        assert names[one] == names[two] == Path("/proc/self/comm").read_text().strip()


@only_on("debian-12")
@pytest.mark.parametrize("method", ["manual", "helper"])
def test_json_closes_and_has_the_hottest_last(method: str, redis: None) -> None:
    code, out, err = call(
        "kwalk", "count", "ip_rcv", "--method", method, "--duration", "3", "--format", "json"
    )
    assert code == 0, err
    (data,) = [json.loads(line) for line in out.splitlines()]
    assert data["schema"] == "kwalk.count/2"
    assert data["method"] == method
    numbers = [stack["count"] for stack in data["stacks"]]
    assert numbers == sorted(numbers)
    ledger = data["ledger"]
    assert sum(numbers) == ledger["recorded"] > 100
    without = [*ledger["lost"].values(), *ledger["not_wanted"].values()]
    assert ledger["hits"] == ledger["recorded"] + sum(without)
    hottest = [frame["name"] for frame in data["stacks"][-1]["frames"]]
    assert hottest[0] == "ip_rcv"
    assert "net_rx_action" in hottest


@only_on("debian-12")
def test_function_without_a_command_is_counted_until_ctrl_c(redis: None) -> None:
    process = start("kwalk", "ip_rcv", "--top", "1")
    assert process.stderr is not None
    assert "tracing ip_rcv" in process.stderr.readline()
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    blocks = out.strip().split("\n\n")
    assert len(blocks) == 2, "a stack, and a line about the others"
    assert "more stack" in blocks[0]
    assert all(block.startswith("    ip_rcv+0x0\n") for block in blocks[1:])
    assert "calls" in err
    assert "0 lost" in err or "recursion" in err


@only_on("debian-12")
def test_folded_is_root_first_with_the_count_behind(redis: None) -> None:
    code, out, err = call("kwalk", "count", "ip_rcv", "--duration", "3", "--format", "folded")
    assert code == 0, err
    total = 0
    for line in out.splitlines():
        frames, _, number = line.rpartition(" ")
        total += int(number)
        assert frames.endswith(";ip_rcv")
    assert f"= {total:,} stacks" in err


@only_on("debian-12")
def test_intervals_add_up_to_the_whole(redis: None) -> None:
    code, out, err = call(
        "kwalk", "count", "ip_rcv", "--duration", "4", "--interval", "0.5", "--format", "json"
    )
    assert code == 0, err
    *intervals, whole = [json.loads(line) for line in out.splitlines()]
    assert 2 <= len(intervals) <= 8

    def by_stack(stacks: list[dict[str, object]]) -> Counter[str]:
        sums: Counter[str] = Counter()
        for stack in stacks:
            sums[json.dumps(stack["frames"])] += int(str(stack["count"]))
        return sums

    parts = sum((by_stack(interval["stacks"]) for interval in intervals), Counter())
    total = by_stack(whole["stacks"])
    assert parts.total() > 0
    assert not parts - total, "no interval has what the whole has not"


@only_on("debian-12")
def test_helper_cannot_be_read_while_it_counts() -> None:
    code, _, err = call("kwalk", "count", "ip_rcv", "--method", "helper", "--interval", "1")
    assert code == 2
    assert "cannot be read while it counts" in err
    assert "Traceback" not in err


def test_verified_while_counting(redis: None) -> None:
    code, out, err = call(
        "kwalk", "count", "ip_rcv", "--duration", "4", "--verify", "--format", "json"
    )
    assert code == 0, err
    data = json.loads(out)
    assert data["verify"]["checked"] == data["ledger"]["recorded"] > 100
    assert data["verify"]["mismatches"] == 0


def test_budget_is_kept_by_skipping_calls(redis: None) -> None:
    code, out, err = call(
        "kwalk", "count", "ip_rcv", "--method", "manual", "--budget", "50%", "--duration", "4",
        "--format", "json",
    )  # fmt: skip
    assert code == 0, err
    found = json.loads(out)
    ledger, sampling = found["ledger"], found["sampling"]
    out_ = ledger["not_wanted"]["sampled_out"]
    assert out_ > 0  # sampling begins with one call in a hundred
    assert ledger["recorded"] == sum(stack["count"] for stack in found["stacks"]) > 0
    without = [*ledger["lost"].values(), *ledger["not_wanted"].values()]
    assert ledger["hits"] == ledger["recorded"] + sum(without)
    assert sampling["scale"] == pytest.approx(ledger["hits"] / ledger["recorded"], rel=0.01)
    assert sum(stack["scaled"] for stack in found["stacks"]) == pytest.approx(
        ledger["hits"], rel=0.02
    )
    assert "budget 50 %" in err
    assert "sampled_out" in err


def test_sampling_takes_one_in_ten_at_random(redis: None) -> None:
    options = ProbeOptions(Method.MANUAL, output=Output.COUNT, chance=0.1)
    with Capture("ip_rcv", options) as capture:
        assert wait_for(lambda: capture.seen()[0] > 5000, 60)
        capture.stop()
        counts, ledger = capture.counts(), capture.summary().ledger
    taken = sum(count.count for count in counts)
    assert taken == ledger.recorded
    assert ledger.balance == 0
    spread = 5 * (ledger.hits * 0.1 * 0.9) ** 0.5
    assert abs(taken - 0.1 * ledger.hits) < spread


@pytest.mark.parametrize("method", [Method.MANUAL, Method.HELPER])
def test_calls_stand_for_as_many_as_were_left_alone_at_their_time(method: Method) -> None:
    options = ProbeOptions(method, "kprobe", output=Output.COUNT, chance=1.0)
    few, many = 2000, 50_000
    with open("/dev/zero", "rb", buffering=0) as zero, Capture("vfs_read", options) as capture:
        for _ in range(few):
            zero.read(1)
        capture.sample(0.02)
        for _ in range(many):
            os.pread(zero.fileno(), 1, 0)
        capture.stop()
        counts = capture.counts()
        symbolizer = Symbolizer(capture.symbols)
    # The helper misses the direct caller on frame-pointer kernels: ksys_read(), or pread()'s own.
    by_read = {"ksys_read", f"{HERE.syscall_prefix}sys_read"}
    calls = {True: 0.0, False: 0.0}
    for count in counts:
        calls[bool(by_read & set(names(count.stack, symbolizer)))] += count.calls
    spread = 5 * (many * 0.98 / 0.02) ** 0.5
    others = 500  # do so, too, now and then
    assert abs(calls[False] - many) < spread + others
    # The exact total is shared out in proportion to the sampled calls.
    assert few * (1 - spread / many) < calls[True] < few * (1 + spread / many) + others
