# SPDX-License-Identifier: MIT
"""Filters, checked against the calls that the senders know they made."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import fnmatch
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import call, only_on
from verified import names

import forked
from kwalk.abi import Method, Output, Per
from kwalk.engine.capture import Capture
from kwalk.kernel.cgroups import hierarchy
from kwalk.model.ledger import Summary
from kwalk.model.stack import Group
from kwalk.options.filter_names import _cgroup, _netns
from kwalk.options.filters import Filters
from kwalk.options.probe import ProbeOptions
from kwalk.symbolize.symbolizer import Symbolizer
from waiting import wait_for

pytestmark = only_on("debian-12")
# Called by the sender, in its own system call.
FUNCTION = "udp_sendmsg"
CLONE_NEWNET = 0x40000000
CGROUPS = Path("/sys/fs/cgroup")
_LIBC = ctypes.CDLL(None, use_errno=True)


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sH14x", b"lo", 1 | 0x40)  # IFF_UP, IFF_RUNNING
        fcntl.ioctl(sock, 0x8914, request)  # SIOCSIFFLAGS


class Sender:
    """A process that sends as often as it is told to, in a cgroup, namespace and CPU of its own.

    :param netns: Enter a new network namespace.
    :ivar tid: TID of its second thread, which sends half as often.
    """

    def __init__(self, comm: str, cpu: int, cgroup: Path, netns: bool = True) -> None:
        told, self._tell = os.pipe()
        self._hear, said = os.pipe()

        def main() -> None:
            if netns:
                assert _LIBC.unshare(CLONE_NEWNET) == 0
                _loopback_up()
            (cgroup / "cgroup.procs").write_text(str(os.getpid()))
            os.sched_setaffinity(0, {cpu})
            Path("/proc/self/comm").write_text(comm)
            self._serve(told, said)

        self.pid = forked.fork(main)
        self.tid = int(os.read(self._hear, 64))

    @staticmethod
    def _send(number: int) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for _ in range(number):
                with contextlib.suppress(OSError):  # nobody listens
                    sock.sendto(b"x", ("127.0.0.1", 9))

    def _serve(self, told: int, said: int) -> None:
        wanted, done = threading.Semaphore(0), threading.Semaphore(0)
        number = 0

        def second() -> None:
            os.write(said, f"{threading.get_native_id()}".encode())
            while wanted.acquire():
                self._send(number // 2)
                done.release()

        threading.Thread(target=second, daemon=True).start()
        while word := os.read(told, 8):
            number = int(word)
            self._send(number)
            wanted.release()
            done.acquire()
            os.write(said, b".")

    def send(self, number: int) -> None:
        """Make the first thread send ``number`` times, and the second half as often."""
        os.write(self._tell, f"{number:8}".encode())
        assert os.read(self._hear, 1) == b"."

    def end(self) -> None:
        """End it."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._tell)
        os.close(self._hear)


@pytest.fixture(scope="module")
def cgroups() -> Iterator[tuple[Path, Path]]:
    """Make two cgroups, the second one level below another."""
    mounted = hierarchy()
    if not mounted:
        subprocess.run(["mount", "-t", "cgroup2", "none", CGROUPS], check=True)
        mounted = hierarchy()
    assert mounted
    top = mounted.top
    one, two = top / "kwtest-one", top / "kwtest-outer" / "kwtest-two"
    one.mkdir(parents=True, exist_ok=True)
    two.mkdir(parents=True, exist_ok=True)
    yield one, two
    for folder in (one, two, two.parent):
        assert wait_for(lambda folder=folder: _removed(folder))  # type: ignore[misc]


def _removed(folder: Path) -> bool:
    with contextlib.suppress(OSError):
        folder.rmdir()
        return True
    return False


@pytest.fixture
def senders(cgroups: tuple[Path, Path]) -> Iterator[tuple[Sender, Sender]]:
    """Start two senders that differ in everything that filters test."""
    one, two = Sender("sender-one", 0, cgroups[0]), Sender("sender-two", 1, cgroups[1])
    yield one, two
    one.end()
    two.end()


def traced(
    chosen: Filters, work: Callable[[], object], attach: str = "auto"
) -> tuple[int, Summary]:
    options = ProbeOptions(Method.MANUAL, attach, output=Output.COUNT, filters=chosen)
    with Capture(FUNCTION, options) as capture:
        work()
        capture.stop()
        counts = capture.counts()
        summary = capture.summary()
        symbolizer = Symbolizer(capture.symbols)
    assert summary.ledger.balance == 0
    assert all("__sys_sendto" in names(c.stack, symbolizer) for c in counts)
    return sum(count.count for count in counts), summary


