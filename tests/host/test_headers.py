# SPDX-License-Identifier: MIT
"""A header of bpf/ includes what it uses: each compiles by itself, for BPF."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from built import ROOT

BPF = ROOT / "bpf"
HEADERS = sorted(BPF.rglob("*.h"))
ARCHITECTURES = sorted(path.name for path in (BPF / "arch").iterdir() if path.is_dir())
FOR = [
    (header, arch)
    for header in HEADERS
    for arch in ARCHITECTURES
    if header.parent.name == arch or header.parent.name not in ARCHITECTURES
]


def compiled(header: Path, arch: str = "x86") -> subprocess.CompletedProcess[str]:
    command = (
        f"clang -target bpf -D__TARGET_ARCH_{arch} -I{BPF} -mcpu=v3 -O2 -g -Wall -Wextra -Werror"
        " -Wno-unused-parameter -fsyntax-only -x c -"
    )
    around = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    return subprocess.run(
        command.split(),
        env=around,
        input=f'#include "{header}"\n',
        text=True,
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("header", "arch"), FOR, ids=[f"{header.relative_to(BPF)}-{arch}" for header, arch in FOR]
)
def test_header_compiles_alone(header: Path, arch: str) -> None:
    done = compiled(header, arch)
    assert done.returncode == 0, done.stderr


def test_headers_of_bpf_are_found() -> None:
    assert len(HEADERS) > 20


def test_unknown_architecture_is_refused_with_the_porting_guide() -> None:
    done = compiled(BPF / "kernel.h", "riscv")
    assert done.returncode != 0
    assert "kwalk has no code for this architecture: bpf/arch/arch.h" in done.stderr
