# SPDX-License-Identifier: MIT
"""Kernel names, what an image says about itself, and the cache."""

from __future__ import annotations

import io
import json
import multiprocessing
import tarfile
import time
from pathlib import Path

import pytest

from kwalk.errors import KwalkError, UsageError
from kwalk.lab import cache, kernels


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KWALK_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KWALK_KERNELS", raising=False)
    # The folder of the project itself is looked at as well.
    monkeypatch.setattr(kernels, "__file__", str(tmp_path / "kernels.py"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def bz_image(release: str = "6.1.0-test") -> bytes:
    head = bytearray(0x1000)
    head[0x202:0x206] = b"HdrS"
    head[0x20E:0x210] = (0x600).to_bytes(2, "little")
    text = f"{release} (builder@host) #1 SMP\0".encode()
    head[0x800 : 0x800 + len(text)] = text
    return bytes(head)


def test_image_tells_its_release(place: Path) -> None:
    (place / "vmlinuz").write_bytes(bz_image("6.12.3+deb13-amd64"))
    assert kernels.image_release(place / "vmlinuz") == "6.12.3+deb13-amd64"


@pytest.mark.parametrize("data", [b"", b"\x7fELF", bytes(4096), bz_image()[:0x800]])
def test_other_files_are_no_kernels(place: Path, data: bytes) -> None:
    (place / "x").write_bytes(data)
    with pytest.raises(UsageError, match="not an x86 kernel image"):
        kernels.find("./x")


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="no kernel named 'debian-99'") as caught:
        kernels.find("debian-99")
    assert all(name in caught.value.hint for name in kernels.NAMES)
    assert caught.value.exit_code == 2


def test_missing_path() -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        kernels.find("./boot/vmlinuz")


@pytest.mark.parametrize(
    "where", ["modules", "boot", "lib/modules/6.1.0-test", "modules/6.1.0-test"]
)
def test_modules_and_config_are_found_near_the_image(place: Path, where: str) -> None:
    image = place / "boot" / "vmlinuz-6.1.0-test"
    image.parent.mkdir()
    image.write_bytes(bz_image())
    (place / "boot" / "config-6.1.0-test").write_text("CONFIG_UNWINDER_ORC=y\n")
    folder = place / (where if where != "modules" else "boot/modules")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "modules.dep").touch()
    kernel = kernels.find(str(image))
    if where == "modules/6.1.0-test":
        assert kernel.modules is None
        kernel = kernels.find(str(image), place / "modules")
    assert kernel.modules == folder
    assert (kernel.release, kernel.unwinder) == ("6.1.0-test", "orc")


def test_given_folder_without_modules(place: Path) -> None:
    (place / "vmlinuz").write_bytes(bz_image())
    with pytest.raises(UsageError, match="holds no modules of kernel"):
        kernels.find("./vmlinuz", place)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("# CONFIG_UNWINDER_ORC is not set\nCONFIG_UNWINDER_FRAME_POINTER=y\n", "frame pointer"),
        ("CONFIG_UNWINDER_ORC=y\n# CONFIG_UNWINDER_FRAME_POINTER is not set\n", "orc"),
        ("CONFIG_UNWINDER_GUESS=y\n", "-"),
        (None, "-"),
    ],
)
def test_unwinder_comes_from_the_configuration(
    place: Path, config: str | None, expected: str
) -> None:
    path = place / "config"
    if config is not None:
        path.write_text(config)
    kernel = kernels.Kernel("k", "1", place, None, path if config is not None else None)
    assert kernel.unwinder == expected


def test_missing_frame_pointer_kernel_says_where_to_put_it() -> None:
    with pytest.raises(KwalkError, match="neither in the cache nor") as caught:
        kernels.find("fp")
    assert "KWALK_KERNELS" in caught.value.hint
    assert kernels.cached("fp") is None


