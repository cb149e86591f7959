# SPDX-License-Identifier: MIT
"""Ubuntu's archive: its URI from Debian's package debootstrap, its keys from ubuntu-keyring."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kwalk.errors import KwalkError
from kwalk.lab import cache, debian
from kwalk.lab.progress import step

_FROM = "trixie"
_PACKAGES = ("debootstrap", "ubuntu-keyring")
_SCRIPTS = "usr/share/debootstrap/scripts"
# The scripts of newer suites are links to this one.
_COMMON_SCRIPT = "gutsy"
_KEYRING = "usr/share/keyrings/ubuntu-archive-keyring.gpg"
# Sources the suite's script like debootstrap, with this function as the only one that works.
_ASK = 'exec 3>&1 >/dev/null 2>&1; default_mirror() { echo "$1" >&3; }; . "$0"; exit 0'


def mirror(script: Path, suite: str) -> str:
    """Return debootstrap's default mirror for a suite of Ubuntu.

    :param script: debootstrap's script for the suite.
    :raises KwalkError: if the script names none.
    """
    done = subprocess.run(
        ["/bin/sh", "-c", _ASK, str(script)],
        # No PATH: with curl the script would ask a web site which suites are archived.
        env={"PATH": "/nonexistent", "ARCH": "amd64", "SUITE": suite},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    named = done.stdout.split()
    if not named:
        raise KwalkError(
            f"debootstrap's script {script} names no mirror for Ubuntu {suite}",
            "Has Debian changed its package debootstrap? Please report it.",
        )
    return named[-1]


@contextmanager
def suite(name: str) -> Iterator[debian.Suite]:
    """Yield a suite of Ubuntu with a fresh index, see :func:`kwalk.lab.debian.suite`.

    :param name: The suite's code name.
    :raises KwalkError: if the index cannot be downloaded.
    """
    tools = _tools()
    scripts = tools / _SCRIPTS
    script = scripts / name if (scripts / name).exists() else scripts / _COMMON_SCRIPT
    source = debian.PackageArchive("Ubuntu", mirror(script, name), tools / _KEYRING)
    with debian.suite(name, lambda: source) as one:
        yield one


def _tools() -> Path:
    """Return the cached folder with both packages' files."""
    target = cache.folder() / "ubuntu-archive"
    with cache.locked(target):
        if not (target / _KEYRING).exists():
            with (
                cache.building(target) as scratch,
                debian.suite(_FROM) as one,
                step(f"downloading {', '.join(_PACKAGES)}"),
            ):
                one.unpack(_PACKAGES, scratch)
    return target
