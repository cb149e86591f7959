# SPDX-License-Identifier: MIT
"""Symbols and source lines of vmlinux, read by the tools of binutils or LLVM."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from kwalk.errors import KwalkError, NotSupported

_WHERE = (
    "It is the kernel's ELF file with debug information, not the compressed vmlinuz: on Debian "
    "/usr/lib/debug/boot/vmlinux-RELEASE of the package linux-image-RELEASE-dbg."
)
# In order of preference. Both print in the format of addr2line.
_NM = ("nm", "llvm-nm")
_LOOKUP = {
    "llvm-symbolizer": ("--output-style=GNU", "--addresses", "--functions=linkage", "--inlines"),
    "addr2line": ("--addresses", "--functions", "--inlines"),
}
_OBJECT = {"llvm-symbolizer": "--obj", "addr2line": "--exe"}
_ADDRESS = re.compile(r"0x[0-9a-fA-F]+")
_LINE = re.compile(r"(.+):([1-9][0-9]*)( \(discriminator [0-9]+\))?")


class SourceLocation(NamedTuple):
    """Function and source line. ``source`` is ``file:line``; "" if unknown."""

    function: str
    source: str


def symbols(path: str, names: Collection[str]) -> dict[str, set[int]]:
    """Return the addresses of each named symbol that the file has.

    :raises KwalkError: if it is not an ELF file, or has no symbols at all.
    """
    try:
        with open(path, "rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise KwalkError(f"{path} cannot be read: {error.strerror}", _WHERE) from error
    if magic != b"\x7fELF":
        raise KwalkError(f"{path} is not an ELF file", _WHERE)
    found: dict[str, set[int]] = {}
    tool, _ = _installed(_NM)
    any_symbol = False
    for line in _run([tool, _plain(path)], path):
        address, _, rest = line.partition(" ")
        _, _, name = rest.partition(" ")
        any_symbol |= bool(name)
        if name in names and address:
            found.setdefault(name, set()).add(int(address, 16))
    if not any_symbol:
        raise KwalkError(f"{path} has no symbols: it was stripped", _WHERE)
    return found


def places(path: str, addresses: Iterable[int]) -> dict[int, list[SourceLocation]]:
    """Return the source locations of each address, the innermost inlined function first.

    The last location is in the function that contains the code. One run looks up all addresses.

    :raises KwalkError: if the file has no debug information about any of them.
    """
    wanted = sorted(set(addresses))
    if not wanted:
        return {}
    tool, name = _installed(_LOOKUP)
    command = [tool, *_LOOKUP[name], f"{_OBJECT[name]}={_plain(path)}"]
    lines = _run(command, path, "".join(f"{address:#x}\n" for address in wanted))
    found = _parsed(lines)
    if not any(place.source for row in found.values() for place in row):
        raise KwalkError(f"{path} has no debug information about the recorded functions", _WHERE)
    return found


def _parsed(lines: Iterable[str]) -> dict[int, list[SourceLocation]]:
    """Parse addr2line's output: an address, followed by pairs of function and line."""
    found: dict[int, list[SourceLocation]] = {}
    row: list[SourceLocation] = []
    function = ""
    for line in lines:
        if _ADDRESS.fullmatch(line):
            row = found[int(line, 16)] = []
            function = ""
        elif not function:
            function = line
        else:
            match = _LINE.fullmatch(line)
            known = match and not match[1].startswith("??")
            row.append(
                SourceLocation(function, f"{match[1]}:{match[2]}" if match and known else "")
            )
            function = ""
    return found


def _plain(path: str) -> str:
    """Return a path that no program mistakes for an option or a response file (``@FILE``)."""
    return path if os.path.isabs(path) else os.path.join(os.curdir, path)


def _installed(names: Iterable[str]) -> tuple[str, str]:
    """Return path and name of the first of these programs that is installed."""
    for name in names:
        if path := shutil.which(name):
            return path, name
    raise NotSupported(
        f"neither {' nor '.join(names)} is installed",
        "Install binutils or llvm, one of them will do (Debian: apt install binutils).",
    )


def _run(command: Sequence[str], path: str, text: str = "") -> list[str]:
    """Run a program and return the lines of its output.

    :raises KwalkError: if it fails.
    """
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode:
        reason = done.stderr.strip().rpartition("\n")[2] or f"exit code {done.returncode}"
        raise KwalkError(f"{path} cannot be read: {reason}", _WHERE)
    return done.stdout.split("\n")