FILTERS: dict[str, Callable[[Sender, Path], Filters]] = {
    "pid": lambda sender, cgroup: Filters(pids=(sender.pid,)),
    "comm": lambda sender, cgroup: Filters(
        comms=(Path(f"/proc/{sender.pid}/comm").read_text().strip(),)
    ),
    "netns": lambda sender, cgroup: Filters(netns=(_netns(f"/proc/{sender.pid}/ns/net"),)),
    "cgroup": lambda sender, cgroup: Filters(cgroups=(_cgroup(str(cgroup)),)),
    "outer cgroup": lambda sender, cgroup: Filters(cgroups=(_cgroup(str(cgroup.parent)),)),
    "all": lambda sender, cgroup: Filters(
        pids=(1, sender.pid),
        comms=("nobody", "sender-two", "sender-one"),
        netns=(_netns(f"/proc/{sender.pid}/ns/net"), 7),
        cgroups=(_cgroup(str(cgroup)),),
        cpus=(0, 1),
    ),
}


@pytest.mark.parametrize(
    ("kind", "attach"), [*((kind, "fentry") for kind in FILTERS), ("all", "kprobe")]
)
def test_filters_take_only_the_chosen_calls(
    kind: str, attach: str, senders: tuple[Sender, Sender], cgroups: tuple[Path, Path]
) -> None:
    one, two = senders
    chosen = FILTERS[kind](two, cgroups[1])

    def work() -> None:
        one.send(300)
        two.send(200)

    taken, summary = traced(chosen, work, attach)
    ledger = summary.ledger
    lost = sum(ledger.lost.values())
    wanted = 300  # of both threads: the second has the first one's name
    assert wanted - lost <= taken <= wanted, ledger
    assert ledger.not_wanted["filtered"] >= 450 - lost
    assert ledger.hits == taken + sum(ledger.causes.values())


def test_filters_by_thread_and_by_cpu(senders: tuple[Sender, Sender]) -> None:
    one, two = senders

    def work() -> None:
        one.send(300)
        two.send(200)

    taken, summary = traced(Filters(tids=(two.tid,)), work)
    assert taken == 100 - sum(summary.ledger.lost.values())
    taken, summary = traced(Filters(cpus=(0,)), work)
    assert taken >= 450 - sum(summary.ledger.lost.values())
    assert summary.ledger.not_wanted["filtered"] >= 300


def test_follow_includes_the_descendants(cgroups: tuple[Path, Path]) -> None:
    script = (
        "import os, socket\n"
        "def send(n):\n"
        "    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "    for _ in range(n):\n"
        "        try: sock.sendto(b'x', ('127.0.0.1', 9))\n"
        "        except OSError: pass\n"
        "send(100)\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    send(10)\n"
        "    if not os.fork():\n"
        "        send(1)\n"
        "        os._exit(0)\n"
        "    os.wait(); os._exit(0)\n"
        "os.wait()\n"
    )
    for option, wanted in ((), 100), (("--follow",), 111):
        code, out, err = call(
            *("kwalk", "count", FUNCTION, *option, "--format", "folded", "--"),
            *(sys.executable, "-c", script),
        )
        assert code == 0, err
        assert sum(int(line.rsplit(" ", 1)[1]) for line in out.splitlines()) == wanted, err
        assert "until" in err


def test_command_that_cannot_be_run_or_fails_is_told() -> None:
    code, out, err = call("kwalk", "count", FUNCTION, "--", "no-such-command-here")
    assert (code, out) == (2, "")
    assert "no-such-command-here cannot be run: No such file or directory" in err
    code, out, err = call("kwalk", "count", FUNCTION, "--", "sh", "-c", "exit 3")
    assert code == 0
    assert "note: sh ended with exit code 3" in err


def test_tracing_ends_with_the_process_of_the_pid_filter(senders: tuple[Sender, Sender]) -> None:
    one, _ = senders
    timer = threading.Timer(4, lambda: os.kill(one.pid, signal.SIGTERM))
    timer.start()
    code, _, err = call("kwalk", "count", FUNCTION, "--pid", str(one.pid), timeout=60)
    assert code == 0, err
    code, _, err = call("kwalk", "count", FUNCTION, "--pid", "4194303")
    assert code == 2
    assert "there is no process 4194303" in err


