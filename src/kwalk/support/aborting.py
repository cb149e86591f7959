# SPDX-License-Identifier: MIT
"""Immediate process exit, for a second Ctrl-C. The kernel detaches the probes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_cleanups: list[Callable[[], object]] = []


@contextmanager
def at_abort(act: Callable[[], object]) -> Iterator[None]:
    """Register a cleanup for ``abort``, for state that the kernel does not restore.

    It stays registered until the ``with`` block ends.

    :param act: Must neither wait nor print; exceptions are ignored.
    """
    _cleanups.append(act)
    try:
        yield
    finally:
        _cleanups.remove(act)


def abort(code: int) -> None:
    """Run the registered cleanups, newest first, and exit with ``code``."""
    for act in reversed(_cleanups):
        with suppress(Exception):
            act()
    os._exit(code)
