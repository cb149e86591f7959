# SPDX-License-Identifier: MIT
"""Waiting for conditions, since test machines are shared and slow."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_for(condition: Callable[[], T], seconds: float = 30, pause: float = 0.1) -> T:
    """Poll until the answer is true or the time is up; return the last answer."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()) and time.monotonic() <= deadline:
        time.sleep(pause)
    return answer
