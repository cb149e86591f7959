# SPDX-License-Identifier: MIT
"""Limits of the machine: told with their names, values and remedies, from whatever met them."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

import forked
from kwalk.api import live
from kwalk.bench.workload import Workload
from kwalk.engine.traced_command import Child
from kwalk.errors import KwalkError
from kwalk.kernel import shortage
from kwalk.kernel.shortage import Shortage
from kwalk.libbpf import LibbpfError, perf

Python = Callable[..., subprocess.CompletedProcess[str]]
TRACE = (
    "import sys, resource; from kwalk.cli import main as cli; import kwalk.kernel.shortage;"
    "resource.setrlimit(resource.{limit}, ({value}, {value}));"
    "sys.exit(cli.guarded('kwalk', lambda: {body}))"
)


@contextmanager
def files(soft: int) -> Iterator[None]:
    """A soft limit of open files."""
    old = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, old)


def soft() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def test_soft_limit_of_files_is_raised_as_needed_and_never_lowered() -> None:
    with files(200):
        shortage.make_room(0)
        assert soft() == 200
        shortage.make_room(100)
        assert 328 <= soft() < 500
        raised = soft()
        shortage.make_room(1)
        assert soft() == raised


@pytest.mark.parametrize(("hard", "kprobes"), [(300, 400), (16, 0), (16, 1)])
def test_low_hard_limit_of_files_is_named_before_attaching(hard: int, kprobes: int) -> None:
    def run() -> int:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        with pytest.raises(Shortage) as caught:
            shortage.make_room(kprobes)
        assert f"this process may have {hard}" in caught.value.what
        assert "RLIMIT_NOFILE" in caught.value.hint
        assert f" is {hard}" in caught.value.hint
        assert "prlimit" in caught.value.hint
        assert ("fewer functions" in caught.value.hint) == (kprobes > hard)
        return 0

    pid = forked.fork(run)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.parametrize(
    ("limit", "value", "body", "signs"),
    [
        ("RLIMIT_NOFILE", 3, "open('/dev/null')", ["/dev/null: Too many open", "RLIMIT_NOFILE"]),
        ("RLIMIT_AS", 1 << 28, "bytes(1 << 30)", ["out of memory", "256 MiB (RLIMIT_AS"]),
        (
            "RLIMIT_AS",
            1 << 28,
            "__import__('mmap').mmap(-1, 1 << 30)",
            ["Cannot allocate memory", "256 MiB (RLIMIT_AS"],
        ),
    ],
)
def test_limit_is_named_in_one_message_wherever_it_is_met(
    powerless_python: Python, limit: str, value: int, body: str, signs: list[str]
) -> None:
    done = powerless_python("-c", TRACE.format(limit=limit, value=value, body=body))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 2, done.stderr
    for sign in signs:
        assert sign in done.stderr


def test_library_without_room_is_not_taken_for_a_missing_one(
    powerless_python: Python,
) -> None:
    body = "__import__('kwalk.libbpf').libbpf.lib()"
    text = "import _cffi_backend, kwalk.libbpf, kwalk.kernel.shortage, kwalk.libbpf._abi;"
    text += TRACE.format(limit="RLIMIT_NOFILE", value=3, body=body)
    done = powerless_python("-c", text)
    assert done.returncode == 1
    assert "Install libbpf" not in done.stderr
    assert "Too many open files" in done.stderr
    assert "RLIMIT_NOFILE" in done.stderr


def test_error_without_an_errno_is_no_shortage_where_there_is_room() -> None:
    assert shortage.of(OSError("libbpf.so.1: cannot open shared object file")) == 0
    assert shortage.of(ImportError("no module")) == 0
    assert shortage.of(OSError(errno.ENOENT, "no")) == 0
    assert shortage.of(OSError("x.so: failed to map segment from shared object")) == errno.ENOMEM
    assert shortage.of(MemoryError()) == errno.ENOMEM


def test_memory_limit_is_the_lowest_above_the_cgroup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "self/cgroup").write_text("0::/user/shell\n")
    (proc / "meminfo").write_text("MemTotal: 1000000 kB\nMemAvailable:  500000 kB\n")
    (cgroups / "user/shell").mkdir(parents=True)
    (cgroups / "user/shell/memory.max").write_text("max\n")
    (cgroups / "user/memory.max").write_text(f"{64 << 20}\n")
    monkeypatch.setattr(shortage, "PROC", proc)
    monkeypatch.setattr(shortage, "CGROUPS", cgroups)
    told = shortage.hint(errno.ENOMEM)
    assert "its cgroup may have 64 MiB (memory.max)" in told
    assert "488 MiB of the machine's memory are free" in told
    (cgroups / "user/shell/pids.max").write_text("7\n")
    assert "pids.max of its cgroup is 7" in shortage.processes()


def test_libbpf_that_found_nothing_may_have_had_no_memory_to_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "btf").write_bytes(b"")
    os.truncate(tmp_path / "btf", 5 << 20)
    monkeypatch.setattr(shortage, "BTF", tmp_path / "btf")
    with files(4096):
        assert shortage.perhaps() == ""

    def run() -> int:
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + (8 << 20),) * 2)
        told = shortage.perhaps()
        return 0 if "Perhaps for want of memory." in told and "RLIMIT_AS" in told else 1

    pid = forked.fork(run)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_unrelated_errno_has_no_hint() -> None:
    assert [shortage.hint(number) for number in (errno.EPERM, errno.EINVAL, 0)] == ["", "", ""]


def test_sample_rate_above_the_sysctl_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rate = tmp_path / "rate"
    monkeypatch.setattr(perf, "_MAX_RATE", rate)
    monkeypatch.setattr(perf, "system_call", lambda *_: -1)
    refused = SimpleNamespace(new=lambda *_: b"", errno=errno.EINVAL)
    monkeypatch.setattr(perf, "ffi", lambda: refused)
    rate.write_text("500\n")
    with pytest.raises(LibbpfError) as caught:
        perf.open_cpu_clock(0, 4000)
    assert (
        "kernel.perf_event_max_sample_rate is 500, less than the requested 4,000"
        in caught.value.hint
    )
    rate.write_text("4000\n")
    with pytest.raises(LibbpfError) as caught:
        perf.open_cpu_clock(0, 4000)
    assert caught.value.hint == ""


@pytest.mark.parametrize("forks", [0, 1], ids=["command", "guard"])
def test_command_that_cannot_be_forked_names_the_process_limits(
    forks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def limited(fork: Callable[[], int] = os.fork) -> int:
        if len(started) == forks:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        started.append(fork())
        return started[-1]

    started: list[int] = []
    before = len(os.listdir("/proc/self/fd"))
    with monkeypatch.context() as patched:
        patched.setattr(os, "fork", limited)
        with pytest.raises(KwalkError) as caught:
            Child(["true"])
    assert caught.value.what == "true cannot be started: Resource temporarily unavailable"
    assert "kernel.threads-max is " in caught.value.hint
    assert len(os.listdir("/proc/self/fd")) == before
    for pid in started:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_workload_that_cannot_be_forked_names_the_process_limits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with pytest.raises(KwalkError) as caught:
        Workload(["true"]).run()
    assert caught.value.what.endswith("true cannot be started: Resource temporarily unavailable")
    assert "kernel.threads-max is " in caught.value.hint


def test_thread_that_cannot_be_started_names_the_process_limits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(Shortage) as caught:
        live._start(threading.Thread())
    assert "can't start new thread" in caught.value.what
    assert "kernel.threads-max is " in caught.value.hint
