# SPDX-License-Identifier: MIT
"""A profile that is saved and opened again is the same."""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import stat
import subprocess
import sys
import tempfile
import time
import zlib
from array import array
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hostile
import pytest
from hostile import run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recorded import profile, profiles, reread, stack, written
from test_recording import million

import kwalk
from kwalk.api.profile import Profile
from kwalk.cli.commands.diff import FORMATS as DIFFS
from kwalk.errors import OutputError
from kwalk.model.profile import Timeline
from kwalk.model.stack import Count, Frame, Group, Stack
from kwalk.recording import codec, files
from kwalk.recording.agreement import UNMATCHED
from kwalk.recording.blocks import BlockKind, pack
from kwalk.recording.replay import replay
from kwalk.report.formats import FORMATS

A, B = stack("ip_rcv", "a", "main"), stack("ip_rcv", "b@overlay", "main", truncated=True)


def rows(profile: Profile) -> Counter[Any]:
    """Counts by all that tells them apart."""
    found: Counter[Any] = Counter()
    for count in profile:
        s = count.stack
        key = s.addresses, s.frames, s.truncated, s.fallback, count.group, count.scaled
        found[key] += count.count
    return found


def by_interval(profile: Profile) -> Counter[Any]:
    """Numbers by interval and stack; rows of zero say nothing."""
    found: Counter[Any] = Counter()
    for interval, index, number in profile.timeline.rows():
        count = profile.counts[index]
        s = count.stack
        found[interval, s.frames, s.truncated, s.fallback, count.group] += number
    return +found


def saved(profile: Profile) -> Profile:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.rec")
        profile.save(path)
        assert os.listdir(folder) == ["a.rec"]
        return kwalk.open(path)


def same(one: Profile, other: Profile) -> bool:
    return (
        rows(one) == rows(other)
        and one.summary == other.summary
        and one.facts == other.facts
        and one.timeline.ends == other.timeline.ends
        and by_interval(one) == by_interval(other)
    )


@given(profiles())
def test_saved_profile_is_the_same(found: Profile) -> None:
    assert same(saved(found), found)


@given(profiles(), profiles())
def test_saved_merge_is_the_same(a: Profile, b: Profile) -> None:
    assert same(saved(a + b), a + b)


def test_profile_without_a_timeline_is_saved_as_one_interval() -> None:
    found = profile(Count(A, 5, Group("cpu", 1, "")), Count(B, 1 << 40), ring_full=3)
    again = saved(found)
    assert rows(again) == rows(found)
    assert (again.summary, again.seconds) == (found.summary, 0.0)
    assert same(saved(again), again)


def test_truncated_copy_has_a_ledger_that_matches_its_counts() -> None:
    stacks = [stack("f", "a", fallback=True), stack("f", "b", truncated=True), stack("f", "c")]
    ticks = [[Count(s, each * tick) for each, s in enumerate(stacks, 1)] for tick in (1, 3)]
    pieces: list[bytes] = []
    replay(reread(written(ticks)), pieces.append)
    summary = reread(pieces[0]).summary
    assert not any(UNMATCHED in note for note in summary.notes)
    ledger = summary.ledger
    assert (ledger.recorded, ledger.fallback, ledger.truncated) == (6, 1, 2)


def test_unknown_seconds_of_a_part_are_unknown_of_the_whole() -> None:
    late = profile(Count(B, 7))
    whole = reread(written([[Count(A, 5)]]))
    whole.summary.seconds = 1.0
    merged = whole + late
    for found in (merged, saved(merged), saved(saved(merged))):
        assert same(found, merged)
        assert (found.seconds, found.summary.seconds, found.summary.rate) == (0.0, None, None)
    late.summary.seconds = 2.5
    known = saved(whole + late)
    assert sorted(by_interval(known).values()) == [5, 7]
    assert (known.timeline.ends, known.summary.seconds) == ([1.0, 3.5], 3.5)


