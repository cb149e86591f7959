# SPDX-License-Identifier: MIT
"""Limits of the machine: raised where they can be, else named with their values and remedies."""

from __future__ import annotations

import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import call, only_on

from kwalk.kernel.kallsyms import Kallsyms
from kwalk.probe import traceable
from kwalk.probe.load import image
from kwalk.probe.selection import matching

pytestmark = only_on("debian-12")
SHORTLY = ("--duration", "0.1", "--format", "folded")
RATE = Path("/proc/sys/kernel/perf_event_max_sample_rate")


def limited(soft: int, hard: int, *words: str, timeout: float = 90) -> tuple[int, str]:
    """Run with limits of open files; return the exit code and what was said."""

    def first() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    code, _, err = call("kwalk", *words, *SHORTLY, first=first, timeout=timeout)
    assert "Traceback" not in err
    return code, err


def hard() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def test_a_soft_limit_of_files_is_raised() -> None:
    code, err = limited(24, hard(), "count", "vfs_r*", "--attach", "kprobe")
    assert code == 0, err
    assert "did not let us attach" not in err


@pytest.mark.parametrize("most", [16, 24, 36])
def test_few_files_are_named_as_the_reason(most: int) -> None:
    code, err = limited(most, most, "count", "vfs_read")
    assert code == 1, err
    assert "RLIMIT_NOFILE" in err
    assert f" is {most}" in err
    assert "prlimit" in err
    assert "verifier" not in err


def test_too_few_files_for_the_kprobes_are_told_before_one_is_attached() -> None:
    code, err = limited(300, 300, "count", "tcp_*", "--attach", "kprobe")
    assert code == 1, err
    assert re.search(r"[\d,]+ kprobes take [\d,]+ open files, and this process may have 300", err)
    assert "RLIMIT_NOFILE" in err


def test_files_that_run_out_end_attaching_and_what_was_attached_is_counted() -> None:
    names = ("vfs_[a-f]*", "vfs_[g-z]*")
    symbols = Kallsyms.read()
    able = traceable.read(symbols, image)
    found = {t.address for name in names for t in matching(name, symbols) if not able.why_not(t)}
    most = 2 * len(found) + 4  # enough for kprobes, not for what else is open
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


@contextmanager
def sample_rate(most: int) -> Iterator[None]:
    old = RATE.read_text()
    RATE.write_text(str(most))
    try:
        yield
    finally:
        RATE.write_text(old)


def test_more_samples_than_the_kernel_takes_name_its_sysctl() -> None:
    with sample_rate(500):
        code, err = limited(hard(), hard(), "count", "--freq", "4000")
    assert code == 1, err
    assert "kernel.perf_event_max_sample_rate is 500, less than the 4,000" in err


@pytest.mark.long
@pytest.mark.timeout(3000)
def test_five_thousand_kprobes_attach_with_the_default_limits(symbols: Kallsyms) -> None:
    able = traceable.read(symbols, image)
    chosen = [
        t.name
        for t in matching("*_[g-s]*", symbols)
        if not t.module and not able.why_not(t) and not t.name.startswith(("rcu_", "__rcu"))
    ]
    names = [name for name in dict.fromkeys(chosen) if len(symbols.find(name, code=True)) == 1]
    assert len(names) >= 5000
    code, err = limited(
        1024, hard(), "count", *names[:5000], "--attach", "kprobe", "--top", "1", timeout=2900
    )
    assert code == 0, err
    assert ": 5,000 functions (" in err or "skipped" in err
    attached = re.search(r": ([\d,]+) functions \(", err)
    assert attached
    assert int(attached[1].replace(",", "")) > 4900, err
    assert "unexplained" not in err
