# SPDX-License-Identifier: MIT
"""Errors: one clear message and an exit code, never a traceback."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import VENV, call, has_fentry
from machine import HERE

KPTR = Path("/proc/sys/kernel/kptr_restrict")


def fails(code: int, *words: str, env: dict[str, str] | None = None) -> str:
    """Run kwalk, check the exit code, return the message."""
    got, out, err = call(*words, env=env)
    assert got == code, (out, err)
    assert "Traceback" not in err
    assert out == ""
    assert err.startswith(f"{words[0]}: ")
    return err


def test_unknown_function_suggests_names() -> None:
    assert "Did you mean" in (err := fails(2, "kwalk", "stream", "ip_rvc"))
    assert "ip_rcv" in err


def test_inlined_function() -> None:
    assert "inlined" in fails(2, "kwalk", "stream", "skb_queue_empty")


def test_init_function() -> None:
    assert "init function" in fails(2, "kwalk", "stream", "start_kernel")


@pytest.mark.parametrize("attach", ["auto", "kprobe", "fentry"])
def test_notrace_function(attach: str) -> None:
    traceable = Path("/sys/kernel/tracing/available_filter_functions").read_text().split()
    listed = Path("/sys/kernel/debug/kprobes/blacklist").read_text().split()
    name = next(n for n in HERE.untraceable if n in listed)
    assert name not in traceable
    err = fails(2, "kwalk", "stream", name, "--attach", attach)
    assert "notrace" in err or "blacklist" in err


def test_missing_capabilities() -> None:
    done = subprocess.run(
        ["setpriv", "--bounding-set=-all", "--inh-caps=-all", VENV / "kwalk", "stream", "ip_rcv"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "CAP_BPF" in done.stderr
    assert "Traceback" not in done.stderr


@contextmanager
def kptr_restrict(value: str) -> Iterator[None]:
    old = KPTR.read_text()
    KPTR.write_text(value)
    try:
        yield
    finally:
        KPTR.write_text(old)


def test_hidden_addresses() -> None:
    with kptr_restrict("2"):
        assert "kptr_restrict" in fails(1, "kwalk", "stream", "ip_rcv")


def test_missing_btf(tmp_path: Path) -> None:
    subprocess.run(["mount", "--bind", tmp_path, "/sys/kernel/btf"], check=True)
    try:
        err = fails(1, "kwalk", "stream", "ip_rcv")
    finally:
        subprocess.run(["umount", "/sys/kernel/btf"], check=True)
    assert "CONFIG_DEBUG_INFO_BTF" in err


def test_missing_libbpf() -> None:
    err = fails(1, "kwalk", "stream", "ip_rcv", env={"KWALK_LIBBPF": "libbpf-absent.so.1"})
    assert "libbpf1" in err


def test_old_libbpf(tmp_path: Path) -> None:
    source, library = tmp_path / "old.c", tmp_path / "libold.so"
    source.write_text(
        "unsigned libbpf_major_version(void) { return 0; }\n"
        "unsigned libbpf_minor_version(void) { return 8; }\n"
    )
    try:
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source], check=True)
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise
        pytest.skip("this machine's compiler is the host's, which it cannot run")
    err = fails(1, "kwalk", "stream", "ip_rcv", env={"KWALK_LIBBPF": str(library)})
    assert "version 0.8, too old" in err


def test_bad_count() -> None:
    code, _, err = call("kwalk", "stream", "ip_rcv", "--count", "x")
    assert code == 2
    assert "'x' is not a whole number above 0" in err


def test_published_interface_says_the_same() -> None:
    assert "no function nonsense" in fails(2, "bpf_get_stack_test", "--manual", "nonsense")


def test_doctor_names_what_will_be_used(frame_pointers: bool) -> None:
    code, out, err = call("kwalk", "doctor")
    assert code == 0, err
    way = "fentry" if has_fentry() else "kprobe"
    assert f"kwalk will use: manual by {way}" in out
    assert ("frame pointers" in out) == frame_pointers
    assert ("ORC" in out.replace("no ORC", "")) != frame_pointers