def test_recordings_of_before_last_until_their_last_tick() -> None:
    """They have no ``seconds``, which is not null."""
    whole = written([[Count(A, 5)], [Count(A, 6)]])
    head, _, packed = whole.rpartition(b"LEDG")
    end = packed.index(b"DONE")
    ledger = zlib.decompress(packed[8:end])
    for wanted, contents in ((None, ledger), (2.0, ledger.replace(b',"seconds":null', b""))):
        summary = pack(BlockKind.LEDGER, contents)
        assert reread(head + summary + packed[end:]).summary.seconds == wanted


@pytest.mark.parametrize("known", [True, False])
def test_seconds_are_told_only_if_they_are_known(tmp_path: Path, known: bool) -> None:
    found = profile(Count(A, 5), Count(B, 7))
    found.summary.seconds = 2.5 if known else None
    found.save(tmp_path / "x.rec")
    name = str(tmp_path / "x.rec")
    told = re.compile(r"\b2[.,]50* ?s\b|calls/s|\bduration\b|seconds\W+2\.5|per_second\W+4\.8")
    commands = [["report", name, "--format", form] for form in FORMATS if form != "folded"]
    commands += [["info", name], ["info", name, "--format", "json"]]
    commands += [["diff", name, name, "--format", form] for form in DIFFS]
    for words in commands:
        out = tmp_path / "out"
        code, text, _ = run([*words, *([] if "info" in words else ["-o", str(out)])])
        data = text.encode() if "info" in words else out.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = zlib.decompress(data, 31)
        drawn = r"<script.*?</script>|<style.*?</style>|<[^>]*>"
        whole = re.sub(drawn, " ", data.decode("utf-8", "replace"), flags=re.DOTALL)
        assert code == 0
        assert bool(told.search(whole)) == known, words
        assert not re.search(r"\b0\.0+ s\b|seconds\W+0", whole), words


@given(hostile.files())
@settings(deadline=None, suppress_health_check=list(HealthCheck))
def test_saved_copy_of_a_recording_is_the_same(data: bytes) -> None:
    """Whoever made it: what is unknown stays so, and all else as it was."""
    try:
        found = reread(data)
    except kwalk.BrokenRecording:
        return
    again = saved(found)
    assert told(again) == told(found)


def told(found: Profile) -> Any:
    """All that a profile says; of equal counts the order says nothing."""
    summary = json.loads(codec.to_json(codec.summary_data(found.summary)))
    calls: dict[Any, float] = defaultdict(float)
    for count in found:
        calls[count.stack.frames, count.stack.truncated, count.stack.fallback, count.group] += (
            count.calls
        )
    return summary, rounded(calls), found.facts, found.timeline.ends, by_interval(found)


def rounded(calls: Mapping[Any, float]) -> dict[Any, float]:
    return {key: float(f"{number:.12g}") for key, number in calls.items()}


def test_equal_stacks_are_added_up_however_often_it_is_saved() -> None:
    twin = stack("ip_rcv", "a", "main")
    group = Group("cpu", 1, "")
    found = profile(Count(A, 5, group), Count(twin, 7, group), Count(A, 2, group), Count(B, 1))
    for _ in range(3):
        found = saved(found)
        assert [(count.count, count.group) for count in found] == [(1, None), (14, group)]
        assert found.summary.ledger.recorded == 15
        assert not found.timeline


def test_equal_stacks_stand_for_the_calls_of_all_of_them() -> None:
    twin = stack("ip_rcv", "a", "main")
    found = profile(Count(A, 5, None, 50.5), Count(twin, 7, None, 7.0), Count(A, 1, None, 2.5))
    for _ in range(3):
        found = saved(found)
        assert [(count.count, count.calls) for count in found] == [(13, 60.0)]


def test_calls_of_a_second_are_those_of_what_was_counted_until_then() -> None:
    """As docs/recording.md has it: the last value is the one that holds."""
    ticks = [[Count(A, 2, None, 21.0), Count(B, 9, None, 9.0)], [Count(A, 8, None, 84.5)]]
    pieces: list[bytes] = []
    replay(reread(written(ticks)), pieces.append)
    assert len(pieces) == 3
    first = reread(pieces[0])
    assert [(count.count, count.scaled) for count in first] == [(9, 9.0), (2, 84.5 * 2 / 8)]
    second = reread(b"".join(pieces[:2]))
    assert [(count.count, count.scaled) for count in second] == [(9, 9.0), (8, 84.5)]


