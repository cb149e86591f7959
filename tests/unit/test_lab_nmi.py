# SPDX-License-Identifier: MIT
"""Asking for NMIs: the guest's side on a terminal in place of its port, the host's on sockets."""

from __future__ import annotations

import json
import os
import socket
import threading
import tty
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwalk.cli.main import main
from kwalk.errors import KwalkError, NotSupported
from kwalk.lab import nmi
from kwalk.lab.monitor import Monitor
from kwalk.lab.platforms import ARM64, X86_64

GREETING = b'{"QMP": {"version": {}, "capabilities": ["oob"]}}\r\n'
DONE = b'{"return": {}}\r\n'


class Host:
    """A monitor between a QEMU and a guest that the test plays."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        pairs = [socket.socketpair() for _ in range(2)]
        for end in (*pairs[0], *pairs[1]):
            self._stack.enter_context(end)
        (qmp, self.qemu), (port, self.guest) = pairs
        self.monitor = Monitor(qmp, port)

    def commands(self) -> list[str]:
        return [json.loads(line)["execute"] for line in read(self.qemu).splitlines()]

    def answers(self) -> list[str]:
        return read(self.guest).decode().splitlines()

    def close(self) -> None:
        self._stack.close()


def read(end: socket.socket) -> bytes:
    try:
        return end.recv(1 << 16, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return b""


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host()
    yield host
    host.close()


def test_request_sends_one_command_and_one_answer(host: Host) -> None:
    host.monitor.feed_qemu(GREETING + DONE)
    host.monitor.feed_guest(b"nmi\nnmi x\n")
    assert host.commands() == ["qmp_capabilities", "inject-nmi", "inject-nmi"]
    assert host.answers() == []
    host.monitor.feed_qemu(b'{"event": "RTC_CHANGE"}\r\n' + DONE)
    assert host.answers() == ["ok"]
    host.monitor.feed_qemu(DONE)
    assert host.answers() == ["x ok"]


@given(st.lists(st.integers(1, 20), max_size=30))
def test_lines_may_come_in_pieces(sizes: list[int]) -> None:
    host = Host()
    for feed, text in (
        (host.monitor.feed_guest, b"nmi a\nnmi b\n"),
        (host.monitor.feed_qemu, GREETING + DONE * 3),
    ):
        at = 0
        for size in (*sizes, len(text)):
            feed(text[at : at + size])
            at += size
    assert host.answers() == ["a ok", "b ok"]
    host.close()


def test_request_before_the_greeting_is_kept(host: Host) -> None:
    host.monitor.feed_guest(b"nmi x\n")
    host.monitor.feed_qemu(GREETING)
    assert host.answers() == []
    host.monitor.feed_qemu(DONE + DONE)
    assert host.answers() == ["x ok"]


def test_refusal_is_passed_on(host: Host) -> None:
    host.monitor.feed_guest(b"nmi x\nnmi y\n")
    error = {"error": {"class": "GenericError", "desc": "machine does not provide NMIs"}}
    host.monitor.feed_qemu(DONE + json.dumps(error).encode() + b"\n" + DONE)
    assert host.answers() == ["x failed QEMU says: machine does not provide NMIs", "y ok"]


@pytest.mark.parametrize("line", [b"", b"reset x", b"\xff x", b"NMI x"])
def test_unknown_request_is_answered_and_does_nothing(host: Host, line: bytes) -> None:
    host.monitor.feed_guest(line + b"\n")
    assert host.commands() == ["qmp_capabilities"]
    (answer,) = host.answers()
    assert "failed" in answer


@pytest.mark.parametrize("line", [b"(qemu) ", b"[]", b"\xff\xfe", b'{"return"'])
def test_monitor_that_talks_nonsense_is_given_up(host: Host, line: bytes) -> None:
    host.monitor.feed_guest(b"nmi x\n")
    host.monitor.feed_qemu(line + b"\n" + DONE)
    host.monitor.feed_guest(b"nmi y\n")
    why = "failed QEMU's monitor does not speak JSON"
    assert host.answers() == [f"x {why}", f"y {why}"]


def test_lost_monitor_is_told_to_all(host: Host) -> None:
    host.monitor.feed_guest(b"nmi x\n")
    host.monitor.give_up("it is gone")
    host.monitor.feed_guest(b"nmi y\n")
    assert host.answers() == ["x failed it is gone", "y failed it is gone"]


def test_closed_monitor_is_noticed_when_writing(host: Host) -> None:
    host.qemu.close()
    host.monitor.feed_guest(b"nmi x\n")
    (answer,) = host.answers()
    assert answer.startswith("x failed QEMU's monitor is gone: ")


def test_unread_monitor_and_port_block_nothing(host: Host) -> None:
    for _ in range(20):
        host.monitor.feed_guest(b"nmi x\n" * 1000)
    host.monitor.feed_qemu(DONE * 20_000)
    while read(host.qemu):
        pass
    answers = []
    while more := host.answers():
        answers += more
    assert set(answers) == {"x failed QEMU's monitor does not keep up"}
    host.monitor.feed_guest(b"nmi y\n")
    host.monitor.feed_qemu(DONE)
    assert host.answers() == ["y ok"]
    host.guest.close()
    host.monitor.feed_guest(b"nmi x\n")


def test_line_without_end_takes_no_memory(host: Host) -> None:
    for _ in range(100):
        host.monitor.feed_guest(b"x" * 100_000)
    assert len(host.monitor._from_guest._rest) < 100_000
    host.monitor.feed_guest(b"\nnmi y\n")
    host.monitor.feed_qemu(DONE * 2)
    assert host.answers() == ["failed the host knows no such request", "y ok"]


Reply = Callable[[bytes], bytes]


@pytest.fixture
def port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Reply], None]]:
    """Make the port; called with a function from request to answer, serve it."""
    monkeypatch.setattr(nmi, "native", lambda: X86_64)
    ports, devices = tmp_path / "ports", tmp_path / "dev"
    devices.mkdir()
    for number, name in enumerate(("stdout", "monitor", "control")):
        (ports / f"vport0p{number}").mkdir(parents=True)
        (ports / f"vport0p{number}" / "name").write_text(f"{name}\n")
    (ports / "vport0p9").mkdir()
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    (devices / "vport0p1").symlink_to(os.ttyname(theirs))
    monkeypatch.setattr(nmi, "_PORTS", ports)
    monkeypatch.setattr(nmi, "_DEVICES", devices)
    threads: list[threading.Thread] = []

    def serve(reply: Reply) -> None:
        def loop() -> None:
            while (request := os.read(ours, 4096)) != b"end":
                os.write(ours, reply(request))

        threads.append(threading.Thread(target=loop))
        threads[0].start()

    yield serve
    os.write(theirs, b"end")
    for thread in threads:
        thread.join()
    os.close(ours)
    os.close(theirs)


def ok(request: bytes) -> bytes:
    return request.split()[1] + b" ok\n"


def test_inject_asks_once_for_each(port: Callable[[Reply], None]) -> None:
    requests: list[bytes] = []

    def reply(request: bytes) -> bytes:
        requests.append(request)
        return ok(request)

    port(reply)
    assert main(["lab", "nmi", "--count", "3"]) == 0
    assert [request.split()[0] for request in requests] == [b"nmi"] * 3
    assert len(set(requests)) == 3


def test_inject_waits_between_two_only(
    port: Callable[[Reply], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(nmi, "_inject_one", lambda _: None)
    monkeypatch.setattr("time.sleep", waits.append)
    assert main(["lab", "nmi", "--count", "3", "--interval", "0.25"]) == 0
    assert waits == [0.25, 0.25]


def test_answers_of_others_are_passed_over(port: Callable[[Reply], None]) -> None:
    port(lambda request: b"ok\nelse failed it is broken\n" + ok(request))
    nmi.inject()


def test_failure_is_told(port: Callable[[Reply], None], capsys: pytest.CaptureFixture[str]) -> None:
    port(lambda request: request.split()[1] + b" failed QEMU says: no NMIs\n")
    assert main(["lab", "nmi"]) == 1
    assert "did not inject the NMI: QEMU says: no NMIs" in capsys.readouterr().err


def test_host_that_does_not_answer(
    port: Callable[[Reply], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nmi, "_TRIES", 5)
    with pytest.raises(KwalkError, match=r"requested through .*: the host does not answer"):
        nmi.inject()


def test_port_that_another_holds(
    port: Callable[[Reply], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    port(ok)
    really, refused = os.open, [16, 16]  # EBUSY

    def busy(path: Path, flags: int) -> int:
        if refused:
            raise OSError(refused.pop(), "busy")
        return really(path, flags)

    monkeypatch.setattr(os, "open", busy)
    nmi.inject()
    refused.extend([16] * 9)
    monkeypatch.setattr(nmi, "_TRIES", 5)
    with pytest.raises(KwalkError, match="another program keeps it open"):
        nmi.inject()
    refused.clear()


def test_port_without_a_device(port: Callable[[Reply], None]) -> None:
    (nmi._DEVICES / "vport0p1").unlink()
    with pytest.raises(KwalkError, match="vport0p1: No such file"):
        nmi.inject()


def test_architecture_without_nmis(
    port: Callable[[Reply], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(nmi, "native", lambda: ARM64)
    assert main(["lab", "nmi"]) == 1
    error = capsys.readouterr().err
    assert "this is an arm64 virtual machine: QEMU cannot inject an NMI there" in error
    assert "Boot a kernel for x86-64" in error


@pytest.mark.parametrize("exists", [True, False])
def test_outside_the_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exists: bool) -> None:
    if exists:
        (tmp_path / "vport1p1").mkdir()
        (tmp_path / "vport1p1" / "name").write_text("org.qemu.guest_agent.0\n")
    monkeypatch.setattr(nmi, "_PORTS", tmp_path if exists else tmp_path / "none")
    with pytest.raises(NotSupported, match="not inside the lab") as caught:
        nmi.inject()
    assert "kwalk lab run" in caught.value.hint
