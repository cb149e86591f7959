# SPDX-License-Identifier: MIT
"""Probes at a function's return and inside it: the stack goes on with the function's caller."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from itertools import pairwise

import pytest
from conftest import KERNEL, call, ftrace_probe
from machine import HERE
from verified import must_agree, names, verified

EVENTS = 1000
CALLER = "__netif_receive_skb_one_core"
# Kernels with CONFIG_DYNAMIC_FTRACE_WITH_JMP (Linux 7.0): FUNC jumps to its trampoline.
JUMPING = ("ubuntu-26.04",)


@pytest.mark.parametrize("attach", ["kprobe", "fentry"])
def test_stacks_at_the_return(
    attach: str, redis: None, lacks_caller: Callable[[str], bool]
) -> None:
    summary, stacks, symbolizer = verified("r:ip_rcv", attach, EVENTS)
    must_agree(summary, symbolizer)
    assert summary.verify
    assert summary.function == "r:ip_rcv"
    assert summary.attach == {"kprobe": "kretprobe", "fentry": "fexit"}[attach]
    assert summary.verify.checked >= EVENTS
    # A kretprobe's registers are the caller's; a trampoline stands in front of the prologue.
    unseen = attach == "fentry" and lacks_caller(attach) and KERNEL not in JUMPING
    assert summary.verify.missing_caller == (summary.verify.checked if unseen else 0)
    for stack in stacks:
        assert names(stack, symbolizer)[:2] == ["ip_rcv", CALLER]


@pytest.mark.fentry
def test_stacks_at_the_return_to_a_caller_that_calls_through_bp() -> None:
    """By ORC the caller's BP is any register: FUNC's own address may be in it."""

    def sleep() -> None:
        for _ in range(50):
            time.sleep(1e-4)

    summary, stacks, symbolizer = verified("r:hrtimer_wakeup", "fentry", EVENTS // 2, sleep)
    must_agree(summary, symbolizer)
    for stack in stacks:
        assert names(stack, symbolizer)[:2] == ["hrtimer_wakeup", "__hrtimer_run_queues"]


def instructions(function: str, number: int) -> list[int]:
    """Return offsets of the first instructions that take a kprobe, the very first excluded."""
    found: list[int] = []
    offset = 4
    while len(found) < number:
        offset += HERE.step
        try:
            with ftrace_probe(f"p:kwtest/place {function}+{offset:#x}"):
                found.append(offset)
        except OSError as error:
            if error.errno != HERE.no_place:
                raise
    return found


def test_inside(redis: None, frame_pointers: bool) -> None:
    """Through the prologue: at each of its instructions the stack looks different."""
    wrong = missing = 0
    *offsets, behind = instructions("ip_rcv", 5)
    for offset in offsets:
        summary, stacks, symbolizer = verified(f"ip_rcv+{offset:#x}", "auto", EVENTS // 4)
        must_agree(summary, symbolizer)
        assert summary.verify
        assert summary.attach == "kprobe"
        assert summary.function == f"ip_rcv+{offset:#x}"
        assert set(summary.verify.kernel_wrong) <= {"int3_start"}
        wrong += sum(summary.verify.kernel_wrong.values())
        missing += summary.verify.missing_caller
        for stack in stacks:
            assert names(stack, symbolizer)[:2] == ["ip_rcv", CALLER]
            assert symbolizer.frames(stack)[0].offset == offset
    # After a one-byte push ORC has another rule; frame pointers lack the caller until the prologue
    # has run.
    pushes = any(b - a == 1 for a, b in pairwise([*offsets, behind]))
    assert (wrong > 0) == (pushes and not frame_pointers)
    assert (missing > 0) == frame_pointers


@pytest.mark.parametrize("place", ["r:ip_rcv", "inside"])
def test_helper_has_the_caller_too(place: str, redis: None) -> None:
    # After the prologue, where frame pointers show the caller.
    where = f"ip_rcv+{instructions('ip_rcv', 8)[-1]:#x}" if place == "inside" else place
    code, out, err = call(
        "kwalk", "stream", where, "--method", "helper", "--count", "200", "--format", "json"
    )
    assert code == 0, err
    *events, summary = [json.loads(line) for line in out.splitlines()]
    assert summary["function"] == where
    assert len(events) == 200
    for event in events:
        assert [frame["name"] for frame in event["frames"][:2]] == ["ip_rcv", CALLER]


def test_offset_inside_an_instruction() -> None:
    code, _, err = call("kwalk", "stream", "ip_rcv+0x1")
    assert code == 2
    assert "cannot attach a kprobe to ip_rcv+0x1: " in err
    assert "no instruction begins there" in err
    assert "Traceback" not in err


def test_fentry_has_no_inside() -> None:
    code, _, err = call("kwalk", "stream", "ip_rcv+0x5", "--attach", "fentry")
    assert code == 2
    assert "Attach by kprobe" in err