def test_rows_may_come_in_any_order() -> None:
    found = profile(Count(A, 5), Count(B, 7))
    found.timeline = Timeline(
        [1.0, 2.0], array("I", [1, 0, 1, 0]), array("I", [0, 1, 1, 0]), array("q", [5, 3, 4, 0])
    )
    again = saved(found)
    assert by_interval(again) == by_interval(found)
    assert list(again.timeline.intervals) == [0, 1, 1]


def test_million_rows_are_saved() -> None:
    """Nothing is done in Python for each row: it takes about a second."""
    one = reread(million())
    started = time.monotonic()
    pieces = bytearray()
    replay(one, pieces.extend)
    assert time.monotonic() - started < 30
    other = reread(bytes(pieces))
    assert other.timeline == one.timeline
    assert other.summary == one.summary
    assert [count.count for count in other] == [count.count for count in one]


@given(profiles(), st.data())
def test_truncated_copy_is_balanced(found: Profile, data: st.DataObject) -> None:
    pieces = bytearray()
    replay(found, pieces.extend)
    size = data.draw(st.integers(0, len(pieces)))
    try:
        cut = reread(bytes(pieces[:size]))
    except kwalk.BrokenRecording:
        return
    ledger = cut.summary.ledger
    assert ledger.balance == 0
    assert ledger.hits == found.summary.ledger.hits
    assert ledger.recorded == sum(count.count for count in cut)


def test_save_replaces_a_file_as_a_whole(tmp_path: Path) -> None:
    path, link = tmp_path / "a.rec", tmp_path / "link"
    link.symlink_to(path)
    profile(Count(A, 5)).save(path)
    profile(Count(A, 7)).save(str(link))
    assert link.is_symlink()
    assert [count.count for count in kwalk.open(path)] == [7]
    assert path.stat().st_mode & 0o777 == 0o600


def device(path: Path, minor: int) -> Path:
    """A node like one of the memory devices (1, minor); the machine's own is left alone."""
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, minor))
        os.close(os.open(path, os.O_WRONLY))
    except OSError as error:
        pytest.skip(f"no device can be made here: {error.strerror}")
    return path


