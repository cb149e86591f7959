# SPDX-License-Identifier: MIT
"""``kwalk bench`` on a real kernel: measurements, and cleaning up."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import call, only_on

pytestmark = [only_on("debian-13"), pytest.mark.timeout(300)]
REQUESTS = 1000


def servers() -> list[str]:
    """Return the PIDs of running redis servers."""
    found = []
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            if path.read_text() == "redis-server\n":
                found.append(path.parent.name)
        except OSError:
            continue
    return found


def test_every_method_is_measured_and_nothing_is_left_behind(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    before = servers()
    code, out, err = call(
        "kwalk", "bench", "ip_rcv", "--requests", str(REQUESTS), "--runs", "1",
        "--methods", "none,empty:fentry,empty:kprobe,helper,manual,ftrace",
        "--format", "json", "--html", str(page),
        timeout=280,
    )  # fmt: skip
    assert code == 0, err
    found = json.loads(out)
    assert found["metric"] == "requests/s"
    assert len(found["base"]["rates"]) == 1
    rows = {row["name"]: row for row in found["methods"]}
    for name in ("helper", "manual", "ftrace"):
        assert rows[name]["changes"], rows[name]
        assert rows[name]["delivered"][0] >= 2 * REQUESTS
        counted = rows[name]["calls"]
        assert counted["counter"] == "fentry"
        # All of the load's calls are in the tool's output, and some of those outside it may be.
        seen = counted["delivered"] + counted["lost"]
        assert 2 * REQUESTS <= counted["calls"] <= seen <= counted["calls"] + counted["outside"]
        assert counted["silent"] == 0
    assert rows["manual"]["lost"] == [0]
    empty = [rows[f"empty:{way}"] for way in ("fentry", "kprobe")]
    assert all(0 < row["cost_ns"] < rows["helper"]["cost_ns"] for row in empty)
    assert all(row["calls"]["calls"] >= 2 * REQUESTS for row in empty)
    assert all(row["calls"]["delivered"] is None for row in empty)
    assert rows["manual"]["cost_ns"] < rows["helper"]["cost_ns"]
    assert rows["ftrace"]["cost_ns"] is None
    assert [share for share, _ in found["base"]["latency"]][-1] == 100
    assert all(name in page.read_text() for name in rows)
    assert servers() == before
    assert "kwalk_bench" not in Path("/sys/kernel/tracing/kprobe_events").read_text()


def test_printing_loses_nothing_and_says_how_much_was_printed() -> None:
    code, out, err = call(
        "kwalk", "bench", "ip_rcv", "--mode", "stream", "--requests", str(REQUESTS),
        "--runs", "1", "--methods", "test-manual", "--format", "json", timeout=280,
    )  # fmt: skip
    assert code == 0, err
    (row,) = json.loads(out)["methods"]
    assert row["lost"] == [0]
    assert row["printed_2s_after"] == row["delivered"][0] >= 2 * REQUESTS
    assert row["calls"]["silent"] == 0


def stand_in(folder: Path, *words: str) -> None:
    """Put a command there that runs these words, as bpftrace."""
    tool = folder / "bpftrace"
    script = f'[ "$1" = --version ] && exit\nexec {shlex.join([sys.executable, *words])}'
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)


def test_calls_that_a_tool_drops_without_a_word_are_shown(tmp_path: Path) -> None:
    """It stands for bpftrace: it prints about half of the calls, and reports no loss."""
    half = ["-m", "kwalk", "stream", "ip_rcv", "--sample", "1/2"]
    stand_in(tmp_path, *half, "--attach", "kprobe")  # as bpftrace does
    code, out, err = call(
        "kwalk", "bench", "ip_rcv", "--mode", "stream", "--requests", str(REQUESTS), "--runs", "1",
        "--methods", "bpftrace@half", "--tools", f"half={tmp_path}", "--format", "json",
        timeout=280,
    )  # fmt: skip
    assert code == 0, err
    (row,) = json.loads(out)["methods"]
    assert row["lost"] == [0]
    counted = row["calls"]
    assert counted["calls"] >= 2 * REQUESTS
    assert counted["silent"] == counted["calls"] - counted["delivered"]
    assert 0.4 < counted["silent"] / counted["calls"] < 0.6


def test_load_begins_after_the_start_up_work_of_a_tool(tmp_path: Path) -> None:
    """It attaches, then works on for a second of CPU time; none of that is in the load's.

    It generates no programs, which it would do when it sees the load.
    """
    code = (
        "import time, kwalk\n"
        "with kwalk.trace('ip_rcv', attach='kprobe', fast=False):\n"
        "    end = time.process_time() + 1\n"
        "    while time.process_time() < end: pass\n"
        "    time.sleep(600)\n"
    )
    stand_in(tmp_path, "-c", code)
    status, out, err = call(
        "kwalk", "bench", "ip_rcv", "--requests", str(REQUESTS), "--runs", "1", "--methods",
        "bpftrace@slow", "--tools", f"slow={tmp_path}", "--format", "json", timeout=280,
    )  # fmt: skip
    assert status == 0, err
    (row,) = json.loads(out)["methods"]
    assert row["quiet"] == [True]
    seconds = REQUESTS / row["rates"][0]
    assert row["reader_share"] * seconds < 0.5


def test_failed_workload_command_is_named() -> None:
    code, out, err = call("kwalk", "bench", "ip_rcv", "--", "sh", "-c", "echo no luck; exit 3")
    assert (code, out) == (1, "")
    assert "the workload failed (exit code 3)" in err
    assert "no luck" in err
    assert "Traceback" not in err


def test_ctrl_c_prints_what_was_measured_and_ends_redis() -> None:
    before = servers()
    words = [sys.executable, "-m", "kwalk", "bench", "ip_rcv", "--requests", str(REQUESTS)]
    bench = subprocess.Popen(
        [*words, "--runs", "1000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert bench.stderr
    for line in bench.stderr:
        if "1/1000 manual" in line:
            break
    bench.send_signal(signal.SIGINT)
    out, err = bench.communicate(timeout=60)
    assert bench.returncode == 130, err
    assert "It ended early: interrupted" in out
    assert "manual" in out
    assert "helper" in out
    assert "Traceback" not in err
    time.sleep(0.5)
    assert servers() == before
