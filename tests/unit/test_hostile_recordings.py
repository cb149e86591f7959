# SPDX-License-Identifier: MIT
"""Recordings from strangers: every report of them is safe, and says what is wrong."""

from __future__ import annotations

import csv
import io
import json
import random
import struct
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import hostile
import pytest
from hostile import as_json, block, columns, run, unprintable
from hypothesis import HealthCheck, given, settings
from recorded import profile, reread, stack

import kwalk
from kwalk.api.profile import Profile
from kwalk.cli.commands.diff import FORMATS as DIFFS
from kwalk.model.ledger import Ledger, Summary, TreeUse, Verify
from kwalk.model.profile import Timeline
from kwalk.model.stack import Count, Frame, Group, Stack
from kwalk.recording import size_limits
from kwalk.recording.blocks import MAGIC
from kwalk.recording.replay import replay
from kwalk.report.formats import FORMATS, renderer
from kwalk.report.style import ReportOptions

REDIS = str(Path(__file__).parents[1] / "data" / "redis.rec")


def strict(text: str) -> Any:
    """JSON as RFC 8259 has it."""

    def refuse(text: str) -> None:
        raise AssertionError(f"{text} in JSON")

    return json.loads(text, parse_constant=refuse)


def check_text(name: str, text: str) -> None:
    if name in ("json", "speedscope"):
        strict(text)
    elif name == "svg":
        ElementTree.fromstring(text)
        assert "nan" not in text.lower().split("<style>")[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


@pytest.mark.timeout(900)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(hostile.files())
def test_reports_of_any_file_are_safe(folder: Path, data: bytes) -> None:
    path = folder / "any.rec"
    path.write_bytes(data)
    name, target = str(path), str(folder / "out")
    for command in (["info"], ["info", "--format", "json"]):
        code, out, err = run([*command, name])
        assert code in (0, 1)
        assert not unprintable(out + err)
        if code == 0 and "json" in command:
            strict(out)
    try:
        found = kwalk.open(path)
    except kwalk.KwalkError:
        assert code == 1
        return
    for form, chosen in FORMATS.items():
        code, _, err = run(["report", name, "--format", form, "-o", target])
        assert (code, unprintable(err)) == (0, set())
        if not chosen.binary:
            check_text(form, Path(target).read_text())
            code, out, err = run(["report", name, "--format", form], terminal=True)
            styles = "\x1b" in out and chosen.people
            assert code == 0
            assert unprintable(out + err) <= ({"\x1b"} if styles else set())
    for form, chosen in DIFFS.items():
        words = ["diff", "--format", form, *(["--all"] if chosen.people else [])]
        for names in ([name, REDIS], [REDIS, name], [name, name]):
            code, out, err = run([*words, *names], terminal=form == "flamegraph")
            assert (code, unprintable(out + err)) == (0, set())
            if form == "json":
                strict(out)
    code, _, err = run(["report", name, "--seconds", "0-1"])
    assert code in (0, 2)
    check_sums(found)


def check_sums(found: Profile) -> None:
    """A copy, a sum and a part of a profile hold what they should, or are refused."""
    total = sum(count.count for count in found)
    found.checked_timeline()  # of each count; a file whose only tick is at 0 s has no timeline
    assert counted(copied(found)) == counted(found)
    try:
        twice = found + found
    except kwalk.KwalkError:
        ledger = found.summary.ledger
        largest = max(map(abs, (total, ledger.hits, ledger.recorded, *ledger.causes.values())))
        assert largest >= 1 << 60 or found.calls >= 1 << 60 or found.seconds >= 1 << 32
        return
    assert sum(count.count for count in twice) == 2 * total
    assert counted(copied(twice)) == counted(twice)
    for one in (found, twice, found.narrow(from_caller="a"), found.narrow(group="a")):
        ledger = one.summary.ledger
        assert ledger.recorded == sum(count.count for count in one)
        assert ledger.balance == 0
        assert min(ledger.hits, ledger.truncated, ledger.fallback, *ledger.causes.values()) >= 0


def counted(found: Profile) -> list[Any]:
    return sorted((str(c.stack.key), str(c.group), c.count) for c in found if c.count)


def copied(found: Profile) -> Profile:
    data = bytearray()
    replay(found, data.extend)
    again = reread(bytes(data))
    assert "not whole" not in str(again.summary.notes[-1:]) or found.summary.notes
    return again


def recording(
    *ticks: tuple[float, int],
    facts: dict[str, Any] | None = None,
    group: list[Any] | None = None,
    **changed: Any,
) -> bytes:
    """One stack of two frames."""
    parts = [
        MAGIC,
        block(b"BEGN", as_json({} if facts is None else facts)),
        block(b"FRAM", as_json([["ip_rcv", 0, "", 1], ["caller", 5, "", 2]])),
        block(b"NODE", columns(("I", [0, 1]), ("I", [0, 1]))),
        block(b"GRUP", as_json([group] if group else [])),
        block(b"KEYS", columns(("I", [2]), ("I", [0]), ("I", [int(bool(group))]))),
    ]
    for seconds, number in ticks:
        tick = columns(("I", [0]), ("q", [number]))
        parts.append(block(b"TICK", struct.pack("<d", seconds) + tick))
    parts += [block(b"LEDG", as_json(hostile.summary(**changed))), block(b"DONE", b"")]
    return b"".join(parts)


def test_escape_sequences_reach_no_terminal(tmp_path: Path) -> None:
    evil = "\x1b]0;pwned\x07\x1b[31m\u202e\nip_rcv: 5 calls"
    path = tmp_path / "evil\x1b[2J.rec"
    data = recording(
        (1.0, 10), function=evil, unit=evil, notes=[evil], group=["cgroup", 7, evil],
        facts={"host": evil, "command": [evil]},
    )  # fmt: skip
    path.write_bytes(data)
    for words in (
        ["report", "--format", "csv"],
        ["report", "--format", "svg"],
        ["report", "--format", "folded"],
        ["report"],
        ["report", "--format", "tree"],
        ["info"],
        ["diff", REDIS],
        ["diff", REDIS, "--format", "tree"],
    ):
        code, out, err = run([*words, str(path)], terminal=True)
        assert code == 0
        assert "\x1b]" not in out + err
        assert "\x1b[2J" not in out + err
        assert not unprintable(out + err) - {"\x1b"}
    code, out, err = run(["report", str(path) + "\x1b[2Jnot there\u202e"])
    assert (code, unprintable(err)) == (1, set())
    code, out, err = run(["report", REDIS, "--color\x1b[2J"])
    assert (code, unprintable(err)) == (2, set())


def test_colours_are_only_those_of_the_report(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, evil in (("a", "\x1b[31mx"), ("b", "?[31mx")):
        (tmp_path / name).write_bytes(
            recording((1.0, 10), function=evil, unit=evil, notes=[evil], group=["comm", 0, evil])
        )
    for words in (["report"], ["report", "--format", "tree"], ["diff", REDIS],
                  ["diff", REDIS, "--format", "tree"]):  # fmt: skip
        texts = [run([*words, str(tmp_path / name)], terminal=True)[1] for name in "ab"]
        assert texts[0].count("\x1b") == texts[1].count("\x1b")


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        *(("=1+1", "'=1+1"), ("-bash", "'-bash"), ("@x", "'@x"), ("+x", "'+x"), ("\tx", "'\tx")),
        *(("\rx", "'\rx"), ("'=x", "''=x"), ("''-", "'''-")),
        *(("bash", "bash"), ("'x", "'x"), ("a=1", "a=1"), ("", ""), ("1-2", "1-2"), ("'", "'")),
    ],
)
def test_csv_cells_are_no_formulas(text: str, cell: str) -> None:
    found = profile(
        Count(Stack((1,), frames=(Frame(text or "f", 0, "", 1),)), 5, Group("cgroup", 3, text))
    )
    whole = "".join(map(str, renderer("csv")(found, ReportOptions())))
    row = next(csv.DictReader(io.StringIO(whole, newline="")))
    assert row["cgroup"] == cell
    assert row["frames"].split(";")[-1] == (cell or "f").replace(";", ":")


