# SPDX-License-Identifier: MIT
"""Tell on stderr what takes its time: a moving line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def step(text: str) -> Iterator[None]:
    """Show ``text`` while the block runs.

    :param text: What is being done, without a full stop.
    """
    if not sys.stderr.isatty():
        print(f"kwalk lab: {text}", file=sys.stderr, flush=True)
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(text):
        yield
