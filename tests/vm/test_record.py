# SPDX-License-Identifier: MIT
"""Recordings of a running kernel: complete, killed, through pipes, of a command."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

from conftest import VENV, call, only_on, start

from kwalk.recording.files import load
from waiting import wait_for

pytestmark = only_on("debian-13")


def reads(number: int) -> None:
    with open("/dev/zero", "rb", buffering=0) as file:
        for _ in range(number):
            file.read(1)


def recorded(file: Path) -> int:
    """Return the calls in a recording so far, including known losses."""
    ledger = load(str(file)).summary.ledger
    return ledger.recorded + sum(ledger.lost.values())


def test_recording_holds_what_was_called_when(tmp_path: Path) -> None:
    file = str(tmp_path / "reads.rec")
    process = start("kwalk", "record", "vfs_read", "-o", file, "--per", "comm")
    assert process.stderr is not None
    assert "tracing vfs_read" in process.stderr.readline()
    reads(1000)
    time.sleep(2.5)
    reads(3000)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert f"`kwalk report {file}` shows them" in err
    _, info, _ = call("kwalk", "info", file)
    (held,) = re.findall(r"^holds +(\d+ stacks? in \d+ groups?), ", info, re.M)
    assert f"{file} holds {held} (" in err
    profile = load(file)
    ledger = profile.summary.ledger
    assert ledger.balance == 0
    assert not profile.summary.notes
    assert sum(count.count for count in profile) == ledger.recorded == sum(profile.timeline.numbers)
    comm = Path("/proc/self/comm").read_text().strip()
    own = {index for index, count in enumerate(profile) if count.group and count.group.name == comm}
    missed = sum(ledger.lost.values())
    assert 4000 - missed <= sum(profile.counts[index].count for index in own) <= 4100
    seconds = [0] * len(profile.timeline.ends)
    for interval, index, number in profile.timeline.rows():
        seconds[interval] += number if index in own else 0
    first = sum(seconds[:2])
    assert 1000 - missed <= first <= 1100, seconds
    assert profile.facts["kernel"] == os.uname().release
    hot = profile.counts[-1].stack.frames
    assert [frame.name for frame in hot[:2]] == ["vfs_read", "ksys_read"]
    code, out, _ = call("kwalk", "report", file, "--format", "json")
    assert code == 0
    assert json.loads(out)["ledger"]["recorded"] == ledger.recorded


def test_sigkill_leaves_what_was_recorded_until_then(tmp_path: Path) -> None:
    file = tmp_path / "killed.rec"
    process = start("kwalk", "record", "vfs_read", "-o", str(file))
    assert process.stderr is not None
    process.stderr.readline()
    assert wait_for(file.exists)
    reads(500)
    assert wait_for(lambda: recorded(file) >= 500)
    reads(500)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    profile = load(str(file))
    assert "it was not ended" in profile.summary.notes[-1]
    assert profile.summary.ledger.balance == 0
    assert profile.summary.ledger.recorded + sum(profile.summary.ledger.lost.values()) >= 500
    code, out, _ = call("kwalk", "info", str(file))
    assert code == 0
    assert "the recording is not whole" in out


def test_through_a_pipe_and_of_a_command_only() -> None:
    words = f"{VENV}/kwalk record vfs_read -o - -- dd if=/dev/zero of=/dev/null bs=1 count=700"
    words += f" | {VENV}/kwalk report - --format folded"
    done = subprocess.run(words, shell=True, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    counts = [int(line.rpartition(" ")[2]) for line in done.stdout.splitlines()]
    (ledger,) = [line for line in done.stderr.splitlines() if line.startswith("vfs_read: ")]
    assert " + 0 lost" in ledger or max(counts) >= 600
    assert 600 <= max(counts) <= 710


def test_helper_can_be_recorded(tmp_path: Path) -> None:
    file = str(tmp_path / "helper.rec")
    words = ["kwalk", "record", "vfs_read", "--method", "helper", "-o", file, "--duration", "2"]
    code, _, err = call(*words)
    assert code == 0, err
    profile = load(file)
    assert profile.summary.method == "helper"
    assert profile.summary.ledger.balance == 0


def test_unwritable_file_is_refused_before_tracing() -> None:
    code, _, err = call("kwalk", "record", "vfs_read", "-o", "/nowhere/x.rec")
    assert (code, len(err.splitlines())) == (1, 2)
    assert "cannot be written" in err
