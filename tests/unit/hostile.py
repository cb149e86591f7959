# SPDX-License-Identifier: MIT
"""Recordings from strangers: whole blocks with right checksums, and any contents."""

from __future__ import annotations

import io
import json
import struct
import sys
import zlib
from array import array
from contextlib import redirect_stderr, redirect_stdout
from io import UnsupportedOperation
from typing import Any

from hypothesis import strategies as st

from kwalk.cli import main
from kwalk.recording.blocks import MAGIC

NASTY = [
    *map(chr, [*range(32), 127, *range(128, 160)]),
    *"\u061c\u200b\u200e\u200f\u2028\u2029\u202a\u202d\u202e\u2066\u2069\ufeff\ud800\udcff\ufdd0",
    *("\x1b]0;title\x07", "\x1b[31m", "\x1b[1m", "\x1b[2J", "\x9b31m", "=1+1", "-x", "@x"),
    *("'=", ";", "<script>", "&", '"', ",", "a" * 300, "\u4e00", "ip_rcv", "main"),
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(NASTY), max_size=4).map("".join)
INTS = st.sampled_from([0, 1, 2, 7, 1 << 31, 1 << 40, 1 << 61, 1 << 62, (1 << 63) - 1, 1 << 63])
ODD_INTS = INTS | st.sampled_from([-1, -(1 << 63), (1 << 64) - 1, 1 << 64])
FLOATS = st.sampled_from(
    [0.0, 5e-324, 1e-310, 1e-9, 1e-3, 1.0, 1.0 + 2e-16, 2.5, 1e9, 2.0**33, 2.0**62, 1e17, 1e308]
)
ODD_FLOATS = FLOATS | st.sampled_from([float("nan"), float("inf"), -1.0])


def block(kind: bytes, contents: bytes, level: int = 6) -> bytes:
    """A block with its checksum."""
    packed = zlib.compress(contents, level)
    check = zlib.crc32(packed, zlib.crc32(kind))
    return struct.pack("<4sII", kind, len(packed), check) + packed


def as_json(data: Any) -> bytes:
    """JSON, or nearly: with NaN, Infinity, and halves of surrogate pairs."""
    return json.dumps(data).encode()


def columns(*them: tuple[str, list[Any]]) -> bytes:
    """Columns of these codes and values."""
    parts = [struct.pack("<I", len(them[0][1]))]
    return b"".join([*parts, *(array(code, values).tobytes() for code, values in them)])


def summary(**changed: Any) -> dict[str, Any]:
    """A summary as it is in a LEDG block."""
    ledger = {"hits": 10, "recorded": 10, "lost": {}, "truncated": 0, "fallback": 0}
    return {
        "function": "ip_rcv", "method": "manual", "attach": "fentry", "kernel": "6.1",
        "ledger": ledger, "notes": [],
    } | changed  # fmt: skip


@st.composite
def summaries(draw: st.DrawFn, numbers: st.SearchStrategy[int]) -> dict[str, Any]:
    """Summaries of any numbers and texts."""
    ledger = {
        "hits": draw(numbers), "recorded": draw(numbers), "truncated": draw(numbers),
        "fallback": draw(numbers), "lost": draw(st.dictionaries(TEXTS, numbers, max_size=3)),
        "uncounted": draw(st.lists(TEXTS, max_size=2)),
    }  # fmt: skip
    found = {name: draw(TEXTS) for name in ("function", "method", "attach", "kernel", "unit")}
    data: dict[str, Any] = found | {"ledger": ledger, "notes": draw(st.lists(TEXTS, max_size=2))}
    if draw(st.booleans()):
        data["verify"] = {
            "every": draw(numbers), "checked": draw(numbers), "mismatches": draw(numbers),
            "missing_caller": draw(numbers), "kernel_wrong": {draw(TEXTS): draw(numbers)},
            "differences": [[[1, 2], [(1 << 64) - 1]]],
        }  # fmt: skip
    if draw(st.booleans()):
        data["tree"] = draw(st.tuples(numbers, numbers, numbers))
    if draw(st.booleans()):
        data["sampling"] = draw(st.tuples(ODD_FLOATS, FLOATS, FLOATS))
    return data


