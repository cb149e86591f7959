# SPDX-License-Identifier: MIT
"""Execution of packaging tools, whose failures become one message."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

from kwalk.errors import KwalkError
from kwalk.lab import cache

_MIB = 1 << 20


def check_room(folder: Path, need: int, what: str) -> None:
    """Check the free space below a folder, since apt hangs on a full disk.

    :param need: Number of bytes.
    :param what: Start of the message of an error.
    :raises KwalkError: if there is less.
    """
    free = shutil.disk_usage(folder).free
    if free < need:
        raise KwalkError(
            f"{what}: that takes {need // _MIB} MiB, and {free // _MIB} MiB are free", _room_hint()
        )


def run(words: list[str], what: str, cwd: Path | None = None) -> str:
    """Run apt or dpkg and return its stdout.

    :param what: Start of the message of an error.
    :raises KwalkError: if it fails or is not on this machine.
    """
    pipe = subprocess.PIPE
    try:
        process = subprocess.Popen(
            words, stdout=pipe, stderr=pipe, text=True, cwd=cwd, start_new_session=True
        )
    except FileNotFoundError as error:
        raise KwalkError(
            f"{what}: {words[0]} is not on this machine",
            "Kernels are fetched with Debian's apt and dpkg; elsewhere give `--kernel` the path "
            "of a kernel image.",
        ) from error
    with process:
        try:
            stdout, stderr = process.communicate()
        except BaseException:
            # dpkg's children would go on writing into folders that are removed next.
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise
    if process.returncode == 0:
        return stdout
    lines = [line[2:].strip() for line in stderr.splitlines() if line.startswith("E:")]
    # tar has a line for each file.
    why = "; ".join(lines) or stderr.strip().partition("\n")[0] or f"exit code {process.returncode}"
    raise KwalkError(f"{what}: {why}", _hint(why))


def _hint(why: str) -> str:
    """Return the next step after a failure of apt or dpkg, by its message."""
    if re.search(r"(?i)no space left|enough (free )?space|quota exceeded", why):
        return _room_hint()
    return (
        "Check the network and `apt-get update`. Without them `--kernel` takes the path of a "
        "kernel image of this machine's architecture."
    )


def _room_hint() -> str:
    return f"Make room below {cache.folder()}, or set KWALK_CACHE to a folder with more."