def test_csv_numbers_below_0_stay_numbers() -> None:
    found = profile(Count(stack("f"), 5))
    found.summary.ledger.hits = 2
    whole = "".join(map(str, renderer("csv")(found, ReportOptions())))
    assert "total,unexplained,-3," in whole


# Limits


def chain(keys: int, depth: int, name: str = "f") -> bytes:
    """A chain of nodes, of which each is a stack."""
    numbers = list(range(depth))
    chosen = [1 + number % depth for number in range(keys)]
    return b"".join(
        [
            MAGIC,
            block(b"FRAM", as_json([[f"{name}{n}", 1, "", n] for n in range(50)])),
            block(b"NODE", columns(("I", numbers), ("I", [n % 50 for n in numbers])), 9),
            block(b"KEYS", columns(("I", chosen), ("I", [0] * keys), ("I", [0] * keys)), 9),
            block(
                b"TICK",
                struct.pack("<d", 1) + columns(("I", list(range(keys))), ("q", [1] * keys)),
                9,
            ),
            block(b"LEDG", as_json(hostile.summary())),
            block(b"DONE", b""),
        ]
    )


def listing(kind: bytes, **told: Any) -> bytes:
    """Return the beginning of a recording whose first block lists many things."""
    return MAGIC + block(kind, as_json(hostile.summary() | told), 9)


