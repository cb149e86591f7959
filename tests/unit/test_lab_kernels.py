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
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kwalk.errors import KwalkError, UsageError
from kwalk.lab import cache, images, kernels, offered
from kwalk.lab.platforms import ARM64, X86_64


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KWALK_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KWALK_KERNELS", raising=False)
    # As if kwalk ran from a checkout here; what is beside it is looked at as well.
    project = tmp_path / "project"
    (project / "src" / "kwalk" / "lab").mkdir(parents=True)
    (project / "pyproject.toml").touch()
    monkeypatch.setattr(offered, "__file__", str(project / "src/kwalk/lab/offered.py"))
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
    assert images.identify(place / "vmlinuz") == (X86_64, "6.12.3+deb13-amd64")


def arm64_image(release: str = "6.1.0-test", magic: bytes = b"ARM\x64") -> bytes:
    """Return an Image whose banner is as far behind its header as a real one's."""
    head = bytearray(64)
    head[:2], head[56:60] = b"MZ", magic
    banner = f"Linux version {release} (builder@host) (gcc 14) # SMP ".encode()
    return bytes(head) + bytes(1 << 20) + b"%s version %s (Linux version of\0" + banner


def test_arm64_image_tells_its_release(place: Path) -> None:
    (place / "vmlinuz").write_bytes(arm64_image("7.2.13+deb14-arm64"))
    kernel = kernels.find("./vmlinuz")
    assert (kernel.release, kernel.platform) == ("7.2.13+deb14-arm64", ARM64)
    assert kernel.unwinder == "frame pointer"
    assert kernels.platform_of("./vmlinuz") is ARM64


NO_IMAGES = [
    b"",
    b"\x7fELF",
    bytes(4096),
    bz_image()[:0x800],
    arm64_image("../../x"),
    arm64_image("x" * 200),
    arm64_image(magic=b"RISC"),
    arm64_image()[:4096],
    b"\x1f\x8b" + arm64_image(),
]


@pytest.mark.parametrize("data", NO_IMAGES, ids=range(len(NO_IMAGES)))
def test_file_that_is_no_kernel_image_is_refused(place: Path, data: bytes) -> None:
    (place / "x").write_bytes(data)
    with pytest.raises(UsageError, match="neither an x86 kernel image"):
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
    with pytest.raises(KwalkError, match="neither in the folder of KWALK_KERNELS") as caught:
        kernels.find("fp")
    assert "KWALK_KERNELS" in caught.value.hint
    assert kernels.cached("fp") is None