def test_save_writes_into_a_pipe(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    fd = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    profile(Count(A, 5)).save(fifo)
    data = os.read(fd, 1 << 16)
    os.close(fd)
    assert [count.count for count in reread(data)] == [5]
    assert fifo.is_fifo()
    assert os.listdir(tmp_path) == ["fifo"]


def test_save_writes_into_a_device(tmp_path: Path) -> None:
    null = device(tmp_path / "null", 3)
    profile(Count(A, 5)).save(null)
    assert null.is_char_device()
    assert os.listdir(tmp_path) == ["null"]


def test_save_does_not_replace_what_is_no_file_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody puts a pipe there while the recording is being written."""
    path = tmp_path / "a.rec"
    path.touch()

    def slow(profile: Profile, write: Any) -> None:
        path.unlink()
        os.mkfifo(path)

    monkeypatch.setattr(files, "replay", slow)
    with pytest.raises(kwalk.KwalkError, match="it is not a regular file any more"):
        profile(Count(A, 5)).save(path)
    assert path.is_fifo()
    assert os.listdir(tmp_path) == ["a.rec"]


@pytest.mark.parametrize("before", [None, b"what was there"])
def test_failed_save_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bytes | None
) -> None:
    path = tmp_path / "a.rec"
    if before is not None:
        path.write_bytes(before)

    def full(profile: Profile, write: Any) -> None:
        write(b"half of it")
        raise OutputError(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "a.rec")

    monkeypatch.setattr(files, "replay", full)
    with pytest.raises(kwalk.KwalkError, match="cannot be written: No space") as caught:
        profile(Count(A, 5)).save(path)
    assert caught.value.hint == "Give a file where there is room."
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [before] * (before is not None)


def test_save_into_a_full_device_is_an_error(tmp_path: Path) -> None:
    full = device(tmp_path / "full", 7)
    with pytest.raises(kwalk.KwalkError, match=f"{full} cannot be written: No space"):
        profile(Count(A, 5)).save(full)
    assert full.is_char_device()


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (errno.ENOENT, "Make the folder first, or give a file in an existing one."),
        (errno.EACCES, "Give a file where you may write."),
        (errno.EROFS, "Give a file where you may write."),
        (errno.EDQUOT, "Give a file where there is room."),
        (errno.EISDIR, "Give another file."),
    ],
)
def test_save_hint_depends_on_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int, hint: str
) -> None:
    def fail(profile: Profile, write: Any) -> None:
        raise OutputError(OSError(error, os.strerror(error)), "a.rec")

    monkeypatch.setattr(files, "replay", fail)
    with pytest.raises(kwalk.KwalkError, match=os.strerror(error)) as caught:
        profile(Count(A, 5)).save(tmp_path / "a.rec")
    assert caught.value.hint == hint


def test_folders_that_are_missing_are_said(tmp_path: Path) -> None:
    path = tmp_path / "nowhere/a.rec"
    with pytest.raises(kwalk.KwalkError, match=f"{path} cannot be written: No such") as caught:
        profile(Count(A, 5)).save(path)
    assert caught.value.hint.startswith("Make the folder first")
    with pytest.raises(kwalk.KwalkError, match=f"{tmp_path} cannot be written: Is a directory"):
        profile(Count(A, 5)).save(tmp_path)


def test_open_refuses_what_is_no_recording(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("something else\n")
    with pytest.raises(kwalk.BrokenRecording, match="not a recording"):
        kwalk.open(tmp_path / "x")
    with pytest.raises(kwalk.KwalkError, match="cannot be read: No such file") as caught:
        kwalk.open(tmp_path / "y")
    assert caught.value.hint == "Give the file that `kwalk record -o` or `Profile.save()` wrote."


@pytest.mark.parametrize("kind", [str, os.fsencode, Path], ids=["text", "bytes", "path"])
def test_paths_are_text_bytes_or_paths(tmp_path: Path, kind: Any) -> None:
    found = profile(Count(A, 5))
    for name in ("a.rec", os.fsdecode(b"b\xff.rec")):
        path = kind(str(tmp_path / name))
        found.save(path)
        assert rows(kwalk.open(path)) == rows(found)
        with pytest.raises(kwalk.KwalkError, match="cannot be read"):
            kwalk.open(kind(str(tmp_path / "nowhere")))
        with pytest.raises(kwalk.KwalkError, match="cannot be written"):
            found.save(kind(str(tmp_path / "nowhere" / "x")))


@pytest.mark.parametrize("path", [None, 3, 1.5, ["x"]])
def test_save_and_open_refuse_what_is_no_path(path: Any) -> None:
    with pytest.raises(kwalk.UsageError, match="is not a path"):
        profile(Count(A, 5)).save(path)
    with pytest.raises(kwalk.UsageError, match="is not a path"):
        kwalk.open(path)


def new(kind: Any, *values: Any) -> Any:
    """Make a count or group of values that have no business there."""
    return kind(*values)


def framed(**changed: Any) -> Stack:
    return Stack((1,), frames=(Frame("f", 0, "", 1)._replace(**changed),))


@pytest.mark.parametrize(
    "count",
    [
        *(new(Count, framed(address=number), 5) for number in (1 << 64, -1, 1 << 20_000, None, .5)),
        *(new(Count, framed(offset=number), 5) for number in (1 << 64, -1, "x")),
        *(new(Count, framed(name=name), 5) for name in (None, b"f", 3, (1,))),
        *(new(Count, A, 5, new(Group, "pid", number, "x")) for number in (1 << 64, -1, 2.5)),
        *(new(Count, A, 5, new(Group, "cpu", None, name)) for name in ("x", b"x")),
        *(new(Count, A, number) for number in (1 << 63, 1 << 64, 1 << 20_000, -1, 1.5, None, True)),
        *(new(Count, A, 5, None, calls) for calls in (1 << 62, 1 << 2000, float("nan"), -1.0, "x")),
    ],
    ids=lambda count: f"{count!r:.150}" if not isinstance(count.count, int) else None,
)  # fmt: skip
def test_numbers_that_no_recording_holds_are_not_saved(tmp_path: Path, count: Any) -> None:
    found = profile(Count(A, 1))
    found.counts = [*found.counts, count]
    with pytest.raises(ValueError) as raised:  # noqa: PT011
        found.save(tmp_path / "x.rec")
    assert isinstance(raised.value, kwalk.KwalkError)
    assert not list(tmp_path.iterdir())


def test_rows_below_0_are_not_saved(tmp_path: Path) -> None:
    found = profile(Count(A, 5))
    found.timeline = Timeline(
        [1.0, 2.0], array("I", [0, 1]), array("I", [0, 0]), array("q", [7, -2])
    )
    with pytest.raises(kwalk.KwalkError, match="a timeline row has -2 calls"):
        found.save(tmp_path / "x.rec")


@pytest.mark.parametrize("short", [0, 1, 2])
def test_columns_of_different_lengths_are_not_saved(tmp_path: Path, short: int) -> None:
    found = profile(Count(A, 5))
    columns = [array("I", [0, 1]), array("I", [0, 0]), array("q", [2, 3])]
    columns[short].pop()
    found.timeline = Timeline([1.0, 2.0], *columns)
    with pytest.raises(kwalk.KwalkError, match="the columns of the timeline differ in length"):
        found.save(tmp_path / "x.rec")


def limited(size: int, code: str) -> subprocess.CompletedProcess[str]:
    """Run Python with a limit of the size of files."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, preexec_fn=limit, check=False
    )


