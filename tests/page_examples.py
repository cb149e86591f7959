# SPDX-License-Identifier: MIT
"""The examples of docs/library.md."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).parent.parent / "docs/library.md"
RECORDING = Path(__file__).parent / "data/redis.rec"
_BLOCK = re.compile(r"^```python *(\w*)\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.M | re.S)


class Example(NamedTuple):
    """A block of Python.

    :ivar kind: ``tracing``, ``pandas``, or "".
    :ivar prints: What the page says that it prints, if it says so.
    """

    kind: str
    code: str
    prints: str
    line: int


def examples(*kinds: str) -> list[Example]:
    """Return those of some kinds."""
    text = PAGE.read_text()
    return [
        Example(match[1], match[2], match[3] or "", text.count("\n", 0, match.start()) + 1)
        for match in _BLOCK.finditer(text)
        if match[1] in kinds
    ]


def run(example: Example) -> None:
    """Run it in the current folder."""
    # As far down as it stands in the page, so that a traceback names its line there.
    code = "\n" * example.line + example.code
    exec(compile(code, str(PAGE), "exec"), {"__name__": "example"})
