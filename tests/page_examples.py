# SPDX-License-Identifier: MIT
"""Examples of docs/library.md."""

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
    :ivar prints: Expected output, if the page has it.
    """

    kind: str
    code: str
    prints: str
    line: int


def examples(*kinds: str) -> list[Example]:
    """Return the examples of these kinds."""
    text = PAGE.read_text()
    return [
        Example(match[1], match[2], match[3] or "", text.count("\n", 0, match.start()) + 1)
        for match in _BLOCK.finditer(text)
        if match[1] in kinds
    ]


def run(example: Example) -> None:
    """Run the example in the current folder."""
    # Padded with empty lines, so that a traceback has the line number of the page.
    code = "\n" * example.line + example.code
    exec(compile(code, str(PAGE), "exec"), {"__name__": "example"})
