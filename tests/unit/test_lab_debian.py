# SPDX-License-Identifier: MIT
"""Reading what Debian's tools print, and driving apt without touching the machine's state."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from kwalk.errors import KwalkError
from kwalk.lab import debian

TARGETS = """\
https://packages.example.org/cloud/|Example|Debian|main
http://archive.example.net/debian-security/|Debian|Debian-Security|main
http://archive.example.net/debian/|Debian|Debian|contrib
http://archive.example.net/debian/|Debian|Debian|main
"""


def test_debian_archive_is_chosen_among_other_sources() -> None:
    assert debian.archive_uri(TARGETS) == "http://archive.example.net/debian/"


@pytest.mark.parametrize("text", ["", "http://x/|$(ORIGIN)|$(LABEL)|main\n"])
def test_machine_without_debian_source(text: str) -> None:
    with pytest.raises(KwalkError, match="no source whose origin is Debian") as caught:
        debian.archive_uri(text)
    assert "apt-get update" in caught.value.hint


STANZA = """\
Package: linux-image-amd64
Version: 7.2.13-1
Depends: linux-base-amd64 (= 7.2.13-1), linux-image-7.2.13+deb14-amd64 (= 7.2.13-1)
Description: Linux for 64-bit PCs (meta-package)
 Depends: this is a continuation line

Package: another
Version: 1
"""


def test_first_stanza_only_and_no_continuation_lines() -> None:
    fields = debian.parse_stanza(STANZA)
    assert fields["Package"] == "linux-image-amd64"
    assert fields["Version"] == "7.2.13-1"
    assert fields["Depends"].startswith("linux-base-amd64 (")


def test_empty_output_is_no_stanza() -> None:
    assert debian.parse_stanza("\n\n") == {}


def test_dependencies_are_followed_to_parts_of_the_kernel_only() -> None:
    depends = (
        "kmod, linux-base (>= 4.3~), initramfs-tools (>= 0.120) | linux-initramfs-tool, "
        "dracut | linux-image-of-an-alternative, linux-base-7.2.13+deb14-amd64 (= 7.2.13-1), "
        "linux-binary-7.2.13+deb14-amd64 (= 7.2.13-1), linux-modules-7.2.13+deb14-amd64:amd64, "
        "linux-image-7.2.13+deb14-amd64(= 7.2.13-1), firmware-linux"
    )
    assert debian.kernel_dependencies(depends) == [
        "linux-base-7.2.13+deb14-amd64",
        "linux-binary-7.2.13+deb14-amd64",
        "linux-modules-7.2.13+deb14-amd64",
        "linux-image-7.2.13+deb14-amd64",
    ]
    assert debian.kernel_dependencies("") == []


FAKE_APT = r"""#!/bin/sh
echo "$0 $*" >>"$LOG"
case "$*" in
--fsys-tarfile*) [ -z "$FULL" ] || { echo 'cannot copy: No space left on device' >&2; exit 2; }
    mkdir -p "$2.d/bin" && echo unpacked >"$2.d/bin/file" && tar -c -C "$2.d" . ;;
