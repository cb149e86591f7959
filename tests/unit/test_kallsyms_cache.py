# SPDX-License-Identifier: MIT
"""The symbol table of the last start is taken while it is still true, and only then."""

from __future__ import annotations

import os
import signal
import stat
from pathlib import Path

import pytest

import forked
from kwalk.errors import NotSupported
from kwalk.kernel import kallsyms_cache
from kwalk.kernel.kallsyms import Symbol

VMLINUX = (
    b"0000000000000000 A fixed_percpu_data\n"
    b"ffffffff81000000 T _text\n"
    b"ffffffff81000100 T ip_rcv\n"
    b"ffffffff81001000 T _end\n"
)
OVERLAY = b"ffffffffc0000000 t ovl_open\t[overlay]\n"
PROGRAM = b"ffffffffc0001000 t bpf_prog_1234_mine\t[bpf]\n"
MODULES = (
    "overlay 200704 {users} - Live {at}\n"  #
    "fuse 180224 1 - Live 0xffffffffc0100000\n"
)


class Machine:
    """A folder like /proc, and one to keep things in."""

    def __init__(self, folder: Path) -> None:
        self.proc, self.folder = folder / "proc", folder / "run"
        self.write("sys/kernel/random/boot_id", "one\n")
        self.write("sys/kernel/kptr_restrict", "0\n")
        self.load()
        self.say(VMLINUX + OVERLAY + PROGRAM)

    def write(self, name: str, text: str) -> None:
        path = self.proc / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def say(self, text: bytes) -> None:
        """From now on /proc/kallsyms says this."""
        (self.proc / "kallsyms").write_bytes(text)

    def load(self, at: str = "0xffffffffc0000000", users: int = 3) -> None:
        self.write("modules", MODULES.format(at=at, users=users))
        for name in ("overlay", "fuse"):
            (self.proc.with_name("sys") / "module" / name).mkdir(parents=True, exist_ok=True)

    def reload(self) -> None:
        """Unload overlay and load it again, to where it was."""
        folder = self.proc.with_name("sys") / "module" / "overlay"
        folder.rename(folder.with_name("gone"))
        folder.mkdir()

    def keep(self, *asked: str) -> None:
        symbols = kallsyms_cache.read(self.folder, self.proc)
        for name in asked:
            symbols.address(name)
        kallsyms_cache.keep(symbols, self.folder, self.proc)

    def found(self, name: str) -> list[int]:
        """Where the table that a start gets has a symbol."""
        return [symbol.address for symbol in kallsyms_cache.read(self.folder, self.proc).find(name)]

    @property
    def file(self) -> Path:
        return self.folder / kallsyms_cache.NAME


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Where the user is root, whoever runs this."""
    if os.geteuid():
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        real = os.fstat
        monkeypatch.setattr(
            os, "fstat", lambda fd: os.stat_result((*real(fd)[:4], 0, *real(fd)[5:]))
        )
    return Machine(tmp_path)


MOVED = VMLINUX.replace(b"81000100", b"81000200")


def test_cache_replaces_reading_kallsyms(machine: Machine) -> None:
    machine.keep()
    machine.say(MOVED)
    assert machine.found("ip_rcv") == [0xFFFFFFFF81000100]
    assert machine.found("ovl_open") == [0xFFFFFFFFC0000000]


def test_names_that_were_asked_for_are_known_without_a_search(machine: Machine) -> None:
    machine.keep("ip_rcv", "absent")
    machine.keep("_end")
    machine.file.write_bytes(machine.file.read_bytes().replace(b" T ip_rcv", b" T gone"))
    symbols = kallsyms_cache.read(machine.folder, machine.proc)
    assert symbols.known == {"ip_rcv": 0xFFFFFFFF81000100, "absent": 0, "_end": 0xFFFFFFFF81001000}
    assert symbols.address("ip_rcv") == 0xFFFFFFFF81000100
    assert not symbols.has_news


def test_cache_is_not_rewritten_without_news(machine: Machine) -> None:
    machine.keep("ip_rcv")
    before = machine.file.stat().st_ino
    machine.keep("ip_rcv")
    assert machine.file.stat().st_ino == before


@pytest.mark.parametrize(
    "change",
    [
        lambda machine: machine.write("sys/kernel/random/boot_id", "two\n"),
        lambda machine: machine.load(at="0xffffffffc0200000"),
        lambda machine: machine.write("modules", ""),
        lambda machine: machine.reload(),
    ],
    ids=["another boot", "a module moved", "modules unloaded", "a module reloaded in its place"],
)
def test_cache_is_invalidated_by_a_change(machine: Machine, change: object) -> None:
    machine.keep()
    change(machine)  # type: ignore[operator]
    machine.say(MOVED)
    assert machine.found("ip_rcv") == [0xFFFFFFFF81000200]


def test_cache_ignores_module_reference_counts(machine: Machine) -> None:
    machine.keep()
    machine.load(users=4)
    machine.say(MOVED)
    assert machine.found("ip_rcv") == [0xFFFFFFFF81000100]


def test_bpf_programs_are_looked_up_in_the_current_table(machine: Machine) -> None:
    machine.keep()
    machine.say(VMLINUX + OVERLAY + PROGRAM.replace(b"mine", b"another"))
    symbols = kallsyms_cache.read(machine.folder, machine.proc)
    assert symbols.lookup(0xFFFFFFFF81000101) == Symbol(0xFFFFFFFF81000100, "ip_rcv", "")
    assert symbols.lookup(0xFFFFFFFFC0001008) == Symbol(
        0xFFFFFFFFC0001000, "bpf_prog_1234_another", "bpf"
    )
    assert symbols.find("bpf_prog_1234_mine") == []


def test_module_loaded_since_the_start_is_known(machine: Machine) -> None:
    machine.keep()
    symbols = kallsyms_cache.read(machine.folder, machine.proc)
    machine.write("modules", "fuse 180224 1 - Live 0xffffffffc0100000\n")
    machine.say(VMLINUX + b"ffffffffc0000800 t fuse_open\t[fuse]\n" + PROGRAM)
    assert symbols.lookup(0xFFFFFFFFC0000804) == Symbol(0xFFFFFFFFC0000800, "fuse_open", "fuse")
    assert symbols.lookup(0xFFFFFFFF81000101) == Symbol(0xFFFFFFFF81000100, "ip_rcv", "")


def test_renew_reads_only_the_end_of_kallsyms(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.keep()
    symbols = kallsyms_cache.read(machine.folder, machine.proc)
    read: list[bytes] = []
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda *a: read.append(real(*a)) or read[-1])  # type: ignore[func-returns-value]
    symbols.renew()
    assert read == [OVERLAY + PROGRAM, b""]


def test_renew_keeps_names_that_are_gone_later(machine: Machine) -> None:
    machine.keep()
    machine.say(VMLINUX + OVERLAY + PROGRAM.replace(b"mine", b"another"))
    symbols = kallsyms_cache.read(machine.folder, machine.proc)
    symbols.renew()
    machine.say(VMLINUX + OVERLAY)
    found = symbols.lookup(0xFFFFFFFFC0001008)
    assert found
    assert found.name == "bpf_prog_1234_another"


def test_cache_is_not_written_across_a_module_load(machine: Machine) -> None:
    symbols = kallsyms_cache.read(machine.folder, machine.proc)
    machine.write("modules", "fuse 180224 1 - Live 0xffffffffc0100000\n")
    kallsyms_cache.keep(symbols, machine.folder, machine.proc)
    assert not machine.file.exists()


def test_cache_is_dropped_where_its_end_has_moved(machine: Machine) -> None:
    machine.keep()
    more = b"ffffffffc0000900 t freed_init\t[overlay]\n"  # without a change of /proc/modules
    machine.say(VMLINUX + OVERLAY[:-1] + b"xx\n" + more + PROGRAM)
    found = kallsyms_cache.read(machine.folder, machine.proc).lookup(0xFFFFFFFFC0001008)
    assert found == Symbol(0xFFFFFFFFC0001000, "bpf_prog_1234_mine", "bpf")


def test_cache_is_readable_by_root_only(machine: Machine) -> None:
    machine.keep()
    assert stat.S_IMODE(machine.file.stat().st_mode) == 0o600
    assert stat.S_IMODE(machine.folder.stat().st_mode) == 0o700
    assert [path.name for path in machine.folder.iterdir()] == [kallsyms_cache.NAME]


def test_kill_leaves_nothing_behind(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.keep()
    before = machine.file.read_bytes()

    def killed() -> None:
        os.replace = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
        machine.keep("ip_rcv")

    assert os.waitpid(forked.fork(killed), 0)[1] == signal.SIGKILL
    assert machine.file.read_bytes() == before
    machine.keep("ip_rcv")
    assert machine.file.read_bytes() != before
    assert [path.name for path in machine.folder.iterdir()] == [kallsyms_cache.NAME]


def test_others_keep_nothing(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    machine.keep()
    assert not machine.folder.exists()


def test_cache_is_not_used_where_kptr_restrict_hides_addresses(machine: Machine) -> None:
    machine.keep()
    machine.write("sys/kernel/kptr_restrict", "2\n")
    machine.say(b"0000000000000000 T _text\n0000000000000000 T ip_rcv\n")
    with pytest.raises(NotSupported, match="hides"):
        machine.found("ip_rcv")


@pytest.mark.parametrize("mode", [0o644, 0o620])
def test_cache_that_others_may_write_or_read_is_not_trusted(machine: Machine, mode: int) -> None:
    machine.keep()
    machine.file.chmod(mode)
    machine.say(MOVED)
    assert machine.found("ip_rcv") == [0xFFFFFFFF81000200]


def test_nor_is_a_link(machine: Machine) -> None:
    machine.keep()
    machine.file.rename(machine.folder / "elsewhere")
    machine.file.symlink_to(machine.folder / "elsewhere")
    machine.say(MOVED)
    assert machine.found("ip_rcv") == [0xFFFFFFFF81000200]


@pytest.mark.parametrize("size", [0, 1, 60, 100])
def test_broken_cache_is_rewritten(machine: Machine, size: int) -> None:
    machine.keep("ip_rcv")
    machine.file.write_bytes(machine.file.read_bytes()[:size])
    machine.say(MOVED)
    machine.keep("ip_rcv")
    machine.say(VMLINUX)
    assert machine.found("ip_rcv") == [0xFFFFFFFF81000200]


def test_kallsyms_is_read_where_no_cache_can_be_kept(machine: Machine) -> None:
    machine.folder.write_text("a file in the way")
    machine.keep()
    machine.say(MOVED)
    assert machine.found("ip_rcv") == [0xFFFFFFFF81000200]
