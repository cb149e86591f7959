# SPDX-License-Identifier: MIT
"""docs/recording.md: the reader that it shows reads what kwalk writes."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import FACTS, growing, written

from kwalk.model.stack import Count
from kwalk.recording.blocks import MAGIC, BlockKind, pack

PAGE = Path(__file__).parents[2] / "docs" / "recording.md"


def shown_reader() -> Any:
    code = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    names: dict[str, Any] = {}
    exec(compile("\n".join(code), "docs/recording.md", "exec"), names)
    return names["read"]


def counted(counts: list[Count]) -> dict[Any, tuple[int, float]]:
    """Counts as the shown reader gives them."""
    found: dict[Any, tuple[int, float]] = {}
    for count in counts:
        if not count.count and count.scaled is None:
            continue  # it is in no tick
        frames = tuple(tuple(frame[:4]) for frame in reversed(count.stack.frames))
        flags = count.stack.truncated + 2 * count.stack.fallback
        key = frames, flags, tuple(count.group) if count.group else None
        before = found.get(key, (0, 0))
        found[key] = before[0] + count.count, before[1] + count.calls
    return found


def same(one: dict[Any, Any], other: dict[Any, tuple[int, float]]) -> None:
    """Assert that they are, but for rounding of sums."""
    assert one == {key: (number, pytest.approx(calls)) for key, (number, calls) in other.items()}


@given(growing(least=0, odd=True))
def test_shown_reader_reads_recordings(ticks: list[list[Count]]) -> None:
    table, ledger, whole = shown_reader()(io.BytesIO(written(ticks)))
    assert whole
    same(table, counted(ticks[-1]))
    assert ledger["ledger"]["recorded"] == sum(count.count for count in ticks[-1])
    assert ledger["ledger"]["lost"] == {"recursion": 1}


@given(growing(least=0, odd=True), st.data())
def test_shown_reader_reads_as_far_as_blocks_are_whole(
    ticks: list[list[Count]], data: st.DataObject
) -> None:
    whole = written(ticks)
    ends = [len(written(ticks[:number], end=False)) for number in range(1, len(ticks) + 1)]
    size = data.draw(st.integers(0, len(whole) - 1))
    number = sum(end <= size for end in ends)
    if not number:
        with pytest.raises(SystemExit):
            shown_reader()(io.BytesIO(whole[:size]))
        return
    table, _, ended = shown_reader()(io.BytesIO(whole[:size]))
    assert not ended
    same(table, counted(ticks[number - 1]))


def test_page_describes_every_block() -> None:
    text = PAGE.read_text()
    for kind in BlockKind:
        assert f"### `{kind.value.decode()}`" in text
    head = " ".join(f"{byte:02x}" for byte in MAGIC[:10])
    assert f"`{head}`" in text
    assert MAGIC[10:] == bytes([0, 1])
    assert f"| 11 | 1 | version: `{MAGIC[11]:02x}` |" in text
    for member in FACTS:
        assert f"`{member}`" in text
    later = pack(BlockKind.END, b"x").replace(b"DONE", b"NEWS")
    with pytest.raises(SystemExit):  # its checksum is of its kind as well
        shown_reader()(io.BytesIO(MAGIC + later))
