# SPDX-License-Identifier: MIT
"""The command that is traced runs when it is told to, and is gone in the end."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from kwalk.commands.child import Child
from kwalk.errors import UsageError
from waiting import wait_for


def ended(pid: int) -> bool:
    """Whether a child is a zombie."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def test_it_waits_until_it_is_let_go_and_is_the_same_process(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    with Child(["sh", "-c", f"echo $$ >{told}"]) as child:
        time.sleep(0.1)
        assert not told.exists()
        child.go()
        assert wait_for(lambda: ended(child.pid), 20, 0.005)
        assert int(told.read_text()) == child.pid
        assert child.note() == ""
    with pytest.raises(ChildProcessError):
        os.waitpid(child.pid, 0)


@pytest.mark.parametrize(
    ("script", "note"),
    [("exit 7", "sh ended with exit code 7"), ("kill -9 $$", "sh was ended by signal 9")],
)
def test_how_it_ended_is_told(script: str, note: str) -> None:
    with Child(["sh", "-c", script]) as child:
        child.go()
        assert wait_for(lambda: ended(child.pid), 20, 0.005)
        assert child.note() == note


def test_it_does_not_outlive_what_it_was_run_for() -> None:
    with Child(["sleep", "1000"]) as child:
        child.go()
        assert child.note() == "sleep was still running and has been ended"
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, 0)


def test_it_is_gone_where_it_never_ran() -> None:
    with pytest.raises(KeyboardInterrupt), Child(["sleep", "1000"]) as child:
        raise KeyboardInterrupt
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, 0)


@pytest.mark.parametrize(
    ("command", "why"),
    [("no-such-command-here", "No such file or directory"), ("/etc/passwd", "Permission denied")],
)
def test_what_cannot_be_run_is_named(command: str, why: str) -> None:
    with Child([command]) as child, pytest.raises(UsageError) as caught:
        child.go()
    assert caught.value.what == f"{command} cannot be run: {why}"


def test_it_can_be_interrupted_though_kwalk_minds_signals_itself() -> None:
    old = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        with Child(["sleep", "1000"]) as child:
            child.go()
    finally:
        signal.signal(signal.SIGTERM, old)
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, 0)


def test_its_outputs_go_elsewhere_and_it_has_nothing_to_read(tmp_path: Path) -> None:
    told = tmp_path / "told"
    with (
        told.open("wb") as file,
        Child(["sh", "-c", "cat; echo a; echo b >&2"], file.fileno()) as it,
    ):
        it.go()
        assert wait_for(lambda: ended(it.pid), 20, 0.005)
    assert told.read_text() == "a\nb\n"
