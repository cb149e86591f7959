# SPDX-License-Identifier: MIT
"""Full pipes without a reader."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stalled() -> Iterator[int]:
    """Yield the write end of a full pipe: a write to it would block."""
    read, end = os.pipe()
    os.set_blocking(end, False)
    try:
        for size in (4096, 1):
            while True:
                try:
                    os.write(end, bytes(size))
                except BlockingIOError:
                    break
        os.set_blocking(end, True)
        yield end
    finally:
        os.close(read)
        os.close(end)
