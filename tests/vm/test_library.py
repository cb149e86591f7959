# SPDX-License-Identifier: MIT
"""The library on a real kernel: the examples of docs/library.md, and snapshots under load."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from conftest import only_on
from machine import HERE

import kwalk
from page_examples import Example, examples, run

pytestmark = only_on("debian-13")


@pytest.fixture
def reader() -> Iterator[None]:
    """Read /dev/zero in this process all the time."""
    done = threading.Event()

    def read() -> None:
        with open("/dev/zero", "rb", buffering=0) as zero:
            while not done.is_set():
                zero.read(10)
                time.sleep(0.001)

    thread = threading.Thread(target=read)
    thread.start()
    yield
    done.set()
    thread.join()


@pytest.mark.parametrize("example", examples("tracing"), ids=lambda example: f"line {example.line}")
def test_example_of_the_page_traces(
    example: Example, reader: None, capsys: pytest.CaptureFixture[str]
) -> None:
    run(example)
    out = capsys.readouterr().out
    assert "vfs_read" in out
    assert HERE.syscall_return in out


def test_snapshots_grow_and_every_one_adds_up(reader: None, tmp_path: Path) -> None:
    profiles = []
    with kwalk.trace("vfs_read", pids=[os.getpid()]) as t:
        for _ in range(4):
            time.sleep(0.3)
            profiles.append(t.snapshot())
    last = t.snapshot()
    for before, after in zip(profiles, [*profiles[1:], last], strict=True):
        assert before.summary.ledger.recorded < after.summary.ledger.recorded
        assert before.seconds < after.seconds
    for profile in (*profiles, last):
        ledger = profile.summary.ledger
        assert ledger.balance == 0
        assert ledger.recorded == sum(count.count for count in profile)
    assert not last.summary.ledger.lost
    both = profiles[0] + last
    both.save(tmp_path / "both.rec")
    again = kwalk.open(tmp_path / "both.rec")
    assert again.summary == both.summary
    assert again.calls == profiles[0].calls + last.calls


@pytest.mark.parametrize("method", ["manual", "helper"])
def test_stream_accounts_for_events_not_taken(
    reader: None, method: Literal["manual", "helper"]
) -> None:
    with kwalk.stream("vfs_read", method=method, pids=[os.getpid()]) as s:
        taken = list(s.events(count=50, duration=30))
        time.sleep(0.3)
    ledger = s.summary.ledger
    assert len(taken) == ledger.recorded == 50
    assert ledger.not_wanted["not_taken"] > 0
    assert ledger.balance == 0
    assert {event.who.tgid for event in taken} == {os.getpid()}
    times = [event.time_ns for event in taken]
    assert times == sorted(times)


def test_helper_profile_is_available_after_stop(reader: None) -> None:
    with kwalk.trace("vfs_read", method="helper", pids=[os.getpid()]) as t:
        time.sleep(0.3)
        profile = t.stop()
    assert profile.summary.method == "helper"
    assert profile.calls > 0
    assert profile.counts[-1].stack.frames[0].name == "vfs_read"
    assert profile.summary.ledger.balance == 0


def test_command_is_counted_from_its_first_call(tmp_path: Path) -> None:
    zeros = ["dd", "if=/dev/zero", f"of={tmp_path / 'zeros'}", "bs=1", "count=3000", "status=none"]
    with kwalk.trace("vfs_write", per="comm", command=zeros) as t:
        assert t.wait(60)
    profile = t.snapshot()
    assert {str(count.group) for count in profile} == {"dd"}
    assert profile.calls == 3000
    assert profile.summary.ledger.balance == 0


def test_stream_ends_with_its_command(tmp_path: Path) -> None:
    zeros = ["dd", "if=/dev/zero", f"of={tmp_path / 'zeros'}", "bs=1", "count=300", "status=none"]
    with kwalk.stream("vfs_write", command=zeros) as s:
        comms = [event.who.comm for event in s]
    assert comms == ["dd"] * 300
    assert s.summary.ledger.balance == 0


def test_budget_is_kept_while_the_code_sleeps(tmp_path: Path) -> None:
    """Two seconds of nothing but writes, of which not each can be taken for 1 %."""
    shell = f"while :; do dd if=/dev/zero of={tmp_path}/zeros bs=1 count=100000 status=none; done"
    with kwalk.trace("vfs_write", budget=0.01, command=["sh", "-c", shell], follow=True) as t:
        time.sleep(3)
        early = t.snapshot()
    for profile in (early, t.snapshot()):
        ledger, sampling = profile.summary.ledger, profile.summary.sampling
        assert sampling
        assert ledger.balance == 0
        if "sampled_out" in ledger.not_wanted:
            assert profile.calls > ledger.recorded
        else:  # detached: even entering the program exceeds the budget
            assert any("detached" in note for note in profile.summary.notes)


def test_functions_that_are_not_there_are_told() -> None:
    with pytest.raises(kwalk.KwalkError, match="no_such_function"), kwalk.trace("no_such_function"):
        pass
