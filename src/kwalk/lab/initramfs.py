# SPDX-License-Identifier: MIT
"""Initramfs of the guest: busybox, the init script, a few modules, and the command to run."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from kwalk.errors import KwalkError
from kwalk.lab import cache, cpio, debian, modules
from kwalk.lab.kernels import Kernel
from kwalk.lab.platforms import native
from kwalk.lab.progress import step

_BUSYBOX_SUITE = "trixie"
_PT_INTERP = 3
_CHECKSUM = hashlib.sha256().digest_size


def is_static(path: Path) -> bool:
    """Return whether a file is a static 64-bit little-endian ELF program."""
    data = path.read_bytes()
    if data[:6] != b"\x7fELF\x02\x01":
        return False
    table, size, count = (
        int.from_bytes(data[at : at + width], "little") for at, width in ((32, 8), (54, 2), (56, 2))
    )
    headers = (data[table + size * index :][:4] for index in range(count))
    return all(int.from_bytes(header, "little") != _PT_INTERP for header in headers)


def busybox() -> Path:
    """Return a static busybox for this machine: its own, or else Debian's in the cache.

    :raises KwalkError: if there is none and it cannot be fetched.
    """
    if (own := shutil.which("busybox")) and is_static(Path(own)):
        return Path(own)
    target = cache.folder() / "busybox"
    with cache.locked(target):
        if not target.exists():
            with (
                debian.suite(_BUSYBOX_SUITE, architecture=native().debian) as suite,
                cache.building(target) as scratch,
                step("downloading busybox-static"),
            ):
                suite.unpack(["busybox-static"], scratch)
    for place in ("usr/bin/busybox", "bin/busybox"):
        if (target / place).exists():
            return target / place
    raise KwalkError(
        "Debian's package busybox-static holds no busybox", f"Remove {target} and try again."
    )


def base(kernel: Kernel, tools: Path) -> bytes:
    """Return the part of the initramfs that is the same in every run of ``kernel``, cached.

    In the cache it follows a checksum: with a damaged archive a machine fails without a message.

    :param tools: A static busybox for the kernel's architecture.
    """
    script = files("kwalk.lab").joinpath("guest-init.sh").read_bytes()
    paths = [] if kernel.modules is None else _module_files(kernel.modules)
    key = hashlib.sha256(script)
    for path in (tools, *paths):
        try:
            status = path.stat()
        except (OSError, ValueError) as error:
            raise KwalkError(
                f"{path}, which the guest starts with, cannot be read: {error}"
            ) from error
        key.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
    target = cache.folder("initramfs") / f"{kernel.release}-{key.hexdigest()[:16]}.image"
    if target.exists():
        kept = target.read_bytes()
        if hashlib.sha256(kept[_CHECKSUM:]).digest() == kept[:_CHECKSUM]:
            return kept[_CHECKSUM:]
    data = cpio.archive(_entries(script, tools, paths))
    scratch = target.with_suffix(f".{os.getpid()}")
    scratch.write_bytes(hashlib.sha256(data).digest() + data)
    scratch.rename(target)
    return data


def _entries(script: bytes, tools: Path, paths: Sequence[Path]) -> list[cpio.Entry]:
    entries = [
        *(cpio.Entry(name, cpio.FOLDER) for name in ("bin", "dev", "modules", "proc")),
        cpio.Entry("init", cpio.SCRIPT, script),
        cpio.Entry("bin/busybox", cpio.SCRIPT, tools.read_bytes()),
    ]
    for number, path in enumerate(paths):
        name = f"modules/{number:02}-{modules.name_of(path.name)}.ko"
        entries.append(cpio.Entry(name, cpio.FILE, modules.load(path)))
    return entries


def _module_files(folder: Path) -> list[Path]:
    texts = []
    for name in ("modules.dep", "modules.builtin"):
        try:
            texts.append((folder / name).read_text(encoding="utf-8", errors="surrogateescape"))
        except OSError as error:
            raise KwalkError(
                f"{folder} is not a folder of kernel modules: {name} cannot be read",
                "Run `depmod` for it, or give `--modules` the kernel's lib/modules folder.",
            ) from error
    return [folder / path for path in modules.in_order(texts[0], texts[1], modules.WANTED)]


def job(
    command: Sequence[str], env: Mapping[str, str], cwd: Path, settings: Mapping[str, str]
) -> bytes:
    """Return the archive with the guest's command; append it to :func:`base`.

    :param command: The command and its arguments.
    :param env: The command's whole environment.
    :param cwd: The command's working directory, an absolute path.
    :param settings: Shell variables for the init script.
    """
    words = [*(f"{name}={value}" for name, value in env.items()), *command]
    # Run by the machine's env(1): busybox would prefer its own applets to programs in PATH.
    script = f"cd {shlex.quote(str(cwd))} || exit 126\nexec /usr/bin/env -i {shlex.join(words)}\n"
    variables = "".join(f"{name}={shlex.quote(value)}\n" for name, value in settings.items())
    return cpio.archive(
        [
            cpio.Entry("job", cpio.FOLDER),
            cpio.Entry("job/job", cpio.FILE, os.fsencode(script)),
            cpio.Entry("job/settings", cpio.FILE, os.fsencode(variables)),
        ]
    )
