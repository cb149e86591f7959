# SPDX-License-Identifier: MIT
"""Child processes forked from the test, which have Python and kwalk loaded already."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn


def finish(main: Callable[[], int | None]) -> NoReturn:
    """Run a function in a child and exit with the code that it returns.

    Even after an exception the child does not go on with the test.
    """
    code = 99
    try:
        code = main() or 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def fork(main: Callable[[], int | None]) -> int:
    """Run a function in a child; return its pid."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if not pid:
        finish(main)
    return pid


def change(pid: int, options: int = 0) -> tuple[int, ...]:
    """Return a child's status if it has ended, () if not.

    :param options: More of ``os.waitpid``, such as ``os.WUNTRACED``.
    """
    changed, status = os.waitpid(pid, os.WNOHANG | options)
    return (status,) if changed else ()


def kill(pid: int) -> None:
    """End a child at once."""
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
