# SPDX-License-Identifier: MIT
"""``--verify``: every stack compared with the kernel's, and the reaction to a difference."""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import call
from machine import HERE
from verified import must_agree, must_have_taken, names, verified

from kwalk.abi import Method
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.options.probe import ProbeOptions
from kwalk.probe import load
from kwalk.probe.attach import WAYS
from kwalk.probe.attach_multi import MULTI, lacks_multi
from kwalk.probe.config import FACTS_PROGRAM, SELF_CHECK_EVENTS
from kwalk.probe.config import config as config_of
from kwalk.probe.open import open_probe
from kwalk.probe.selection import Selection
from kwalk.probe.target import find
from kwalk.transport.counters import verified_insns
from waiting import wait_for

# Fewer on kernels whose kind is tested in full on another one.
EVENTS = int(os.environ.get("KWALK_TEST_EVENTS", "20000"))
INNER = ["ip_rcv", "__netif_receive_skb_one_core"]
OUTER = ["process_backlog", "__napi_poll", "net_rx_action"]
# The verifier's limit is a million; kernels differ in how well they prune.
CEILING = 150_000


@pytest.mark.parametrize("attach", ["kprobe", "fentry", *HERE.more_ways])
def test_every_stack_of_ip_rcv_is_the_kernels(
    attach: str, redis: None, symbols: Kallsyms, lacks_caller: Callable[[str], bool]
) -> None:
    if attach in MULTI and (why := lacks_multi(attach, symbols)):
        pytest.skip(why)
    summary, stacks, symbolizer = verified("ip_rcv", attach, EVENTS, seconds=240, taken=EVENTS)
    must_agree(summary, symbolizer)
    if attach not in MULTI:
        must_have_taken(summary, EVENTS)
    assert summary.verify
    assert summary.attach == attach
    assert summary.verify.checked == summary.ledger.recorded >= EVENTS
    assert summary.verify.missing_caller == (summary.verify.checked if lacks_caller(attach) else 0)
    assert summary.verify.kernel_wrong == {}
    for stack in stacks:
        found = names(stack, symbolizer)
        assert found[:2] == INNER
        places = [found.index(name) for name in OUTER]
        assert places == sorted(places)


@pytest.mark.parametrize("attach", ["kprobe", "fentry"])
def test_stacks_through_a_function_that_aligns_its_stack(attach: str) -> None:
    """udp_sendmsg(), on kernels with ORC: its CFA is where a word points that it finds by BP."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.connect(sock.getsockname())

        def burst() -> None:
            for _ in range(100):
                sock.send(b"x")
                sock.recv(1)

        summary, stacks, symbolizer = verified("udp_rcv", attach, 1000, burst)
    must_agree(summary, symbolizer)
    assert any("udp_sendmsg" in names(stack, symbolizer) for stack in stacks)


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Break the walk.

    It takes every address for data, so each stack ends at the function; or, where it follows frame
    records through anything, it is off by one byte everywhere.
    """
    right = config_of

    def config(*args: object, **keywords: object) -> dict[str, int]:
        made: dict[str, int] = right(*args, **keywords)  # type: ignore[arg-type]
        return made | HERE.broken(made)

    monkeypatch.setattr(load, "config_of", config)


def test_differences_are_counted_and_shown(redis: None, broken: None, frame_pointers: bool) -> None:
    code, out, err = call(
        "kwalk", "stream", "ip_rcv", "--method", "manual", "--verify", "--count", "50",
        "--format", "json",
    )  # fmt: skip
    assert code == 1
    *_, summary = [json.loads(line) for line in out.splitlines()]
    verify = summary["verify"]
    assert verify["checked"] == verify["mismatches"] >= 50
    assert 0 < len(verify["differences"]) <= 8
    for difference in verify["differences"]:
        if HERE.checks_code:
            # With frame pointers the caller's address is read at the start.
            assert len(difference["walked"]) == 1 + frame_pointers
        assert len(difference["kernel"]) > 5
        assert difference["kernel"][0] == difference["walked"][0]
    assert "differ" in err
    assert "difference 1: the walk on the left, the kernel on the right" in err
    rows = err[err.index("difference 1:") :].splitlines()
    assert any("|  net_rx_action+" in row for row in rows)


