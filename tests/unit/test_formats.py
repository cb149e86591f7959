# SPDX-License-Identifier: MIT
"""What holds of every format: the whole summary is in it."""

from __future__ import annotations

import html
import re
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest
from converted import report
from recorded import profile, reread, stack, written

from kwalk.api.profile import Profile
from kwalk.model.ledger import Ledger, Sampling, Summary, TreeUse, Verify
from kwalk.model.stack import Count, Group, Stack
from kwalk.report.diff.change import By
from kwalk.report.diff.compare import compare
from kwalk.report.diff.flame import render as diff_flame
from kwalk.report.diff.json_ import render as diff_json
from kwalk.report.diff.text import render as diff_text
from kwalk.report.diff.tree import render as diff_tree
from kwalk.report.formats import FORMATS, renderer
from kwalk.report.info import as_data as info_data
from kwalk.report.info import as_text as info_text
from kwalk.report.style import ReportOptions
from kwalk.report.summary import as_text
from kwalk.report.top_n import LEFT_OUT, cut

NUMBERS = {
    "hits": 991, "recorded": 401, "lost": 211, "lost more": 223, "not wanted": 139,
    "truncated": 307, "fallback": 109, "balance": 17, "checked": 103, "mismatches": 113,
    "missing_caller": 127, "kernel_wrong": 131, "nodes used": 499, "nodes": 503, "full": 137,
}  # fmt: skip
TEXTS = {
    "function": "some_function", "method": "some_method", "attach": "some_way",
    "kernel": "6.12.107-some", "unit": "wonders", "uncounted": "misses of hens",
    "note": "a note of hope", "lost": "ring_full", "lost more": "a_new_cause",
    "not wanted": "sampled_out",
}  # fmt: skip


def example() -> Profile:
    """All numbers and texts of a summary are there, and no two of them are equal."""
    n = NUMBERS
    lost = {"ring_full": n["lost"], "a_new_cause": n["lost more"]}
    ledger = Ledger(
        *(n["hits"], n["recorded"], lost, n["truncated"], n["fallback"], ["misses of hens"]),
        not_wanted={"sampled_out": n["not wanted"]},
    )
    assert ledger.balance == n["balance"]
    found = reread(written([[Count(stack("f", "a"), n["recorded"])]]))
    found.summary = Summary(
        *("some_function", "some_method", "some_way", "6.12.107-some"),
        ledger,
        ["a note of hope"],
        Verify(1, n["checked"], n["mismatches"], n["missing_caller"], {"new": n["kernel_wrong"]}),
        TreeUse(n["nodes used"], n["nodes"], n["full"]),
        Sampling(0.17, 0.193, 19.7),
        "wonders",
    )
    return found


def readable(data: bytes) -> str:
    """The words of a report: unpacked, without elements and line ends."""
    if data[:2] == b"\x1f\x8b":
        data = zlib.decompress(data, 16 + zlib.MAX_WBITS)
    text = data.decode(errors="replace")
    if text.lstrip().startswith("<"):
        text = html.unescape(re.sub(r"<style.*?</style>|<script.*?</script>|<[^>]*>", " ", text,
                                    flags=re.DOTALL))  # fmt: skip
    return " ".join(text.split())


def lacking(text: str) -> set[str]:
    """What of the example's summary is not in a text."""
    lack = {what for what, number in NUMBERS.items() if not re.search(rf"\b{number}\b", text)}
    return lack | {what for what, told in TEXTS.items() if told not in text}


@pytest.mark.parametrize("name", sorted(set(FORMATS) - {"folded"}))
def test_formats_all_have_the_whole_summary(name: str) -> None:
    assert not lacking(readable(report(name, example())))


def test_folded_lines_have_no_place_for_it_so_it_is_told_beside_them() -> None:
    assert report("folded", example()) == b"a;f 401\n"
    assert not lacking(readable(as_text(example().summary).encode()))


def test_info_has_the_whole_summary() -> None:
    assert not lacking(readable(info_text(example()).encode()))
    assert not lacking(str(info_data(example())))


@pytest.mark.parametrize("render", [diff_flame, diff_json, diff_text, diff_tree])
@pytest.mark.parametrize("side", [0, 1])
def test_difference_has_both_whole_summaries(render: Any, side: int) -> None:
    pair = [profile(Count(stack("f", "a"), 3)), profile(Count(stack("f", "a"), 3))]
    pair[side] = example()
    before, after = pair
    text = "".join(render(compare(before, after), ReportOptions()))
    assert not lacking(readable(text.encode()))


