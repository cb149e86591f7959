# SPDX-License-Identifier: MIT
"""On a kernel booted with lockdown=confidentiality, kwalk says why it does nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

KWALK = Path(sys.prefix) / "bin" / "kwalk"


def call(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([KWALK, *words], capture_output=True, text=True, timeout=90, check=False)


def test_the_kernel_is_locked_down() -> None:
    assert "[confidentiality]" in Path("/sys/kernel/security/lockdown").read_text()


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
