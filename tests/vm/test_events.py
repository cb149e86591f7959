# SPDX-License-Identifier: MIT
"""Tracepoints and samples: walks that agree with the kernel's own, frame by frame."""

from __future__ import annotations

import ctypes
import json
import os

import pytest
from conftest import call, only_on
from machine import HERE
from verified import must_agree, names, verified
from workloads.bpf import busy_filter

from kwalk.abi import Method, Output
from kwalk.engine.capture import Capture
from kwalk.options.filters import Filters
from kwalk.options.probe import ProbeOptions
from kwalk.transport.counters import online_cpus

pytestmark = only_on("debian-sid", "debian-sid-arm64")
SWITCH = "t:sched:sched_switch"
_LIBC = ctypes.CDLL(None)
_GETPPID = HERE.getppid  # a system call whose result libc does not cache


def test_every_stack_of_a_tracepoint_is_the_kernels(redis: None) -> None:
    summary, stacks, symbolizer = verified([SWITCH], "auto", 2000)
    must_agree(summary, symbolizer)
    assert summary.attach == "raw_tp"
    for stack in stacks:
        assert names(stack, symbolizer)[0] in ("__schedule", "__sched_text_start"), stack


def test_every_sample_is_the_kernels(redis: None) -> None:
    summary, stacks, symbolizer = verified([], "auto", 1000, frequency=499)
    must_agree(summary, symbolizer)
    assert summary.unit == "samples"
    found = {name for stack in stacks for name in names(stack, symbolizer)}
    assert {HERE.syscall, "tcp_sendmsg", "do_idle"} & found
    # An interrupted instruction, not one after a call.
    assert any(symbolizer.frames(stack)[0].offset for stack in stacks)


def test_sample_in_unlisted_code_has_its_callers() -> None:
    with busy_filter() as burst:
        summary, stacks, symbolizer = verified([], "auto", 2000, burst, frequency=4999)
    # In the filter's first instructions BP is still its caller's.
    must_agree(summary, symbolizer, 0.01)
    assert not any(names(stack, symbolizer)[0] for stack in stacks if stack.fallback)
    nameless = [
        found
        for stack in stacks
        if not (found := names(stack, symbolizer))[0] and not stack.fallback
    ]
    assert nameless
    for found in nameless:
        assert found[1].startswith("sk_filter_trim_cap"), found


@pytest.mark.parametrize("method", [Method.MANUAL, Method.HELPER])
def test_syscall_tracepoint_is_hit_once_per_call(method: Method) -> None:
    options = ProbeOptions(method, output=Output.COUNT, filters=Filters(pids=(os.getpid(),)))
    with Capture("t:syscalls:sys_enter_getppid", options) as capture:
        for _ in range(500):
            _LIBC.syscall(_GETPPID)
        capture.stop()
        counts, summary, symbolizer = capture.counts(), capture.summary(), capture.symbolizer
    assert summary.ledger.balance == 0
    assert summary.attach == "tracepoint"
    lost = sum(summary.ledger.lost.values())
    assert set(summary.ledger.lost) <= {"recursion", "kprobe_missed"}
    assert sum(count.count for count in counts) == 500 - lost
    for count in counts:
        assert HERE.syscall in names(count.stack, symbolizer)
        assert not any("bpf" in name for name in names(count.stack, symbolizer))


@pytest.mark.parametrize("method", ["manual", "helper"])
def test_samples_come_as_often_as_asked_for(method: str, redis: None) -> None:
    code, out, err = call(
        *("kwalk", "count", "--freq", "99", "--duration", "4", "--method", method),
        *("--format", "json"),
    )
    assert code == 0, err
    data = json.loads(out)
    assert sum(stack["count"] for stack in data["stacks"]) == data["ledger"]["recorded"] > 50
    ledger = data["ledger"]
    without = sum({**ledger["lost"], **ledger["not_wanted"]}.values())
    assert ledger["hits"] == ledger["recorded"] + without
    # Timers of a busy emulated CPU are late, never early.
    assert 100 < data["ledger"]["hits"] <= 99 * 8 * len(online_cpus())
    assert data["ledger"]["not_wanted"]["user_mode"] > 0
    assert "samples = " in err


@pytest.mark.parametrize("method", ["manual", "helper"])
def test_tracepoint_shows_no_frame_of_its_tracers(method: str, redis: None) -> None:
    code, out, err = call(
        *("kwalk", "stream", SWITCH, "--count", "50", "--method", method, "--format", "json")
    )
    assert code == 0, err
    for event in map(json.loads, out.splitlines()[:-1]):
        found = [frame["name"] for frame in event["frames"]]
        assert found[0] in ("__schedule", "__sched_text_start")
        # Tasks may be in a bpf() call themselves; frames that called the program may not show.
        tracers = ("bpf_trace_run", "__bpf_trace_", "__traceiter_", "bpf_prog_", "kw_")
        assert not any(name.startswith(tracers) for name in found), found


def test_unknown_tracepoint_is_refused() -> None:
    code, _, err = call("kwalk", "count", "t:sched:sched_swich")
    assert code == 2
    assert "this kernel has no tracepoint sched:sched_swich" in err
    assert "Did you mean t:sched:sched_switch" in err
    code, _, err = call("kwalk", "count", SWITCH, "vfs_read")
    assert code == 2
    assert "cannot be traced together" in err
    code, _, err = call("kwalk", "count", SWITCH, "--attach", "kprobe")
    assert code == 2
    assert "is not a function: kprobe cannot attach to it" in err
    code, _, err = call("kwalk", "count", "--duration", "1")
    assert code == 2
    assert "there is nothing to trace" in err
