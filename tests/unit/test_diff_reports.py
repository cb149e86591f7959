# SPDX-License-Identifier: MIT
"""What a reader sees of a difference: text, tree, JSON, warnings, and by the command."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import profile, profiles, reread, stack, written

from kwalk.api.profile import Profile
from kwalk.api.profile import open as load
from kwalk.cli.main import main
from kwalk.model.stack import Count, Group
from kwalk.report.diff import json_
from kwalk.report.diff import text as diff_text
from kwalk.report.diff import tree as diff_tree
from kwalk.report.diff.change import By, Diff, DiffNode
from kwalk.report.diff.common import number, percentage, signed, warnings
from kwalk.report.diff.compare import compare
from kwalk.report.style import ReportOptions

SEND = ("napi", "softirq", "ip_output", "tcp_sendmsg")
WRITE = stack("ip_rcv", *SEND, "sock_write", "do_syscall_64")
SENDTO = stack("ip_rcv", *SEND, "sys_sendto", "do_syscall_64")
KSOFTIRQD, IRQ = stack("ip_rcv", "napi", "ksoftirqd"), stack("ip_rcv", "napi", "irq")
DUMMY = stack("ip_rcv", "dummy@dummy", "sys_sendto", "do_syscall_64")
BEFORE = profile(
    Count(WRITE, 6000), Count(SENDTO, 4000), Count(KSOFTIRQD, 40), Count(IRQ, 5), recursion=2
)
AFTER = profile(Count(WRITE, 3000), Count(SENDTO, 4050), Count(IRQ, 5), Count(DUMMY, 500))
CHANGED = compare(BEFORE, AFTER, By.COUNT, ("a.rec", "b.rec"))

HEAD = """\
before: a.rec: 10,045 calls of ip_rcv, 6.12.107
after:  b.rec: 7,555 calls of ip_rcv, 6.12.107
all:    10,045 -> 7,555 calls, -2,490 (-24.8 %)

"""
FOOT = """\
3 stacks changed: 1 less, 1 new, 1 gone
1 differs by no more than chance explains (--all shows them)
1 is the same
  chance: up to 2.6 standard deviations (Poisson, 5 comparisons)

before (a.rec)
ip_rcv: 10,047 calls = 10,045 stacks + 2 lost  (manual by fentry, 6.12.107)
  lost: 2 recursion: the program was already running on that CPU

after (b.rec)
ip_rcv: 7,555 calls = 7,555 stacks + 0 lost  (manual by fentry, 6.12.107)
"""


def text(diff: Diff, every: bool = False, **options: object) -> str:
    return "".join(diff_text.render(diff, ReportOptions(**options), every))  # type: ignore[arg-type]


def tree(diff: Diff, every: bool = False, **options: object) -> str:
    return "".join(diff_tree.render(diff, ReportOptions(**options), every))  # type: ignore[arg-type]


def test_text_has_the_largest_change_last_without_chance_ones() -> None:
    assert text(CHANGED) == (
        HEAD
        + """\
functions, by calls that lead through them
     before      after     change
         40          0        -40      gone  ksoftirqd
          0        500       +500       new  dummy [dummy]
      4,000      4,550       +550   +13.8 %  sys_sendto
     10,000      7,550     -2,450   -24.5 %  do_syscall_64
     10,045      7,555     -2,490   -24.8 %  ip_rcv
     10,000      7,050     -2,950   -29.5 %  tcp_sendmsg, ip_output, softirq
     10,045      7,055     -2,990   -29.8 %  napi
      6,000      3,000     -3,000   -50.0 %  sock_write

stacks, the largest change last

    ip_rcv
    napi
    ksoftirqd
  40 -> 0 calls, -40 (gone)

    ip_rcv
    dummy [dummy]
    sys_sendto
    do_syscall_64
  0 -> 500 calls, +500 (new)

    ip_rcv
    napi
    softirq
    ip_output
    tcp_sendmsg
    sock_write
    do_syscall_64
  6,000 -> 3,000 calls, -3,000 (-50.0 %)