@pytest.fixture
def depmod(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a fake depmod first that writes its words down, and makes its index."""
    tool = place / "bin" / "depmod"
    tool.parent.mkdir()
    tool.write_text(
        f'#!/bin/sh\necho "$*" >>{place}/depmod.log\n>"$2/lib/modules/$3/modules.dep"\n'
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:/usr/bin:/bin")
    return place / "depmod.log"


def fill(folder: Path, release: str = "6.1-fp", kind: str = "gz") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"vmlinuz-{release}").write_bytes(bz_image(release))
    (folder / f"config-{release}").write_text("CONFIG_UNWINDER_FRAME_POINTER=y\n")
    pack(folder, release, kind)


def pack(folder: Path, release: str, kind: str = "gz", *more: tarfile.TarInfo) -> None:
    with tarfile.open(folder / f"modules-{release}.tar.{kind}", f"w:{kind}") as tar:  # type: ignore[call-overload]
        for member in (tarfile.TarInfo(f"{release}/modules.builtin"), *more):
            tar.addfile(member, io.BytesIO())


KERNELS = [
    ("fp", "6.1-fp", "gz"),
    ("ubuntu-24.04", "6.8.0-1-generic", "xz"),
    ("ubuntu-26.04", "7.0.0-44-generic", "gz"),
]


@pytest.mark.parametrize("by_variable", [True, False])
@pytest.mark.parametrize(("name", "release", "kind"), KERNELS)
def test_kernel_of_a_folder_is_copied_once(
    place: Path,
    depmod: Path,
    monkeypatch: pytest.MonkeyPatch,
    by_variable: bool,
    name: str,
    release: str,
    kind: str,
) -> None:
    fill(place / ("elsewhere" if by_variable else "shared/kernels"), release, kind)
    if by_variable:
        monkeypatch.setenv("KWALK_KERNELS", "elsewhere")
    kernel = kernels.find(name)
    assert (kernel.release, kernel.unwinder) == (release, "frame pointer")
    assert kernel.image.read_bytes() == bz_image(release)
    assert kernels.find(name) == kernel
    assert kernels.fetch(name) == kernel  # as if another process had been faster
    assert depmod.read_text().count(release) == 1
    assert cache.folder() in kernel.image.parents
    assert kernels.source(name) == str(place / ("elsewhere" if by_variable else "shared/kernels"))


@pytest.mark.parametrize("where", ["shared/kernels", "below/shared/kernels"])
def test_current_folder_offers_no_kernels(
    place: Path, depmod: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Neither itself nor one above it: any user can make such a folder."""
    fill(place / "strangers" / where)
    (place / "strangers" / "below").mkdir(exist_ok=True)
    monkeypatch.chdir(place / "strangers" / "below")
    with pytest.raises(KwalkError, match="neither in the folder"):
        kernels.find("fp")


def test_installed_kwalk_looks_beside_no_project(
    place: Path, depmod: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(place / "lib" / "shared" / "kernels")
    (place / "lib/python3/site-packages/kwalk/lab").mkdir(parents=True)
    file = place / "lib/python3/site-packages/kwalk/lab/offered.py"
    monkeypatch.setattr(offered, "__file__", str(file))
    with pytest.raises(KwalkError, match="neither in the folder"):
        kernels.find("fp")


@pytest.mark.parametrize("part", ["vmlinuz-6.1-fp", "config-6.1-fp", "modules-6.1-fp.tar.gz"])
def test_copy_is_of_the_files_that_are_there_now(place: Path, depmod: Path, part: str) -> None:
    folder = place / "shared" / "kernels"
    fill(folder)
    first = kernels.find("fp")
    if part.startswith("modules"):
        pack(folder, "6.1-fp", "gz", tarfile.TarInfo("6.1-fp/more.ko"))
    else:
        (folder / part).write_bytes(bz_image("6.1-fp") + b"rebuilt")
    assert kernels.cached("fp") is None
    second = kernels.find("fp")
    assert second.image != first.image
    assert second.modules
    if part.startswith("modules"):
        assert (second.modules / "more.ko").exists()
    else:
        assert (second.image.parent / part).read_bytes().endswith(b"rebuilt")


def test_copy_is_not_used_once_its_files_are_gone(place: Path, depmod: Path) -> None:
    fill(place / "shared" / "kernels")
    kernels.find("fp")
    (place / "shared" / "kernels" / "vmlinuz-6.1-fp").unlink()
    assert kernels.cached("fp") is None
    with pytest.raises(KwalkError, match="neither in the folder"):
        kernels.find("fp")


def test_image_without_its_modules_is_not_taken(place: Path, depmod: Path) -> None:
    fill(place / "shared" / "kernels")
    (place / "shared" / "kernels" / "modules-6.1-fp.tar.gz").unlink()
    with pytest.raises(KwalkError, match="neither in the folder"):
        kernels.find("fp")


@given(cut=st.integers(0, 200), kind=st.sampled_from(["gz", "xz"]), noise=st.binary(max_size=30))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
def test_damaged_archive_of_modules_is_told(
    place: Path, depmod: Path, cut: int, kind: str, noise: bytes
) -> None:
    folder = place / "shared" / "kernels"
    for old in folder.glob("modules-*"):
        old.unlink()
    fill(folder, "6.1-fp", kind)
    archive = folder / f"modules-6.1-fp.tar.{kind}"
    archive.write_bytes(archive.read_bytes()[:cut] + noise)
    caught = None
    try:
        kernels.find("fp")
    except KwalkError as error:
        caught = error
    assert caught is None or (caught.hint and kernels.cached("fp") is None)
    assert caught or cut > 20


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize("name", ["../out", "/tmp/kwalk-test-out", "6.1-fp/../../../out"])
def test_archive_that_leads_outside_is_refused(place: Path, depmod: Path, name: str) -> None:
    folder = place / "shared" / "kernels"
    fill(folder)
    pack(folder, "6.1-fp", "gz", tarfile.TarInfo(name))
    with pytest.raises(KwalkError, match="a path outside of it"):
        kernels.find("fp")
    assert not list(place.rglob("out"))
    assert not Path("/tmp/kwalk-test-out").exists()


def test_links_and_devices_of_an_archive_are_left_out(place: Path, depmod: Path) -> None:
    folder = place / "shared" / "kernels"
    fill(folder)
    through = tarfile.TarInfo("6.1-fp/build/file")
    pack(
        folder, "6.1-fp", "gz",
        link("6.1-fp/source", "/"),
        link("6.1-fp/hard", "6.1-fp/modules.builtin", tarfile.LNKTYPE),
        link("6.1-fp/pipe", "", tarfile.FIFOTYPE),
        through,
    )  # fmt: skip
    modules = kernels.find("fp").modules
    assert modules
    assert sorted(p.name for p in modules.iterdir()) == ["build", "modules.builtin", "modules.dep"]


DAMAGE = [
    b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"release": "6.1-fp"}',
    b'{"release": "../..", "image": "boot/vmlinuz-6.1-fp", "modules": "lib", "config": null}',
    b'{"release": "6.1-fp", "image": "/etc/passwd", "modules": "lib/modules/6.1-fp",'
    b'"config": null}',
    b'{"release": "6.1-fp", "image": 7, "modules": {}, "config": "a\\u0000b"}',
    b'{"release": "6.1-fp", "image": "boot/vmlinuz-6.1-fp", "modules": "lib", "config": null}',
]  # fmt: skip


@pytest.mark.parametrize("text", DAMAGE, ids=range(len(DAMAGE)))
def test_damaged_copy_in_the_cache_is_made_anew(
    place: Path, depmod: Path, capsys: pytest.CaptureFixture[str], text: bytes
) -> None:
    fill(place / "shared" / "kernels")
    kernel = kernels.find("fp")
    (kernel.image.parents[1] / "kernel.json").write_bytes(text)
    assert kernels.cached("fp") is None
    assert kernels.find("fp") == kernel
    assert "the copy of fp in the cache is damaged" in capsys.readouterr().err


@pytest.mark.parametrize("part", ["image", "modules", "loop"])
def test_copy_that_lacks_a_part_is_made_anew(place: Path, depmod: Path, part: str) -> None:
    fill(place / "shared" / "kernels")
    kernel = kernels.find("fp")
    assert kernel.modules
    if part == "modules":
        (kernel.modules / "modules.dep").unlink()
    else:
        kernel.image.unlink()
    if part == "loop":
        kernel.image.symlink_to(kernel.image)
    assert kernels.find("fp") == kernel
    assert kernel.image.read_bytes() == bz_image("6.1-fp")
    assert (kernel.modules / "modules.dep").exists()


@pytest.mark.parametrize("release", ["../../x", "/etc/x", "a/b", "-x", "x" * 200, "\xff"])
def test_release_that_is_no_name_is_refused(place: Path, release: str) -> None:
    """It becomes a part of paths in the cache and in the guest."""
    data = bytearray(bz_image())
    text = release.encode("latin-1") + b" (b@h)\0"
    data[0x800 : 0x800 + len(text)] = text
    (place / "vmlinuz").write_bytes(data)
    with pytest.raises(UsageError, match="neither an x86 kernel image"):
        kernels.find("./vmlinuz")


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
    monkeypatch.setattr("kwalk.lab.debian.suite", lambda *_, **__: FakeSuite(files))
    kernel = kernels.find("debian-sid")
    assert (kernel.release, kernel.unwinder) == ("7.2", "orc")
    assert kernel.modules is not None
    assert (kernel.modules / "modules.builtin").exists()
    word = depmod.read_text().split()[1]
    assert word.endswith(base)
    assert Path(word).name.startswith(".debian-sid." if not base else "usr")
    facts = json.loads((cache.folder("kernels") / "debian-sid/kernel.json").read_text())
    assert facts["packages"]["linux-binary-7.2"] == "7.2-1"


@pytest.mark.parametrize("name", kernels.ARM64_SUITES)
def test_kernels_of_arm64_are_of_arm64_packages(
    depmod: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    asked = []

    class ArmSuite(FakeSuite):
        def kernel_packages(self, start: str) -> dict[str, str]:
            asked.append(start)
            return super().kernel_packages(start)

    def suite(name: str, architecture: str) -> FakeSuite:
        asked.extend([name, architecture])
        return ArmSuite(OLD)

    monkeypatch.setattr("kwalk.lab.debian.suite", suite)
    kernel = kernels.find(name)
    assert asked == [kernels.SUITES[name.removesuffix("-arm64")], "arm64", "linux-image-arm64"]
    assert (kernel.platform, kernel.unwinder) == (ARM64, "frame pointer")
    assert kernels.cached(name) == kernel
    assert kernels.platform_of(name) is ARM64
    assert kernels.platform_of(name.removesuffix("-arm64")) is X86_64


@pytest.mark.parametrize("missing", range(0, 3, 2))
def test_unexpected_packages_leave_nothing_behind(
    depmod: Path, monkeypatch: pytest.MonkeyPatch, missing: int
) -> None:
    files = [file for number, file in enumerate(OLD) if number != missing]
    monkeypatch.setattr("kwalk.lab.debian.suite", lambda *_, **__: FakeSuite(files))
    with pytest.raises(KwalkError, match="not one of each"):
        kernels.find("debian-sid")
    assert kernels.cached("debian-sid") is None
    assert [p for p in cache.folder("kernels").iterdir() if p.is_dir()] == []


def test_missing_depmod(depmod: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kwalk.lab.debian.suite", lambda *_, **__: FakeSuite(OLD))
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