*' download '*) echo fake >"$PWD/one.deb" ;;
*indextargets*) echo 'http://archive.example.net/debian/|Debian|Debian|main' ;;
*' install --simulate '*) printf 'Conf a\nInst libc6 (2.43-7 D) []\nInst x (1:2+b3 D [all])\n' ;;
*update*) [ -z "$BROKEN" ] || { echo 'W: noise' >&2; echo 'E: no route' >&2; exit 100; }
    [ "$NONE" ] || for entry in "$LISTS"/*/state/lists; do
        echo >"$entry/archive.example.net_dists_main_binary-amd64_Packages"
        echo >"$entry/archive.example.net_dists_main_binary-arm64_Packages.xz"
    done ;;
*' linux-image-amd64') printf 'Package: a\nVersion: 1\nDepends: linux-image-9 (= 1), kmod\n' ;;
*' linux-image-9') printf 'Package: b\nVersion: 2\nInstalled-Size: 3000\nSize: 9\n'
    echo 'Depends: linux-modules-9, linux-image-9' ;;
*' linux-modules-9') printf 'Package: c\nVersion: 3\n' ;;
*show*) echo 'E: No packages found' >&2; exit 100 ;;
esac
"""


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put fake packaging tools first; return the log of their command lines."""
    for name in ("apt-get", "apt-cache", "dpkg-deb"):
        tool = tmp_path / "bin" / name
        tool.parent.mkdir(exist_ok=True)
        tool.write_text(FAKE_APT)
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:/usr/bin:/bin")
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    monkeypatch.setenv("KWALK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LISTS", str(tmp_path / "cache" / "apt"))
    for name in ("BROKEN", "FULL", "NONE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "log"


def test_dependencies_are_followed_once_each(tools: Path) -> None:
    with debian.suite("trixie") as suite:
        packages = suite.kernel_packages("linux-image-amd64")
    assert packages == {"linux-image-amd64": "1", "linux-image-9": "2", "linux-modules-9": "3"}
    assert tools.read_text().count("show") == 3


def test_apt_works_in_folders_of_its_own(tools: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "usr" / "bin").mkdir(parents=True)
    (root / "bin").symlink_to("usr/bin")
    with debian.suite("trixie") as suite:
        suite.unpack(["linux-image-9"], root)
    assert (root / "usr" / "bin" / "file").read_text() == "unpacked\n"
    assert (root / "bin").is_symlink()
    assert list(suite.root.glob("download.*")) == []
    calls = [line for line in tools.read_text().splitlines() if "/bin/apt-" in line.split()[0]]
    own = [line for line in calls if "indextargets" not in line]
    assert len(own) == 3
    for line in own:
        for setting in ("Dir::State", "Dir::State::status", "Dir::Cache", "Dir::Etc::sourcelist"):
            assert f"{setting}={suite.root}" in line
        assert "Dir::Etc::sourceparts=-" in line
        assert " install " not in line
    source = (suite.root / "sources.list").read_text()
    assert source.endswith("http://archive.example.net/debian/ trixie main\n")


def test_installation_is_simulated_on_an_empty_system(tools: Path) -> None:
    with debian.suite("sid") as suite:
        assert suite.installation(["x", "y"]) == {"libc6": "2.43-7", "x": "1:2+b3"}
    line = tools.read_text().splitlines()[-1]
    assert line.endswith(" install --simulate --no-install-recommends x y")
    assert f"Dir::State::status={suite.root}/status" in line
    assert (suite.root / "status").read_text() == ""


def test_unreachable_archive_says_why(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKEN", "1")
    with (
        pytest.raises(KwalkError, match=r"Debian sid \(amd64\): no route\n") as caught,
        debian.suite("sid"),
    ):
        pytest.fail("the block must not be entered")
    assert "network" in caught.value.hint


def free(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    usage = SimpleNamespace(free=size)
    monkeypatch.setattr("kwalk.lab.packaging.shutil.disk_usage", lambda _: usage)


def test_disk_without_room_is_not_filled(
    tools: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """apt waits forever for a download that it cannot write."""
    with debian.suite("sid") as suite:
        free(monkeypatch, 3000 * 1024)
        what = "linux-image-9 cannot be unpacked: that takes 2 MiB, and 2 MiB are free"
        with pytest.raises(KwalkError, match=what) as caught:
            suite.unpack(["linux-image-9"], tmp_path)
        assert "KWALK_CACHE" in caught.value.hint
        free(monkeypatch, 3000 * 1024 + 9)
        suite.unpack(["linux-image-9"], tmp_path)
    with (
        pytest.raises(KwalkError, match="index of Debian sid cannot be read: that takes 150 MiB"),
        debian.suite("sid"),
    ):
        pytest.fail("the block must not be entered")


def test_other_architecture_has_an_index_of_its_own(tools: Path) -> None:
    with debian.suite("sid") as one, debian.suite("sid", architecture="arm64") as other:
        assert one.root != other.root
        assert other.kernel_packages("linux-modules-9") == {"linux-modules-9": "3"}
    line = tools.read_text().splitlines()[-1]
    assert "APT::Architecture=arm64" in line
    assert "APT::Architectures=arm64" in line
    assert "amd64" not in line


def test_archive_without_the_architecture(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """apt-get update only notes that, and exits with 0."""
    monkeypatch.setenv("NONE", "1")
    with (
        pytest.raises(KwalkError, match="has no packages for arm64 in sid") as caught,
        debian.suite("sid", architecture="arm64"),
    ):
        pytest.fail("the block must not be entered")
    assert "mirror" in caught.value.hint


def test_full_disk_names_the_cache(
    tools: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FULL", "1")
    with debian.suite("sid") as suite, pytest.raises(KwalkError, match="No space left") as caught:
        suite.unpack(["linux-image-9"], tmp_path)
    assert caught.value.what.startswith("one.deb cannot be unpacked: ")
    assert str(tmp_path / "cache") in caught.value.hint
    assert "KWALK_CACHE" in caught.value.hint


def test_package_that_does_not_exist(tools: Path) -> None:
    with debian.suite("sid") as suite, pytest.raises(KwalkError, match="No packages found"):
        suite.kernel_packages("linux-image-none")


def test_machine_without_apt(tools: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        pytest.raises(KwalkError, match="apt-get is not on this machine") as caught,
        debian.suite("sid"),
    ):
        pytest.fail("the block must not be entered")
    assert "--kernel" in caught.value.hint