def facts() -> st.SearchStrategy[dict[str, Any]]:
    """Facts, some of them merged, merged again, or of nothing."""
    names = st.sampled_from(["started", "host", "kernel_version", "seconds", "kwalk", "new"])
    plain = st.dictionaries(names, TEXTS | st.just("2026-01-01T00:00:00"), max_size=3)
    more = st.fixed_dictionaries(
        {},
        optional={
            "command": st.lists(TEXTS, max_size=3), "cpus": ODD_INTS, "text": ODD_INTS,
            "unknown": TEXTS | ODD_FLOATS | st.lists(ODD_FLOATS, max_size=2),
        },
    )  # fmt: skip
    one = st.builds(lambda a, b: a | b, plain, more)
    return st.recursive(
        one,
        lambda inner: st.builds(
            lambda a, parts: a | {"merged": parts}, one, st.lists(inner, max_size=2)
        ),
        max_leaves=4,
    )


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """Recordings, whole by their checksums; some hold what no recording may."""
    numbers = draw(st.sampled_from([st.integers(0, 5000), INTS, ODD_INTS]))
    times = draw(st.sampled_from([st.sampled_from([1.0, 2.0, 3.5, 4.0]), FLOATS, ODD_FLOATS]))
    frames = draw(st.lists(st.tuples(TEXTS, ODD_INTS, TEXTS, ODD_INTS), min_size=1, max_size=5))
    if not draw(st.booleans()):
        frames = [(name, 1, module, 1 << 63) for name, _, module, _ in frames]
    out = [MAGIC, block(b"BEGN", as_json(draw(facts()))), block(b"FRAM", as_json(frames))]
    count = draw(st.integers(1, 6))
    parents = [draw(st.integers(0, node)) for node in range(count)]
    nodes = [draw(st.integers(0, len(frames) - 1)) for _ in parents]
    out.append(block(b"NODE", columns(("I", parents), ("I", nodes))))
    kinds = st.sampled_from(["pid", "comm", "cpu", "cgroup"]) | TEXTS
    groups = draw(st.lists(st.tuples(kinds, ODD_INTS, TEXTS), max_size=3))
    out.append(block(b"GRUP", as_json(groups)))
    keys = draw(st.lists(st.tuples(*(st.integers(0, m) for m in (count, 3, len(groups)))),
                         min_size=1, max_size=5))  # fmt: skip
    out.append(block(b"KEYS", columns(*(("I", list(column)) for column in zip(*keys)))))  # noqa: B905
    scaled = draw(st.booleans())
    for _ in range(draw(st.integers(0, 4))):
        rows = draw(st.lists(st.integers(0, len(keys) - 1), max_size=4))
        values = [min(max(draw(numbers), -(1 << 63)), (1 << 63) - 1) for _ in rows]
        parts: list[tuple[str, list[Any]]] = [("I", rows), ("q", values)]
        parts += [("d", [draw(ODD_FLOATS) for _ in rows])] if scaled and rows else []
        out.append(block(b"TICK", struct.pack("<d", draw(times)) + columns(*parts)))
        out.append(block(b"LEDG", as_json(draw(summaries(numbers)))))
    if draw(st.booleans()):
        out.append(block(b"DONE", b""))
    return b"".join(out)


class Screen(io.StringIO):
    """A terminal that remembers what it was sent."""

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        raise UnsupportedOperation


class Pipe(Screen):
    """What is no terminal."""

    def isatty(self) -> bool:
        return False


def run(words: list[str], terminal: bool = False) -> tuple[int, str, str]:
    """The exit code of a command line, and what it wrote."""
    out, err = (Screen() if terminal else Pipe()), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = main.main(words)
        except SystemExit as end:
            code = int(end.code or 0)
    assert sys.stdout is not out
    return code, out.getvalue(), err.getvalue()


def unprintable(text: str) -> set[str]:
    """Characters of a text that a terminal might obey."""
    return {char for char in text if not char.isprintable()} - {"\n", "\t"}
