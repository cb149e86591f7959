# SPDX-License-Identifier: MIT
"""Programs of another architecture: Debian packages laid over the host's files in the guest.

All other files, such as the project and its virtual environment, stay at the host's paths. So that
the environment works, its Python and the packages' have the same minor version.
"""

from __future__ import annotations

import compileall
import hashlib
import json
import os
import sys
import sysconfig
from pathlib import Path

from kwalk.errors import KwalkError, NotSupported
from kwalk.lab import cache, debian
from kwalk.lab.platforms import Platform
from kwalk.lab.progress import step
from kwalk.support.text import plural

# Python's version -> suite of Debian that has it.
_SUITES = {(3, 11): "bookworm", (3, 13): "trixie", (3, 14): "sid"}
#: Packages whose programs a guest can run; their dependencies come along.
PACKAGES = (
    # kwalk's
    "python3", "python3-cffi-backend", "libbpf1",
    # the guest's first process
    "busybox-static",
    # a system's basic programs
    "bash", "bsdutils", "coreutils", "dash", "diffutils", "findutils", "grep", "gzip", "hostname",
    "iproute2", "iputils-ping", "kmod", "libc-bin", "mawk", "mount", "procps", "sed", "tar",
    "util-linux",
    # called by the tests, the demo and `kwalk bench`
    "binutils", "bpftool", "redis-server", "redis-tools",
)  # fmt: skip
_LISTED = "packages.json"
# Links in the place of folders; packages have files in both.
_MERGED = ("bin", "sbin", "lib", "lib64")
_FOLDERS = ("/usr/sbin", "/usr/bin", "/sbin", "/bin")
_EXTENSIONS = "usr/lib/python3/dist-packages"


def find(platform: Platform) -> Path:
    """Return the folder of an architecture's programs, fetching it into the cache if necessary.

    :raises KwalkError: if the packages are not available.
    """
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = (*PACKAGES, python)
    name = _suite()
    key = hashlib.sha256(" ".join(packages).encode()).hexdigest()[:8]
    target = cache.folder("userland") / f"{name}-{platform.debian}-{key}"
    with cache.locked(target):
        if not (target / _LISTED).exists():
            with (
                cache.building(target) as scratch,
                debian.suite(name, architecture=platform.debian) as suite,
            ):
                _fill(suite, packages, scratch, python)
    return target / "root"


def _suite() -> str:
    """Return the suite whose Python has this one's minor version."""
    version = sys.version_info[:2]
    if version not in _SUITES:
        have = ", ".join(f"{major}.{minor}" for major, minor in _SUITES)
        raise NotSupported(
            f"no suite of Debian has Python {version[0]}.{version[1]}, which runs kwalk here and "
            "would have to run it in a guest of another architecture",
            f"Install kwalk for Python {have} to boot such a kernel.",
        )
    return _SUITES[version]


def _fill(suite: debian.Suite, packages: tuple[str, ...], folder: Path, python: str) -> None:
    wanted = suite.installation(packages)
    root = folder / "root"
    for name in _MERGED:
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    what = f"{plural(len(wanted), 'package')} of Debian {suite.name} ({suite.architecture})"
    with step(f"downloading {what}, the programs of the guest"):
        suite.unpack(list(wanted), root)
    for path in (f"usr/bin/{python}", "bin/busybox"):
        if not (root / path).exists():
            raise KwalkError(
                f"the packages of Debian {suite.name} hold no {path}",
                "Has Debian changed its packages? Please report it.",
            )
    with step("compiling its Python modules"):
        # The packages do it when they are installed. Versions with the same minor number have
        # the same bytecode, so this Python compiles for the other one.
        for place in (f"usr/lib/{python}", _EXTENSIONS):
            compileall.compile_dir(root / place, quiet=2, stripdir=str(root), prependdir="/")
    (folder / _LISTED).write_text(json.dumps(wanted, indent=1), encoding="utf-8")


def settings(root: Path) -> dict[str, str]:
    """Return shell variables of the init script, by which a virtual environment works in the guest.

    :param root: The folder that :func:`find` returned.
    """
    if sys.prefix == sys.base_prefix:
        return {}
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    # cffi's is the only compiled module that kwalk needs.
    backends = sorted(path.name for path in (root / _EXTENSIONS).glob("_cffi_backend.*.so"))
    return {
        "venv": sys.prefix,
        "python": f"/usr/bin/{python}",
        "extensions": " ".join(f"/{_EXTENSIONS}/{name}" for name in backends),
        "site_packages": sysconfig.get_path("platlib"),
    }


def search_path(path: str) -> str:
    """Return ``PATH`` for the guest, with the folders of its own programs ahead of the host's.

    Folders of the virtual environment stay first.

    :param path: The host's ``PATH``.
    """
    folders = path.split(os.pathsep)
    venv = [folder for folder in folders if Path(folder).is_relative_to(sys.prefix)]
    if sys.prefix == sys.base_prefix:
        venv = []
    return os.pathsep.join(dict.fromkeys([*venv, *_FOLDERS, *folders]))