DEEP = profile(
    Count(stack("f", *(f"f{n}" for n in range(3000))), 3), Count(stack("f", "g"), 1 << 40)
)


@pytest.mark.parametrize("name", sorted(FORMATS))
@pytest.mark.parametrize("callers", [False, True])
def test_stacks_may_be_as_deep_as_they_like(name: str, callers: bool) -> None:
    assert report(name, DEEP, callers=callers)


@pytest.mark.parametrize("render", [diff_flame, diff_json, diff_text, diff_tree])
def test_difference_of_deep_stacks_is_rendered(render: Any) -> None:
    assert "".join(render(compare(profile(), DEEP), ReportOptions()))


@pytest.mark.parametrize("name", ["text", "tree", "svg", "flamegraph", "perfetto", "pprof"])
def test_unit_of_the_summary_names_the_counts(name: str) -> None:
    found = profile(Count(stack("f", "a"), 3), Count(stack("f"), 1))
    found.summary.unit = "wonders"
    text = readable(report(name, found, top=1))
    assert "wonders" in text.replace("4 wonders = 4 stacks", "")
    assert "calls" not in text.replace("fewer calls", "")


@pytest.mark.parametrize("name", sorted(FORMATS))
@pytest.mark.parametrize("top", [None, 1])
def test_stack_without_frames_is_rendered(name: str, top: int | None) -> None:
    """No capture makes one, but a recording can hold it."""
    empty = [Count(Stack(()), 3, group) for group in (None, Group("comm", 0, ""))]
    for counts in (empty, [*empty, Count(stack("f", "a"), 5)], [Count(Stack(()), 0)]):
        assert report(name, profile(*counts), top=top) or not counts[0].count


def test_top_puts_the_merged_stacks_first_however_many_calls_they_have() -> None:
    found = profile(*(Count(stack("f", name), n) for name, n in (("a", 3), ("b", 4), ("c", 5))))
    shown = cut(found, 1)
    assert [count.count for count in shown] == [7, 5]
    assert [count.stack.frames[0].name for count in shown] == [LEFT_OUT, "f"]
    assert cut(found, 3) is found


def test_unknown_format_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        renderer("xml")


HUGE = (1 << 53) + 1


def test_sums_of_whole_numbers_are_exact_however_large_they_are() -> None:
    """A float has 53 bits."""
    one, other = stack("f", "a", "root"), stack("f", "b", "root")
    found = profile(Count(one, HUGE), Count(other, 1 << 54))
    whole = HUGE + (1 << 54)
    for name in ("tree", "svg", "folded", "csv", "text", "json"):
        assert re.search(rf"\b({HUGE}|{HUGE:,})\b", report(name, found).decode()), name
    for name in ("tree", "svg"):
        assert f"{whole:,}" in report(name, found).decode()
    (kept, _) = (found + profile(Count(other, 1))).counts
    assert kept.calls == HUGE
    difference = compare(profile(), found, By.COUNT)
    assert difference.tree().total == difference.total.after == whole
    assert f"0 -> {whole:,} calls" in "".join(diff_text(difference, ReportOptions()))
    assert f"{HUGE:,}" in "".join(diff_tree(difference, ReportOptions()))


def test_sums_of_sampled_ones_that_are_whole_are_exact_as_well() -> None:
    found = profile(Count(stack("f"), HUGE)) + profile(Count(stack("f"), 1, None, 2))
    assert [count.calls for count in found] == [HUGE + 2]


ALONE = """
import io, sys
from kwalk.api.profile import open as load
from kwalk.report import info
from kwalk.report.diff import compare, flame, json_, text, tree
from kwalk.report.formats import FORMATS, renderer
from kwalk.report.style import ReportOptions
profile = load(sys.argv[1])
for name in FORMATS:
    list(renderer(name)(profile, ReportOptions()))
diff = compare.compare(profile, profile)
for module in (flame, json_, text, tree):
    list(module.render(diff, ReportOptions()))
info.as_text(profile)
engine = ("decode", "engine", "kernel", "libbpf", "probe", "symbolize", "transport")
print(*(name for name in sys.modules if name.startswith("kwalk.") and name.split(".")[1] in engine))
"""


def test_reports_import_nothing_that_traces(tmp_path: Path) -> None:
    """It may be read where no kernel is traced: no table of symbols, no struct of the kernel's."""
    path = tmp_path / "a.rec"
    example().save(path)
    command = [sys.executable, "-c", ALONE, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100)
    assert done.stdout.split() == []
