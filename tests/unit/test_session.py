# SPDX-License-Identifier: MIT
"""Sessions: the order of their steps, and what is left where one of them fails."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from engine import Engine

from kwalk.abi import Output
from kwalk.cli.main import main
from kwalk.cli.tracing import TracingSession
from kwalk.engine.session import Session
from kwalk.errors import CommandEnded, UsageError
from kwalk.options.filters import Filters
from kwalk.options.probe import ProbeOptions
from kwalk.support import aborting

COUNTING = ProbeOptions(output=Output.COUNT)
NOTES = ["a note"]  # of the probe that stands in for one


class Told(Session):
    """Keeps what it is told, and whether the command had begun by then."""

    def __init__(self, mark: Path, *args: Any, **how: Any) -> None:
        super().__init__(*args, **how)
        self.mark = mark
        self.told: list[tuple[str, bool]] = []

    def attached(self) -> None:
        self.told.append(("attached", self.mark.exists()))

    def detaching(self) -> None:
        self.told.append(("detaching", self.mark.exists()))


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "ran"


def test_session_steps_come_in_order(engine: Engine, mark: Path) -> None:
    session = Told(mark, ["ip_rcv"], COUNTING, command=["touch", str(mark)])
    with session:
        assert session.child
        assert session.child.wait(30)
        profile = session.finish()
        session.detach()
    assert session.told == [("attached", False), ("detaching", True)]
    assert profile.summary.notes == NOTES
    assert engine.done.count("detach") == 1


def test_session_filters_have_the_commands_process(
    engine: Engine, mark: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, ...]] = []

    def opened(selection: Any, symbols: Any, options: ProbeOptions, watch: Any) -> Any:
        seen.append(options.filters.pids)
        return engine.open(selection, symbols, options, watch)

    monkeypatch.setattr("kwalk.engine.capture.open_probe", opened)
    options = COUNTING._replace(filters=Filters(pids=(os.getpid(),)))
    with Session(["ip_rcv"], options, command=["true"]) as session:
        assert session.child
        assert seen == [(os.getpid(), session.child.pid)]
    assert options.filters.pids == (os.getpid(),)


def test_session_that_is_refused_once_attached_runs_no_command(engine: Engine, mark: Path) -> None:
    class Refusing(Session):
        def attached(self) -> None:
            assert self.child
            pids.append(self.child.pid)
            raise UsageError("not like this")

    pids: list[int] = []
    session = Refusing(["ip_rcv"], COUNTING, command=["touch", str(mark)])
    with pytest.raises(UsageError, match="not like this"), session:
        raise AssertionError
    assert not mark.exists()
    assert engine.done[-1] == "close"
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


@pytest.mark.parametrize("held", [signal.SIG_DFL, signal.SIGKILL], ids=["runs", "ended"])
def test_ctrl_c_while_attaching_runs_no_command(
    held: int, engine: Engine, mark: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a terminal, Ctrl-C ends the waiting command as well."""

    def opened(*how: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return engine.open(*how)

    monkeypatch.setattr("kwalk.engine.capture.open_probe", opened)
    if held:
        attached = TracingSession.attached

        def ending(self: TracingSession) -> None:
            self.stopper.interrupted = False  # as if the signal came a moment later
            attached(self)
            self.stopper.interrupted = True
            assert self.child
            os.kill(self.child.pid, held)
            assert self.child.wait(30)

        monkeypatch.setattr(TracingSession, "attached", ending)
    assert main(["count", "ip_rcv", "--", "touch", str(mark)]) == 130
    assert not mark.exists()
    assert engine.done[-1] == "close"


def test_command_that_was_ended_before_it_ran_is_told(engine: Engine) -> None:
    class Ending(Session):
        def attached(self) -> None:
            assert self.child
            os.kill(self.child.pid, signal.SIGKILL)
            assert self.child.wait(30)

    session = Ending(["ip_rcv"], COUNTING, command=["true"])
    with pytest.raises(CommandEnded, match="true was ended before it could run"), session:
        raise AssertionError


def test_session_kills_its_command_where_the_process_is_aborted(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "_exit", lambda code: None)
    with Session(["ip_rcv"], COUNTING, command=["sleep", "1000"]) as session:
        assert session.child
        aborting.abort(130)
        assert session.child.wait(30)
    assert session.child.note() == "sleep was ended by signal 9"


def test_session_says_how_its_command_ended(engine: Engine) -> None:
    with Session(["ip_rcv"], COUNTING, command=["sh", "-c", "exit 3"]) as session:
        assert session.child
        assert session.child.wait(30)
        session.detach()
        assert session.summary().notes == NOTES
        assert session.conclude().notes == [*NOTES, "sh ended with exit code 3"]


def test_session_notices_come_from_its_capture(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    with Session(["ip_rcv"], COUNTING) as session:
        monkeypatch.setattr(session, "notice", heard.append)
        monkeypatch.setattr(session.capture, "news", lambda: ["the tree is full"])
        assert session.tend()
    assert heard == ["the tree is full"]


def test_session_without_a_budget_makes_none(engine: Engine) -> None:
    with Session(["ip_rcv"], COUNTING) as session:
        assert session.budget is None
        assert session.tend()
    with Session(["ip_rcv"], COUNTING._replace(chance=0.5), budget=0.02) as session:
        assert session.budget
        assert session.summary().sampling