LEDGER = {"hits": 10, "recorded": 10}


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (chain(3000, 3000), "a stack has more than 1,024 frames"),
        (chain(60_000, 1000), "more frames than a file of this size may hold"),
        (chain(3000, 100, "f" * 1000), "more frames than a file of this size may hold"),
        (
            MAGIC + block(b"NODE", columns(("I", [0] * 3_000_000), ("I", [0] * 3_000_000)), 9),
            "it unpacks to more than its size allows",
        ),
        (MAGIC + block(b"NEWS", bytes(1 << 20)) * 40, "it unpacks to more than its size allows"),
        (listing(b"LEDG", notes=[""] * 1_000_000), "list more than a file of this size may hold"),
        (
            listing(b"LEDG", ledger=LEDGER | {"uncounted": ["x"] * 800_000}),
            "list more than a file of this size may hold",
        ),
        (listing(b"BEGN", merged=[{}] * 1_000_000), "list more than a file of this size may hold"),
    ],
)
def test_small_files_take_little_memory_and_time(data: bytes, why: str) -> None:
    assert len(data) < 100_000
    tracemalloc.start()
    started = time.process_time()
    with pytest.raises(kwalk.BrokenRecording, match=why):
        reread(data)
    assert time.process_time() - started < 10
    assert tracemalloc.get_traced_memory()[1] < 100 << 20
    tracemalloc.stop()


def test_limits_hold_for_each_block_in_its_turn() -> None:
    """What was recorded before a limit is exceeded is still there."""
    good = recording((1.0, 10))[: -len(block(b"DONE", b""))]
    found = reread(good + block(b"NEWS", bytes(20 << 20), 9))
    assert [count.count for count in found] == [10]
    assert "it unpacks to more than its size allows" in found.summary.notes[-1]


def deep(number: int, depth: int, name: str = "function") -> Profile:
    """A profile of stacks as deep as a walk makes them, which pack well."""
    dice = random.Random(3)
    frames = [Frame(f"{name}_{n}", 16, "module", n) for n in range(4)]
    common = tuple(frames[n % 4] for n in range(depth - 20))
    counts = []
    for _ in range(number):
        path = common + tuple(dice.choices(frames, k=20))
        counts.append(Count(Stack(tuple(f.address for f in path), frames=path), 1))
    return Profile(
        counts,
        Summary("f", "manual", "fentry", "6.1", Ledger(number, number)),
        Timeline.one_interval(counts, 1.0),
    )


@pytest.mark.parametrize(
    "found",
    [
        deep(3000, 127),
        deep(2000, 127, "f" * 500),
        deep(300, 1024),
        Profile([], Summary("f", "m", "a", "k", Ledger()), facts={"command": ["a" * 9_000_000]}),
        Profile([], Summary("f", "m", "a", "k", Ledger()), facts={"command": ["a"] * 300_000}),
        Profile([], Summary("f", "m", "a", "k", Ledger(uncounted=["x"] * 200_000))),
        Profile(
            [
                Count(stack("f", "g"), 1, Group("cgroup", n, "c" * 4000 + str(n)))
                for n in range(4000)
            ],
            Summary("f", "m", "a", "k", Ledger(4000, 4000)),
        ),
    ],
    ids=[
        "127 frames",
        "long names",
        "1,024 frames",
        "long command",
        "many words",
        "many uncounted",
        "long groups",
    ],
)
def test_saved_profile_is_always_readable(found: Profile) -> None:
    again = copied(found)
    assert not again.summary.notes
    assert len(again) == len(found)
    assert sum(count.count for count in again) == sum(count.count for count in found)
    assert again.facts == found.facts


