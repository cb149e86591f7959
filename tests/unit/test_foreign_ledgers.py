# SPDX-License-Identifier: MIT
"""Ledgers of recordings that do not match their counts: told, and never believed."""

from __future__ import annotations

import html
import json
import re
import zlib
from pathlib import Path
from typing import Any

import pytest
from hostile import run
from recorded import reread
from test_hostile_recordings import recording

import kwalk
from kwalk.api.profile import Profile
from kwalk.cli.commands.diff import FORMATS as DIFFS
from kwalk.recording.agreement import UNMATCHED
from kwalk.report.formats import FORMATS

MADE = {"hits": 13, "recorded": 10, "lost": {"ring_full": 1, "filtered": 2}}
WRONG: dict[str, dict[str, Any]] = {
    "fewer hits": {"hits": 3, "recorded": 10},
    "more hits": {"hits": 99, "recorded": 10},
    "no hits": {"hits": -7, "recorded": 10},
    "fewer stacks": {"hits": 3, "recorded": 3},
    "more stacks": {"hits": 42, "recorded": 42},
    "stacks below 0": {"hits": 10, "recorded": -10},
    "more causes": {"hits": 10, "recorded": 10, "lost": {"ring_full": 5, "filtered": 9}},
    "causes below 0": {"hits": 10, "recorded": 10, "lost": {"ring_full": -5, "filtered": 5}},
    "truncated": {"hits": 10, "recorded": 10, "truncated": 4},
    "truncated below 0": {"hits": 10, "recorded": 10, "truncated": -4},
    "fallback": {"hits": 10, "recorded": 10, "fallback": 40},
}
WORDS = [
    *(["report", "--format", name] for name in FORMATS),
    *(["diff", "--format", name] for name in DIFFS),
    *(["info", "--format", name] for name in ("text", "json")),
]
NARROWED = [[], ["--from-caller", "nobody"], ["--group", "x"], ["--seconds", "0-1"]]
NEGATIVE = re.compile(r"(?:^|[\s:,;(\[=])-\d")


def check(found: Profile) -> None:
    """The ledger is that of the counts, and closes."""
    ledger = found.summary.ledger
    assert ledger.recorded == sum(count.count for count in found)
    assert ledger.truncated == sum(count.count for count in found if count.stack.truncated)
    assert ledger.balance == 0
    assert min(ledger.hits, *ledger.causes.values(), 0) == 0


@pytest.mark.parametrize("ledger", WRONG.values(), ids=WRONG)
def test_ledger_that_does_not_match_is_told_and_mended(ledger: dict[str, Any]) -> None:
    found = reread(recording((1.0, 4), (2.0, 6), ledger=ledger, group=["comm", 0, "x"]))
    assert found.summary.notes == [UNMATCHED]
    check(found)
    check(found + found)
    for part in (
        found.narrow(from_caller="nobody"),
        found.narrow(group="nobody"),
        found.narrow(seconds=(0, 1)),
        found.narrow(seconds=(0, 1)) + found.narrow(seconds=(1, 2)),
    ):
        check(part)
        assert UNMATCHED in part.summary.notes


def test_hits_that_no_count_has_are_a_loss() -> None:
    found = reread(recording((1.0, 4), ledger={"hits": 9, "recorded": 7, "lost": {"efault": 2}}))
    assert found.summary.ledger.lost == {"efault": 2, "unmatched": 3}
    assert found.summary.ledger.hits == 9


def test_ledger_that_matches_is_left_as_it_is(tmp_path: Path) -> None:
    found = reread(recording((1.0, 10), ledger=MADE))
    assert (found.summary.notes, found.summary.ledger.hits) == ([], 13)
    assert found.summary.ledger.causes == MADE["lost"]


