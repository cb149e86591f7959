# SPDX-License-Identifier: MIT
"""Ends of kwalk, none of which leaves a probe behind."""

from __future__ import annotations

import fcntl
import os
import random
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import VENV, only_on, start

from full_pipe import stalled
from kwalk.recording.files import load
from waiting import wait_for

ENABLED = Path("/sys/kernel/tracing/enabled_functions")
KPROBES = Path("/sys/kernel/debug/kprobes/list")
pytestmark = only_on("debian-12")


def attached() -> bool:
    """Return whether a BPF program of kwalk is loaded, or anything attached to ip_rcv."""
    programs = subprocess.run(["bpftool", "prog", "show"], capture_output=True, check=True).stdout
    return b"kw_" in programs or any("ip_rcv" in p.read_text() for p in (ENABLED, KPROBES))


def linked() -> bool:
    """Return whether a BPF program is attached; it stays loaded while its counts are read."""
    show = ["bpftool", "link", "show"]
    return bool(subprocess.run(show, capture_output=True, check=True).stdout.strip())


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    assert not attached()
    yield
    assert wait_for(lambda: not attached(), 10), "a probe was left behind"


@pytest.mark.parametrize("attach", ["kprobe", "fentry"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_with_a_summary(number: signal.Signals, attach: str, redis: None) -> None:
    process = start("kwalk", "stream", "ip_rcv", "--attach", attach)
    assert process.stdout is not None
    first = process.stdout.readline()  # attached and printing
    assert "cpu" in first
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "calls =" in err
    assert "Traceback" not in err
    assert "unexplained" not in err
    assert out.endswith("\n\n"), "the last block is whole"


@pytest.mark.parametrize("attach", ["kprobe", "fentry"])
def test_kill_9(attach: str, redis: None) -> None:
    process = start("kwalk", "stream", "ip_rcv", "--attach", attach)
    assert process.stdout is not None
    process.stdout.readline()
    assert attached()
    process.kill()
    process.communicate(timeout=30)


def test_closed_pipe(redis: None) -> None:
    script = f"{VENV}/kwalk stream ip_rcv | head -5; echo ${{PIPESTATUS[@]}}"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 6
    assert lines[-1] == "0 0"
    assert "Traceback" not in done.stderr
    assert "calls =" in done.stderr


def test_closed_pipe_while_nothing_happens() -> None:
    """The pipe's reader goes before any event comes: kwalk must notice without writing."""
    script = f"{VENV}/kwalk stream ip_rcv | sleep 6; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "0\n"


@pytest.mark.parametrize("method", ["--helper", "--manual"])
def test_published_interface(method: str, redis: None, frame_pointers: bool) -> None:
    process = start("bpf_get_stack_test", method, "ip_rcv")
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    block = out.split("\n\n")[1].split("\n")
    assert block[0] == "ip_rcv"
    caller = "__netif_receive_skb_one_core"
    assert (block[1] == caller) == (method == "--manual" or not frame_pointers)
    assert "calls =" in err


HITS = re.compile(
    r": ([\d,]+) [^=\n]+ = ([\d,]+) stacks? (?:\+ ([\d,]+) [a-z ]+)?\+ ([\d,]+) lost "
)


def begun(process: subprocess.Popen[str]) -> str:
    """Wait until kwalk traces; return its messages until then."""
    assert process.stderr is not None
    fd, said = process.stderr.fileno(), ""
    while "Ctrl-C ends" not in said and " ends\n" not in said:
        assert select.select([fd], [], [], 60)[0], said
        text = os.read(fd, 4096).decode()  # select() does not see lines in Python's buffer
        assert text, said
        said += text
    return said


def ledger(text: str) -> tuple[int, int, int]:
    """Return hits, stacks and losses of a summary."""
    found = HITS.search(text)
    assert found, text
    assert "unexplained" not in text
    hits, stacks, _, lost = (int((group or "0").replace(",", "")) for group in found.groups())
    return hits, stacks, lost


ENDING = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)
STALLING = [
    ("stream", "vfs_read"),
    ("stream", "vfs_read", "--format", "json"),
    ("count", "vfs_read", "--interval", "0.3"),
    ("count", "vfs_read"),
    ("top", "vfs_read", "--interval", "0.3"),
    ("record", "vfs_read", "-o", "-"),
]


def run_stalled(*words: str, stdout: int) -> subprocess.Popen[str]:
    return start("kwalk", *words, stdout=stdout)


@pytest.mark.parametrize("words", STALLING, ids=" ".join)
def test_stalled_output_does_not_keep_a_signal_from_ending(words: tuple[str, ...]) -> None:
    number = ENDING[STALLING.index(words) % len(ENDING)]
    with stalled() as end:
        process = run_stalled(*words, stdout=end)
        begun(process)
        time.sleep(1.0)
        assert process.poll() is None
        process.send_signal(number)
        _, err = process.communicate(timeout=15)
    hits, stacks, lost = ledger(err)
    assert (stacks, hits - lost) == (0, 0)
    assert "output_closed: " in err
    assert "Traceback" not in err
    assert process.returncode == (1 if words[0] == "record" else 0)


def test_second_ctrl_c_ends_at_once(redis: None) -> None:
    with stalled() as end:
        process = run_stalled("stream", "ip_rcv", stdout=end)
        begun(process)
        process.send_signal(signal.SIGINT)
        time.sleep(0.7)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=10)
    assert process.returncode in (0, 130)
    assert "Traceback" not in err


