# SPDX-License-Identifier: MIT
"""Generated programs for hot stacks: counts stay exact, whatever changes around them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence

import pytest
from conftest import call
from machine import HERE
from verified import (
    cannot_generate,
    fexit_programs,
    graph_tracer,
    kretprobes,
    must_agree,
    must_have_taken,
    verified,
)

from kwalk.abi import Method, Output, Per
from kwalk.engine.capture import Capture
from kwalk.model.ledger import Summary
from kwalk.model.stack import Count
from kwalk.options.probe import ProbeOptions

FUNCTION = f"{HERE.syscall_prefix}sys_sched_get_priority_max"  # which nobody else calls
CALLS = 500
WARM_SECONDS = 0.4
READY_SECONDS = 60.0  # machines are shared and slow
by_attach = pytest.mark.parametrize("attach", ["fentry", "kprobe"])
EVENTS = 2000  # of each function


def calls(number: int = CALLS) -> int:
    for _ in range(number):
        os.sched_get_priority_max(os.SCHED_OTHER)
    return number


def traced(
    attach: str, around: Callable[[Capture], int] = lambda capture: 0, **options: object
) -> tuple[int, Sequence[Count], Summary]:
    """Call FUNCTION until programs are there, then more; return calls, counts and summary."""
    keywords = {"output": Output.COUNT, **options}
    with Capture(FUNCTION, ProbeOptions(Method.MANUAL, attach, **keywords)) as capture:  # type: ignore[arg-type]
        number = calls()
        begun = time.monotonic()
        taken, ready = 0, False
        while (passed := time.monotonic() - begun) < WARM_SECONDS or (
            passed < READY_SECONDS and not ready
        ):
            number += calls(20)
            hot = capture.summary().hot
            ready = not hot or bool(hot.why) or hot.taken >= taken + 20  # on this CPU, too
            taken = hot.taken if hot else 0
            capture.look()
            time.sleep(0.02)
        number += calls() + around(capture)
        capture.stop()
        counts, summary = capture.counts(), capture.summary()
        if summary.hot and cannot_generate(summary.hot.why):
            pytest.skip(summary.hot.why)
        return number, counts, summary


@by_attach
@pytest.mark.parametrize("per", [Per.NOTHING, Per.PID])
def test_each_call_is_counted_once(attach: str, per: Per) -> None:
    number, counts, summary = traced(attach, per=per)
    assert sum(count.count for count in counts) == number
    assert summary.ledger.recorded == number
    assert summary.ledger.balance == 0
    assert summary.hot
    assert summary.hot.programs >= 1
    assert summary.hot.taken >= CALLS


@by_attach
def test_without_fast_no_program_is_generated(attach: str) -> None:
    number, counts, summary = traced(attach, fast=False)
    assert summary.hot is None
    assert sum(count.count for count in counts) == number


@by_attach
def test_new_stacks_are_walked(attach: str) -> None:
    """From another process, after the program was made."""

    def elsewhere(capture: Capture) -> int:
        child = os.fork()
        if not child:
            calls(1)
            os._exit(0)
        os.waitpid(child, 0)
        return 1 + calls(10)

    number, counts, summary = traced(attach, elsewhere)
    assert sum(count.count for count in counts) == number
    assert summary.ledger.balance == 0


@pytest.mark.parametrize("tracer", ["kretprobe", "graph", "fexit"])
@by_attach
def test_other_tracers_that_come_later_change_no_stack(attach: str, tracer: str) -> None:
    """They replace return addresses, or change the trampoline that the program was made for."""
    tracers = {"kretprobe": kretprobes, "graph": graph_tracer, "fexit": fexit_programs}

    def later(capture: Capture) -> int:
        with tracers[tracer](FUNCTION):
            return calls()

    number, counts, summary = traced(attach, later)
    assert sum(count.count for count in counts) == number
    assert (summary.ledger.balance, summary.ledger.fallback) == (0, 0)
    stacks = {count.stack.addresses for count in counts if not count.stack.truncated}
    assert len(stacks) == len(counts)
    inner = {addresses[:2] for addresses in stacks}
    assert len(inner) == 1, "a caller that is not the dispatcher's, or a trampoline"


@by_attach
@pytest.mark.parametrize("function", ["vfs_write", "try_to_wake_up", "tcp_v4_rcv"])
def test_stacks_of_other_functions_are_the_kernels(attach: str, function: str, redis: None) -> None:
    summary, _, symbolizer = verified(function, attach, EVENTS, seconds=60, taken=EVENTS // 2)
    must_agree(summary, symbolizer)
    must_have_taken(summary, EVENTS // 2)


def test_json_has_what_generated_programs_did(redis: None) -> None:
    words = ("kwalk", "count", "ip_rcv", "--method=manual", "--format=json")
    for seconds in (3, 10, 40):  # machines are shared and slow
        code, out, err = call(*words, f"--duration={seconds}")
        assert code == 0, err
        fast = json.loads(out)["fast"]
        if cannot_generate(fast["why"]):
            pytest.skip(fast["why"])
        if fast["taken"]:
            break
    assert fast["programs"] >= 1
    assert fast["taken"] > 0
    assert fast["why"] == ""
    code, out, err = call(*words, "--duration=3", "--no-fast")
    assert code == 0, err
    assert "fast" not in json.loads(out)