def test_sampling_applies_after_the_filters(senders: tuple[Sender, Sender]) -> None:
    one, two = senders
    options = ProbeOptions(
        Method.MANUAL, output=Output.COUNT, filters=Filters(pids=(two.pid,)), chance=1 / 4
    )
    with Capture(FUNCTION, options) as capture:
        one.send(100)
        two.send(2000)
        capture.stop()
        counts = capture.counts()
        ledger = capture.summary().ledger
    assert ledger.balance == 0
    taken = sum(count.count for count in counts)
    assert abs(taken - 3000 / 4) < 6 * (3000 * 3 / 16) ** 0.5
    assert ledger.not_wanted["filtered"] >= 150 - ledger.lost.get("recursion", 0)
    if "recursion" not in ledger.lost:
        assert sum(count.calls for count in counts) == pytest.approx(3000)


def grouped(per: Per, pids: tuple[int, ...], work: Callable[[], object]) -> Counter[Group]:
    options = ProbeOptions(Method.MANUAL, output=Output.COUNT, per=per, filters=Filters(pids=pids))
    found: Counter[Group] = Counter()
    with Capture(FUNCTION, options) as capture:
        work()
        capture.stop()
        for count in capture.counts():
            assert count.group
            found[count.group] += count.count
        ledger = capture.summary().ledger
    assert ledger.balance == 0
    assert not ledger.lost, ledger
    return found


def test_groups_have_the_calls_that_their_members_made(
    senders: tuple[Sender, Sender], cgroups: tuple[Path, Path]
) -> None:
    one, two = senders
    pids = one.pid, two.pid

    def work() -> None:
        one.send(300)
        two.send(200)

    def by(per: Per) -> dict[str | int | None, int]:
        return {g.name or g.number: n for g, n in grouped(per, pids, work).items()}

    assert {g.number: n for g, n in grouped(Per.PID, pids, work).items()} == {
        one.pid: 450,
        two.pid: 300,
    }
    assert by(Per.COMM) == {"sender-one": 450, "sender-two": 300}
    assert by(Per.CPU) == {0: 450, 1: 300}
    top = hierarchy()
    assert top
    assert by(Per.CGROUP) == {
        f"/{path.relative_to(top.top)}": number
        for path, number in zip(cgroups, (450, 300), strict=True)
    }


def test_from_caller_and_until_narrow_the_stacks(senders: tuple[Sender, Sender]) -> None:
    one, _ = senders
    options = ProbeOptions(
        Method.MANUAL,
        output=Output.COUNT,
        filters=Filters(pids=(one.pid,)),
        through=re.compile("^__sys_sendto$"),
        until=re.compile(fnmatch.translate("*sys_sendto")),
    )
    with Capture(FUNCTION, options) as capture:
        one.send(100)
        capture.stop()
        (count,) = capture.counts()
        assert names(count.stack, capture.symbolizer)[-1] == "__sys_sendto"
        assert count.count == 150
    with Capture(FUNCTION, options._replace(through=re.compile("tcp"))) as capture:
        one.send(100)
        capture.stop()
        assert capture.counts() == []
        ledger = capture.summary().ledger
    assert ledger.not_wanted["other_callers"] == 150
    assert ledger.balance == 0


@contextlib.contextmanager
def flooded() -> Iterator[list[int]]:
    """Run two processes on CPU 0 that send to themselves without end."""

    def flood() -> None:
        os.sched_setaffinity(0, {0})
        while True:
            Sender._send(1000)

    pids = [forked.fork(flood) for _ in range(2)]
    try:
        yield pids
    finally:
        for pid in pids:
            forked.kill(pid)


@pytest.mark.parametrize("by_daemon", [True, False])
def test_softirq_hit_has_the_task_that_was_running(by_daemon: bool) -> None:
    """Receive steering has CPU 1 receive what CPU 0 sends: too much to do it in passing there."""
    steering = Path("/sys/class/net/lo/queues/rx-0/rps_cpus")
    steering.write_text("2" if by_daemon else "0")
    try:
        with flooded() as pids:
            chosen = Filters(comms=("ksoftirqd/1",)) if by_daemon else Filters(pids=tuple(pids))
            options = ProbeOptions(Method.MANUAL, output=Output.COUNT, filters=chosen)
            with Capture("ip_rcv", options) as capture:
                assert wait_for(lambda: sum(c.count for c in capture.counts()) > 50, 60)
                capture.stop()
                counts, symbolizer = capture.counts(), Symbolizer(capture.symbols)
                assert capture.summary().ledger.balance == 0
    finally:
        steering.write_text("0")
    seen = set()
    for count in counts:
        found = names(count.stack, symbolizer)
        seen.update(found)
        # In an interrupt the daemon can receive outside of its own function, too.
        assert ("kthread" in found) == by_daemon
        assert ("__sys_sendto" in found) != by_daemon
    assert ("run_ksoftirqd" in seen) == by_daemon
