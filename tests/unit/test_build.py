# SPDX-License-Identifier: MIT
"""Building: by hand, as a wheel, and where something for it is missing."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

# Compiling takes seconds, but on a machine that does much else, minutes.
pytestmark = pytest.mark.timeout(600)
PARTS = ("bpf", "docs/tools", "src", "LICENSES")
FILES = ("hatch_build.py", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture
def source(root: Path, tmp_path: Path) -> Path:
    """A copy of the source tree in which nothing has been built."""
    built = shutil.ignore_patterns("*.bpf.o", "_abi.py", "__pycache__")
    for part in PARTS:
        shutil.copytree(root / part, tmp_path / "source" / part, ignore=built)
    for file in FILES:
        shutil.copy(root / file, tmp_path / "source" / file)
    return tmp_path / "source"


def python(source: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        cwd=source,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def without(tmp_path: Path, *missing: str) -> str:
    """A PATH with a few tools, and a clang that finds no headers or is not there at all."""
    folder = tmp_path / "tools"
    folder.mkdir()
    if "clang" not in missing:
        (folder / "clang").write_text(
            "#!/bin/sh\necho \"'bpf/bpf_helpers.h' not found\" >&2; exit 1\n"
        )
        (folder / "clang").chmod(0o755)
    return str(folder)


def test_build_by_hand(source: Path) -> None:
    done = python(source, "hatch_build.py")
    assert done.returncode == 0, done.stderr
    assert (source / f"src/kwalk/probe/kwalk.{platform.machine()}.bpf.o").exists()
    for package in ("libbpf", "arch/aarch64"):
        assert (source / "src/kwalk" / package / "_abi.py").exists()
    assert (source / "build/man/kwalk.1").exists()


WHEEL = ("-m", "hatchling", "build", "-t", "wheel")
MACHINES = ("aarch64", "x86_64")


@pytest.mark.parametrize("machine", ["", "aarch64"])
def test_wheel_names_its_platform_and_has_all_objects(
    source: Path, tmp_path: Path, machine: str
) -> None:
    made = tmp_path / "dist"
    done = python(source, *WHEEL, "-d", str(made), KWALK_MACHINE=machine)
    assert done.returncode == 0, done.stderr
    (wheel,) = made.iterdir()
    machine = machine or platform.machine()
    assert wheel.name.endswith(f"-py3-none-linux_{machine}.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        about = next(name for name in names if name.endswith(".dist-info/WHEEL"))
        text = archive.read(about).decode()
    assert f"Tag: py3-none-linux_{machine}\n" in text
    assert "Root-Is-Purelib: false" in text
    for one in MACHINES:
        assert f"kwalk/probe/kwalk.{one}.bpf.o" in names
    assert "kwalk/bench/empty.bpf.o" in names
    assert {"kwalk/libbpf/_abi.py", "kwalk/arch/aarch64/_abi.py"} <= set(names)


def test_wheel_for_an_unknown_machine_is_refused(source: Path, tmp_path: Path) -> None:
    done = python(source, *WHEEL, "-d", str(tmp_path / "dist"), KWALK_MACHINE="riscv64")
    assert done.returncode == 1
    assert "kwalk cannot be built: KWALK_MACHINE is riscv64\n" in done.stderr
    assert "It can be x86_64 or aarch64." in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        (["clang"], "kwalk cannot be built: clang is not on this machine\n"),
        ([], "kwalk cannot be built: clang cannot compile bpf/kwalk.bpf.c:\n'bpf/bpf_helpers.h'"),
    ],
)
@pytest.mark.parametrize("words", [["hatch_build.py"], ["-m", "hatchling", "build", "-t", "wheel"]])
def test_missing_tools_are_told_without_a_traceback(
    source: Path, tmp_path: Path, words: list[str], missing: list[str], message: str
) -> None:
    done = python(source, *words, PATH=without(tmp_path, *missing))
    assert done.returncode == 1
    assert message in done.stderr
    assert "Debian: clang llvm libbpf-dev" in done.stderr
    assert "Traceback" not in done.stderr