"""
        + FOOT
    )


def test_tree_sums_up_branches_without_a_change() -> None:
    assert tree(CHANGED) == (
        HEAD
        + """\
 before  after  change            calls
 10,000  7,550  -2,450   -24.5 %  do_syscall_64
  6,000  3,000  -3,000   -50.0 %  ├─sock_write
                                  │ tcp_sendmsg
                                  │ ip_output
                                  │ softirq
                                  │ napi
                                  │ ip_rcv
  4,000  4,550    +550   +13.8 %  └─sys_sendto
  4,000  4,050     +50    +1.2 %    ├─… 1 more stack
      0    500    +500       new    dummy [dummy]
                                    ip_rcv
     45      5     -40   -88.9 %  … 2 more stacks

(1 stack that changed, in branches where less than 0.5 % of all calls changed; --min 0 shows them)

"""
        + FOOT
    )


def test_tree_with_callers_begins_at_the_traced_function() -> None:
    lines = tree(CHANGED, callers=True, least=0.1).splitlines()
    assert lines[4:13] == [
        " before  after  change            calls",
        " 10,045  7,555  -2,490   -24.8 %  ip_rcv",
        "      0    500    +500       new  ├─… 1 more stack",
        " 10,045  7,055  -2,990   -29.8 %  napi",
        " 10,000  7,050  -2,950   -29.5 %  softirq",
        "                                  ip_output",
        "                                  tcp_sendmsg",
        "  4,045  4,055     +10    +0.2 %  ├─… 3 more stacks",
        "  6,000  3,000  -3,000   -50.0 %  sock_write",
    ]


def test_all_option_shows_changes_within_chance() -> None:
    block = "  4,000 -> 4,050 calls, +50 (+1.2 %)  no more than chance explains\n"
    assert block not in text(CHANGED)
    assert block in text(CHANGED, every=True)
    assert "tcp_sendmsg" in tree(CHANGED, every=True).split("sys_sendto")[1]
    assert "irq" in tree(CHANGED, every=True, least=0.0)


def test_text_with_all_says_nothing_of_all() -> None:
    assert "no more than chance explains (--all shows them)" in text(CHANGED)
    assert "(--all" not in text(CHANGED, every=True)


def test_rate_variation_needs_three_intervals(tmp_path: Path) -> None:
    def said(before: int, after: int, by: By = By.RATE) -> str:
        files = recording(tmp_path / "a", before), recording(tmp_path / "b", after)
        return text(compare(load(files[0]), load(files[1]), by))

    unknown = "how much calls/s vary by themselves is unknown\n  (before"
    assert f"{unknown}: fewer than 3 intervals were recorded)" in said(2, 3)
    assert f"{unknown} and after: fewer" in said(1, 2)
    assert "vary by themselves" not in said(3, 3)
    assert "vary by themselves" not in said(1, 1, By.SHARE)


def test_top_shows_the_largest_changes_and_counts_the_others() -> None:
    found = text(CHANGED, top=1)
    assert "(2 more stacks that changed, left out by --top)" in found
    assert "(9 more functions changed less)" in found
    assert found.count(" calls, ") == 2  # of all, and of one stack
    drawn = tree(CHANGED, top=1)
    assert "(2 stacks that changed, left out by --top)" in drawn
    assert "dummy" not in drawn
    assert "sock_write" in drawn


def test_long_function_list_is_cut_and_says_so() -> None:
    rows = [Count(stack(f"f{index}"), 1000 + index) for index in range(13)]
    diff = compare(profile(*rows), profile(Count(stack("g"), 1)), By.COUNT)
    assert "(3 more functions changed less; --top N shows more)" in text(diff)
    assert "more functions" not in text(diff, every=True)


def test_functions_of_one_change_fit_into_a_terminal() -> None:
    names = [f"function_of_some_length_{index}" for index in range(12)]
    diff = compare(profile(Count(stack(*names), 1000)), profile(recursion=1), By.COUNT)
    narrow, wide = (text(diff, width=80, terminal=width) for width in (True, False))
    line = next(line for line in narrow.splitlines() if line.endswith(" +11"))
    assert "     gone  function_of_some_length_11" in line
    assert len(line) <= 80
    assert ", ".join(reversed(names)) in wide


def test_unchanged_recordings_are_one_line() -> None:
    diff = compare(BEFORE, BEFORE, By.SHARE)
    for found in (text(diff), tree(diff)):
        assert "no stack changed\n4 are the same\n" in found
    assert "functions, by" not in text(diff)


def test_total_change_within_chance_is_marked() -> None:
    rows = [Count(WRITE, number) for number in (1000, 1010)]
    diff = compare(profile(rows[0]), profile(rows[1]), By.COUNT)
    total = "all:    1,000 -> 1,010 calls, +10 (+1.0 %), no more than chance explains\n"
    assert total in text(diff)


def test_groups_stand_with_their_stacks() -> None:
    before = profile(
        Count(WRITE, 100, Group("pid", 7, "redis")), Count(IRQ, 9, Group("pid", 1, "x"))
    )
    after = profile(
        Count(WRITE, 900, Group("pid", 8, "redis")), Count(IRQ, 9, Group("pid", 1, "x"))
    )
    diff = compare(before, after, By.COUNT)
    assert "  100 -> 900 calls, +800 (+800.0 %)  redis\n" in text(diff)
    assert re.search(r"^ +100 +900 .* redis$", tree(diff), re.MULTILINE)


def test_colours_are_only_where_they_are_wanted() -> None:
    for draw in (text, tree):
        plain, colored = draw(CHANGED), draw(CHANGED, color=True)
        assert "\x1b" not in plain
        assert "\x1b[31m" in colored
        assert "\x1b[36m" in colored
        assert re.sub(r"\x1b\[[\d;]*m", "", colored) == plain


@pytest.mark.parametrize("width", [60, 80])
def test_lines_of_the_tree_fit_into_a_terminal(width: int) -> None:
    names = [f"a_function_with_a_long_name_{index}" for index in range(24)]
    deep = [Count(stack("ip_rcv", *names[: 2 * index + 2][::-1]), 99) for index in range(12)]
    diff = compare(profile(*deep), profile(recursion=1), By.COUNT)
    body = tree(diff, width=width, terminal=True, least=0.0).split("\n\n")[1]
    assert max(map(len, body.splitlines())) <= width
    assert names[-1] in tree(diff, width=width, least=0.0)


def test_json_has_every_stack_both_ledgers_and_how_certain_it_is() -> None:
    data = json.loads("".join(json_.render(CHANGED, ReportOptions())))
    assert data["schema"] == "kwalk.diff/2"
    assert (data["by"], data["unit"], data["warnings"]) == ("count", "calls", [])
    assert data["before"]["name"] == "a.rec"
    assert data["before"]["ledger"]["lost"] == {"recursion": 2}
    assert data["after"]["ledger"]["recorded"] == data["after"]["count"] == 7555
    kinds = [(row["kind"], row["certain"], row["percent"]) for row in data["stacks"]]
    assert kinds == [
        ("same", False, 0),
        ("gone", True, -100),
        ("more", False, 1.25),
        ("new", True, None),
        ("less", True, -50),
    ]
    assert data["stacks"][3] | {"deviations": 0} == {
        "frames": ["ip_rcv", "dummy [dummy]", "sys_sendto", "do_syscall_64"],
        "truncated": False,
        "before": {"count": 0, "value": 0},
        "after": {"count": 500, "value": 500},
        "change": 500,
        "percent": None,
        "kind": "new",
        "deviations": 0,
        "certain": True,
    }
    assert data["functions"][-1]["names"] == ["sock_write"]


@given(profiles(), profiles(), st.none() | st.integers(1, 4), st.sampled_from(list(By)))
def test_json_adds_up(before: Profile, after: Profile, top: int | None, by: By) -> None:
    data = json.loads("".join(json_.render(compare(before, after, by), ReportOptions(top=top))))
    for side, found in (("before", before), ("after", after)):
        shown = sum(row[side]["count"] for row in data["stacks"])
        left = data["left_out"][side]["count"] if "left_out" in data else 0
        assert shown + left == sum(count.count for count in found) == data[side]["count"]


@given(profiles(), profiles(), st.booleans(), st.sampled_from([None, 0.0, 0.2]))
def test_tree_has_each_stack_in_a_line(
    before: Profile, after: Profile, every: bool, least: float | None
) -> None:
    diff = compare(before, after, By.COUNT)
    drawn = tree(diff, every, least=least)
    body = drawn.split("\n\n")[1].splitlines()[1:]
    hidden = sum(int(found.replace(",", "")) for found in re.findall(r"… ([\d,]+) more", drawn))
    changed = sum(change.certain for change in diff.stacks)
    assert hidden <= len(diff.stacks)
    if not changed and not every:
        assert hidden == len(diff.stacks)
        assert len(body) == bool(diff.stacks)
    if every and least == 0.0:
        assert not hidden
        assert len(body) == _nodes(diff.tree())
    told = re.search(r"^\(([\d,]+) stacks? that changed, in branches", drawn, re.MULTILINE)
    assert not told or 0 < int(told[1].replace(",", "")) <= changed


def _nodes(node: DiffNode) -> int:
    return len(node.children) + sum(map(_nodes, node.children.values()))


def test_warnings_name_what_makes_recordings_hard_to_compare() -> None:
    other = profile(Count(IRQ, 90), Count(WRITE, 100, Group("cpu", 1, "")), ring_full=10)
    other.summary.function, other.summary.method, other.summary.kernel = "tcp_*", "helper", "5.10"
    other.summary.unit = "samples"
    other.facts["cpus"] = 8
    found = warnings(compare(BEFORE, other, By.COUNT))
    starts = [
        "the functions differ: ip_rcv before, tcp_* after; ",
        "the units differ: calls before, samples after; ",
        "the methods differ: manual before, helper after; ",
        "the kernels differ: 6.12.107 before, 5.10 after; ",
        "the numbers of CPUs differ: 2 before, 8 after; ",
        "the groups differ: none before, cpu and none after; ",
        "5.0 % of the samples after were lost, ",
    ]
    assert [text.startswith(start) for text, start in zip(found, starts, strict=True)] == [True] * 7
    assert warnings(CHANGED) == []
    shown = text(compare(BEFORE, other, By.COUNT))
    assert all(f"warning: {line}\n" in shown for line in found)


def test_calls_left_alone_by_choice_are_no_loss() -> None:
    chosen = profile(Count(IRQ, 90), filtered=1000, sampled_out=1000)
    assert warnings(compare(BEFORE, chosen, By.COUNT)) == []


def test_durations_matter_where_calls_are_compared_as_they_are(tmp_path: Path) -> None:
    short, long = (recording(tmp_path / name, seconds) for name, seconds in (("a", 1), ("b", 3)))
    for by, number_of in (("count", 1), ("rate", 0), ("share", 0)):
        out = tmp_path / "out.json"
        assert main(["diff", short, long, "--by", by, "--format", "json", "-o", str(out)]) == 0
        found = json.loads(out.read_text())["warnings"]
        assert len(found) == number_of, found


@pytest.mark.parametrize(("seconds", "told"), [(20, False), (21, False), (23, True)])
def test_warnings_name_durations_that_differ_by_more_than_a_tenth(seconds: int, told: bool) -> None:
    def load(ends: int) -> Profile:
        return reread(written([[Count(WRITE, 1000 * tick)] for tick in range(1, ends + 1)]))

    found = warnings(compare(load(20), load(seconds), By.COUNT))
    assert found == (
        [
            "the durations differ: 20.0 s before, 23.0 s after; numbers are compared undivided; "
            "--by rate divides by the seconds"
        ]
        if told
        else []
    )


def test_warnings_name_an_empty_recording() -> None:
    assert warnings(compare(BEFORE, profile(recursion=1), By.SHARE)) == [
        "after has no stacks: nothing can be compared",
        "100.0 % of the calls after were lost, so their stacks are missing",
    ]


def test_empty_recordings_are_the_same() -> None:
    empty = compare(profile(), profile(), By.COUNT)
    text = "".join(diff_text.render(empty, ReportOptions()))
    assert "all:    0 -> 0 calls, 0\n" in text
    data = json.loads("".join(json_.render(empty, ReportOptions())))
    assert (data["total"]["kind"], data["total"]["change"]) == ("same", 0)


@pytest.mark.parametrize(
    ("value", "by", "wanted"),
    [
        (0.0, By.RATE, "0"),
        (12345.6, By.RATE, "12,346"),
        (9.94, By.RATE, "9.9"),
        (0.0123, By.RATE, "0.012"),
        (12.345, By.SHARE, "12.35"),
        (0.0077, By.SHARE, "0.01"),
        (0.0012, By.SHARE, "0.001"),
        (0.0, By.SHARE, "0"),
        (7.0, By.COUNT, "7"),
    ],
)
def test_numbers_are_as_exact_as_they_are_large(value: float, by: By, wanted: str) -> None:
    assert number(value, by) == wanted
    assert signed(-value, by) == (f"-{wanted}" if value else "0")
    assert signed(value, by) == (f"+{wanted}" if value else "0")


def test_percentages_name_what_is_new_and_what_is_gone() -> None:
    assert [percentage(*pair) for pair in ((0, 1), (1, 0), (2, 1), (1, 21), (3, 3), (0, 0))] == [
        "new",
        "gone",
        "-50.0 %",
        "+2,000 %",
        "0 %",
        "",
    ]
    assert percentage(0.1 + 0.2, 0.3) == "0 %"  # sums of rounded numbers


def recording(path: Path, seconds: int, each: int = 1000) -> str:
    path.write_bytes(written([[Count(WRITE, each * tick)] for tick in range(1, seconds + 1)]))
    return str(path)


def test_diff_command_compares_files(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    one, other = recording(tmp_path / "a", 3), recording(tmp_path / "b", 3, 2000)
    assert main(["diff", one, other]) == 0
    out = capfdbinary.readouterr().out.decode()
    assert f"before: {one}: 3,000 calls of ip_rcv in 3.0 s" in out
    assert "  1,000 -> 2,000 calls/s, +1,000 (+100.0 %)\n" in out
    assert main(["diff", one, other, "--format", "tree", "--by", "count"]) == 0
    assert (
        "  3,000  6,000  +3,000  +100.0 %  do_syscall_64" in capfdbinary.readouterr().out.decode()
    )


def test_warnings_are_on_stderr_too_where_the_difference_goes_to_a_file(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    one, other = recording(tmp_path / "a", 1), recording(tmp_path / "b", 9)
    out = tmp_path / "out"
    assert main(["diff", one, other, "--by", "count", "-o", str(out)]) == 0
    captured = capfdbinary.readouterr()
    assert captured.out == b""
    assert captured.err.startswith(b"kwalk: warning: the durations differ")
    assert "warning: the durations differ" in out.read_text()


@pytest.mark.parametrize("form", ["text", "tree", "flamegraph", "json"])
def test_file_name_that_is_no_utf8_is_shown_with_replacements(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], form: str
) -> None:
    one, other = recording(tmp_path / "a", 3), recording(tmp_path / os.fsdecode(b"b\xff"), 3)
    out = tmp_path / "out"
    assert main(["diff", one, other, "--format", form]) == 0
    assert main(["diff", one, other, "--format", form, "-o", str(out)]) == 0
    captured = capfdbinary.readouterr()
    assert captured.err == b""
    for data in (captured.out, out.read_bytes()):
        shown = any(name in data.decode() for name in ("/b?", r"/b\udcff"))
        assert shown or form == "flamegraph"  # what it compares is packed there


def test_diff_command_refuses_what_cannot_be_compared(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    one = recording(tmp_path / "a", 1)
    for words, code, message in (
        (["-", "-"], 2, b"only one recording can come from standard input"),
        ([one, str(tmp_path / "none")], 1, b"cannot be read: No such file"),
        ([one, __file__], 1, b"is not a recording of kwalk"),
    ):
        assert main(["diff", *words]) == code
        assert message in capfdbinary.readouterr().err


def test_warnings_do_not_count_narrowed_calls_as_lost() -> None:
    found = profile(Count(stack("f", "k"), 50), Count(stack("f", "a"), 9950), ring_full=50)
    part = found.narrow(from_caller="^k$")
    assert not any("lost" in text for text in warnings(compare(part, part)))


@pytest.mark.parametrize(
    "words",
    ["--format flamegraph --top 1", "--format flamegraph --all", "--format json --all"],
)
def test_options_that_mean_nothing_for_a_difference_are_refused(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], words: str
) -> None:
    one = recording(tmp_path / "a", 3)
    assert main(["diff", one, one, *words.split()]) == 2
    assert b" has no effect with --format " in capfdbinary.readouterr().err
