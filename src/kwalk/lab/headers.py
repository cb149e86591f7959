# SPDX-License-Identifier: MIT
"""Kernel headers for tools that compile on the traced machine, such as bcc."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

from kwalk.errors import KwalkError
from kwalk.lab import cache, debian, kernels
from kwalk.lab.progress import step

# No package has headers of the frame-pointer kernel; these are from the same series.
_LIKE = {kernels.FRAME_POINTER: "debian-13"}
_PARTS = ("arch", "include")


def find(name: str) -> Path:
    """Return the folder of a kernel's headers, fetching them into the cache if necessary.

    One tree for ``BCC_KERNEL_SOURCE``, with ``arch`` and ``include`` only.

    :param name: One of ``kernels.SUITES``, or ``kernels.FRAME_POINTER``.
    :raises KwalkError: if the headers are not available.
    """
    name = _LIKE.get(name, name)
    release = kernels.find(name).release
    target = cache.folder("headers") / release
    with cache.locked(target):
        if not target.exists():
            with cache.building(target) as root, debian.suite(kernels.SUITES[name]) as suite:
                _fetch(suite, f"linux-headers-{release}", root)
    return target


def _fetch(suite: debian.Suite, package: str, root: Path) -> None:
    """Merge Debian's two packages, headers of the architecture and common ones, into one tree."""
    common = [name for name in suite.dependencies(package) if re.fullmatch(r".+-common", name)]
    if not common:
        raise KwalkError(
            f"{package} does not depend on a package of headers common to all architectures",
            "Nothing can be compiled without them. Has Debian changed its packages?",
        )
    with tempfile.TemporaryDirectory(prefix="headers.", dir=suite.root) as folder:
        with step(f"downloading {', '.join([package, *common])}"):
            suite.unpack([package, *common], Path(folder))
        for name in (*common, package):
            for part in _PARTS:
                source = Path(folder, "usr/src", name, part)
                shutil.copytree(source, root / part, symlinks=True, dirs_exist_ok=True)
