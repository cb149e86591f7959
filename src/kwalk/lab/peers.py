# SPDX-License-Identifier: MIT
"""Newest bpftrace, bcc and perf, unpacked beside the system with their own libc."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from kwalk.errors import KwalkError
from kwalk.lab import cache, debian
from kwalk.lab.progress import step
from kwalk.support.text import plural

SUITE = "sid"
PACKAGES = ("bpftrace", "bpfcc-tools", "linux-perf")
VERSIONS = "packages.json"
_LIBRARIES = "usr/lib/x86_64-linux-gnu"
# Program -> command below the root of the unpacked packages; a script follows its interpreter.
_COMMANDS = {
    "bpftrace": ("usr/bin/bpftrace",),
    "perf": ("usr/bin/perf",),
    "stackcount-bpfcc": ("usr/bin/python3", "usr/sbin/stackcount-bpfcc"),
}
# exec: the tool keeps the PID that it was started under. The folder may be moved.
_SCRIPT = """\
#!/bin/sh
root=$(dirname "$(readlink -f "$0")")/../root
PYTHONHOME=$root/usr PYTHONPATH=$root/usr/lib/python3/dist-packages
export PYTHONHOME PYTHONPATH
exec "$root/{libraries}/ld-linux-x86-64.so.2" --library-path "$root/{libraries}" {words} "$@"
"""


def find() -> Path:
    """Return the folder of the tools' commands, unpacked anew if the suite has newer ones.

    An existing copy is used if the suite cannot be reached.

    :raises KwalkError: if there is neither.
    """
    target = cache.folder("peers") / SUITE
    with cache.locked(target):
        try:
            with debian.suite(SUITE) as suite:
                _update(suite, target)
        except KwalkError as error:
            if not versions(target / "bin"):
                raise
            print(f"kwalk lab: the tools of the last time are used: {error.what}", file=sys.stderr)
    return target / "bin"


def versions(folder: Path) -> dict[str, str]:
    """Return the packages that the tools in a folder are from: name -> version.

    :param folder: A folder of commands; {} if it is not one that ``find`` made.
    """
    try:
        found = json.loads((folder.parent / VERSIONS).read_text(encoding="utf-8"))
        return {str(name): str(version) for name, version in found.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def _update(suite: debian.Suite, target: Path) -> None:
    wanted = suite.installation(PACKAGES)
    if versions(target / "bin") == wanted:
        return
    with cache.building(target) as scratch:
        tools = ", ".join(f"{name} {wanted[name]}" for name in PACKAGES)
        others = plural(len(wanted) - len(PACKAGES), "package")
        with step(f"downloading {tools} and {others} that they need"):
            suite.unpack(list(wanted), scratch / "root")
        _write_commands(scratch)
        (scratch / VERSIONS).write_text(json.dumps(wanted, indent=1), encoding="utf-8")
        if target.exists():
            shutil.rmtree(target)


def _write_commands(folder: Path) -> None:
    """Write a script for each program, which starts it by its own libc's dynamic linker."""
    (folder / "bin").mkdir()
    for name, parts in _COMMANDS.items():
        for part in parts:
            if not (folder / "root" / part).exists():
                raise KwalkError(
                    f"the packages of {name} hold no {part}",
                    "Has Debian changed its packages? Please report it.",
                )
        words = " ".join(f'"$root/{part}"' for part in parts)
        path = folder / "bin" / name
        path.write_text(_SCRIPT.format(libraries=_LIBRARIES, words=words), encoding="ascii")
        path.chmod(0o755)
