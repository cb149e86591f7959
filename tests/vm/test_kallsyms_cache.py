# SPDX-License-Identifier: MIT
"""Cache of kallsyms for the next start, on a real kernel."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import call, only_on
from machine import HERE

from kwalk.kernel import kallsyms_cache

pytestmark = only_on("debian-13")
FILE = kallsyms_cache.FOLDER / kallsyms_cache.NAME


@pytest.fixture
def nothing_kept() -> Iterator[None]:
    FILE.unlink(missing_ok=True)
    yield
    FILE.unlink(missing_ok=True)


def count(function: str) -> str:
    code, out, err = call("kwalk", "count", function, "--", "cat", "/proc/self/mounts")
    assert code == 0, err
    return out


def test_second_start_uses_the_cache_and_shows_the_same_stacks(
    nothing_kept: None,
) -> None:
    first = count("vfs_read")
    assert "vfs_read+0x0\n" in first
    assert HERE.syscall_return in first
    lines = FILE.read_bytes().split(b"\n", 2)[2].splitlines()
    now = Path("/proc/kallsyms").read_bytes().splitlines()
    assert lines == now[: len(lines)]
    assert all(b"\t[bpf]" in line or b"\t[__builtin__" in line for line in now[len(lines) :])
    made = FILE.stat().st_mtime_ns
    assert HERE.syscall_return in count("vfs_read")
    assert FILE.stat().st_mtime_ns == made


def test_module_that_comes_later_is_found(nothing_kept: None) -> None:
    subprocess.run(["rmmod", "dummy"], check=False, capture_output=True)
    count("vfs_read")
    assert not kallsyms_cache.read().find("dummy_setup")
    subprocess.run(["modprobe", "dummy"], check=True)
    try:
        count("dummy:dummy_setup")
        now = {s.address for s in kallsyms_cache.read().find("dummy_setup")}
        assert now == {
            int(line.split()[0], 16)
            for line in Path("/proc/kallsyms").read_text().splitlines()
            if line.endswith(" dummy_setup\t[dummy]")
        }
    finally:
        subprocess.run(["rmmod", "dummy"], check=True)
    assert not kallsyms_cache.read().find("dummy_setup")
