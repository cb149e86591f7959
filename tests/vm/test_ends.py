# SPDX-License-Identifier: MIT
"""However kwalk ends, no probe stays behind."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import VENV, only_on, start

from waiting import wait_for

ENABLED = Path("/sys/kernel/tracing/enabled_functions")
KPROBES = Path("/sys/kernel/debug/kprobes/list")
pytestmark = only_on("debian-12")


def attached() -> bool:
    """A BPF program of kwalk is loaded, or something is attached to ip_rcv."""
    programs = subprocess.run(["bpftool", "prog", "show"], capture_output=True, check=True).stdout
    return b"kw_" in programs or any("ip_rcv" in p.read_text() for p in (ENABLED, KPROBES))


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    assert not attached()
    yield
    assert wait_for(lambda: not attached(), 10), "a probe was left behind"


@pytest.mark.parametrize("attach", ["kprobe", "fentry"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_with_a_summary(number: signal.Signals, attach: str, redis: None) -> None:
    process = start("kwalk", "stream", "ip_rcv", "--attach", attach)
    assert process.stdout is not None
    first = process.stdout.readline()  # it is attached and prints
    assert "cpu" in first
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "calls =" in err
    assert "Traceback" not in err
    assert "unexplained" not in err
    assert out.endswith("\n\n"), "the last block is whole"


@pytest.mark.parametrize("attach", ["kprobe", "fentry"])
def test_kill_9(attach: str, redis: None) -> None:
    process = start("kwalk", "stream", "ip_rcv", "--attach", attach)
    assert process.stdout is not None
    process.stdout.readline()
    assert attached()
    process.kill()
    process.communicate(timeout=30)


def test_closed_pipe(redis: None) -> None:
    script = f"{VENV}/kwalk stream ip_rcv | head -5; echo ${{PIPESTATUS[@]}}"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 6
    assert lines[-1] == "0 0"
    assert "Traceback" not in done.stderr
    assert "calls =" in done.stderr


def test_closed_pipe_while_nothing_happens() -> None:
    """The pipe's reader goes before any event comes: kwalk must notice without writing."""
    script = f"{VENV}/kwalk stream ip_rcv | sleep 6; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "0\n"


@pytest.mark.parametrize("method", ["--helper", "--manual"])
def test_published_interface(method: str, redis: None, frame_pointers: bool) -> None:
    process = start("bpf_get_stack_test", method, "ip_rcv")
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    block = out.split("\n\n")[1].split("\n")
    assert block[0] == "ip_rcv"
    caller = "__netif_receive_skb_one_core"
    assert (block[1] == caller) == (method == "--manual" or not frame_pointers)
    assert "calls =" in err
