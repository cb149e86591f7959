# SPDX-License-Identifier: MIT
"""Cache folder for kernels and initramfs images, safe for parallel processes."""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kwalk.errors import KwalkError


def folder(*parts: str) -> Path:
    """Return a folder of the cache, creating it if necessary.

    The cache is ``$KWALK_CACHE``, else ``$XDG_CACHE_HOME/kwalk``, else ``~/.cache/kwalk``. Without
    ``HOME`` the home folder is taken from the password database.

    :param parts: Names below the cache folder.
    :raises KwalkError: if the folder cannot be made.
    """
    if own := os.environ.get("KWALK_CACHE"):
        base = Path(own).absolute()
    elif shared := os.environ.get("XDG_CACHE_HOME"):
        base = Path(shared).absolute() / "kwalk"
    else:
        home = os.environ.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir
        base = Path(home) / ".cache" / "kwalk"
    path = base.joinpath(*parts)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise KwalkError(
            f"the cache folder {path} cannot be made: {error.strerror}",
            "Set KWALK_CACHE to a folder that you can write to.",
        ) from error
    return path


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of ``path`` against other processes; wait for it if necessary.

    :param path: The file or folder to change. The lock is a file beside it, which stays.
    """
    with open(path.with_name(f".{path.name}.lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def building(target: Path) -> Iterator[Path]:
    """Yield a scratch folder that is renamed to ``target`` if the block ends without an error.

    So an interrupted build never looks finished. The caller holds the lock of ``target``; scratch
    folders of killed processes are removed first.
    """
    for stale in target.parent.glob(f".{target.name}.*"):
        if stale.is_dir():
            shutil.rmtree(stale, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        scratch.chmod(0o755)
        yield scratch
        scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
