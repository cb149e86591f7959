# SPDX-License-Identifier: MIT
"""CPUs, cgroups, network namespaces and processes that go and come back while kwalk traces."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import call, only_on

from kwalk.abi import Method, Output, Per
from kwalk.decode import groups
from kwalk.engine.capture import Capture
from kwalk.kernel.cgroups import hierarchy
from kwalk.model.ledger import Summary
from kwalk.model.stack import Count
from kwalk.options.filter_names import Wanted
from kwalk.options.filters import Filters
from kwalk.options.probe import ProbeOptions
from waiting import wait_for

LAST = (os.cpu_count() or 1) - 1
SWITCH = Path(f"/sys/devices/system/cpu/cpu{LAST}/online")
needs_two = pytest.mark.skipif(not LAST, reason="the only CPU cannot go")
CGROUPS = hierarchy()


@pytest.fixture
def switch() -> Iterator[Path]:
    yield SWITCH
    SWITCH.write_text("1")


def on_last(counts: Sequence[Count]) -> int:
    return sum(count.count for count in counts if count.group and count.group.number == LAST)


@needs_two
def test_cpu_back_online_is_sampled_again(switch: Path) -> None:
    options = ProbeOptions(Method.MANUAL, output=Output.COUNT, per=Per.CPU, frequency=99)
    with Capture([], options) as capture:
        looks(capture, 1.1)
        switch.write_text("0")
        looks(capture, 1.1)
        switch.write_text("1")
        before = on_last(capture.counts())
        looks(capture, 1.1)
        busy = subprocess.Popen([sys.executable, "-c", BUSY])
        looks(capture, 3)
        busy.kill()
        busy.wait()
        capture.stop()
        counts, summary = capture.counts(), capture.summary()
    assert on_last(counts) > before
    assert summary.ledger.balance == 0
    (gap,) = [text for text in summary.ledger.uncounted if text.startswith(f"CPU {LAST} ")]
    assert " to " in gap
    assert "not sampled from second " in gap


BUSY = f"import os\nos.sched_setaffinity(0, {{{LAST}}})\nwhile True: os.stat('/')"


@needs_two
def test_cpu_offline_for_an_instant_is_sampled_again(switch: Path) -> None:
    """Between two looks the list of CPUs is the same; the perf event is dead all the same."""
    options = ProbeOptions(Method.MANUAL, output=Output.COUNT, frequency=49)
    with Capture([], options) as capture:
        looks(capture, 1.1)
        switch.write_text("0")
        switch.write_text("1")
        looks(capture, 2.2)
        clocks = capture.probe.obj.sample_clocks()
        time.sleep(0.1)
        assert capture.probe.obj.sample_clocks()[LAST] > clocks[LAST]
        capture.stop()
        assert any(f"CPU {LAST} " in text for text in capture.summary().ledger.uncounted)


def perf_events(folder: Path) -> int:
    """Return the number of perf events that a process has open.

    :param folder: Folder of its file descriptors.
    """
    found = 0
    for fd in os.listdir(folder):
        with suppress(FileNotFoundError):
            found += os.readlink(folder / fd) == "anon_inode:[perf_event]"
    return found


@needs_two
@only_on("debian-13")
@pytest.mark.parametrize("command", ["count", "stream", "record", "top"])
def test_commands_say_which_cpu_was_not_sampled(command: str, switch: Path, tmp_path: Path) -> None:
    words = ["-o", str(tmp_path / "x.rec")] if command == "record" else []
    heard, said = os.pipe()

    def leave() -> None:
        folder = Path(f"/proc/{int(os.read(heard, 16))}/fd")
        assert wait_for(lambda: perf_events(folder) > LAST, 60)
        time.sleep(0.5)
        switch.write_text("0")
        time.sleep(1.3)
        switch.write_text("1")

    def begin() -> None:
        os.write(said, b"%d" % os.getpid())

    thread = threading.Thread(target=leave)
    thread.start()
    code, _, err = call("kwalk", command, "--freq", "19", "--duration", "4", *words, first=begin)
    thread.join()
    assert code == 0, err
    assert f"not counted: CPU {LAST} was offline and not sampled" in err


@needs_two
def test_cpu_filter_tells_of_an_offline_cpu(switch: Path) -> None:
    switch.write_text("0")
    code, _, err = call("kwalk", "count", "vfs_read", "--cpu", str(LAST), "--duration", "1")
    assert code == 0
    assert f"CPU {LAST} is offline: no hits until it is online" in err
    assert f"note: CPU {LAST} was offline from second 0.0 on" in err


def looks(capture: Capture, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        capture.look()
        time.sleep(0.1)
    capture.look()


def reads(number: int, cgroup: Path | None = None) -> None:
    """Run a process that reads, in a cgroup if one is given."""
    script = "import sys\nif sys.argv[2:]: open(sys.argv[2], 'w').write('0')\n"
    script += "f = open('/dev/zero', 'rb', buffering=0)\n"
    script += "for _ in range(int(sys.argv[1])): f.read(1)\n"
    words = [f"{cgroup}/cgroup.procs"] if cgroup else []
    subprocess.run([sys.executable, "-S", "-c", script, str(number), *words], check=True)


def taken(capture: Capture) -> tuple[Sequence[Count], Summary]:
    capture.stop()
    return capture.counts(), capture.summary()


@only_on("debian-12")
def test_cgroup_recreated_under_its_path_is_traced_again() -> None:
    assert CGROUPS
    folder = CGROUPS.top / "kwagain"
    folder.mkdir()
    try:
        filters = Wanted(cgroups=("kwagain",)).filters()
        options = ProbeOptions(Method.MANUAL, output=Output.COUNT, filters=filters)
        with Capture("vfs_read", options) as capture:
            reads(100, folder)
            before = sum(count.count for count in capture.counts())
            folder.rmdir()
            folder.mkdir()
            looks(capture, 1.1)
            reads(100, folder)
            counts, summary = taken(capture)
    finally:
        folder.rmdir()
    assert before >= 100
    assert sum(count.count for count in counts) >= before + 100
    assert summary.ledger.balance == 0
    (note,) = [note for note in summary.notes if "kwagain was recreated" in note]
    assert note.endswith("were filtered")


@only_on("debian-12")
def test_netns_recreated_under_its_name_is_traced_again() -> None:
    subprocess.run(["ip", "netns", "add", "kwnet"], check=True)
    try:
        filters = Wanted(netns=("kwnet",)).filters()
        options = ProbeOptions(Method.MANUAL, output=Output.COUNT, filters=filters)
        script = "import os\nfor _ in range(100): os.stat('/')"
        inside = ["ip", "netns", "exec", "kwnet", sys.executable, "-S", "-c", script]
        with Capture("vfs_statx", options) as capture:
            subprocess.run(["ip", "netns", "add", "kwother"], check=True)
            subprocess.run(["ip", "netns", "del", "kwnet"], check=True)
            subprocess.run(["ip", "netns", "add", "kwnet"], check=True)
            looks(capture, 1.1)
            subprocess.run(inside, check=True)
            counts, summary = taken(capture)
    finally:
        for name in ("kwnet", "kwother"):
            subprocess.run(["ip", "netns", "del", name], check=False)
    assert sum(count.count for count in counts) >= 100, summary.notes


@only_on("debian-12")
def test_cgroups_that_come_and_go_have_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    assert CGROUPS
    monkeypatch.setattr(groups, "MOST_CPU", 1.0)  # however long a poll takes here
    options = ProbeOptions(Method.MANUAL, output=Output.COUNT, per=Per.CGROUP)
    folder, later = CGROUPS.top / "kwshort", CGROUPS.top / "kwlater"
    with Capture("vfs_read", options) as capture:
        capture.counts()
        folder.mkdir()
        looks(capture, 1.1)
        reads(100, folder)
        folder.rmdir()
        later.mkdir()
        reads(50, later)
        first = capture.counts()
        later.rmdir()
        counts, summary = taken(capture)
    for found in (first, counts):
        names = {count.group.name for count in found if count.group}
        assert {"/kwshort", "/kwlater"} <= names
    assert summary.ledger.balance == 0


@only_on("debian-12")
def test_process_that_ends_is_told_and_its_pid_is_dropped() -> None:
    sleepers = [subprocess.Popen(["sleep", "100"]) for _ in range(2)]
    filters = Filters(pids=tuple(process.pid for process in sleepers))
    options = ProbeOptions(Method.MANUAL, output=Output.COUNT, filters=filters)
    number = sleepers[0].pid
    with Capture("vfs_read", options) as capture:
        sleepers[0].kill()
        sleepers[0].wait()
        looks(capture, 1.1)
        # Another process gets the number.
        script = f"echo {number - 1} > /proc/sys/kernel/ns_last_pid; cat /dev/null & echo $!; wait"
        told = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
        counts, summary = taken(capture)
    sleepers[1].kill()
    sleepers[1].wait()
    assert int(told.stdout) == number
    assert not counts
    assert any(f"process {number} ended by second" in note for note in summary.notes)
