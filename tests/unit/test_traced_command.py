# SPDX-License-Identifier: MIT
"""The command that is traced runs when it is told to, and is gone in the end."""

from __future__ import annotations

import errno
import math
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from kwalk.engine import traced_command
from kwalk.engine.traced_command import Child
from kwalk.errors import UsageError
from waiting import wait_for


def ended(pid: int) -> bool:
    """Whether a child is a zombie."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def test_child_waits_for_go_and_keeps_its_pid(tmp_path: Path) -> None:
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
def test_child_note_tells_how_it_ended(script: str, note: str) -> None:
    with Child(["sh", "-c", script]) as child:
        child.go()
        assert wait_for(lambda: ended(child.pid), 20, 0.005)
        assert child.note() == note


def test_child_is_ended_on_exit() -> None:
    with Child(["sleep", "1000"]) as child:
        child.go()
        assert child.note() == "sleep was still running and has been ended"
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, 0)


def test_child_that_never_ran_is_gone() -> None:
    with pytest.raises(KeyboardInterrupt), Child(["sleep", "1000"]) as child:
        raise KeyboardInterrupt
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, 0)


@pytest.mark.parametrize(
    ("command", "why"),
    [("no-such-command-here", "No such file or directory"), ("/etc/passwd", "Permission denied")],
)
def test_child_that_cannot_be_run_is_a_usage_error(command: str, why: str) -> None:
    with Child([command]) as child, pytest.raises(UsageError) as caught:
        child.go()
    assert caught.value.what == f"{command} cannot be run: {why}"


@pytest.mark.parametrize("word", ["a\0b", "a\ud800b"])
def test_words_that_no_program_can_be_given_are_refused(word: str) -> None:
    with Child(["echo", word]) as child, pytest.raises(UsageError) as caught:
        child.go()
    why = "a word contains a character that an argument cannot have"
    assert caught.value.what == f"echo cannot be run: {why}"


def test_child_wait_takes_negative_and_infinite_timeouts() -> None:
    with Child(["sleep", "1000"]) as child:
        child.go()
        assert not child.wait(-0.5)
        os.kill(child.pid, signal.SIGKILL)
        assert child.wait(math.inf)


def test_child_reaped_elsewhere_has_ended() -> None:
    with Child(["true"]) as child:
        child.go()
        os.waitpid(child.pid, 0)
        assert child.wait(0)
        assert child.note() == ""
    with Child(["true"]) as child:
        child.go()
        os.waitpid(child.pid, 0)


def test_child_does_not_inherit_signal_handlers() -> None:
    old = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        with Child(["sleep", "1000"]) as child:
            child.go()
    finally:
        signal.signal(signal.SIGTERM, old)
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, 0)


def test_child_output_is_redirected_and_stdin_is_empty(tmp_path: Path) -> None:
    told = tmp_path / "told"
    with (
        told.open("wb") as file,
        Child(["sh", "-c", "cat; echo a; echo b >&2"], file.fileno()) as it,
    ):
        it.go()
        assert wait_for(lambda: ended(it.pid), 20, 0.005)
    assert told.read_text() == "a\nb\n"


def state(pid: int) -> str:
    """As ps shows it; "" where there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def test_group_has_no_others_where_they_are_zombies() -> None:
    with subprocess.Popen(["sleep", "1000"], process_group=0) as leader:
        group = leader.pid
        with subprocess.Popen(["sleep", "1000"], process_group=group) as other:
            assert traced_command._others(group)
            other.kill()
            os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
            assert state(other.pid) == "Z"
            assert not traced_command._others(group)
        leader.kill()


def number(path: Path) -> int:
    """What a script has written, once it has."""
    assert wait_for(lambda: path.exists() and path.read_text().endswith("\n"), 20, 0.005)
    return int(path.read_text())


DEAF = "trap '' TERM; echo $$ >{}; while :; do sleep 0.05; done"


def test_child_that_ignores_sigterm_is_killed_with_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("kwalk.engine.traced_command.GRACE_SECONDS", 0.2)
    with Child(["sh", "-c", DEAF.format(tmp_path / "pid")]) as child:
        child.go()
        number(tmp_path / "pid")
    assert capsys.readouterr().err == "kwalk: sh did not end within 0.2 s of SIGTERM: killed\n"
    assert state(child.pid) == ""


def test_child_that_is_stopped_is_ended(capsys: pytest.CaptureFixture[str]) -> None:
    with Child(["sleep", "1000"]) as child:
        child.go()
        os.kill(child.pid, signal.SIGSTOP)
        assert wait_for(lambda: state(child.pid) == "T", 20, 0.005)
    assert capsys.readouterr().err == ""


def test_child_descendants_are_ended_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Child(["sh", "-c", f"sleep 1000 & echo $! >{tmp_path / 'pid'}; wait"]) as child:
        child.go()
        started = number(tmp_path / "pid")
    assert state(started) in ("", "Z")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("kwalk.engine.traced_command.GRACE_SECONDS", 0.2)
    deaf = DEAF.format(tmp_path / "deaf")
    with Child(["sh", "-c", 'sh -c "$0" & wait', deaf]) as child:
        child.go()
        started = number(tmp_path / "deaf")
    assert wait_for(lambda: state(started) in ("", "Z"), 20, 0.005)
    assert "killed" in capsys.readouterr().err


def test_child_descendants_survive_its_own_end(tmp_path: Path) -> None:
    with Child(["sh", "-c", f"sleep 1000 & echo $! >{tmp_path / 'pid'}"]) as child:
        child.go()
        assert wait_for(lambda: ended(child.pid), 20, 0.005)
    started = number(tmp_path / "pid")
    assert state(started) not in ("", "Z")
    os.kill(started, signal.SIGKILL)


@pytest.mark.parametrize("terminal", [False, True])
def test_child_stays_in_the_foreground_group_of_a_terminal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, terminal: bool
) -> None:
    monkeypatch.setattr(os, "isatty", lambda fd: terminal)
    with Child(["sleep", "1000"]) as child:
        child.go()
        assert os.getpgid(child.pid) == (os.getpgrp() if terminal else child.pid)
    with (tmp_path / "out").open("wb") as out, Child(["sleep", "1000"], out.fileno()) as child:
        child.go()
        assert os.getpgid(child.pid) == child.pid
    assert state(child.pid) == ""


def test_child_and_descendants_share_one_grace_period(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kwalk.engine.traced_command.GRACE_SECONDS", 2.0)
    late = "trap 'sleep 1; exit' TERM; sh -c \"$0\" & while :; do sleep 0.05; done"
    with Child(["sh", "-c", late, DEAF.format(tmp_path / "deaf")]) as child:
        child.go()
        number(tmp_path / "deaf")
        started = time.monotonic()
    assert time.monotonic() - started < 2.7  # not the second that it took, and 2 s more


def test_child_is_killed_at_once_by_ctrl_c(tmp_path: Path) -> None:
    old = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        child = Child(["sh", "-c", DEAF.format(tmp_path / "pid")])
        child.go()
        number(tmp_path / "pid")
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt):
            child.__exit__()
    finally:
        signal.signal(signal.SIGALRM, old)
    assert state(child.pid) == ""


def test_child_is_killed_where_stderr_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("kwalk.engine.traced_command.GRACE_SECONDS", 0.2)
    monkeypatch.setattr("sys.stderr", Full())
    child = Child(["sh", "-c", DEAF.format(tmp_path / "pid")])
    child.go()
    number(tmp_path / "pid")
    child.__exit__()
    assert state(child.pid) == ""
