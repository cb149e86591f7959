# SPDX-License-Identifier: MIT
"""A kernel that is too old for kwalk says so, in one message, and nothing is attached."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

KWALK = str(Path(sys.prefix) / "bin" / "kwalk")
TOO_OLD = "is too old: it has no bpf_loop()"


@pytest.mark.parametrize(
    "words", [["count", "ip_rcv"], ["stream", "vfs_read", "--method", "helper"], ["--freq", "99"]]
)
def test_every_way_to_trace_is_refused_with_the_reason(words: list[str]) -> None:
    done = subprocess.run([KWALK, *words], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert TOO_OLD in done.stderr
    assert "since 5.17" in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor_says_what_is_missing(record_property: Callable[[str, object], None]) -> None:
    done = subprocess.run(
        [KWALK, "doctor"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert TOO_OLD in " ".join(done.stdout.split())
    assert "BPF loops" in done.stdout
    record_property("cell", json.dumps(["*", "*", "no: its BPF has no bpf_loop()"]))


def test_functions_are_listed_all_the_same() -> None:
    words = [KWALK, "functions", "vfs_rea*"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0
    assert "vfs_read\n" in done.stdout
    assert "can be traced" in done.stderr
