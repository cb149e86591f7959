# SPDX-License-Identifier: MIT
"""Time and task of each call in a stream."""

from __future__ import annotations

import os
import re
import signal
import threading
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from conftest import start
from machine import HERE

FUNCTION = f"{HERE.syscall_prefix}sys_getpriority"  # called by nothing else
CALLS = 5
# Error of the offset between the two clocks, which is measured once.
SKEW = timedelta(milliseconds=2)


@pytest.mark.parametrize("method", ["manual", "helper"])
def test_each_call_has_its_time_of_day_and_its_task(method: str) -> None:
    process = start("kwalk", "stream", FUNCTION, "--method", method)
    assert process.stderr is not None
    assert "tracing" in process.stderr.readline()
    times = []
    for _ in range(CALLS):
        before = datetime.now()
        os.getpriority(os.PRIO_PROCESS, 0)
        times.append((before, datetime.now()))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert f"{FUNCTION}: {CALLS} calls = {CALLS} stacks + 0 lost" in err
    comm = Path("/proc/self/comm").read_text().strip()
    task = rf"cpu \d+  pid {os.getpid()}  tid {threading.get_native_id()}  {re.escape(comm)}"
    clocks = re.findall(rf"^(\d\d:\d\d:\d\d\.\d{{6}})  {task}$", out, re.MULTILINE)
    assert len(clocks) == CALLS
    for clock, (before, after) in zip(clocks, times, strict=True):
        # On the day of the call, unless that has ended meanwhile.
        day = before.date() if clock > "12" or before.hour < 12 else after.date()
        at = datetime.combine(day, datetime.strptime(clock, "%H:%M:%S.%f").time())
        assert before - SKEW <= at <= after + SKEW
