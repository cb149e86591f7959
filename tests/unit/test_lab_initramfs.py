# SPDX-License-Identifier: MIT
"""The archive writer, the modules' order and the job that the guest runs."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import lzma
import shutil
import stat
import subprocess
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kwalk.errors import KwalkError
from kwalk.lab import cache, cpio, initramfs, modules
from kwalk.lab.kernels import Kernel


def members(data: bytes) -> Iterator[tuple[str, int, bytes]]:
    """Read archives back by the kernel's rules: aligned to 4, zeros in between skipped."""
    at = 0
    while at < len(data):
        if data[at] == 0:
            at += 4
            continue
        assert at % 4 == 0
        assert data[at : at + 6] == b"070701"
        numbers = [int(data[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        mode, size, name_size = numbers[1], numbers[6], numbers[11]
        name = data[at + 110 : at + 110 + name_size]
        assert name.endswith(b"\0")
        at = (at + 110 + name_size + 3) & ~3
        if name != b"TRAILER!!!\0":
            yield name[:-1].decode(), mode, data[at : at + size]
        at = (at + size + 3) & ~3


@given(
    st.lists(
        st.tuples(st.text("abcdefg/", min_size=1, max_size=9), st.binary(max_size=9)), max_size=5
    )
)
def test_archive_reads_back_whatever_the_lengths(pairs: list[tuple[str, bytes]]) -> None:
    entries = [cpio.Entry(name, cpio.FILE, data) for name, data in pairs]
    data = cpio.archive(entries)
    assert len(data) % 512 == 0
    assert list(members(data)) == [(entry.name, entry.mode, entry.data) for entry in entries]


def test_archives_can_follow_each_other() -> None:
    first = cpio.archive([cpio.Entry("a", cpio.FILE, b"1")])
    second = cpio.archive([cpio.Entry("b", cpio.FILE, b"22")])
    assert [name for name, _, _ in members(first + second)] == ["a", "b"]


@pytest.mark.skipif(not shutil.which("cpio"), reason="the cpio program is not on this machine")
def test_cpio_program_unpacks_the_archive(tmp_path: Path) -> None:
    entries = [
        cpio.Entry("bin", cpio.FOLDER),
        cpio.Entry("bin/tool", cpio.SCRIPT, b"#!/bin/sh\n"),
        cpio.Entry("note", cpio.FILE, b"\0\xff"),
    ]
    words = ["cpio", "-idm", "--quiet"]
    subprocess.run(words, input=cpio.archive(entries), cwd=tmp_path, check=True)
    assert (tmp_path / "note").read_bytes() == b"\0\xff"
    assert (tmp_path / "bin/tool").read_bytes() == b"#!/bin/sh\n"
    assert stat.S_IMODE((tmp_path / "bin/tool").stat().st_mode) == 0o755


DEP = """\
kernel/net/9p/9pnet_virtio.ko.xz: kernel/drivers/virtio/virtio.ko.xz kernel/net/9p/9pnet.ko.xz
kernel/net/9p/9pnet.ko.xz:
kernel/fs/9p/9p.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/fs/netfs/netfs.ko.xz
kernel/fs/netfs/netfs.ko.xz: kernel/fs/fscache/fs-cache.ko.xz
kernel/fs/fscache/fs-cache.ko.xz:
kernel/drivers/virtio/virtio.ko.xz:
"""


def test_modules_come_after_what_they_need() -> None:
    order = [modules.name_of(path) for path in modules.in_order(DEP, "", ("9pnet_virtio", "9p"))]
    assert order == ["virtio", "9pnet", "9pnet_virtio", "fs_cache", "netfs", "9p"]


def test_built_in_modules_are_not_loaded() -> None:
    builtin = "kernel/fs/netfs/netfs.ko\nkernel/fs/overlayfs/overlay.ko\n"
    order = modules.in_order(DEP, builtin, ("overlay", "9p"))
    assert [modules.name_of(path) for path in order] == ["9pnet", "9p"]


def test_missing_module_is_named() -> None:
    with pytest.raises(KwalkError, match="no module overlay"):
        modules.in_order(DEP, "", ("overlay",))


@pytest.mark.parametrize(
    ("suffix", "pack"), [("", bytes), (".xz", lzma.compress), (".gz", gzip.compress)]
)
def test_modules_are_unpacked(tmp_path: Path, suffix: str, pack: object) -> None:
    assert callable(pack)
    path = tmp_path / f"m.ko{suffix}"
    path.write_bytes(pack(b"\x7fELF module"))
    assert modules.load(path) == b"\x7fELF module"


def test_zst_module_without_zstd_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.ko.zst"
    path.write_bytes(b"x")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(KwalkError, match="zstd") as caught:
        modules.load(path)
    assert "Install" in caught.value.hint


def test_broken_module_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "m.ko.xz"
    path.write_bytes(b"not xz")
    with pytest.raises(KwalkError, match=r"m\.ko\.xz"):
        modules.load(path)


def job_files(data: bytes) -> dict[str, str]:
    return {name: body.decode() for name, mode, body in members(data) if stat.S_ISREG(mode)}


def test_job_keeps_every_word_and_variable(tmp_path: Path) -> None:
    folder = tmp_path / "a 'folder"
    folder.mkdir()
    env = {"PATH": "/usr/bin:/bin", "ODD": "it's\n$HOME `x`", "BASH_FUNC_f%%": "() { :; }"}
    command = ["sh", "-c", 'pwd; printf "<%s>" "$@"; printf "%s" "$ODD"; env | wc -l', "x"]
    command += ["", "two words", "--", "*", "\\", '"']
    data = initramfs.job(command, env, folder, {})
    script = job_files(data)["job/job"]
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    plain = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[1:] == plain.stdout.splitlines()[1:]
    assert done.stdout.splitlines()[0] == str(folder)


def test_job_in_a_folder_that_is_gone_fails(tmp_path: Path) -> None:
    script = job_files(initramfs.job(["true"], {}, tmp_path / "gone", {}))["job/job"]
    assert subprocess.run(["sh", "-c", script], stderr=subprocess.DEVNULL).returncode == 126


def test_settings_are_quoted() -> None:
    settings = job_files(initramfs.job(["true"], {}, Path("/"), {"out": "/a b;c"}))["job/settings"]
    script = settings + 'printf %s "$out"'
    assert subprocess.run(["sh", "-c", script], capture_output=True).stdout == b"/a b;c"


def test_guest_script_is_well_formed() -> None:
    script = files("kwalk.lab").joinpath("guest-init.sh").read_bytes()
    subprocess.run(["sh", "-n"], input=script, check=True)


def elf(*types: int) -> bytes:
    """Return a 64-bit ELF header with program headers of these types."""
    head = bytearray(64)
    head[:6] = b"\x7fELF\x02\x01"
    head[32:40] = (64).to_bytes(8, "little")
    head[54:56] = (56).to_bytes(2, "little")
    head[56:58] = len(types).to_bytes(2, "little")
    return bytes(head) + b"".join(kind.to_bytes(4, "little") + bytes(52) for kind in types)


def test_static_programs_are_told_from_dynamic_ones(tmp_path: Path) -> None:
    path = tmp_path / "program"
    for data, expected in ((elf(1, 1), True), (elf(1, 3), False), (b"#!/bin/sh\n", False)):
        path.write_bytes(data)
        assert initramfs.is_static(path) is expected


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    monkeypatch.setenv("KWALK_CACHE", str(tmp_path / "cache"))
    tool = tmp_path / "bin" / "busybox"
    tool.parent.mkdir()
    tool.write_bytes(elf(1))
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tool.parent))
    folder = tmp_path / "modules"
    folder.mkdir()
    names = ("virtio_pci", "virtio_console", "9pnet_virtio", "9p", "overlay")
    needs = dict.fromkeys(names, "") | {"virtio_pci": "overlay.ko"}
    dep = "".join(f"{name}.ko: {needs[name]}\n" for name in names)
    (folder / "modules.dep").write_text(dep)
    (folder / "modules.builtin").write_text("kernel/9p.ko\n")
    for name in names:
        (folder / f"{name}.ko").write_bytes(name.encode())
    return Kernel("k", "6.0-test", tmp_path / "vmlinuz", folder, None)


def base(kernel: Kernel) -> bytes:
    return initramfs.base(kernel, initramfs.busybox())


def test_base_holds_modules_in_loading_order(kernel: Kernel) -> None:
    found = {name: data for name, _, data in members(base(kernel))}
    assert found["bin/busybox"] == elf(1)
    assert b"switch_root" in found["init"]
    loaded = [found[name] for name in sorted(found) if name.startswith("modules/")]
    assert loaded == [b"overlay", b"virtio_pci", b"virtio_console", b"9pnet_virtio"]


def kept_archive() -> Path:
    (only,) = cache.folder("initramfs").iterdir()
    return only


def test_base_is_kept_until_its_parts_change(kernel: Kernel) -> None:
    assert kernel.modules is not None
    first = base(kernel)
    stamp = kept_archive().stat().st_mtime_ns
    assert base(kernel) == first
    assert kept_archive().stat().st_mtime_ns == stamp
    (kernel.modules / "overlay.ko").write_bytes(b"a newer overlay")
    second = base(kernel)
    assert second != first
    assert b"a newer overlay" in second


@pytest.mark.parametrize("step", [0, 1, -1])
def test_damaged_base_in_the_cache_is_made_anew(kernel: Kernel, step: int) -> None:
    first = base(kernel)
    kept = kept_archive()
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-1:step] if step else b"")
    assert base(kernel) == first
    assert kept.read_bytes() == whole


