# SPDX-License-Identifier: MIT
"""The symbol table, kept from one start to the next of the same boot.

The kernel takes as long to write /proc/kallsyms as all the rest of a start takes. What it says of
vmlinux never changes, and of modules only when one comes or goes. What comes has a number in sysfs
of its own (``modules.Module.number``), even where name, size and address are those of what went.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from kwalk.errors import OutputError
from kwalk.kernel import modules
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.kernel.modules import Module
from kwalk.support.atomic_file import Replacement

FOLDER = Path("/run/kwalk")
NAME = "kallsyms"
PROC = Path("/proc")
_PART = 1 << 20


def read(folder: Path = FOLDER, proc: Path = PROC) -> Kallsyms:
    """Return the running kernel's table, from last time if nothing has changed since.

    Only root keeps it, where nobody else may read: the addresses are a secret.

    :raises NotSupported: as ``Kallsyms.read`` does.
    """
    loaded = _modules(proc)
    now = state(proc, loaded)
    found = _load(folder / NAME, now)
    if found is None:
        symbols = fresh(proc, loaded)
    else:
        known, text = found
        symbols = Kallsyms(text, known, lambda: _rest(proc, now, text))
        symbols.modules = loaded or ()
    symbols.state = now
    return symbols


def fresh(proc: Path = PROC, before: tuple[Module, ...] | None = None) -> Kallsyms:
    """Return the kernel's table of now, with the modules that were there all the while.

    :param before: The modules, if they have been read already.
    :raises NotSupported: as ``Kallsyms.read`` does.
    """
    before = _modules(proc) if before is None else before
    symbols = Kallsyms.read(proc / "kallsyms")
    symbols.modules = tuple(sorted({*(before or ())} & {*(_modules(proc) or ())}))
    return symbols


def _modules(proc: Path) -> tuple[Module, ...] | None:
    """Return the modules; None where the kernel does not tell."""
    try:
        return modules.read(proc)
    except (OSError, ValueError):
        return None


def keep(symbols: Kallsyms, folder: Path = FOLDER, proc: Path = PROC) -> None:
    """Keep a table that ``read`` returned, and what has been asked of it, for the next start.

    Where a module has come or gone since it was read, nobody knows which of them it has.
    """
    now = state(proc, _modules(proc))
    if not now or now != symbols.state or not symbols.has_news:
        return
    words = b" ".join(b"%s=%x" % (n.encode(), at) for n, at in sorted(symbols.known.items()))
    with suppress(OSError, OutputError):  # next time it takes as long again
        folder.mkdir(mode=0o700, exist_ok=True)
        with Replacement(folder / NAME, private=True) as file:
            for piece in (now, b"\n", words, b"\n", symbols.lasting):
                file.write(piece)
            file.finish()


def state(proc: Path, loaded: tuple[Module, ...] | None) -> bytes:
    """Return a line that changes with the boot and with modules; b"" where nothing may be kept."""
    if os.geteuid() != 0 or loaded is None or not all(module.number for module in loaded):
        return b""
    try:
        # 2 hides addresses from root as well (Documentation/admin-guide/sysctl/kernel.rst).
        if (proc / "sys/kernel/kptr_restrict").read_bytes().strip() == b"2":
            return b""
        boot = (proc / "sys/kernel/random/boot_id").read_bytes().strip()
    except OSError:
        return b""
    return b" ".join([boot, *(",".join(map(str, module)).encode() for module in loaded)])


def _rest(proc: Path, then: bytes, text: bytes) -> bytes:
    """Return what the table says now behind what is kept of it.

    In as few reads as can be: the kernel gives a page at a time, and whoever traces reads sees us.
    """
    table, parts = proc / "kallsyms", []
    last = text[text.rfind(b"\n", 0, -1) + 1 :]
    offset = len(text) - len(last)
    try:
        with open(table, "rb", buffering=0) as file:
            while part := os.pread(file.fileno(), _PART, offset):
                parts.append(part)
                offset += len(part)
        found = b"".join(parts)
        # Where a module has come or gone since, nothing stands where it stood.
        if found.startswith(last) and state(proc, _modules(proc)) == then:
            return found[len(last) :]
        return table.read_bytes()
    except OSError:
        return b""


def _load(path: Path, now: bytes) -> tuple[dict[str, int], bytes] | None:
    if not now:
        return None
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
            status = os.fstat(file.fileno())
            if status.st_uid or not stat.S_ISREG(status.st_mode) or status.st_mode & 0o077:
                return None
            then, words, text = file.read().split(b"\n", 2)
        pairs = [word.partition(b"=") for word in words.split()]
        known = {name.decode(): int(at, 16) for name, _, at in pairs}
    except (OSError, ValueError):
        return None
    return (known, text) if then == now and text else None
