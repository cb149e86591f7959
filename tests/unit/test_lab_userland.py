# SPDX-License-Identifier: MIT
"""Programs of another architecture: packages, versions of Python, paths in the guest."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import pytest

from kwalk.errors import KwalkError, NotSupported
from kwalk.lab import cache, userland
from kwalk.lab.platforms import ARM64, X86_64

PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
EXTENSION = "usr/lib/python3/dist-packages/_cffi_backend.cpython-311-aarch64-linux-gnu.so"


class FakeSuite:
    """Stands for debian.Suite: unpacks an interpreter, a module of its library and busybox."""

    def __init__(self, name: str, architecture: str, missing: str) -> None:
        self.name, self.architecture, self.missing = name, architecture, missing
        self.unpacked: list[str] = []

    def __enter__(self) -> FakeSuite:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def installation(self, packages: Sequence[str]) -> dict[str, str]:
        assert PYTHON in packages
        return dict.fromkeys(packages, "1") | {"libc6": "2.36"}

    def unpack(self, packages: Sequence[str], target: Path) -> None:
        self.unpacked += packages
        places = (f"usr/bin/{PYTHON}", f"usr/lib/{PYTHON}/os.py", "bin/busybox", EXTENSION)
        for place in places:
            if place != self.missing:
                (target / place).parent.mkdir(parents=True, exist_ok=True)
                (target / place).touch()


class Archive:
    """Takes the place of debian.suite; ``suites`` are the ones that were used."""

    def __init__(self) -> None:
        self.suites: list[FakeSuite] = []
        self.missing = ""

    def suite(self, name: str, architecture: str) -> FakeSuite:
        self.suites.append(FakeSuite(name, architecture, self.missing))
        return self.suites[-1]


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    archive = Archive()
    monkeypatch.setenv("KWALK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("kwalk.lab.debian.suite", archive.suite)
    monkeypatch.setattr(userland, "_SUITES", {sys.version_info[:2]: "bookworm"})
    return archive


def test_packages_are_unpacked_once(archive: Archive) -> None:
    root = userland.find(ARM64)
    assert userland.find(ARM64) == root
    (suite,) = archive.suites
    assert (suite.name, suite.architecture) == ("bookworm", "arm64")
    assert {"libc6", "busybox-static", "redis-server", PYTHON} <= set(suite.unpacked)
    assert (root / "bin").is_symlink()
    assert (root / "usr/bin/busybox").exists()
    listed = json.loads((root.parent / "packages.json").read_text())
    assert listed["libc6"] == "2.36"
    assert userland.find(X86_64) != root
    assert [one.architecture for one in archive.suites] == ["arm64", "amd64"]


def test_other_list_of_packages_is_another_folder(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = userland.find(ARM64)
    monkeypatch.setattr(userland, "PACKAGES", (*userland.PACKAGES, "one-more"))
    assert userland.find(ARM64) != root
    assert "one-more" in archive.suites[1].unpacked


def test_library_is_compiled_for_its_path_in_the_guest(archive: Archive) -> None:
    source = userland.find(ARM64) / f"usr/lib/{PYTHON}/os.py"
    code = Path(importlib.util.cache_from_source(str(source))).read_bytes()
    assert f"/usr/lib/{PYTHON}/os.py".encode() in code
    assert str(cache.folder()).encode() not in code


@pytest.mark.parametrize("missing", [f"usr/bin/{PYTHON}", "bin/busybox"])
def test_packages_without_a_program_leave_nothing_behind(archive: Archive, missing: str) -> None:
    archive.missing = missing
    with pytest.raises(KwalkError, match=f"bookworm hold no {missing}"):
        userland.find(ARM64)
    assert [path for path in cache.folder("userland").iterdir() if path.is_dir()] == []


def test_python_that_no_suite_has(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(userland, "_SUITES", {(3, 2): "wheezy", (3, 99): "sid"})
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    with pytest.raises(NotSupported, match=f"no suite of Debian has Python {re.escape(here)}") as e:
        userland.find(ARM64)
    assert "3.2, 3.99" in e.value.hint
    assert archive.suites == []


def test_environments_programs_come_first_and_the_hosts_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "prefix", "/src/.venv")
    path = userland.search_path("/opt/python/bin:/src/.venv/bin:/usr/local/bin:/usr/bin:/bin")
    assert path == ("/src/.venv/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/python/bin:/usr/local/bin")
    monkeypatch.setattr(sys, "base_prefix", sys.prefix)
    path = userland.search_path("/src/.venv/bin:/usr/bin")
    assert path == "/usr/sbin:/usr/bin:/sbin:/bin:/src/.venv/bin"


def guest_function(name: str) -> str:
    """Return the text of a function of the guest's init script."""
    script = files("kwalk.lab").joinpath("guest-init.sh").read_text()
    found = re.search(rf"^{name}\(\) \{{\n.*?^\}}\n", script, re.MULTILINE | re.DOTALL)
    assert found
    return found[0]


def test_environment_gets_the_guests_python(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The init script's part, run here on an environment as `python -m venv` makes it."""
    venv = tmp_path / "a folder" / ".venv"
    packages = venv / "lib" / PYTHON / "site-packages"
    packages.mkdir(parents=True)
    (venv / "bin").mkdir()
    (venv / "bin" / "python3").symlink_to("/opt/python/bin/python3")
    for name in ("python", PYTHON):
        (venv / "bin" / name).symlink_to("python3")
    (venv / "pyvenv.cfg").write_text("home = /opt/python/bin\nversion = 3.11.7\n")
    monkeypatch.setattr(sys, "prefix", str(venv))
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(packages))
    settings = userland.settings(userland.find(ARM64))
    script = "set -e\nbb=\n" + guest_function("change_python") + "change_python\n"
    subprocess.run(["sh", "-c", script], env={"PATH": "/usr/bin:/bin", **settings}, check=True)
    for name in ("python", "python3", PYTHON):
        assert str((venv / "bin" / name).readlink()) == f"/usr/bin/{PYTHON}"
    assert (venv / "pyvenv.cfg").read_text() == "home = /usr/bin\nversion = 3.11.7\n"
    (extension,) = packages.iterdir()
    assert str(extension.readlink()) == f"/{EXTENSION}"


def test_python_without_an_environment_is_the_guests_anyway(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "base_prefix", sys.prefix)
    assert userland.settings(userland.find(ARM64)) == {}
