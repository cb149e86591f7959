# SPDX-License-Identifier: MIT
"""Limits of the machine: raised if possible, else named with their values and remedies."""

from __future__ import annotations

import os
import re
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import call, only_on

from kwalk.kernel.kallsyms import Kallsyms
from kwalk.probe import ftrace_sites
from kwalk.probe.load import image
from kwalk.probe.selection import matching
from waiting import wait_for

pytestmark = only_on("debian-12")
SHORTLY = ("--duration", "0.1", "--format", "folded")
LIST = Path("/sys/kernel/debug/kprobes/list")
CGROUPS = Path("/sys/fs/cgroup")
RATE = Path("/proc/sys/kernel/perf_event_max_sample_rate")


def limited(soft: int, hard: int, *words: str, timeout: float = 90) -> tuple[int, str]:
    """Run with limits of open files; return the exit code and the messages."""

    def first() -> None:
        os.closerange(3, 4096)  # files that earlier tests have open count as well
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    code, _, err = call("kwalk", *words, *SHORTLY, first=first, timeout=timeout)
    assert "Traceback" not in err
    return code, err


def probes() -> list[str]:
    """Return the number of kprobes."""
    return LIST.read_text().splitlines()


def hard() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def test_soft_limit_of_files_is_raised() -> None:
    code, err = limited(24, hard(), "count", "vfs_r*", "--attach", "kprobe")
    assert code == 0, err
    assert "did not let us attach" not in err


@pytest.mark.parametrize("most", [16, 24, 36])
def test_low_file_limit_is_named_as_the_reason(most: int) -> None:
    code, err = limited(most, most, "count", "vfs_read")
    assert code == 1, err
    assert "RLIMIT_NOFILE" in err
    assert f" is {most}" in err
    assert "prlimit" in err
    assert "verifier" not in err


def test_low_file_limit_for_kprobes_is_told_before_attaching() -> None:
    code, err = limited(300, 300, "count", "tcp_*", "--attach", "kprobe")
    assert code == 1, err
    assert re.search(r"[\d,]+ kprobes take [\d,]+ open files, and this process may have 300", err)
    assert "RLIMIT_NOFILE" in err


def test_files_that_run_out_end_attaching_and_what_was_attached_is_counted() -> None:
    names = ("vfs_[a-f]*", "vfs_[g-z]*")
    symbols = Kallsyms.read()
    able = ftrace_sites.read(symbols, image)
    found = {t.address for name in names for t in matching(name, symbols) if not able.why_not(t)}
    most = 2 * len(found) + 4  # enough for the kprobes alone
    code, err = limited(most, most, "count", *names, "--attach", "kprobe")
    assert code == 1, err
    told = re.search(r"Too many open files \(errno 24\), with (\d+) of (\d+) functions", err)
    assert told, err
    assert 0 < int(told[1]) < int(told[2]) == len(found)
    assert int(told[1]) >= (most - 80) / 2
    assert f"RLIMIT_NOFILE) of this process is {most}" in err
    assert "did not let us attach" not in err


def test_maps_that_memory_has_no_room_for_name_their_option() -> None:
    code, _, err = call("kwalk", "stream", "vfs_read", "--ring", "1024", "--count", "1")
    if code == 0:
        pytest.skip("this machine has the memory")
    assert "Traceback" not in err
    assert "1,024.0 MiB by --ring" in err
    assert "Cannot allocate memory" in err
    assert re.search(r"\d MiB of the machine's memory are free", err)


def limited_memory(limit: int) -> Callable[[], None]:
    """Return a function that limits a process to so many more bytes of address space."""

    def first() -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + limit
        resource.setrlimit(resource.RLIMIT_AS, (most, most))

    return first


def test_address_space_that_runs_out_is_named_wherever_that_is() -> None:
    before, codes = probes(), []
    for size in (0, 1 << 20, 4 << 20, 12 << 20, 24 << 20, 40 << 20, 1 << 29):
        first = limited_memory(size)
        code, _, err = call("kwalk", "count", "vfs_read", *SHORTLY, first=first)
        codes.append(code)
        assert "Traceback" not in err
        assert code == 0 or "RLIMIT_AS, `ulimit -v`" in err, f"{size >> 20} MiB: {err}"
        assert code == 0 or len(err.splitlines()) <= 3, err
    assert codes == sorted(codes, reverse=True)
    assert (codes[0], codes[-1]) == (1, 0)
    assert probes() == before


def test_locked_memory_is_no_limit() -> None:
    def first() -> None:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))

    code, _, err = call("kwalk", "count", "vfs_read", *SHORTLY, first=first)
    assert code == 0, err


@contextmanager
def cgroup(name: str, value: str) -> Iterator[Path]:
    """Make a cgroup with a limit."""
    (CGROUPS / "cgroup.subtree_control").write_text(f"+{name.partition('.')[0]}")
    folder = CGROUPS / "kwalk-limited"
    folder.mkdir()
    try:
        (folder / name).write_text(value)
        yield folder
    finally:
        wait_for(lambda: not (folder / "cgroup.procs").read_text(), 10)
        folder.rmdir()


def test_cgroups_memory_and_processes_are_named() -> None:
    def first() -> None:
        (folder / "cgroup.procs").write_text("0")

    with cgroup("memory.max", str(192 << 20)) as folder:
        code, _, err = call("kwalk", "stream", "vfs_read", "--ring", "256", first=first)
    assert code == 1, err
    assert "Traceback" not in err
    assert "256.0 MiB by --ring" in err
    assert "its cgroup may have 192 MiB (memory.max)" in err
    with cgroup("pids.max", "1") as folder:
        code, _, err = call("kwalk", "count", "vfs_read", "--", "true", first=first)
    assert code == 1, err
    assert "Traceback" not in err
    assert "pids.max of its cgroup is 1" in err


@contextmanager
def sample_rate(most: int) -> Iterator[None]:
    old = RATE.read_text()
    RATE.write_text(str(most))
    try:
        yield
    finally:
        RATE.write_text(old)


def test_sample_rate_above_the_sysctl_names_it() -> None:
    with sample_rate(500):
        code, err = limited(hard(), hard(), "count", "--freq", "4000")
    assert code == 1, err
    assert "kernel.perf_event_max_sample_rate is 500" in err
    assert "sysctl kernel.perf_event_max_sample_rate=4000" in err
