# SPDX-License-Identifier: MIT
"""Builds of bpf/ as a shared object for this machine, by gcc and clang."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
_FLAGS = [
    *("-std=gnu11", "-g", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror"),
    # Warnings about code that only the BPF target understands.
    *("-Wno-unused-parameter", "-Wno-unknown-pragmas", "-Wno-unknown-attributes"),
    "-Wno-parentheses",
]
ARCHITECTURES = ("x86", "arm64")  # folders of bpf/arch/, and of this folder
ARCH = os.environ.get("KWALK_HOST_ARCH", "x86")  # the one whose kernels this process builds
X86 = ARCH == "x86"  # mypy is told (Makefile): it checks tests/host for each architecture
_SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
# Programs and callbacks are called by pointers without their context's type, as the kernel does.
_CALLS = "-fno-sanitize=function"  # of clang 17 and newer for C
_ASAN = "abort_on_error=1:detect_leaks=0:handle_segv=1"


class Way(NamedTuple):
    """Compiler, flags and runtime of a build."""

    compiler: str
    flags: tuple[str, ...]
    runtime: str = ""  # sanitizer's library, to be preloaded

    def runtime_path(self) -> str:
        """Path of the sanitizer's library; "" without sanitizers."""
        if not self.runtime:
            return ""
        asked = [self.compiler, f"-print-file-name={self.runtime}"]
        found = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
        return found if Path(found).is_absolute() else ""

    @property
    def is_there(self) -> bool:
        """Whether this machine has the sanitizer's library."""
        return not self.runtime or bool(self.runtime_path())


WAYS = {
    "gcc": Way("gcc", ("-O2",)),
    "timed": Way("gcc", ("-O3", "-DHOST_QUICK", "-Wl,-Bsymbolic")),
    "clang": Way("clang", ("-O2",)),
    "gcc-sanitized": Way("gcc", ("-O1", "--coverage", *_SANITIZERS), "libasan.so"),
    "clang-sanitized": Way(
        "clang",
        ("-O1", "-shared-libasan", *_SANITIZERS, _CALLS),
        "libclang_rt.asan-x86_64.so",
    ),
}


def build(name: str, folder: Path, bpf: Path = ROOT / "bpf", arch: str = ARCH) -> Path:
    """Compile ``bpf`` by one of ``WAYS`` into an emptied folder; return the object.

    :param arch: Architecture whose kernels it reads; the object is for this machine.
    """
    way = WAYS[name]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    stand_in = HERE / "stand_in"
    command = [way.compiler, *way.flags, *_FLAGS, f"-D__TARGET_ARCH_{arch}"]
    command += [f"-I{stand_in}", f"-I{bpf}"]
    # The stand-ins are built without coverage.
    helpers = [flag for flag in command if flag not in ("--coverage", "-shared")]
    subprocess.run(
        [*helpers, "-c", stand_in / "helpers.c", "-o", "helpers.o"], cwd=folder, check=True
    )
    target = folder / "kwalk.so"
    subprocess.run(
        [*command, stand_in / "program.c", "helpers.o", "-o", target], cwd=folder, check=True
    )
    return target


def environment(name: str, target: Path, arch: str = ARCH) -> dict[str, str]:
    """Return the environment for a process that loads the object."""
    runtime = WAYS[name].runtime_path()
    extra = {"LD_PRELOAD": runtime, "ASAN_OPTIONS": _ASAN} if runtime else {}
    own = {"KWALK_HOST_OBJECT": str(target), "KWALK_HOST_ARCH": arch}
    return {**os.environ, **extra, **own}


# Tests of generated programs, which are for x86-64 only; of all architectures at once; of parts of
# a hit that do not depend on one.
_ONCE = [
    "hot",
    "hot_modes",
    "hot_near",
    "headers",
    "seam",
    "groups",
    "keys",
    "reading",
    "results",
    "wanted",
]


def test_files(arch: str) -> list[Path]:
    """Return the files of tests that run for an architecture."""
    once = {HERE / f"test_{name}.py" for name in _ONCE} if arch != "x86" else set()
    common = (path for path in HERE.glob("test_*.py") if path not in once)
    return sorted([*common, *(HERE / arch).glob("test_*.py")])
