# SPDX-License-Identifier: MIT
"""Cache of the symbol table, valid for one boot and one set of loaded modules.

Reading /proc/kallsyms takes as long as the rest of a start. Its part of vmlinux never changes, its
part of modules only when one is loaded or removed. Every load has an inode of its own in sysfs
(``modules.Module.number``), even at the name, size and address of an earlier one.
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
    """Return the running kernel's table, from the cache if that is valid.

    Only root has a cache, which others cannot read: addresses are secret.

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
    """Read the kernel's table, with the modules that were loaded before and after.

    :param before: The modules, if already read.
    :raises NotSupported: as ``Kallsyms.read`` does.
    """
    before = _modules(proc) if before is None else before
    symbols = Kallsyms.read(proc / "kallsyms")
    symbols.modules = tuple(sorted({*(before or ())} & {*(_modules(proc) or ())}))
    return symbols


def _modules(proc: Path) -> tuple[Module, ...] | None:
    """Return the loaded modules; None if they are unknown."""
    try:
        return modules.read(proc)
    except (OSError, ValueError):
        return None


def keep(symbols: Kallsyms, folder: Path = FOLDER, proc: Path = PROC) -> None:
    """Cache a table that ``read`` returned, with the results of its lookups by name.

    Not if a module was loaded or removed since: the table may have either state.
    """
    now = state(proc, _modules(proc))
    if not now or now != symbols.state or not symbols.has_news:
        return
    words = b" ".join(b"%s=%x" % (n.encode(), at) for n, at in sorted(symbols.known.items()))
    with suppress(OSError, OutputError):  # without a cache the next start is slower
        folder.mkdir(mode=0o700, exist_ok=True)
        with Replacement(folder / NAME, private=True) as file:
            for piece in (now, b"\n", words, b"\n", symbols.lasting):
                file.write(piece)
            file.finish()


def state(proc: Path, loaded: tuple[Module, ...] | None) -> bytes:
    """Return the cache key, a line that boot and modules determine; b"": do not cache."""
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
    """Read the table's part behind the cached one.

    With few reads: each returns a page at most, and a user may be tracing them.
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
        # After a change of modules, offsets in the table are others.
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
