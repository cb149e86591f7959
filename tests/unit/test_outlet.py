# SPDX-License-Identifier: MIT
"""Writing to whoever takes nothing: pipes, terminals and sockets, without being held up."""

from __future__ import annotations

import os
import pty
import socket
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from full_pipe import stalled
from kwalk.support.outlet import Outlet
from kwalk.support.stdio import write_pieces

Ends = tuple[int, int]


def pipe() -> Ends:
    return os.pipe()


def terminal() -> Ends:
    ours, theirs = pty.openpty()
    mode = termios.tcgetattr(theirs)
    mode[1] &= ~termios.OPOST
    termios.tcsetattr(theirs, termios.TCSANOW, mode)
    return ours, theirs


def stream_socket() -> Ends:
    ours, theirs = socket.socketpair()
    return ours.detach(), theirs.detach()


@pytest.fixture(params=[pipe, terminal, stream_socket], ids=lambda make: make.__name__)
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    found = request.param()
    yield found
    for fd in found:
        os.close(fd)


@pytest.fixture(params=[False, True], ids=["reopened", "not reopened"])
def maybe_reopened(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe or terminal of another user can't be opened again."""
    if request.param:
        real = os.open

        def refuse(path: str, *how: int) -> int:
            if str(path).startswith("/proc/self/fd/"):
                raise PermissionError(13, "Permission denied")
            return real(path, *how)

        monkeypatch.setattr(os, "open", refuse)


def until(seconds: float) -> Callable[[float], bool]:
    return lambda stalled: stalled < seconds


@pytest.mark.timeout(60)
@pytest.mark.parametrize("size", [100, 1_000_000])
def test_outlet_counts_what_was_taken(ends: Ends, size: int) -> None:
    reader, writer = ends
    data = bytes(range(1, 101)) * (size // 100)
    with Outlet(writer) as outlet:
        taken = outlet.write(data, until(0.2))
        assert taken == outlet.written
        assert (taken == size) == (size == 100)
        got = b""
        while len(got) < taken:
            got += os.read(reader, 1 << 20)
    assert got == data[:taken]


@pytest.mark.timeout(60)
@pytest.mark.usefixtures("maybe_reopened")
def test_outlet_delivers_all_to_a_slow_reader(ends: Ends) -> None:
    reader, writer = ends
    data = bytes(range(1, 101)) * 5000
    got = bytearray()

    def read() -> None:
        while len(got) < len(data):
            time.sleep(0.0005)
            got.extend(os.read(reader, 30_000))

    thread = threading.Thread(target=read)
    thread.start()
    with Outlet(writer) as outlet:
        assert outlet.write(data) == len(data)
    thread.join()
    assert bytes(got) == data


@pytest.mark.timeout(20)
@pytest.mark.usefixtures("maybe_reopened")
def test_outlet_gives_a_full_pipe_up_and_leaves_its_flags_alone() -> None:
    with stalled() as end, Outlet(end) as outlet:
        assert outlet.write(b"x", until(0.1)) == 0
        assert os.get_blocking(end)
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(end)


def test_outlet_is_stalled_only_since_something_was_taken_last() -> None:
    reader, writer = os.pipe()
    told: list[float] = []

    def patience(stalled: float) -> bool:
        told.append(stalled)
        os.read(reader, 1 << 20)
        return True

    with Outlet(writer) as outlet:
        assert outlet.write(bytes(1_000_000), patience) == 1_000_000
    assert len(told) > 2
    assert set(told) == {0.0}
    os.close(reader)
    os.close(writer)


@pytest.mark.timeout(20)
def test_outlet_is_not_held_up_by_a_stopped_terminal() -> None:
    ours, theirs = terminal()
    termios.tcflow(theirs, termios.TCOOFF)
    with Outlet(theirs) as outlet:
        assert outlet.write(b"x" * 10, until(0.1)) == 0
        termios.tcflow(theirs, termios.TCOON)
        assert outlet.write(b"x" * 10, until(5)) == 10
    os.close(ours)
    os.close(theirs)


def test_outlet_tells_that_the_reader_has_gone() -> None:
    read, end = os.pipe()
    with Outlet(end) as outlet:
        assert outlet.write(b"ab") == 2
        os.close(read)
        with pytest.raises(BrokenPipeError):
            outlet.write(b"c")
        assert outlet.written == 2
    os.close(end)


def test_reports_are_whole_where_others_have_made_the_output_nonblocking(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = ends
    os.set_blocking(theirs, False)
    data = b"x" * 300_000
    found = bytearray()

    def read() -> None:
        time.sleep(0.3)
        while len(found) < len(data):
            found.extend(os.read(ours, 1 << 16))

    reader = threading.Thread(target=read)
    reader.start()
    with os.fdopen(theirs, "w", closefd=False) as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert write_pieces([data])
    reader.join()
    assert found == data
