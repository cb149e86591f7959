# SPDX-License-Identifier: MIT
"""Whether a file may be written is for the kernel to say, of the path as it was given."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from allowed import CASES, NOBODY, ROOT, WAYS, outcomes, shell

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of others")


@pytest.fixture
def top() -> Iterator[Path]:
    """A folder that other users may enter."""
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=memory) as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.parametrize("user", [ROOT, NOBODY])
@pytest.mark.parametrize("way", WAYS)
def test_output_is_written_where_a_shell_would(top: Path, way: str, user: int) -> None:
    wanted = outcomes(shell, CASES, user, top / "shell")
    found = outcomes(WAYS[way], CASES, user, top / "kwalk")
    assert {"", "Permission denied", "Is a directory"} >= {why for why, _ in wanted}
    wrong = [
        (case, is_, should)
        for case, is_, should in zip(CASES, found, wanted, strict=True)
        if is_ != should
    ]
    assert wrong == []
