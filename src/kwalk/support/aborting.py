# SPDX-License-Identifier: MIT
"""The end of this process on the spot, as a second Ctrl-C asks for: the kernel detaches."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_LAST: list[Callable[[], object]] = []


@contextmanager
def at_abort(act: Callable[[], object]) -> Iterator[None]:
    """Have ``abort`` call this, while in a ``with``: what the kernel does not put in order.

    :param act: Neither waits nor prints.
    """
    _LAST.append(act)
    try:
        yield
    finally:
        _LAST.remove(act)


def abort(code: int) -> None:
    """Exit with this code, at once."""
    for act in reversed(_LAST):
        with suppress(Exception):
            act()
    os._exit(code)
