# SPDX-License-Identifier: MIT
"""Headers of a kernel, for tools that compile on the machine that they trace, such as bcc."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

from kwalk.errors import KwalkError
from kwalk.lab import cache, debian, kernels
from kwalk.lab.progress import step

# No package has headers of the kernel with frame pointers; these are of the same series.
_LIKE = {kernels.FRAME_POINTER: "debian-13"}
_PARTS = ("arch", "include")


def find(name: str) -> Path:
    """Return the folder with a kernel's headers, fetched into the cache if it is not there yet.

    It is one tree, as ``BCC_KERNEL_SOURCE`` wants it, with nothing but ``arch`` and ``include``.

    :param name: One of ``kernels.SUITES``, or ``kernels.FRAME_POINTER``.
    :raises KwalkError: They cannot be had.
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
    """Make one tree of what Debian has in two: of this architecture, and common to all."""
    common = [name for name in suite.dependencies(package) if re.fullmatch(r".+-common", name)]
    if not common:
        raise KwalkError(
            f"{package} depends on no package of headers that are common to all architectures",
            "Without them nothing can be compiled. Has Debian changed its packages?",
        )
    with tempfile.TemporaryDirectory(prefix="headers.", dir=suite.root) as folder:
        with step(f"downloading {', '.join([package, *common])}"):
            suite.unpack([package, *common], Path(folder))
        for name in (*common, package):
            for part in _PARTS:
                source = Path(folder, "usr/src", name, part)
                shutil.copytree(source, root / part, symlinks=True, dirs_exist_ok=True)