RECORD = """
import sys
sys.path.insert(0, {tests!r})
from recorded import stack, summary
from kwalk.cli.recorder import Recorder
from kwalk.errors import OutputError
from kwalk.model.stack import Count
try:
    with Recorder({path!r}) as recorder:
        counts = []
        recorder.begin({{}}, summary(counts))
        for second in range(1, 1000):
            counts.append(Count(stack("ip_rcv", f"caller{{second}}", "main"), second))
            recorder.tick(counts, float(second), summary(counts))
except OutputError as error:
    print(error)
"""


@pytest.mark.parametrize("output", ["file", "stdout"])
def test_limit_of_file_sizes_is_named_by_a_recorder(tmp_path: Path, output: str) -> None:
    path = tmp_path / "x.rec"
    out = str(path) if output == "file" else "-"
    code = RECORD.format(tests=str(Path(__file__).parent), path=out)
    if output == "stdout":
        code = f"import os; os.dup2(os.open({str(path)!r}, 65), 1)\n" + code.replace(
            "print(error)", "print(error, file=sys.stderr)"
        )
    done = limited(10_000, code)
    told = done.stdout if output == "file" else done.stderr
    assert "this process's files are limited to 10,000 bytes (RLIMIT_FSIZE, `ulimit -f`)" in told
    assert "Raise that limit" in told
    assert path.stat().st_size == 10_000
    found = kwalk.open(path)
    assert len(found) > 5
    assert sum(count.count for count in found) == found.summary.ledger.recorded
    assert "it ends in the middle of a block" in found.summary.notes[-1]


@pytest.mark.parametrize("words", ["report", "save"])
def test_limit_of_file_sizes_is_named_by_reports(tmp_path: Path, words: str) -> None:
    old, source = tmp_path / "old.html", Path(__file__).parents[1] / "data" / "redis.rec"
    old.write_text("before")
    code = "import sys, kwalk; from kwalk.cli import main as cli\n" + (
        f"sys.exit(cli.main(['report', {str(source)!r}, '-o', {str(old)!r}]))"
        if words == "report"
        else f"kwalk.open({str(source)!r}).save({str(old)!r})"
    )
    done = limited(1000, code)
    assert done.returncode == 1
    assert "are limited to 1,000 bytes (RLIMIT_FSIZE, `ulimit -f`)" in done.stderr
    assert old.read_text() == "before"
    assert os.listdir(tmp_path) == ["old.html"]


@pytest.mark.parametrize("act", [kwalk.open, profile(Count(A, 5)).save], ids=["open", "save"])
def test_name_that_no_file_can_have_is_the_reason(act: Any) -> None:
    """Python's words for it differ from version to version."""
    with pytest.raises(kwalk.KwalkError) as caught:
        act("a\0b")
    assert caught.value.what.endswith(": no file can have that name")