def test_padding_makes_room(monkeypatch: Any) -> None:
    """Without it, what packs well is beyond the limits."""
    data = bytearray()
    replay(deep(300, 127, "f" * 500), data.extend)
    assert b"ROOM" in data
    monkeypatch.setattr(size_limits.Allowance, "padding", lambda *_: b"")
    data.clear()
    replay(deep(300, 127, "f" * 500), data.extend)
    with pytest.raises(kwalk.BrokenRecording, match="more frames than"):
        reread(bytes(data))


def test_deeper_stacks_are_not_saved(tmp_path: Path) -> None:
    with pytest.raises(kwalk.KwalkError, match="a stack has 1,025 frames"):
        deep(1, 1025).save(tmp_path / "x.rec")
    assert not list(tmp_path.iterdir())


def test_memory_shortage_is_one_message(monkeypatch: Any) -> None:
    from kwalk.recording import files

    for error, text in ((MemoryError, "out of memory"), (RecursionError, "nested")):

        def fail(*_: object, error: type[Exception] = error) -> None:
            raise error

        monkeypatch.setattr(files, "read", fail)
        code, _, err = run(["report", REDIS])
        assert code == 1
        assert text in err
        assert "Traceback" not in err


# Numbers


@pytest.mark.parametrize("exponent", [61, 62])
def test_large_counts_survive_a_sum(tmp_path: Path, exponent: int) -> None:
    number = 1 << (exponent - 1)
    half = reread(recording((1.0, number), ledger={"hits": number, "recorded": number}))
    (half + half).save(tmp_path / "x.rec")
    found = kwalk.open(tmp_path / "x.rec")
    assert [count.count for count in found] == [1 << exponent]
    assert found.timeline.totals() == [1 << (exponent - 1)] * 2
    assert not found.summary.notes


def test_larger_sums_are_refused_and_not_cut() -> None:
    half = reread(recording((1.0, 1 << 62)))
    with pytest.raises(kwalk.KwalkError, match=r"has 9,223,372,036,854,775,808"):
        half + half
    hits = reread(recording((1.0, 1), ledger={"hits": 1 << 62, "recorded": 1}))
    with pytest.raises(kwalk.KwalkError, match=r"the ledger has [\d,]+ hits"):
        hits + hits


def test_counts_beyond_63_bits_end_the_reading() -> None:
    with pytest.raises(kwalk.BrokenRecording, match="add up to"):
        reread(recording((1.0, 1 << 62), (2.0, 1 << 62)))


def test_unreadable_summary_is_not_saved(tmp_path: Path) -> None:
    most = (1 << 64) - 1
    for changed in (
        {"verify": Verify(1, checked=most)},
        {"tree": TreeUse(1, 2, full=most)},
    ):
        half = profile(Count(stack("ip_rcv"), 1))
        half.summary = replace(half.summary, **changed)
        half.save(tmp_path / "half.rec")
        assert kwalk.open(tmp_path / "half.rec").summary == half.summary  # its time unknown
        path = tmp_path / "whole.rec"
        with pytest.raises(kwalk.KwalkError, match="cannot be recorded"):
            (half + half).save(path)
        assert not path.exists()


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), object(), b"x", 1 << 64])
def test_facts_that_are_none_are_not_saved(tmp_path: Path, value: Any) -> None:
    found = profile(Count(stack("ip_rcv"), 1))
    found.facts["text"] = value
    with pytest.raises(kwalk.KwalkError, match="cannot be recorded"):
        found.save(tmp_path / "x.rec")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -1.0, 2.0**33])
def test_times_that_are_none_end_a_recording(seconds: float) -> None:
    with pytest.raises(kwalk.BrokenRecording):
        reread(recording((seconds, 10)))


