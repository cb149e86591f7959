# SPDX-License-Identifier: MIT
"""Recordings of other writers: whole blocks that hold what they should not."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from recorded import BASE, reread, stack, summary

from kwalk.api.profile import Profile
from kwalk.model.ledger import Difference, Sampling, TreeUse, Verify
from kwalk.model.stack import Count, Group, Stack
from kwalk.recording import schema
from kwalk.recording.blocks import MAGIC, BlockKind, blocks, pack
from kwalk.recording.broken import BrokenRecording
from kwalk.recording.writer import RecordingWriter
from kwalk.report.diff import flame, json_, text, tree
from kwalk.report.diff.compare import compare
from kwalk.report.formats import FORMATS, renderer
from kwalk.report.info import as_data, as_text
from kwalk.report.style import ReportOptions

FACTS = {
    "kwalk": "0.1.0", "command": ["kwalk", "record", "ip_rcv"], "started": "2026-11-25T10:00:00Z",
    "host": "h", "machine": "x86_64", "cpus": 2, "kernel": "6.12", "kernel_version": "#1",
    "unwinder": "orc", "text": BASE,
}  # fmt: skip
FACTS["merged"] = [dict(FACTS)]
JSON = (BlockKind.BEGIN, BlockKind.FRAMES, BlockKind.GROUPS, BlockKind.LEDGER)


def whole() -> list[tuple[BlockKind, bytes]]:
    """The blocks of a recording that has everything."""
    counts = [
        Count(stack("ip_rcv", "a", "main"), 5, Group("pid", 7, "x"), 10.0),
        Count(stack("ip_rcv", "b@overlay", truncated=True), 2, Group("comm", 0, "y"), 4.0),
    ]
    last = summary(counts, recursion=1)
    last.notes.append("a note")
    last.ledger.uncounted.append("misses")
    last.tree, last.sampling = TreeUse(1, 2, 3), Sampling(0.02, 0.01, 2.0)
    last.verify = Verify(1, 9, 1, 2, {"push": 3}, [Difference(Stack((1, 2)), Stack((1, 3)))])
    data = bytearray()
    writer = RecordingWriter(data.extend, FACTS)
    writer.tick([Count(counts[0].stack, 3, counts[0].group, 6.0)], 1.0, last)
    writer.end(counts, 2.0, last)
    found = [(kind, contents) for kind, contents in blocks(io.BytesIO(bytes(data[len(MAGIC) :])))]
    assert all(kind for kind, _ in found)
    return found  # type: ignore[return-value]


WHOLE = whole()


def leaves(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The ways to all values in JSON, the whole first."""
    yield path
    parts = data.items() if isinstance(data, dict) else ()
    for key, value in enumerate(data) if isinstance(data, list) else parts:
        yield from leaves(value, (*path, key))


def replaced(data: Any, path: tuple[Any, ...], value: Any) -> Any:
    """The same JSON with another value in one place."""
    if not path:
        return value
    copy = dict(data) if isinstance(data, dict) else list(data)
    copy[path[0]] = replaced(data[path[0]], path[1:], value)
    return copy


PLACES = [
    (index, path)
    for index, (kind, contents) in enumerate(WHOLE)
    if kind in JSON
    for path in leaves(json.loads(contents))
]
ODD: st.SearchStrategy[Any] = st.sampled_from(
    [
        *(None, True, 0, 1, -1, -5, 10**30, 10**400, 1 << 64, (1 << 64) - 1, 0.5, -1.5, 1e300),
        *(float("nan"), float("inf"), "", "0xff", "nonsense", [], [None], [[]], {}, {"x": None}),
    ]
)
TICKS = [index for index, (kind, _) in enumerate(WHOLE) if kind == BlockKind.TICK]
DOUBLES = [0.0, -1.0, 1e-300, 1e300, float("nan"), float("inf"), float("-inf")]


def file_of(found: list[tuple[BlockKind, bytes]]) -> bytes:
    """The blocks as a file, with their checksums right."""
    return MAGIC + b"".join(pack(kind, contents) for kind, contents in found)


