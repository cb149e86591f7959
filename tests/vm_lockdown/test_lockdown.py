# SPDX-License-Identifier: MIT
"""On a kernel in lockdown: integrity takes nothing away, under confidentiality kwalk says why.

It is booted with lockdown=integrity. The tests' order counts.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

KWALK = Path(sys.prefix) / "bin" / "kwalk"
LOCKDOWN = Path("/sys/kernel/security/lockdown")


def call(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([KWALK, *words], capture_output=True, text=True, timeout=90, check=False)


def test_integrity_takes_no_way_of_tracing_away() -> None:
    assert "[integrity]" in LOCKDOWN.read_text()
    done = call("doctor", "--format", "json")
    assert done.returncode == 0, done.stdout
    found = json.loads(done.stdout)
    told = {finding["name"]: finding for finding in found["findings"]}
    assert (told["lockdown"]["ok"], told["lockdown"]["text"]) == (True, "integrity")
    assert len(found["ways"]) == 12
    absent = "CONFIG_FPROBE", "BPF_TRACE_FENTRY_MULTI"
    for way in found["ways"]:
        assert way["works"] or any(word in way["text"] for word in absent), way


def test_confidentiality_is_what_follows() -> None:
    LOCKDOWN.write_text("confidentiality")  # there is no way back
    assert "[confidentiality]" in LOCKDOWN.read_text()


@pytest.mark.parametrize("method", ["manual", "helper", "auto"])
def test_stream_is_refused_with_the_reason(method: str) -> None:
    done = call("stream", "ip_rcv", "--method", method)
    assert done.returncode == 1
    assert "locked down (confidentiality)" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 2


def test_doctor_gives_the_reason() -> None:
    done = call("doctor")
    assert done.returncode == 1
    assert "confidentiality" in done.stdout
    assert "cannot trace on this machine" in done.stdout
