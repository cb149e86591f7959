# SPDX-License-Identifier: MIT
"""Kernel modules that the guest needs before it has a file system, in loading order."""

from __future__ import annotations

import gzip
import lzma
import subprocess
import zlib
from collections.abc import Iterable
from pathlib import Path

from kwalk.errors import KwalkError

#: Drivers of the guest's ports, and the file systems of its root.
WANTED = ("virtio_pci", "virtio_console", "9pnet_virtio", "9p", "overlay")


def name_of(path: str) -> str:
    """Return the module's name: ``kernel/fs/9p/9p.ko.xz`` is ``9p``."""
    return path.rpartition("/")[2].partition(".ko")[0].replace("-", "_")


def in_order(dep: str, builtin: str, wanted: Iterable[str]) -> list[str]:
    """Return the module files to load, each after its dependencies.

    :param dep: Text of ``modules.dep``.
    :param builtin: Text of ``modules.builtin``; modules in it need no loading.
    :param wanted: Names of modules.
    :return: Paths in the form of ``modules.dep``.
    :raises KwalkError: if the kernel has no such module.
    """
    files: dict[str, str] = {}
    needs: dict[str, list[str]] = {}
    for line in dep.splitlines():
        path, _, rest = line.partition(":")
        files[name_of(path)] = path
        needs[name_of(path)] = [name_of(item) for item in rest.split()]
    present = {name_of(path) for path in builtin.split()}
    order: list[str] = []

    seen: set[str] = set()
    # Iterative depth-first search (name, dependencies done): a damaged file may have cycles.
    waiting = [(name, False) for name in reversed(list(wanted))]
    while waiting:
        name, complete = waiting.pop()
        if complete:
            order.append(files[name])
        elif name not in present and name not in seen:
            if name not in files:
                raise KwalkError(
                    f"this kernel has no module {name}, which the virtual machine needs",
                    "Choose another kernel: `kwalk lab kernels` lists some that work.",
                )
            seen.add(name)
            waiting.append((name, True))
            waiting += [(other, False) for other in reversed(needs[name])]
    return order


def load(path: Path) -> bytes:
    """Return a module's uncompressed contents, for insmod.

    :raises KwalkError: if the module cannot be read or decompressed, or is empty.
    """
    try:
        data = _uncompressed(path)
    except FileNotFoundError as error:
        if path.exists():
            raise KwalkError(
                f"{path.name} is compressed with zstd, which is not on this machine",
                "Install Debian's package zstd.",
            ) from error
        raise KwalkError(f"the kernel's module {path} is missing") from error
    except (
        OSError, EOFError, zlib.error, lzma.LZMAError, subprocess.CalledProcessError,
    ) as error:  # fmt: skip
        raise KwalkError(f"the kernel's module {path} cannot be read: {error}") from error
    if not data:
        raise KwalkError(f"the kernel's module {path} cannot be read: it is empty")
    return data


def _uncompressed(path: Path) -> bytes:
    data = path.read_bytes()
    if path.suffix == ".xz":
        return lzma.decompress(data)
    if path.suffix == ".gz":
        return gzip.decompress(data)
    if path.suffix == ".zst":
        done = subprocess.run(["zstd", "-dcq"], input=data, capture_output=True, check=True)
        return done.stdout
    return data
