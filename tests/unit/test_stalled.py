# SPDX-License-Identifier: MIT
"""Commands that trace while nobody reads: signals end them, the ledger tells what was lost."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from engine import Engine
from planted import A, B

import forked
from full_pipe import stalled
from kwalk.cli import published
from kwalk.cli.main import main
from waiting import wait_for

Prepare = Callable[[Engine], None]


def events(engine: Engine) -> None:
    engine.ring = [[engine.walked(A), engine.walked(A, B)] * 2000]
    engine.count(4000)


def brief(engine: Engine) -> None:
    engine.brief = True
    events(engine)


def stacks(engine: Engine) -> None:
    engine.planted.count(engine.planted.walked(A), ended=1)
    engine.planted.count(engine.planted.walked(A, B), ended=3999)
    engine.count(4000)


COMMANDS = pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (events, ("stream", "ip_rcv")),
        (events, ("stream", "ip_rcv", "--format=json")),
        (brief, ("bpf_get_stack_test", "--manual", "ip_rcv")),
        (stacks, ("count", "ip_rcv")),
        (stacks, ("count", "ip_rcv", "--interval=0.2")),
        (stacks, ("count", "ip_rcv", "--format=json")),
        (stacks, ("top", "ip_rcv", "--interval=0.2")),
        (stacks, ("record", "ip_rcv", "-o", "-")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)


class Command:
    """A command line in a fork of this process.

    :param stdout: A descriptor.
    """

    def __init__(self, path: Path, words: tuple[str, ...], stdout: int) -> None:
        self._path = path
        entry = published.main if words[0] == "bpf_get_stack_test" else main

        def run() -> int:
            with path.open("wb") as err:
                os.dup2(err.fileno(), 2)
            os.dup2(stdout, 1)
            sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
            return entry([word for word in words if word != "bpf_get_stack_test"])

        self.pid = forked.fork(run)
        assert wait_for(lambda: "Ctrl-C ends" in self.err, 30, 0.02)

    @property
    def err(self) -> str:
        """What it has said so far."""
        return self._path.read_text() if self._path.exists() else ""

    def ends(self, seconds: float) -> int:
        """Return its exit code."""
        found: list[int] = []
        changed = wait_for(lambda: forked.change(self.pid), seconds, 0.02)
        if not changed:
            forked.kill(self.pid)
            pytest.fail(f"it did not end; {self.err}")
        found += changed
        return os.waitstatus_to_exitcode(found[0])


@pytest.mark.timeout(60)
@COMMANDS
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_ends_a_command_that_nobody_reads(
    engine: Engine,
    prepare: Prepare,
    words: tuple[str, ...],
    number: signal.Signals,
    tmp_path: Path,
) -> None:
    prepare(engine)
    with stalled() as end:
        command = Command(tmp_path / "err", words, end)
        time.sleep(0.4)
        os.kill(command.pid, number)
        code = command.ends(20)
    assert "= 0 stacks + 4,000 lost" in command.err
    assert "  lost: 4,000 output_closed: " in command.err
    assert "Traceback" not in command.err
    assert code == (1 if words[0] == "record" else 0)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("prepare", "words"),
    [(events, ("stream", "ip_rcv")), (brief, ("bpf_get_stack_test", "--manual=ip_rcv"))],
    ids=["stream", "bpf_get_stack_test"],
)
def test_events_that_a_reader_took_before_it_stalled_are_counted(
    engine: Engine, prepare: Prepare, words: tuple[str, ...], tmp_path: Path
) -> None:
    prepare(engine)
    read, end = os.pipe()
    fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, 4096)
    command = Command(tmp_path / "err", words, end)
    os.close(end)
    got = b""
    while len(got) < 10_000:
        got += os.read(read, 5_000)
    os.kill(command.pid, signal.SIGINT)
    assert command.ends(20) == 0
    while data := os.read(read, 1 << 20):
        got += data
    os.close(read)
    printed = got.count(b"\n\n")
    assert 0 < printed < 4000
    assert f"= {printed:,} stacks + {4000 - printed:,} lost" in command.err


@pytest.mark.timeout(60)
def test_slow_reader_gets_all_after_ctrl_c(engine: Engine, tmp_path: Path) -> None:
    events(engine)
    read, end = os.pipe()
    command = Command(tmp_path / "err", ("stream", "ip_rcv"), end)
    os.close(end)
    got = os.read(read, 100)
    os.kill(command.pid, signal.SIGINT)
    while data := os.read(read, 20_000):
        got += data
        time.sleep(0.01)
    os.close(read)
    assert command.ends(20) == 0
    assert got.count(b"\n\n") == 4000
    assert "= 4,000 stacks + 0 lost" in command.err


@pytest.mark.timeout(60)
@pytest.mark.parametrize("words", [("stream", "ip_rcv"), ("count", "ip_rcv", "--interval=0.2")])
def test_second_ctrl_c_ends_a_command_at_once(
    engine: Engine, words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (events if words[0] == "stream" else stacks)(engine)
    monkeypatch.setattr("kwalk.cli.stopper.STALLED_SECONDS", 1000.0)
    with stalled() as end:
        command = Command(tmp_path / "err", words, end)
        time.sleep(0.4)
        os.kill(command.pid, signal.SIGINT)
        time.sleep(0.8)
        os.kill(command.pid, signal.SIGINT)
        assert command.ends(10) == 130
    assert "Traceback" not in command.err


@pytest.mark.timeout(60)
@pytest.mark.parametrize("where", ["stalled", "full", "closed", "gone"])
def test_recording_into_a_file_minds_no_other_stream(
    engine: Engine, where: str, tmp_path: Path
) -> None:
    from kwalk.api.profile import open as load

    stacks(engine)
    read, gone = os.pipe()
    os.close(read)
    path = tmp_path / "a.rec"
    with stalled() as end, open("/dev/full", "wb") as full, open(os.devnull) as closed:
        fds = {"stalled": end, "full": full.fileno(), "closed": closed.fileno(), "gone": gone}
        command = Command(
            tmp_path / "err", ("record", "ip_rcv", "-o", str(path), "--duration=1.5"), fds[where]
        )
        time.sleep(1)
        assert forked.change(command.pid) == ()  # it goes on
        assert command.ends(20) == 0
    os.close(gone)
    assert load(path).summary.ledger.recorded == 4000


@pytest.mark.timeout(60)
@pytest.mark.parametrize("where", ["stalled", "full"])
@pytest.mark.parametrize("command", ["count", "record"])
def test_measurement_goes_on_where_its_notices_are_not_taken(
    engine: Engine, command: str, where: str, tmp_path: Path
) -> None:
    stacks(engine)
    out = tmp_path / "out"
    words = [command, "ip_rcv", "--duration=0.5", *(["-o", "-"] if command == "record" else [])]
    with stalled() as end, open("/dev/full", "wb") as full, out.open("wb") as stdout:

        def run() -> int:
            os.dup2(end if where == "stalled" else full.fileno(), 2)
            os.dup2(stdout.fileno(), 1)
            sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
            return main(words)

        pid = forked.fork(run)
        changed = wait_for(lambda: forked.change(pid), 20, 0.02)
    assert changed
    assert os.waitstatus_to_exitcode(changed[0]) == 0
    assert out.stat().st_size
