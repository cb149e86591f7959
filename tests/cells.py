# SPDX-License-Identifier: MIT
"""Writer of docs/matrix.md: results by kernel, way of attaching and method."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "matrix.md"
SIGN = "cell: "
EVERY = "*"
_HEAD = """# What works where

Written by `make matrix` from what the tests in `tests/vm/test_cells.py` found on each kernel; \
`make test` fails where this page is not what they find.

- **verified**: every stack was compared with the kernel's own unwinder on the same event, frame \
for frame.
- **yes**: the stacks are the kernel's own, and lead through the functions that were really called.
- **yes, with nothing to compare**: the walk leads through the functions that were really called, \
but the kernel's own unwinder finds no stack there.
- **without the direct caller**: as *yes*, but the function that called the traced one is missing: \
a kernel that unwinds by frame pointers does not see it before FUNC's prologue has run.
- **no**: what the kernel lacks. kwalk says so: with --attach in an error, else in a note and by \
going another way; calls whose stack the kernel does not find are lost to `efault` in the ledger.

"""

Cells = dict[tuple[str, str], str]


def read(lines: Iterable[str]) -> Cells:
    """Return the cells in the output of a test run."""
    told = (line.strip().removeprefix(SIGN) for line in lines if line.startswith(SIGN))
    return {(way, method): text for way, method, text in map(json.loads, told)}


def page(kernels: Mapping[str, Cells]) -> str:
    """Return the page.

    :param kernels: Cells by kernel; one with only ``EVERY`` has the same in all of them.
    """
    rows = list(dict.fromkeys(key for cells in kernels.values() for key in cells))
    rows = [row for row in rows if row[0] != EVERY]
    lines = [
        f"| attach | method | {' | '.join(kernels)} |",
        "|---" * (2 + len(kernels)) + "|",
    ]
    for row in rows:
        found = [
            cells.get(row) or cells.get((EVERY, EVERY), "not run") for cells in kernels.values()
        ]
        lines.append(f"| {row[0]} | {row[1]} | {' | '.join(found)} |")
    return _HEAD + "\n".join(lines) + "\n"


def parse(text: str) -> dict[str, Cells]:
    """Return the cells of a page, by kernel."""
    table = [line.strip("| \n").split(" | ") for line in text.splitlines() if line[:2] == "| "]
    head, *rows = table or [[]]
    columns: dict[str, Cells] = {kernel: {} for kernel in head[2:]}
    for row in rows:
        for kernel, cell in zip(head[2:], row[2:], strict=True):
            columns[kernel][row[0], row[1]] = cell
    return columns


def differences(kernels: Mapping[str, Cells], text: str) -> list[str]:
    """Return the cells of a page that differ from a run, for the kernels that ran.

    :param text: The page.
    """
    said = parse(text)
    if not said:
        return ["docs/matrix.md has no table"]
    return [
        f"{kernel}, {way}, {method}: {cell!r}, but docs/matrix.md says {old!r} (make matrix)"
        for kernel, cells in kernels.items()
        for (way, method), cell in cells.items()
        if way != EVERY and (old := said.get(kernel, {}).get((way, method), "nothing")) != cell
    ]