@pytest.mark.parametrize("extra", NARROWED, ids=lambda words: words[0] if words else "whole")
@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_outputs_all_tell_of_a_wrong_ledger(
    words: list[str], extra: list[str], tmp_path: Path
) -> None:
    if words[0] == "info" and extra:
        pytest.skip("info has no part")
    path, out = tmp_path / "x.rec", tmp_path / "out"
    for name in ("stacks below 0", "causes below 0", "more causes", "no hits"):
        data = recording((1.0, 4), (2.0, 6), ledger=WRONG[name], group=["comm", 0, "x"])
        path.write_bytes(data)
        names = [str(path)] * (1 + (words[0] == "diff"))
        target = [] if words[0] == "info" else ["-o", str(out)]
        code, text, err = run([*words, *extra, *target, *names])
        assert code == 0
        written = out.read_bytes() if target else text.encode()
        whole = readable(written)
        assert "a bug of kwalk" not in whole + err
        assert "unexplained" not in whole + err
        assert UNMATCHED in (err if "folded" in words else whole)
        assert not NEGATIVE.search(re.sub(r"-\d+\.?\d* ?%", "", whole)), name


def readable(data: bytes) -> str:
    """The words of a report, unpacked, without what draws them."""
    if data[:2] == b"\x1f\x8b":
        return zlib.decompress(data, 31).decode("utf-8", "replace")
    text = data.decode()
    if text.lstrip().startswith("<"):
        text = re.sub(r"<style.*?</style>|<script.*?</script>|<[^>]*>", " ", text, flags=re.DOTALL)
        return " ".join(html.unescape(text).split())
    return text


@pytest.mark.parametrize(
    "changed",
    [
        {"verify": {"every": 1, "checked": 3, "mismatches": 4, "differences": []}},
        {"verify": {"every": 1, "checked": -3, "differences": []}},
        {"verify": {"every": -1, "checked": 3, "differences": []}},
        {"verify": {"checked": 3, "missing_caller": -4, "differences": []}},
        {"verify": {"checked": 3, "kernel_wrong": {"x": -1}, "differences": []}},
        {"tree": [5, 2, 0]},
        {"tree": [-5, 2, 0]},
        {"tree": [1, 2, -3]},
        {"sampling": [-0.5, 0.1, 2.0]},
        {"sampling": [0.5, -0.1, 2.0]},
        {"sampling": [0.5, 0.1, -2.0]},
        {"hot": [-1, 0, 1, ""]},
        {"hot": [5, 6, 1, ""]},
        {"hot": [5, 0, -1, ""]},
        {"nested": [-1, 1, 0, ""]},
        {"nested": [11, 1, 0, ""]},
        {"nested": [5, 1, -1, ""]},
    ],
    ids=str,
)
def test_impossible_summary_parts_are_left_out_and_told(
    changed: dict[str, Any], tmp_path: Path
) -> None:
    found = reread(recording((1.0, 10), **changed))
    (note,) = found.summary.notes
    assert "is impossible, and left out: the recording is damaged or was not made by kwalk" in note
    assert all(getattr(found.summary, name) is None for name in changed)
    (tmp_path / "x.rec").write_bytes(recording((1.0, 10), **changed))
    data = json.loads(run(["report", str(tmp_path / "x.rec"), "--format", "json"])[1])
    assert not ({*changed} | {"fast" for name in changed if name == "hot"}) & set(data)


def test_what_took_more_hits_than_a_cut_recording_has_is_believed() -> None:
    """It is read later than the number of hits, while these go on."""
    whole = recording((1.0, 10), hot=[5, 6, 1, ""], nested=[11, 1, 0, ""])
    found = reread(whole[: len(whole) - 8])
    assert found.summary.hot == (5, 6, 1, "")
    assert found.summary.nested == (11, 1, 0, "")
    (note,) = found.summary.notes
    assert "is not whole" in note


@pytest.mark.parametrize("most", [(1 << 63) - 1, 1 << 62])
def test_sums_of_a_ledger_that_leave_64_bits_end_a_recording(most: int) -> None:
    with pytest.raises(kwalk.BrokenRecording, match=r"adds up to|does not fit"):
        reread(recording((1.0, 1 << 62), ledger={"hits": 1, "recorded": 1, "lost": {"x": most}}))


def test_bug_of_a_capture_that_goes_on_is_told_as_one(capsys: Any) -> None:
    """What kwalk counted itself is its own doing."""
    from kwalk.report.summary import as_text

    found = reread(recording((1.0, 10)))
    found.summary.ledger.hits += 2
    assert "unexplained: 2 (a bug of kwalk; please report it)" in as_text(found.summary)