@given(dep=st.binary(max_size=60), chain=st.integers(0, 3000), circle=st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
def test_damaged_list_of_modules_is_told(
    kernel: Kernel, dep: bytes, chain: int, circle: bool
) -> None:
    assert kernel.modules is not None
    names = [f"m{number}" for number in range(chain)]
    lines = [f"9p.ko: {' '.join(names)}", "overlay.ko: virtio_pci.ko", "virtio_console.ko:"]
    lines += [f"{one}.ko: {two}.ko" for one, two in itertools.pairwise(names)]
    lines += [f"{names[-1]}.ko: {'m0.ko' if circle else ''}"] if names else []
    lines += ["virtio_pci.ko: overlay.ko", "9pnet_virtio.ko:"]
    (kernel.modules / "modules.dep").write_bytes("\n".join(lines).encode() + b"\n" + dep)
    (kernel.modules / "modules.builtin").write_bytes(dep)
    with contextlib.suppress(KwalkError):
        base(kernel)


def compressed(kind: str) -> bytes:
    data = bytes(range(256)) * 9
    if kind == "zst":
        return b"\x28\xb5\x2f\xfd" + data
    return lzma.compress(data) if kind == "xz" else gzip.compress(data)


@pytest.mark.parametrize("kind", ["xz", "gz", "zst"])
@pytest.mark.parametrize("cut", [0, 1, 5, 20, 40])
def test_damaged_module_is_told(tmp_path: Path, kind: str, cut: int) -> None:
    path = tmp_path / f"m.ko.{kind}"
    path.write_bytes(compressed(kind)[:cut] + b"!" * (cut > 20))
    with pytest.raises(KwalkError, match=r"m\.ko") as caught:
        modules.load(path)
    assert "cannot be read" in caught.value.what or "zstd" in caught.value.what


def test_folder_without_modules_dep_is_an_error(kernel: Kernel) -> None:
    assert kernel.modules is not None
    (kernel.modules / "modules.dep").unlink()
    with pytest.raises(KwalkError, match=r"modules\.dep cannot be read"):
        base(kernel)
