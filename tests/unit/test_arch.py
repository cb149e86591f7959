# SPDX-License-Identifier: MIT
"""The seam for architectures: what each brings, and what is said on a machine of another one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from kwalk.abi import CONFIG, CONTROL, FACTS, Start, Unwinder
from kwalk.arch import ARCHITECTURES, Architecture, here, of_recording
from kwalk.arch.x86_64 import X86_64
from kwalk.errors import NotSupported
from kwalk.probe import load

EVERY = list(ARCHITECTURES.values())


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    here.cache_clear()
    yield
    here.cache_clear()


def run_on(machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    there = os.uname_result(("Linux", "host", "7.1.0", "#1", machine))
    monkeypatch.setattr(os, "uname", lambda: there)


@pytest.mark.parametrize("machine", ["s390x", "riscv64"])
def test_machine_of_another_architecture_cannot_trace(
    machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_on(machine, monkeypatch)
    with pytest.raises(NotSupported) as refused:
        load.image()
    assert refused.value.what == f"kwalk cannot trace on {machine}, only on x86_64, aarch64"
    assert refused.value.hint.startswith("Record on such a machine; any other reads recordings.")


def test_missing_object_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run_on("x86_64", monkeypatch)
    monkeypatch.setattr(load, "__file__", str(tmp_path / "load.py"))
    with pytest.raises(NotSupported, match=r"without its BPF programs \(kwalk.x86_64.bpf.o\)"):
        load.image()


def test_architecture_is_that_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    run_on("x86_64", monkeypatch)
    assert here() is X86_64


@pytest.mark.parametrize("machine", ["riscv64", "", None])
def test_recording_of_an_unknown_architecture_is_read_as_x86_64(machine: object) -> None:
    assert of_recording(machine) is X86_64


@pytest.mark.parametrize("arch", EVERY, ids=lambda arch: arch.name)
def test_members_fill_structs_of_the_programs(arch: Architecture) -> None:
    assert {"rethook", "graph_return"} <= arch.symbols.keys() <= set(CONFIG.fields)
    assert arch.words.keys() <= set(CONFIG.fields)
    for name in arch.extents:
        assert {f"{name}_start", f"{name}_end"} <= set(CONFIG.fields)
    assert arch.fact_symbols.keys() <= set(FACTS.fields)
    assert not set(arch.words) & set(arch.symbols)


@pytest.mark.parametrize("arch", EVERY, ids=lambda arch: arch.name)
def test_architecture_has_an_object_and_headers(arch: Architecture, root: Path) -> None:
    build = (root / "hatch_build.py").read_text()
    found = re.search(rf'"{arch.name}": "(\w+)"', build)
    assert found
    assert (root / "bpf" / "arch" / found[1]).is_dir()
    assert (root / f"src/kwalk/probe/kwalk.{arch.name}.bpf.o").exists()


def test_members_of_x86_64() -> None:
    assert X86_64.find_tables(0x1 << 36, 0x5 << 32, bytes(20)) == {
        "orc_reg_sp": 5,
        "orc_reg_prev_sp": 1,
    }
    assert {"orc_reg_sp", "orc_reg_prev_sp"} <= set(CONTROL.fields)
    assert X86_64.start(b"\x55\x48\x89\xe5", 0, lambda _: True) == Start.BARE
    assert set(X86_64.unwinder_symbols) == {Unwinder.ORC, Unwinder.FRAME_POINTER}
    assert X86_64.entry_code.match("asm_exc_page_fault")