def used(data: bytes) -> Profile | None:
    """Read it and make everything of it; None where it is refused."""
    try:
        profile = reread(data)
    except BrokenRecording:
        return None
    as_text(profile)
    json.dumps(as_data(profile), allow_nan=False)
    for name in FORMATS:
        for piece in renderer(name)(profile, ReportOptions()):
            assert name != "json" or "NaN" not in str(piece)
    good = reread(file_of(WHOLE))
    for pair in ((profile, good), (good, profile)):
        diff = compare(*pair, None, ("before", "after"))
        for module in (text, tree, flame, json_):
            assert [*module.render(diff, ReportOptions(), True)]
    return profile


def test_recording_of_all_members_is_read_and_used() -> None:
    profile = used(file_of(WHOLE))
    assert profile
    assert profile.calls == 14
    assert not any("not whole" in note for note in profile.summary.notes)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(PLACES), ODD)
@example((0, ("text",)), "0xff")
def test_wrong_type_gives_a_message_or_a_partial_profile(
    place: tuple[int, tuple[Any, ...]], value: Any
) -> None:
    index, path = place
    found = list(WHOLE)
    kind, contents = found[index]
    found[index] = kind, json.dumps(replaced(json.loads(contents), path, value)).encode()
    used(file_of(found))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(TICKS), st.integers(0, 100), st.sampled_from(DOUBLES) | st.integers())
def test_odd_numbers_in_a_tick_give_a_message_or_a_beginning(
    index: int, word: int, value: float
) -> None:
    found = list(WHOLE)
    kind, contents = found[index]
    if isinstance(value, float):
        new = struct.pack("<d", value)
    else:
        new = struct.pack("<Q", value % (1 << 64))
    # The time, or one of the columns of eight bytes behind a length and keys of four.
    (rows,) = struct.unpack_from("<I", contents, 8)
    places = [0, *range(12 + 4 * rows, len(contents) - 7, 8)]
    at = places[word % len(places)]
    found[index] = kind, contents[:at] + new + contents[at + 8 :]
    profile = used(file_of(found))
    if profile:
        assert all(count.count >= 0 for count in profile)


def test_deeply_nested_json_is_no_traceback() -> None:
    kind, contents = WHOLE[-2]
    deep = b'{"x":' * 5000 + b"1" + b"}" * 5000
    assert kind == BlockKind.LEDGER
    profile = reread(file_of([*WHOLE[:-2], (kind, contents), (kind, deep)]))
    assert "a block does not fit" in profile.summary.notes[-1]


def test_tree_use_of_size_zero_can_be_merged() -> None:
    one = reread(file_of(WHOLE))
    one.summary.tree = TreeUse(0, 0, 0)
    assert (one + one).summary.tree == TreeUse(0, 0, 0)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (int, True), (int, 1.0), (int, "1"), (int, 1 << 64), (float, float("nan")), (float, None),
        (float, 1e300), (str, 1), (list[int], {}), (list[int], [1, "2"]), (dict[str, int], []),
        (dict[str, int], {"a": None}), (int | None, "x"), (TreeUse, [1, 2]), (TreeUse, [1, 2, "3"]),
        (Verify, []), (Verify, {"every": "1"}),
    ],
)  # fmt: skip
def test_schema_refuses_another_type(kind: Any, value: Any) -> None:
    with pytest.raises(ValueError, match=" is not of type "):
        schema.of(kind, value)


@pytest.mark.parametrize(
    ("kind", "value", "made"),
    [
        (int, -1, -1), (float, 1, 1.0), (int | None, None, None), (list[int], [1], [1]),
        (TreeUse, [1, 2, 3], TreeUse(1, 2, 3)), (object, [None], [None]),
        (Verify, {"every": 1, "of a later version": 2}, Verify(1)),
    ],
)  # fmt: skip
def test_schema_makes_values_of_the_type(kind: Any, value: Any, made: Any) -> None:
    assert schema.of(kind, value) == made
