# SPDX-License-Identifier: MIT
"""Progress of slow steps on stderr: a spinner on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def step(text: str) -> Iterator[None]:
    """Show ``text`` while the block runs.

    :param text: The step, without a full stop.
    """
    if not sys.stderr.isatty():
        print(f"kwalk lab: {text}", file=sys.stderr, flush=True)
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(text):
        yield
