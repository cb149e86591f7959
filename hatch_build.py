# SPDX-License-Identifier: MIT
"""Build hook: compile the BPF object and the cffi binding before files are packed.

clang and libbpf's BPF headers are needed here only; a wheel carries the results.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).parent
ARCHES = {"x86_64": "x86"}


def build_bpf(machine: str) -> Path:
    """Compile ``bpf/kwalk.bpf.c`` for ``machine`` and return the object's path."""
    target = ROOT / "src" / "kwalk" / "probe" / f"kwalk.{machine}.bpf.o"
    command = [
        "clang", "-target", "bpf", f"-D__TARGET_ARCH_{ARCHES[machine]}", "-mcpu=v3", "-O2", "-g",
        "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter",
        "-c", str(ROOT / "bpf" / "kwalk.bpf.c"), "-o", str(target),
    ]  # fmt: skip
    subprocess.run(command, check=True)
    if strip := shutil.which("llvm-strip"):
        subprocess.run([strip, "-g", str(target)], check=True)
    return target


def build_ffi() -> Path:
    """Write cffi's out-of-line ABI module for libbpf (no compiler, nothing linked)."""
    from cffi import FFI

    target = ROOT / "src" / "kwalk" / "libbpf" / "_abi.py"
    ffi = FFI()
    ffi.set_source("kwalk.libbpf._abi", None)
    ffi.cdef((ROOT / "src" / "kwalk" / "libbpf" / "libbpf.cdef.h").read_text())
    ffi.emit_python_code(str(target))
    return target


class BuildHook(BuildHookInterface[Any]):
    """Runs for wheels and editable installs alike."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build what git does not hold."""
        machine = platform.machine()
        if machine not in ARCHES:
            raise RuntimeError(f"no BPF object can be built for {machine} yet")
        build_bpf(machine)
        build_ffi()


if __name__ == "__main__":
    print(build_bpf(platform.machine()))
    print(build_ffi())
