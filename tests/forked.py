# SPDX-License-Identifier: MIT
"""Child processes that are forks of the test: Python and kwalk are loaded in them already."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn


def finish(main: Callable[[], int | None]) -> NoReturn:
    """Run a function in place of the rest of a child, and end it with the exit code returned.

    Whatever happens, nothing of the test goes on in there.
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
