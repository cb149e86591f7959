# SPDX-License-Identifier: MIT
"""The mutants of src/kwalk follow the code; mutants.py itself runs the tests on each."""

from __future__ import annotations

import mutants
import pytest


@pytest.mark.parametrize(("module", "old", "new", "files"), mutants.MUTANTS)
def test_mutant_changes_one_place_that_named_tests_cover(
    module: str, old: str, new: str, files: str
) -> None:
    source = mutants.ROOT / "src" / "kwalk" / f"{module}.py"
    assert source.read_text(encoding="utf-8").count(old) == 1
    assert new != old
    assert files
    for file in files.split():
        assert mutants.test_file(file).exists(), file
