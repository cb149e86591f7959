# SPDX-License-Identifier: MIT
"""The ledger accounts for every call, against an independent counter."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from conftest import ONE_OF_EACH_UNWINDER, both, call, ftrace_probe
from machine import HERE
from sockets import traffic

from kwalk.abi import Method
from kwalk.engine.capture import Capture
from kwalk.model.event import Event
from kwalk.model.ledger import Ledger
from kwalk.options.probe import ProbeOptions

# Called by sockets only, so nothing else calls it during the test.
FUNCTION = "skb_release_data"
SETTLE_SECONDS = 1.5
# Share of hits that may be lost to recursion: a packet can come in while the program runs for a
# task on that CPU.
NEVER_RUN = {"recursion", "kprobe_missed"}


@dataclass
class Counted:
    """Counts of ftrace's own probe.

    :ivar missed: Calls while another kprobe was running, which all kprobes there miss.
    """

    hits: int = 0
    missed: int = 0

    def calls(self, ledger: Ledger) -> int:
        """Return the number of calls that a ledger must account for."""
        return self.hits + (0 if ledger.uncounted else self.missed)


@contextmanager
def counted(function: str) -> Iterator[Counted]:
    """Count a function's calls with a kprobe event of ftrace; counts are set after the block."""
    result = Counted()
    with ftrace_probe(f"p:kwtest/count {function}") as tracing:
        yield result
        rows = [line.split() for line in (tracing / "kprobe_profile").read_text().splitlines()]
        row = next(row for row in rows if row[0] == "count")
        result.hits, result.missed = int(row[1]), int(row[2])


@ONE_OF_EACH_UNWINDER
@pytest.mark.parametrize("attach", ["kprobe", "fentry"])
def test_small_stack_map_loses_stacks_but_no_call(
    attach: str, lacks_caller: Callable[[str], bool]
) -> None:
    found: list[tuple[Event, Event | None]] = []
    options = ProbeOptions(Method.BOTH, attach, stack_entries=16)
    with counted(FUNCTION) as independent, Capture(FUNCTION, options) as capture:
        for _ in range(3):
            traffic()
            found += both(capture)
        time.sleep(SETTLE_SECONDS)  # delayed ACKs
        capture.stop()
        found += both(capture)
        found += both(capture)
        ledger = capture.summary().ledger

    different = {manual.stack for manual, _ in found}
    assert len(different) > 100
    lost = [manual for manual, helper in found if helper is None]
    assert lost, "16 entries for more than 100 stacks must lose some"
    for manual, helper in found:
        if helper is not None:
            addresses = manual.stack.addresses
            expected = addresses[:1] + addresses[2:] if lacks_caller(attach) else addresses
            assert helper.stack.addresses == expected
    printed = len(found) - len(lost)
    assert ledger.recorded == printed
    assert ledger.balance == 0
    assert printed + sum(ledger.lost.values()) == ledger.hits == independent.calls(ledger)
    assert set(ledger.lost) <= {"eexist", "enomem", *NEVER_RUN}


@pytest.mark.parametrize("method", [Method.MANUAL, Method.HELPER])
def test_every_call_is_recorded(method: Method) -> None:
    with counted(FUNCTION) as independent, Capture(FUNCTION, ProbeOptions(method)) as capture:
        traffic()
        time.sleep(SETTLE_SECONDS)
        capture.stop()
        events = list(capture.read())
        ledger = capture.summary().ledger
    assert len(events) == ledger.recorded
    assert ledger.hits == independent.calls(ledger)
    assert ledger.balance == 0
    if method == Method.MANUAL:
        assert set(ledger.lost) <= NEVER_RUN, "whatever reached the program is recorded"


def test_full_ring_is_counted() -> None:
    options = ProbeOptions(Method.MANUAL, ring_bytes=4096)
    with counted(FUNCTION) as independent, Capture(FUNCTION, options) as capture:
        traffic()
        time.sleep(SETTLE_SECONDS)
        capture.stop()
        events = list(capture.read())
        ledger = capture.summary().ledger
    assert ledger.lost["ring_full"] > 0
    assert set(ledger.lost) <= {"ring_full", *NEVER_RUN}
    assert len(events) + sum(ledger.lost.values()) == ledger.hits == independent.calls(ledger)


def test_depth_cuts_and_says_so() -> None:
    with Capture(FUNCTION, ProbeOptions(Method.MANUAL, depth=4)) as capture:
        traffic()
        capture.stop()
        events = list(capture.read())
        ledger = capture.summary().ledger
    assert events
    assert {len(event.stack.addresses) for event in events} == {4}
    assert ledger.truncated == ledger.recorded == len(events)


@pytest.mark.parametrize("method", ["manual", "helper"])
def test_json_ends_with_a_ledger_that_closes(method: str, redis: None) -> None:
    code, out, err = call(
        "kwalk", "stream", "ip_rcv", "--method", method, "--format", "json", "--count", "50"
    )
    assert code == 0, err
    *events, summary = [json.loads(line) for line in out.splitlines()]
    assert len(events) == 50
    assert all(event["frames"][0]["name"] == "ip_rcv" for event in events)
    assert all(event["frames"][0]["addr"].startswith(HERE.code_prefix) for event in events)
    assert summary["schema"] == "kwalk.stream/2"
    assert summary["method"] == method
    ledger = summary["ledger"]
    assert ledger["recorded"] == 50
    without = [*ledger["lost"].values(), *ledger["not_wanted"].values()]
    assert ledger["hits"] == ledger["recorded"] + sum(without)
    assert f"{ledger['hits']:,} calls = 50 stacks" in err
