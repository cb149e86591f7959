# SPDX-License-Identifier: MIT
"""``kwalk top`` at a terminal, on a kernel under load."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import call, only_on
from machine import HERE

from kwalk import libbpf
from kwalk.cli import main as cli
from kwalk.recording.files import load
from screen import LEAVES, Screen

pytestmark = only_on("debian-13")
READS = """
import os
fd = os.open("/dev/zero", os.O_RDONLY)
while True:
    for _ in range(100): os.read(fd, 1)
    os.pread(fd, 1, 0)
"""
HEAD = re.compile(r"vfs_read: ([\d,]+) calls = ([\d,]+) stacks \+ ([\d,]+) lost")


@pytest.fixture
def reads() -> Iterator[int]:
    """Run a process that calls vfs_read all the time, at a low priority."""
    process = subprocess.Popen(["nice", "-n", "15", sys.executable, "-SE", "-c", READS])
    yield process.pid
    process.kill()
    process.wait()


def top(*words: str) -> Screen:
    """Run ``kwalk top`` at a terminal of 80 columns and 24 lines."""

    def main() -> int:
        libbpf.lib.cache_clear()
        return cli.main(["top", *words])

    return Screen(main)


def numbers(text: str) -> list[int]:
    found = HEAD.search(text)
    assert found, text
    return [int(number.replace(",", "")) for number in found.groups()]


def test_top_is_watched_saved_and_left(reads: int, tmp_path: Path) -> None:
    path = tmp_path / "it.rec"
    with top("vfs_read", "--per", "pid") as screen:
        screen.shows(f" ({reads})", 120)
        screen.shows("ksys_read", 60)
        screen.press("/ksys_read\r")  # other processes read, too
        screen.shows("filter: ksys_read", 60)
        screen.press("s")
        screen.shows("total▾", 60)
        screen.press("\r")
        screen.until(lambda: re.search(r"0 vfs_read\+0x0.*\n.* 1 ksys_read\+0x", screen.text), 60)
        assert HERE.syscall_return in screen.text
        screen.until(lambda: re.search(r"cost: programs \d+\.\d%", screen.text), 60)
        screen.press("p")
        screen.shows("frozen", 60)
        before = screen.lines[3:20]
        screen.press(f"w{path}\r")
        screen.shows("saved ", 60)
        assert screen.lines[3:20] == before
        screen.press("p")
        screen.until(lambda: screen.lines[3:20] != before, 60)
        screen.press("\x1b")
        screen.until(lambda: "0 vfs_read+0x0" not in screen.text, 60)
        screen.press("g")
        screen.shows("stacks, summed over every pid", 60)
        screen.until(lambda: re.search(r"ledger: (\d+,)+\d+ calls", screen.text), 120)
        screen.press("q")
        assert screen.ends(60) == 0, screen.text
        assert screen.now() == screen.mode
    after = screen.raw.partition(LEAVES)[2].decode()
    assert "    vfs_read+0x0\r\n    ksys_read+0x" in after
    hits, recorded, lost = numbers(after)
    assert hits == recorded + lost >= 1000
    assert "unexplained" not in after

    profile = load(str(path))
    ledger = profile.summary.ledger
    assert ledger.balance == 0
    assert sum(count.count for count in profile.counts) == ledger.recorded <= recorded
    assert set(ledger.lost) <= {"recursion"}
    assert set(ledger.not_wanted) <= {"after_snapshot"}
    code, out, err = call("kwalk", "report", str(path))
    assert code == 0, err
    assert f" ({reads})" in out
    assert "    ksys_read+0x" in out


def test_ctrl_c_ends_it_with_the_summary_and_so_does_the_end_of_a_command() -> None:
    with top("vfs_read") as screen:
        screen.shows("ledger: ", 120)
        screen.until(lambda: " stacks + " in screen.text, 60)
        os.kill(screen.pid, signal.SIGINT)
        assert screen.ends(60) == 0
        assert screen.now() == screen.mode
    hits, recorded, lost = numbers(screen.raw.partition(LEAVES)[2].decode())
    assert hits == recorded + lost
    with top(
        "vfs_read", "--", "dd", "if=/dev/zero", "of=/dev/null", "bs=1", "count=5000"
    ) as screen:
        assert screen.ends(120) == 0
        after = screen.raw.partition(LEAVES)[2].decode()
        assert "5000+0 records in" in after
        assert numbers(re.sub(r" \+ [\d,]+ not wanted", "", after))[1] >= 5000


def test_lines_without_a_terminal(reads: int) -> None:
    code, out, err = call("kwalk", "top", "vfs_read", "--duration", "8", "--top", "2")
    assert code == 0, err
    blocks = [block for block in out.split("\n\n") if block.startswith("--- ")]
    assert len(blocks) >= 2
    assert "ledger: " in blocks[-1]
    hits, recorded, lost = numbers(err)
    assert hits == recorded + lost > 0


def test_helper_stacks_cannot_be_watched() -> None:
    code, _, err = call("kwalk", "top", "vfs_read", "--method", "helper")
    assert code == 2
    assert "the helper's stacks cannot be read while it counts" in err