def test_duration_ends_tracing_while_the_reader_is_stalled() -> None:
    read, end = os.pipe()
    fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, 4096)  # even a slow machine fills that
    process = run_stalled("stream", "vfs_read", "--duration", "5", stdout=end)
    os.close(end)
    begun(process)
    loop = "while :; do cat /proc/version; done"
    loud = subprocess.Popen(["nice", "-n", "15", "sh", "-c", loop], stdout=subprocess.DEVNULL)
    try:
        assert linked()
        assert wait_for(lambda: not linked(), 60)
    finally:
        loud.kill()
        loud.wait()
    assert process.poll() is None
    with os.fdopen(read, "rb") as reader:
        out = reader.read()
    _, err = process.communicate(timeout=30)
    hits, stacks, lost = ledger(err)
    assert out.count(b"\n\n") == stacks == hits - lost > 100
    assert "output_closed" not in err
    assert process.returncode == 0


def test_full_output_is_counted_as_lost() -> None:
    fd = os.open("/dev/full", os.O_WRONLY)
    process = run_stalled("stream", "vfs_read", "--duration", "5", stdout=fd)
    os.close(fd)
    _, err = process.communicate(timeout=60)
    hits, stacks, lost = ledger(err)
    assert (stacks, lost) == (0, hits)
    assert process.returncode == 1
    assert "kwalk: the output cannot be written: No space left on device" in err


@pytest.mark.long
@pytest.mark.parametrize("where", ["2>/dev/full", ">&-", "| true", ">/dev/full"])
def test_recording_into_a_file_minds_no_other_stream(where: str, tmp_path: Path) -> None:
    path = tmp_path / "a.rec"
    words = f"{VENV}/kwalk record vfs_read -o {path} --duration 1.5"
    done = subprocess.run(["bash", "-c", f"{words} {where}; exit ${{PIPESTATUS[0]}}"], timeout=60)
    assert done.returncode == 0
    profile = load(path)
    assert profile.timeline
    assert profile.timeline.ends[-1] > 1.4
    assert sum(count.count for count in profile.counts) == profile.summary.ledger.recorded > 0


@pytest.mark.long
@pytest.mark.parametrize("ignored", [False, True])
def test_hang_up_finishes_the_file_unless_it_is_ignored(ignored: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.rec"
    words = ["kwalk", "record", "vfs_read", "-o", str(path)]
    if ignored:
        words = ["/usr/bin/nohup", str(VENV / words[0]), *words[1:]]
    process = start(*words, stdin=subprocess.DEVNULL)
    begun(process)
    process.send_signal(signal.SIGHUP)
    if ignored:
        time.sleep(1)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 0
    _, stacks, _ = ledger(err)
    assert load(path).summary.ledger.recorded == stacks


@pytest.mark.long
@pytest.mark.parametrize("how", ["kill", "hang-up"])
def test_command_does_not_outlive_kwalk(how: str, tmp_path: Path) -> None:
    told = tmp_path / "pid"
    script = f"sleep 1000 & echo $$ $! >{told}.new; mv {told}.new {told}; wait"
    words = ["count", "vfs_read", "--", "sh", "-c", script]
    process = start("kwalk", *words, stdin=subprocess.DEVNULL)
    assert wait_for(told.exists, 60)
    process.send_signal(signal.SIGKILL if how == "kill" else signal.SIGHUP)
    process.communicate(timeout=30)
    pids = told.read_text().split()
    assert wait_for(lambda: not any(Path("/proc", pid).exists() for pid in pids), 10)


FUZZED = [
    ("stream", "vfs_read"),
    ("count", "vfs_*", "--interval", "0.1"),
    ("top", "vfs_read", "--interval", "0.1"),
    ("record", "vfs_read", "-o", "-"),
    ("compare", "vfs_read", "--duration", "1"),
    ("count", "--freq", "99", "--", "sleep", "1000"),
    ("count", "vfs_read", "--budget", "2%"),
]


# The script, reporting its begin: before that Python itself is not ready for signals.
BEGIN = """
import os, sys
from kwalk.__main__ import kwalk
os.close(int(sys.argv.pop(1)))
sys.exit(kwalk())
"""


@pytest.mark.long
@pytest.mark.parametrize("rounds", [1, pytest.param(9, marks=pytest.mark.long)])
@pytest.mark.parametrize("words", FUZZED, ids=" ".join)
def test_signal_at_any_time_ends_in_order(words: tuple[str, ...], rounds: int) -> None:
    chance = random.Random(" ".join(words))
    for turn in range(rounds):
        number = ENDING[(FUZZED.index(words) + turn) % len(ENDING)]
        ready, end = os.pipe()
        process = start(
            *("python", "-c", BEGIN, str(end), *words),
            start_new_session=True, pass_fds=(end,), errors="replace",
        )  # fmt: skip
        os.close(end)
        os.read(ready, 1)
        os.close(ready)
        time.sleep(chance.uniform(0.1, 4))
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
        assert "Traceback" not in err, (number, err)
        assert process.returncode in (0, 1, 130, 128 + number, -number), (number, err)
        if " ends\n" in err and words[0] != "compare":
            ledger(err)
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)
