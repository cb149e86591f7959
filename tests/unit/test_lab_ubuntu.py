# SPDX-License-Identifier: MIT
"""Ubuntu's archive by way of Debian's packages, with stand-ins for apt and dpkg."""

from __future__ import annotations

from pathlib import Path

import pytest

from kwalk.errors import KwalkError
from kwalk.lab import kernels, offered, ubuntu

# In the manner of debootstrap's own; what it calls beside default_mirror is left undone.
SCRIPT = """\
case $ARCH in
  amd64)
    case $SUITE in
      warty) default_mirror http://old.example.net/ubuntu ;;
      *) default_mirror http://archive.example.net/ubuntu ;;
    esac ;;
  *) default_mirror http://ports.example.net/ubuntu-ports ;;
esac
mirror_style release
variants - buildd
if doing_variant fakechroot; then
    error 1 no_such_thing
fi
work_out_debs () {
    required="$(get_debs Priority: required)"
}
"""
TOOL = r"""#!/bin/sh
echo "${0##*/} $*" >>"$LOG"
to=$2.d
case "$*" in
--fsys-tarfile*debootstrap*)
    mkdir -p "$to/usr/share/debootstrap/scripts" "$to/usr/share/keyrings"
    cp "$SCRIPT" "$to/usr/share/debootstrap/scripts/gutsy"
    touch "$to/usr/share/keyrings/ubuntu-archive-keyring.gpg" ;;
--fsys-tarfile*image*) mkdir -p "$to/boot"; echo k >"$to/boot/vmlinuz-6.8.0-1-generic" ;;
--fsys-tarfile*modules*)
    mkdir -p "$to/boot" "$to/lib/modules/6.8.0-1-generic"
    touch "$to/lib/modules/6.8.0-1-generic/modules.builtin"
    echo CONFIG_UNWINDER_FRAME_POINTER=y >"$to/boot/config-6.8.0-1-generic" ;;
--fsys-tarfile*) mkdir "$to" ;;
*' download debootstrap '*) touch debootstrap.deb ubuntu-keyring.deb ;;
*' download '*) touch image.deb modules.deb ;;
*indextargets*) echo 'http://debian.example.net/debian/|Debian|Debian|main' ;;
*update*) [ -z "$BROKEN" ] || ! grep -q ubuntu "$SOURCES" ||
    { echo 'E: Could not connect' >&2; exit 100; }
    for suite in "$KWALK_CACHE"/apt/*/state; do touch "$suite/lists/_binary-amd64_Packages"; done ;;
*' linux-image-generic') echo 'Package: a'; echo 'Version: 1'
    echo 'Depends: linux-image-6.8.0-1-generic, linux-modules-extra-6.8.0-1-generic, other' ;;
*' linux-image-6.8.0-1-generic') printf 'Package: b\nVersion: 2\n' ;;
*' linux-modules-extra-6.8.0-1-generic') printf 'Package: c\nVersion: 3\n' ;;
-b*) : >"$2/lib/modules/$3/modules.dep" ;;
*' debootstrap ubuntu-keyring') ;;
*show*) echo 'E: No packages found' >&2; exit 100 ;;
esac
[ "$1" != --fsys-tarfile ] || tar -c -C "$to" .
"""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the stand-ins first, and offer no kernel in a folder; return their command lines."""
    for name in ("apt-get", "apt-cache", "dpkg-deb", "depmod"):
        tool = tmp_path / "bin" / name
        tool.parent.mkdir(exist_ok=True)
        tool.write_text(TOOL)
        tool.chmod(0o755)
    (tmp_path / "script").write_text(SCRIPT)
    cache = tmp_path / "cache"
    settings = {
        "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin",
        "LOG": str(tmp_path / "log"),
        "SCRIPT": str(tmp_path / "script"),
        "SOURCES": str(cache / "apt/noble/sources.list"),
        "KWALK_CACHE": str(cache),
        "KWALK_KERNELS": str(tmp_path / "none"),
        "BROKEN": "",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(offered, "__file__", str(tmp_path / "lib/kwalk/lab/offered.py"))
    return tmp_path / "log"


@pytest.mark.parametrize(
    ("suite", "expected"),
    [("noble", "http://archive.example.net/ubuntu"), ("warty", "http://old.example.net/ubuntu")],
)
def test_mirror_is_the_one_of_debootstraps_script(
    tmp_path: Path, suite: str, expected: str
) -> None:
    (tmp_path / "script").write_text(SCRIPT)
    assert ubuntu.mirror(tmp_path / "script", suite) == expected


def test_debootstraps_script_asks_no_one_else(tmp_path: Path) -> None:
    """It does where it finds the tools for that, and takes no answer for "an old suite"."""
    asks = "if command -v grep || command -v curl; then default_mirror http://x/; fi\n"
    (tmp_path / "script").write_text(SCRIPT + asks)
    assert ubuntu.mirror(tmp_path / "script", "noble") == "http://archive.example.net/ubuntu"


@pytest.mark.parametrize("text", ["", "default_mirror\n", "if\n", "exit 3\n"])
def test_script_without_a_mirror_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "script").write_text(text)
    with pytest.raises(KwalkError, match="names no mirror for Ubuntu noble"):
        ubuntu.mirror(tmp_path / "script", "noble")


def test_kernel_is_fetched_with_ubuntus_key_from_its_mirror(log: Path, tmp_path: Path) -> None:
    kernel = kernels.find("ubuntu-24.04")
    assert (kernel.release, kernel.unwinder) == ("6.8.0-1-generic", "frame pointer")
    keyring = tmp_path / "cache/ubuntu-archive/usr/share/keyrings/ubuntu-archive-keyring.gpg"
    line = (tmp_path / "cache/apt/noble/sources.list").read_text()
    assert line == f"deb [signed-by={keyring}] http://archive.example.net/ubuntu noble main\n"
    words = log.read_text()
    assert " linux-modules-extra-6.8.0-1-generic" in words
    assert "download other" not in words
    assert kernels.find("ubuntu-24.04") == kernel
    assert log.read_text() == words
    assert kernels.source("ubuntu-24.04") == "Ubuntu noble"


def test_mirror_that_cannot_be_reached_is_told(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKEN", "1")
    with pytest.raises(
        KwalkError, match=r"failed for Ubuntu noble \(amd64\): Could not connect"
    ) as caught:
        kernels.find("ubuntu-24.04")
    assert "KWALK_KERNELS to the folder that holds vmlinuz-6.8.0-*-generic" in caught.value.hint
    assert kernels.cached("ubuntu-24.04") is None


def test_folder_comes_before_the_archive(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = kernels.find("ubuntu-24.04")
    folder = tmp_path / "none"
    folder.mkdir()
    (folder / "vmlinuz-6.8.0-2-generic").touch()
    (folder / "modules-6.8.0-2-generic.tar.gz").touch()
    assert kernels.cached("ubuntu-24.04") is None
    assert kernels.source("ubuntu-24.04") == str(folder)
    (folder / "vmlinuz-6.8.0-2-generic").unlink()
    assert kernels.cached("ubuntu-24.04") == fetched