def test_auto_lets_the_kernel_unwind_once_a_stack_differs(redis: None, broken: None) -> None:
    code, out, err = call("kwalk", "stream", "ip_rcv", "--count", "300", "--format", "json")
    *events, summary = [json.loads(line) for line in out.splitlines()]
    assert len(events) == 300
    assert all(event["fallback"] and len(event["frames"]) > 5 for event in events)
    assert summary["ledger"]["fallback"] == summary["ledger"]["recorded"]
    assert any("self-check failed" in note for note in summary["notes"])
    assert "self-check failed" in err
    assert 0 < summary["verify"]["mismatches"] <= summary["verify"]["checked"] <= 2 * 64
    assert code == 0


def test_self_check_that_holds_is_quiet(redis: None) -> None:
    code, out, err = call("kwalk", "stream", "ip_rcv", "--count", "300", "--format", "json")
    assert code == 0, err
    *_, summary = [json.loads(line) for line in out.splitlines()]
    assert summary["method"] == "manual"
    assert 30 <= summary["verify"]["checked"] <= 2 * SELF_CHECK_EVENTS
    assert summary["verify"]["mismatches"] == 0
    assert summary["ledger"]["fallback"] == 0
    assert "self-check" not in err
    assert "verify" not in err


@pytest.mark.fentry
def test_verify_one_in_n_is_a_random_choice(redis: None) -> None:
    summary, stacks, _ = verified("ip_rcv", "fentry", 2000, every=10)
    number = stacks.total()
    assert summary.verify
    assert summary.verify.every == 10
    assert number >= 2000
    # Binomial with p = 1/10: within six standard deviations.
    spread = 6 * (number * 0.09) ** 0.5
    assert abs(summary.verify.checked - number / 10) < spread
    assert summary.verify.mismatches == 0


@pytest.fixture
def short() -> Iterator[int]:
    """Limit the kernel's unwinder to 8 frames for BPF programs."""
    limit = Path("/proc/sys/kernel/perf_event_max_stack")
    before = limit.read_text()

    def write(text: str) -> bool:
        try:
            limit.write_text(text)
        except OSError as error:  # busy while a program that unwinds is still on its way out
            if error.errno != errno.EBUSY:
                raise
            return False
        return True

    assert wait_for(lambda: write("8"), 20)
    yield 8
    assert wait_for(lambda: write(before), 20)


@pytest.mark.parametrize("attach", ["kprobe", "fentry"])
def test_kernel_that_cuts_its_stacks_short(attach: str, redis: None, short: int) -> None:
    summary, stacks, symbolizer = verified("ip_rcv", attach, 300)
    must_agree(summary, symbolizer)
    assert max(len(stack.addresses) for stack in stacks) > short
    assert not any(stack.truncated for stack in stacks)
    code, out, err = call(
        "kwalk", "stream", "ip_rcv", "--method", "helper", "--attach", attach, "--count", "50",
        "--format", "json",
    )  # fmt: skip
    assert code == 0, err
    *events, _ = [json.loads(line) for line in out.splitlines()]
    assert all(event["truncated"] and len(event["frames"]) <= short for event in events)


@pytest.mark.parametrize("spelling", ["ip_rcv", "r:ip_rcv"])
@pytest.mark.parametrize("attach", ["kprobe", "fentry"])
@pytest.mark.parametrize("method", list(Method))
def test_verifier_instructions_stay_under_a_ceiling(
    spelling: str, attach: str, method: Method, symbols: Kallsyms
) -> None:
    target = find(spelling, symbols)
    probe = open_probe(Selection.one(target), symbols, ProbeOptions(method, attach, verify=100))
    try:
        assert probe.attach == WAYS[attach][target.place]
        count = verified_insns(probe.obj, probe.program)
        facts = verified_insns(probe.obj, FACTS_PROGRAM)
    finally:
        probe.close()
    print(f"{spelling} by {probe.attach}, {method.name}: {count} (kw_facts: {facts})")
    assert 0 < count <= CEILING
    assert 0 < facts <= CEILING