@pytest.fixture
def depmod(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a fake depmod first that writes its words down."""
    tool = place / "bin" / "depmod"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\necho "$*" >>{place}/depmod.log\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:/usr/bin:/bin")
    return place / "depmod.log"


def fill(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "vmlinuz-6.1-fp").write_bytes(bz_image())
    (folder / "config-6.1-fp").write_text("CONFIG_UNWINDER_FRAME_POINTER=y\n")
    with tarfile.open(folder / "modules-6.1-fp.tar.gz", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("6.1-fp/modules.builtin"), io.BytesIO())


@pytest.mark.parametrize("by_variable", [True, False])
def test_frame_pointer_kernel_is_copied_once(
    place: Path, depmod: Path, monkeypatch: pytest.MonkeyPatch, by_variable: bool
) -> None:
    if by_variable:
        fill(place / "elsewhere")
        monkeypatch.setenv("KWALK_KERNELS", str(place / "elsewhere"))
    else:
        fill(place / "shared" / "kernels")
        (place / "project" / "src").mkdir(parents=True)
        monkeypatch.chdir(place / "project" / "src")
    kernel = kernels.find("fp")
    assert (kernel.release, kernel.unwinder) == ("6.1-fp", "frame pointer")
    assert kernel.image.read_bytes() == bz_image()
    assert kernels.find("fp") == kernel
    assert kernels.fetch("fp") == kernel  # as if another process had been faster
    assert depmod.read_text().count("6.1-fp") == 1
    assert cache.folder() in kernel.image.parents


def test_image_without_its_modules_is_not_taken(place: Path, depmod: Path) -> None:
    fill(place / "shared" / "kernels")
    (place / "shared" / "kernels" / "modules-6.1-fp.tar.gz").unlink()
    with pytest.raises(KwalkError, match="neither"):
        kernels.find("fp")


class FakeSuite:
    """Stands for debian.Suite: unpacks an old or a split kernel."""

    name = "sid"

    def __init__(self, files: list[str]) -> None:
        self.files = files

    def __enter__(self) -> FakeSuite:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def kernel_packages(self, start: str) -> dict[str, str]:
        return {start: "7.2-1", "linux-binary-7.2": "7.2-1"}

    def unpack(self, packages: list[str], target: Path) -> None:
        assert packages == ["linux-binary-7.2"]
        for file in self.files:
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            (target / file).write_text("CONFIG_UNWINDER_ORC=y\n")


OLD = ["boot/vmlinuz-7.2", "boot/config-7.2", "lib/modules/7.2/modules.builtin"]
SPLIT = [f"usr/lib/modules/7.2/{name}" for name in ("vmlinuz", "config", "modules.builtin")]


@pytest.mark.parametrize(("files", "base"), [(OLD, ""), (SPLIT, "/usr")])
def test_debian_kernels_of_both_layouts(
    depmod: Path, monkeypatch: pytest.MonkeyPatch, files: list[str], base: str
) -> None:
    monkeypatch.setattr("kwalk.lab.debian.suite", lambda _: FakeSuite(files))
    kernel = kernels.find("debian-sid")
    assert (kernel.release, kernel.unwinder) == ("7.2", "orc")
    assert kernel.modules is not None
    assert (kernel.modules / "modules.builtin").exists()
    word = depmod.read_text().split()[1]
    assert word.endswith(base)
    assert Path(word).name.startswith(".debian-sid." if not base else "usr")
    facts = json.loads((cache.folder("kernels") / "debian-sid/kernel.json").read_text())
    assert facts["packages"]["linux-binary-7.2"] == "7.2-1"


@pytest.mark.parametrize("missing", range(0, 3, 2))
def test_unexpected_packages_leave_nothing_behind(
    depmod: Path, monkeypatch: pytest.MonkeyPatch, missing: int
) -> None:
    files = [file for number, file in enumerate(OLD) if number != missing]
    monkeypatch.setattr("kwalk.lab.debian.suite", lambda _: FakeSuite(files))
    with pytest.raises(KwalkError, match="not one of each"):
        kernels.find("debian-sid")
    assert kernels.cached("debian-sid") is None
    assert [p for p in cache.folder("kernels").iterdir() if p.is_dir()] == []


def test_missing_depmod(depmod: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kwalk.lab.debian.suite", lambda _: FakeSuite(OLD))
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(KwalkError, match="depmod is not on this machine"):
        kernels.find("debian-sid")


def test_cache_folder_follows_the_environment(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KWALK_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(place / "xdg"))
    assert cache.folder("a") == place / "xdg/kwalk/a"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(place / "home"))
    assert cache.folder() == place / "home/.cache/kwalk"
    assert cache.folder().is_dir()


def test_cache_folder_that_cannot_be_made(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "file").touch()
    monkeypatch.setenv("KWALK_CACHE", str(place / "file" / "below"))
    with pytest.raises(KwalkError, match="cannot be made") as caught:
        cache.folder()
    assert "KWALK_CACHE" in caught.value.hint


def test_failed_build_leaves_nothing_and_a_later_one_clears_up(place: Path) -> None:
    target = place / "built"
    (place / ".built.stale").mkdir()
    with pytest.raises(FileNotFoundError), cache.building(target) as scratch:
        (scratch / "missing" / "part").touch()
    assert [path.name for path in place.iterdir() if "built" in path.name] == []
    with cache.building(target) as scratch:
        (scratch / "part").touch()
        assert not target.exists()
    assert (target / "part").exists()


def hold(path: Path, log: Path) -> None:
    """Take the lock and note when it was held."""
    with cache.locked(path), log.open("a") as file:
        begin = time.monotonic()
        time.sleep(0.3)
        print(begin, time.monotonic(), file=file)


def test_lock_keeps_processes_apart(place: Path) -> None:
    log = place / "log"
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=hold, args=(place / "x", log)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
        assert process.exitcode == 0
    lines = log.read_text().splitlines()
    spans = sorted(tuple(float(word) for word in line.split()) for line in lines)
    assert spans[0][1] <= spans[1][0]