def test_intervals_shorter_than_a_nanosecond_are_none() -> None:
    found = reread(recording((5e-324, 1), (1e-310, 2), (1.0, 4), (1.0 + 2e-16, 8), (2.0, 16)))
    assert found.timeline.ends == [0.0, 1.0, 2.0]
    assert found.timeline.totals() == [3, 12, 16]


def test_json_has_no_number_that_is_none(tmp_path: Path) -> None:
    for value in (b"NaN", b"-Infinity", b"1e999"):
        facts = block(b"BEGN", b'{"load":' + value + b"}")
        data = recording((1.0, 10)).replace(block(b"BEGN", b"{}"), facts)
        assert facts in data
        with pytest.raises(kwalk.BrokenRecording):
            reread(data)


def test_halves_of_surrogate_pairs_are_replaced() -> None:
    found = reread(recording((1.0, 10), function="a\ud800b\udcffc"))
    assert found.summary.function == "a?b?c"


def test_facts_nested_beyond_reason_are_refused() -> None:
    facts: Any = {}
    for _ in range(400):
        facts = {"x": facts}
    with pytest.raises(kwalk.BrokenRecording):
        reread(recording((1.0, 10), facts=facts))


def test_merged_fact_without_parts_can_be_merged() -> None:
    found = reread(recording((1.0, 10), facts={"merged": []}))
    assert sum(count.count for count in found + found) == 20


def test_stacks_are_read_up_to_1024_frames() -> None:
    def deep_file(frames: int) -> bytes:
        parts = [
            MAGIC,
            block(b"BEGN", b"{}"),
            block(b"FRAM", as_json([["f", 0, "", 1]])),
            block(b"NODE", columns(("I", list(range(frames))), ("I", [0] * frames))),
            block(b"KEYS", columns(("I", [frames]), ("I", [0]), ("I", [0]))),
            block(b"TICK", struct.pack("<d", 1.0) + columns(("I", [0]), ("q", [10]))),
            block(b"LEDG", as_json(hostile.summary())),
            block(b"DONE", b""),
        ]
        return b"".join(parts)

    (count,) = reread(deep_file(size_limits.MAX_DEPTH))
    assert len(count.stack.frames) == size_limits.MAX_DEPTH == 1024
    with pytest.raises(kwalk.BrokenRecording, match="a stack has more than 1,024 frames"):
        reread(deep_file(size_limits.MAX_DEPTH + 1))


@pytest.mark.parametrize(("seconds", "read"), [(0.9e-9, 0.0), (1e-9, 1e-9), (2.5, 2.5)])
def test_capture_of_less_than_a_nanosecond_lasted_none(seconds: float, read: float) -> None:
    assert reread(recording((1.0, 10), seconds=seconds)).summary.seconds == read


def test_names_of_functions_modules_and_groups_weigh_by_their_length() -> None:
    long = "x" * size_limits.LONG_NAME
    frames = [Frame(name, 0, module, 1) for name, module in (("f", ""), ("f", long), (long, long))]
    assert list(map(size_limits.weight_of_frame, frames)) == [1, 2, 3]
    groups = [None, Group("comm", 0, ""), Group("cgroup", 7, 2 * long)]
    assert list(map(size_limits.weight_of_group, groups)) == [1, 1, 3]


def test_recording_without_counts_can_be_reported(tmp_path: Path) -> None:
    path = tmp_path / "x.rec"
    begun = block(b"TICK", struct.pack("<dI", 0.0, 0)) + block(b"LEDG", as_json(hostile.summary()))
    path.write_bytes(MAGIC + block(b"BEGN", b"{}") + begun)
    code, _, err = run(["report", str(path), "--seconds", "0-1"])
    assert (code, "Traceback" in err) == (2, False)
    assert "has no timeline" in err
    assert run(["diff", str(path), REDIS])[0] == 0
    with pytest.raises(kwalk.UsageError):
        kwalk.open(path).narrow(seconds=(0, 1))


def test_limits_are_those_of_the_documentation() -> None:
    page = (Path(__file__).parents[2] / "docs" / "recording.md").read_text()
    for number in (size_limits.MAX_DEPTH, size_limits.UNPACKED, size_limits.FRAMES):
        assert f"{number:,}" in page
