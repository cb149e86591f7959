# SPDX-License-Identifier: MIT
from __future__ import annotations

from pathlib import Path

from style import classes_of_one_name


def test_classes_of_one_name_are_found(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one.py").write_text("class Node: ...\nclass _Own: ...\nclass Edge: ...\n")
    (tmp_path / "two.py").write_text("\n\nclass Node: ...\nclass _Own: ...\n")
    (found,) = classes_of_one_name(tmp_path)
    assert "class Node is defined in a/one.py:1, two.py:3" in found
