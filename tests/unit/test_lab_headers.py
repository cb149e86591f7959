# SPDX-License-Identifier: MIT
"""Headers of kernels, put together of Debian's packages."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from kwalk.cli.main import main
from kwalk.errors import KwalkError
from kwalk.lab import cache, headers


class FakeSuite:
    """Stands for debian.Suite with the two packages of headers."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __enter__(self) -> FakeSuite:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def dependencies(self, package: str) -> list[str]:
        assert package == "linux-headers-6.12-amd64"
        return ["linux-base", "linux-headers-6.12-common", "gcc-14"]

    def unpack(self, packages: list[str], target: Path) -> None:
        for package in packages:
            folder = target / "usr/src" / package
            for part in ("arch/x86/include", "include/linux"):
                (folder / part).mkdir(parents=True)
                (folder / part / f"{package}.h").touch()
            (folder / "tools").symlink_to("../nowhere")


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Of which suites something was wanted."""
    suites: list[str] = []

    def suite(name: str) -> FakeSuite:
        suites.append(name)
        return FakeSuite(tmp_path)

    monkeypatch.setenv("KWALK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("kwalk.lab.debian.suite", suite)
    kernel = SimpleNamespace(release="6.12-amd64")
    monkeypatch.setattr("kwalk.lab.kernels.find", lambda _: kernel)
    return suites


def test_header_packages_become_one_tree_only_once(asked: list[str]) -> None:
    folder = headers.find("debian-13")
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}
    names = ("linux-headers-6.12-amd64.h", "linux-headers-6.12-common.h")
    assert found == {f"{part}/{name}" for part in ("arch/x86/include", "include/linux")
                     for name in names}  # fmt: skip
    assert headers.find("debian-13") == folder
    assert asked == ["trixie"]


def test_headers_of_fp_are_those_of_debian_13(asked: list[str]) -> None:
    assert headers.find("fp") == headers.find("debian-13")


def test_headers_command_prints_the_folder(
    asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lab", "headers", "debian-12"]) == 0
    folder = Path(capsys.readouterr().out.strip())
    assert (folder / "include/linux").is_dir()
    assert asked == ["bookworm"]


def test_headers_failure_leaves_nothing(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KwalkError("no route")

    monkeypatch.setattr(FakeSuite, "unpack", fail)
    with pytest.raises(KwalkError, match="no route"):
        headers.find("debian-13")
    assert [path for path in cache.folder("headers").iterdir() if path.is_dir()] == []


def test_half_of_the_headers_is_none(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeSuite, "dependencies", lambda *_: ["linux-base", "gcc-14"])
    with pytest.raises(KwalkError, match="does not depend on a package of headers"):
        headers.find("debian-13")
    assert [path for path in cache.folder("headers").iterdir() if path.is_dir()] == []
