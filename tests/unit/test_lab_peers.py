# SPDX-License-Identifier: MIT
"""The newest tools of others, unpacked beside the system and started on their own libc."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from kwalk.cli.main import main
from kwalk.errors import KwalkError
from kwalk.lab import debian, peers

LIBRARIES = "usr/lib/x86_64-linux-gnu"
# In place of the dynamic linker: it prints how it was called.
LINKER = '#!/bin/sh\nprintf "%s\\n" "$0" "$PYTHONHOME" "$@"\n'


class FakeSuite:
    """Stands for debian.Suite; its packages hold the tools, and a linker."""

    versions: dict[str, str]
    files: tuple[str, ...]
    unpacked: list[list[str]]
    broken = False

    def __init__(self, name: str) -> None:
        assert name == "sid"

    def __enter__(self) -> FakeSuite:
        if self.broken:
            raise KwalkError("no route to the archive")
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def installation(self, packages: Sequence[str]) -> dict[str, str]:
        assert set(packages) <= set(self.versions)
        return dict(self.versions)

    def unpack(self, packages: list[str], target: Path) -> None:
        self.unpacked.append(packages)
        for name in self.files:
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(LINKER)
            path.chmod(0o755)


@pytest.fixture(autouse=True)
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[FakeSuite]:
    versions = {"bpftrace": "0.27.1-1", "bpfcc-tools": "0.37", "linux-perf": "7.2", "libc6": "2.43"}
    monkeypatch.setattr(FakeSuite, "versions", versions, raising=False)
    monkeypatch.setattr(FakeSuite, "unpacked", [], raising=False)
    files = (
        "usr/bin/bpftrace",
        "usr/bin/perf",
        "usr/bin/python3",
        "usr/sbin/stackcount-bpfcc",
        f"{LIBRARIES}/ld-linux-x86-64.so.2",
    )
    monkeypatch.setattr(FakeSuite, "files", files, raising=False)
    monkeypatch.setattr(debian, "suite", FakeSuite)
    monkeypatch.setenv("KWALK_CACHE", str(tmp_path / "cache"))
    return FakeSuite


def called(program: Path, *words: str) -> list[str]:
    done = subprocess.run([program, *words], capture_output=True, text=True, check=True)
    return [str(Path(line)) for line in done.stdout.splitlines()]


def test_tools_are_started_by_the_linker_of_their_libc() -> None:
    folder = peers.find()
    root = folder.parent / "bin/../root"
    libraries = str(root / LIBRARIES)
    start = [f"{libraries}/ld-linux-x86-64.so.2", str(root / "usr")]
    options = ["--library-path", libraries]
    for name, words in {
        "bpftrace": ["usr/bin/bpftrace"],
        "perf": ["usr/bin/perf"],
        "stackcount-bpfcc": ["usr/bin/python3", "usr/sbin/stackcount-bpfcc"],
    }.items():
        paths = [str(root / word) for word in words]
        assert called(folder / name, "-e", "a b") == [*start, *options, *paths, "-e", "a b"]


def test_command_prints_the_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lab", "peers"]) == 0
    out, err = capsys.readouterr()
    folder = Path(out.strip())
    assert sorted(path.name for path in folder.iterdir()) == [
        "bpftrace", "perf", "stackcount-bpfcc",
    ]  # fmt: skip
    assert "bpftrace 0.27.1-1, bpfcc-tools 0.37, linux-perf 7.2 and 1 package" in err
    assert peers.versions(folder)["bpfcc-tools"] == "0.37"


def test_tools_are_unpacked_once_and_again_when_there_are_newer_ones(
    suite: type[FakeSuite], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = peers.find()
    assert peers.find() == folder
    assert suite.unpacked == [list(suite.versions)]
    monkeypatch.setattr(suite, "versions", suite.versions | {"libc6": "2.44"})
    assert peers.find() == folder
    assert len(suite.unpacked) == 2
    assert peers.versions(folder)["libc6"] == "2.44"


def test_tools_of_the_last_time_serve_where_the_archive_cannot_be_reached(
    suite: type[FakeSuite], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(suite, "broken", True)
    with pytest.raises(KwalkError, match="no route"):
        peers.find()
    monkeypatch.setattr(suite, "broken", False)
    folder = peers.find()
    monkeypatch.setattr(suite, "broken", True)
    assert peers.find() == folder
    assert "the tools of the last time are used: no route to the archive" in capsys.readouterr().err


def test_packages_without_the_tools_are_told_and_not_kept(
    suite: type[FakeSuite], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(suite, "files", suite.files[1:])
    with pytest.raises(KwalkError, match="the packages of bpftrace hold no usr/bin/bpftrace"):
        peers.find()
    assert not list((tmp_path / "cache/peers").glob("*sid*/"))


@pytest.mark.parametrize("text", ["", "[]", "{", '"x"'])
def test_other_folders_have_no_versions(tmp_path: Path, text: str) -> None:
    (tmp_path / "bin").mkdir()
    assert peers.versions(tmp_path / "bin") == {}
    (tmp_path / peers.VERSIONS).write_text(text)
    assert peers.versions(tmp_path / "bin") == {}
