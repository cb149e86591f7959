# SPDX-License-Identifier: MIT
"""Build hook: compile the BPF object, the cffi binding and the man pages before files are packed.

clang and libbpf's BPF headers are needed here only; a wheel carries the results.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NoReturn

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).parent
# For each architecture, as `uname -m` prints it, the name of its folder below bpf/arch.
ARCHES = {"x86_64": "x86", "aarch64": "arm64"}

# A wheel for another machine than this one: its `uname -m`. The files in it are the same.
MACHINE = "KWALK_MACHINE"
# Declarations of C libraries for cffi.
CDEFS = ("kwalk/libbpf/libbpf.cdef.h", "kwalk/arch/aarch64/libc.cdef.h")

PACKAGES = "Install clang 14 or newer, llvm and libbpf's headers (Debian: clang llvm libbpf-dev)."


def give_up(why: str, hint: str) -> NoReturn:
    """End with a message: pip would show the traceback of an exception, and hide what it says."""
    sys.exit(f"kwalk cannot be built: {why}\n  {hint}")


def build_bpf(machine: str) -> Path:
    """Compile ``bpf/kwalk.bpf.c`` for an architecture, on any machine; return the object's path."""
    target = ROOT / "src" / "kwalk" / "probe" / f"kwalk.{machine}.bpf.o"
    return _compile("kwalk.bpf.c", target, f"-D__TARGET_ARCH_{ARCHES[machine]}")


def build_empty() -> Path:
    """Compile ``bpf/empty.bpf.c``, the same for every architecture; return the object's path."""
    return _compile("empty.bpf.c", ROOT / "src" / "kwalk" / "bench" / "empty.bpf.o")


def _compile(source: str, target: Path, *options: str) -> Path:
    if not shutil.which("clang"):
        give_up("clang is not on this machine", PACKAGES)
    command = [
        "clang", "-target", "bpf", *options, "-mcpu=v3", "-O2", "-g", f"-I{ROOT / 'bpf'}",
        "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter",
        "-c", str(ROOT / "bpf" / source), "-o", str(target),
    ]  # fmt: skip
    built = subprocess.run(command, check=False, capture_output=True, text=True)
    if built.returncode:
        give_up(f"clang cannot compile bpf/{source}:\n{built.stderr.rstrip()}", PACKAGES)
    if strip := shutil.which("llvm-strip"):
        subprocess.run([strip, "-g", str(target)], check=True)
    return target


def build_ffi(declarations: str) -> Path:
    """Write cffi's out-of-line ABI module (no compiler, nothing linked) of a file of ``CDEFS``.

    Returns the path of the module, ``_abi.py`` beside the file.
    """
    from cffi import FFI

    source = ROOT / "src" / declarations
    target = source.with_name("_abi.py")
    ffi = FFI()
    ffi.set_source(".".join(target.relative_to(ROOT / "src").with_suffix("").parts), None)
    ffi.cdef(source.read_text())
    ffi.emit_python_code(str(target))
    return target


def build_man(folder: Path) -> list[Path]:
    """Write the man pages into ``folder`` and return their paths; ``build_ffi`` goes first."""
    sys.path[:0] = [str(ROOT / "src"), str(ROOT / "docs" / "tools")]
    import man  # type: ignore[import-not-found]

    return list(man.write(folder))


class BuildHook(BuildHookInterface[Any]):
    """Runs for wheels and editable installs alike."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build what git does not hold."""
        machine = os.environ.get(MACHINE) or platform.machine()
        if machine not in ARCHES and MACHINE in os.environ:
            give_up(f"{MACHINE} is {machine}", f"It can be {' or '.join(ARCHES)}.")
        for arch in ARCHES:
            build_bpf(arch)
        build_empty()
        # The BPF objects are for Linux, of which pip knows no tag but those of one architecture.
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-linux_{machine}"
        for declarations in CDEFS:
            build_ffi(declarations)
        self._man = tempfile.TemporaryDirectory()
        for page in build_man(Path(self._man.name)):
            build_data["shared_data"][str(page)] = f"share/man/man1/{page.name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what has been packed."""
        self._man.cleanup()


if __name__ == "__main__":
    print(*map(build_bpf, ARCHES), build_empty(), sep="\n")
    print(*map(build_ffi, CDEFS), sep="\n")
    print(*build_man(ROOT / "build" / "man"), sep="\n")
