# SPDX-License-Identifier: MIT
"""Standard streams that are full, gone or closed: one message, an exit code, never a traceback."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from recorded import stack, written

from kwalk.cli.main import guarded, main
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.model.stack import Count
from kwalk.probe import ftrace_sites, load
from kwalk.probe.ftrace_sites import Traceable

Done = subprocess.CompletedProcess[str]
Shell = Callable[..., Done]
WRITE = ["--help", "count --help", "lab run --help", "--version", "completion zsh", "doctor",
         "doctor --format json", "lab kernels", "info a.rec", "info a.rec --format json",
         "report a.rec", "diff a.rec a.rec"]  # fmt: skip
READ = ["report -", "info -", "diff - a.rec", "diff a.rec -"]
FULL = "kwalk: the output cannot be written: No space left on device"
COMMANDS = pytest.mark.parametrize("words", WRITE)
BUFFERS = pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Run kwalk by a shell, with redirections; there is a recording a.rec."""
    (tmp_path / "a.rec").write_bytes(written([[Count(stack("ip_rcv", "a", "main"), 5)]]))

    def run(words: str, redirections: str, unbuffered: str = "") -> Done:
        command = f"{shlex.quote(sys.executable)} -m kwalk {words} {redirections}"
        env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
        done = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, env=env, capture_output=True, text=True,
            timeout=100, check=False,
        )  # fmt: skip
        assert "Traceback" not in done.stderr
        assert "Exception" not in done.stderr
        return done

    return run


@COMMANDS
@BUFFERS
def test_full_disk_is_one_message(shell: Shell, words: str, unbuffered: str) -> None:
    done = shell(words, ">/dev/full", unbuffered)
    assert (done.returncode, done.stderr.splitlines()[0]) == (1, FULL)
    assert len(done.stderr.splitlines()) == 2


@COMMANDS
@BUFFERS
def test_closed_pipe_is_no_error(shell: Shell, words: str, unbuffered: str) -> None:
    done = shell(words, "| true; exit ${PIPESTATUS[0]}", unbuffered)
    assert done.stderr == ""
    assert done.returncode in ((0, 1, 3) if words.startswith("doctor") else (0,))


@COMMANDS
def test_closed_standard_output_is_told(shell: Shell, words: str) -> None:
    done = shell(words, ">&-")
    assert (done.returncode, done.stdout) == (1, "")
    what, _ = done.stderr.splitlines()
    assert what == "kwalk: the output cannot be written: it is closed"


@pytest.mark.parametrize("words", ["info none", "--no-such-option", "info", "lab kernels"])
@pytest.mark.parametrize("how", ["2>&-", "2>/dev/full"])
def test_errors_that_cannot_be_told_leave_the_exit_code(shell: Shell, words: str, how: str) -> None:
    before, done = shell(words, ""), shell(words, how)
    assert (done.returncode, done.stdout) == (before.returncode, before.stdout)


@pytest.mark.parametrize("words", READ)
def test_standard_input_that_is_closed_is_told(shell: Shell, words: str) -> None:
    done = shell(words, "<&-")
    assert (done.returncode, done.stdout) == (1, "")
    what, hint = done.stderr.splitlines()
    assert what == "kwalk: standard input is closed"
    assert "Give the name of a file" in hint


def test_file_is_not_taken_for_a_closed_stream(shell: Shell, tmp_path: Path) -> None:
    done = shell("report a.rec -o out", "<&- >&- 2>&-")
    assert done.returncode == 0
    assert shell("report a.rec", "").stdout == (tmp_path / "out").read_text()


def test_unreadable_standard_input_is_one_message(shell: Shell) -> None:
    done = shell("report -", "0>out")
    assert done.returncode == 1
    assert done.stderr.startswith("kwalk: standard input cannot be read: Bad file descriptor\n")


def test_functions_that_cannot_be_listed_are_told(
    monkeypatch: pytest.MonkeyPatch, run: Callable[..., tuple[int, str, str]]
) -> None:
    monkeypatch.setattr(Kallsyms, "read", lambda: Kallsyms(b"ffffffff81000100 t show\n"))
    monkeypatch.setattr(ftrace_sites, "read", lambda symbols, image: Traceable(None))
    monkeypatch.setattr(load, "image", lambda: b"")
    with open("/dev/full", "w") as stdout:
        monkeypatch.setattr("sys.stdout", stdout)
        code, _, err = run(main, "functions", "show")
        monkeypatch.undo()
    assert (code, err.splitlines()[0]) == (1, FULL)


def test_os_error_is_one_message(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail() -> int:
        os.stat("/nowhere/at/all")
        return 0

    assert guarded("kwalk", fail) == 1
    assert capsys.readouterr().err == "kwalk: /nowhere/at/all: No such file or directory\n"
