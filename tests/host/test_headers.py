# SPDX-License-Identifier: MIT
"""A header of bpf/ includes what it uses: each compiles by itself, for BPF."""

from __future__ import annotations

import os
import subprocess

import pytest
from built import ROOT

BPF = ROOT / "bpf"
HEADERS = sorted(BPF.rglob("*.h"))


@pytest.mark.parametrize("header", HEADERS, ids=lambda header: str(header.relative_to(BPF)))
def test_header_compiles_alone(header: object) -> None:
    command = (
        f"clang -target bpf -I{BPF} -mcpu=v3 -O2 -g -Wall -Wextra -Werror -Wno-unused-parameter"
        " -fsyntax-only -x c -"
    )
    around = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    done = subprocess.run(
        command.split(),
        env=around,
        input=f'#include "{header}"\n',
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_there_are_headers() -> None:
    assert len(HEADERS) > 20
