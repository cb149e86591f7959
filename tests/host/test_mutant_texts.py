# SPDX-License-Identifier: MIT
"""The mutants of bpf/ follow the code; mutants.py itself runs the tests on each."""

from __future__ import annotations

import pytest
from arm64.mutants import MUTANTS as ARM64_MUTANTS
from built import ROOT
from mutants import MUTANTS, WHERE


@pytest.mark.parametrize(("file", "old", "new"), [*MUTANTS, *ARM64_MUTANTS])
def test_mutant_changes_one_place(file: str, old: str, new: str) -> None:
    assert (ROOT / "bpf" / f"{file}.bpf.h").read_text(encoding="utf-8").count(old) == 1
    assert new != old
    assert file in WHERE
