# SPDX-License-Identifier: MIT
"""The calling-context tree in a terminal: what a reader sees, and that nothing goes missing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from converted import report
from hypothesis import given
from hypothesis import strategies as st
from recorded import profile, profiles, stack, written

from kwalk.api.profile import Profile
from kwalk.cli.main import main
from kwalk.model.stack import Count, Group
from kwalk.report.ansi import bar, shortened
from kwalk.report.calltree import build
from kwalk.report.formats import renderer
from kwalk.report.formats.tree import stacks
from kwalk.report.style import ReportOptions

OUTER = ("ip_output", "tcp_sendmsg", "do_syscall_64")
SMALL = profile(
    Count(stack("ip_rcv", "napi", "ksoftirqd", "ret_from_fork"), 40),
    Count(stack("ip_rcv", "napi", "softirq", *OUTER), 600),
    Count(stack("ip_rcv", "napi", "irq", "softirq", *OUTER), 1),
    Count(stack("ip_rcv", "napi", "dummy_xmit@dummy", *OUTER), 359),
    recursion=2,
)
LEDGER = (
    "ip_rcv: 1,002 calls = 1,000 stacks + 2 lost  (manual by fentry, 6.12.107)\n"
    "  lost: 2 recursion: the program was already running on that CPU\n"
)


def drawn(found: Profile, **options: object) -> str:
    return "".join(map(str, renderer("tree")(found, ReportOptions(**options))))  # type: ignore[arg-type]


def test_chains_stand_on_one_level_and_small_branches_are_summed_up() -> None:
    assert drawn(SMALL) == (
        " calls   share\n"
        "   960  96.0 %  █████▊ do_syscall_64\n"
        "                       tcp_sendmsg\n"
        "                       ip_output\n"
        "   601  60.1 %  ███▋   ├─softirq\n"
        "     1   0.1 %         │ ├─… 1 more stack\n"
        "   600  60.0 %  ███▋   │ napi\n"
        "                       │ ip_rcv\n"
        "   359  35.9 %  ██▏    └─dummy_xmit [dummy]\n"
        "                         napi\n"
        "                         ip_rcv\n"
        "    40   4.0 %  ▎      ret_from_fork\n"
        "                       ksoftirqd\n"
        "                       napi\n"
        "                       ip_rcv\n"
        "\n"
        "(1 stack, 1 call, 0.1 %, in branches with less than 0.5 %; --min 0 shows them)\n"
        "\n" + LEDGER
    )


def test_callers_put_the_traced_function_first() -> None:
    assert drawn(SMALL, callers=True, least=0.1) == (
        " calls   share\n"
        " 1,000 100.0 %  ██████ ip_rcv\n"
        "                       napi\n"
        "   600  60.0 %  ███▋   ├─softirq\n"
        "                       │ ip_output\n"
        "                       │ tcp_sendmsg\n"
        "                       │ do_syscall_64\n"
        "   359  35.9 %  ██▏    ├─dummy_xmit [dummy]\n"
        "                       │ ip_output\n"
        "                       │ tcp_sendmsg\n"
        "                       │ do_syscall_64\n"
        "    41   4.1 %         └─… 2 more stacks\n"
        "\n"
        "(2 stacks, 41 calls, 4.1 %, in branches with less than 10 %; --min 0 shows them)\n"
        "\n" + LEDGER
    )


def test_ending_here_column_is_shown_for_nested_functions() -> None:
    found = profile(Count(stack("tcp_sendmsg", "sys"), 7), Count(stack("ack", "tcp_sendmsg"), 1))
    nested = profile(
        Count(stack("tcp_sendmsg", "sys"), 7), Count(stack("ack", "tcp_sendmsg", "sys"), 3)
    )
    assert "ending here" not in drawn(found)
    assert drawn(nested).splitlines()[:4] == [
        " calls ending here   share",
        "    10             100.0 %  ██████ sys",
        "    10           7 100.0 %  ██████ tcp_sendmsg",
        "     3              30.0 %  █▊     ack",
    ]


def test_top_shows_the_hottest_stacks_however_small() -> None:
    rows = [Count(stack("ip_rcv", f"caller{index}"), 1000 + index) for index in range(400)]
    text = drawn(profile(*rows), top=2)
    assert re.findall(r"caller\d+", text) == ["caller399", "caller398"]
    assert "… 398 more stacks" in text
    left = sum(range(1000, 1398))
    assert f"(398 stacks, {left:,} calls, 99.4 %, left out by --top)" in text
    both = drawn(profile(*rows), top=2, least=0.5)
    assert "(400 stacks, " in both
    assert "left out by --top and --min)" in both


def test_names_move_no_cursor_and_end_no_line() -> None:
    evil = "a\x1b[2J\r\nb"
    found = profile(Count(stack("ip_rcv", evil), 2, Group("comm", 0, evil)))
    assert "a?[2J??b" in drawn(found)
    for text in (drawn(found), report("text", found).decode()):
        assert "\x1b" not in text
        assert "\r" not in text
        assert "[2J??b" in text


def test_empty_recording_prints_the_ledger_alone() -> None:
    text = drawn(profile(recursion=3))
    assert text.startswith("ip_rcv: 3 calls = 0 stacks + 3 lost")


def test_groups_and_cut_stacks_have_their_place() -> None:
    found = profile(
        Count(stack("ip_rcv", "a", truncated=True), 2, Group("pid", 7, "redis")),
        Count(stack("ip_rcv", "a"), 1, Group("comm", 0, "curl")),
    )
    names = [line[23:].strip("└├─ ") for line in drawn(found).splitlines()[1:8]]
    assert names == ["redis (7)", "[truncated]", "a", "ip_rcv", "curl", "a", "ip_rcv"]


def test_samples_are_called_so_and_scaled_calls_are_drawn() -> None:
    found = profile(Count(stack("ip_rcv"), 3, scaled=300.4), Count(stack("ip_rcv", "a"), 1))
    found.summary.unit = "samples"
    lines = drawn(found).splitlines()
    assert lines[0].split() == ["samples", "share"]
    assert lines[1].split()[:2] == ["300", "99.7"]


def test_colours_are_only_where_they_are_wanted() -> None:
    plain, colored = drawn(SMALL), drawn(SMALL, color=True)
    assert "\x1b" not in plain
    assert "\x1b[1mip_rcv\x1b[0m" in colored
    assert re.sub(r"\x1b\[[\d;]*m", "", colored) == plain


@pytest.mark.parametrize("width", [50, 80, 120])
def test_lines_fit_into_a_terminal_and_are_whole_elsewhere(width: int) -> None:
    names = [f"a_function_with_a_long_name_{index}" for index in range(24)]
    deep = [Count(stack("ip_rcv", *names[: 2 * index + 2][::-1]), 1) for index in range(12)]
    tree, _, _ = drawn(profile(*deep), width=width, terminal=True).partition("\n\n")
    assert max(map(len, tree.splitlines())) <= width
    assert ("…" in tree) == (width == 50)
    assert names[-1] in drawn(profile(*deep), width=width)


@given(profiles(), st.booleans(), st.sampled_from([0.0, 0.005, 0.3, 1.0]), st.none() | st.just(2))
def test_lines_have_every_call(
    found: Profile, callers: bool, least: float, top: int | None
) -> None:
    """What the hidden branches hold and what ends at those that are shown is all there is."""
    text = drawn(found, callers=callers, least=least, top=top)
    tree = build(found.counts, callers)
    if not tree.total:
        return
    body = text[: text.index("\n\n")].splitlines()[1:]
    hidden = [line for line in body if re.search(r"… [\d,]+ more stacks?$", line)]
    numbers = [int(line.split()[0].replace(",", "")) for line in hidden]
    told = re.search(r"^\(([\d,]+) stacks?, ([\d,]+) calls?", text, re.MULTILINE)
    assert bool(told) == bool(hidden)
    if told:
        left, calls = (int(number.replace(",", "")) for number in told.groups())
        assert abs(sum(numbers) - calls) <= len(numbers)  # rounded, where they are scaled
        assert sum(int(re.findall(r"… ([\d,]+) more", line)[0]) for line in hidden) == left
    if least == 0.0 and top is None:
        assert not hidden
        assert len(body) == _nodes(tree)
    assert stacks([tree]) <= len(found)
    assert text.splitlines()[-1] == drawn(found).splitlines()[-1]  # the ledger, whatever is drawn


def _nodes(node: object) -> int:
    children = node.children.values()  # type: ignore[attr-defined]
    return len(children) + sum(map(_nodes, children))


def test_bars_tell_a_little_from_nothing() -> None:
    assert bar(0.0, 3) == "   "
    assert bar(1e-9, 3) == "▏  "
    assert bar(0.5, 3) == "█▌ "
    assert bar(1.0, 3) == bar(1.2, 3) == "███"
    assert shortened("abcdef", 4) == "abc…"
    assert shortened("abcd", 4) == "abcd"


def test_report_command_draws_the_tree(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    file = tmp_path / "a.rec"
    file.write_bytes(written([SMALL.counts]))
    command = ["report", str(file), "--format", "tree"]
    assert main([*command, "--min", "50%"]) == 0
    out = capfdbinary.readouterr().out.decode()
    assert "less than 50 %; --min 0 shows them" in out
    assert "\x1b" not in out
    assert main([*command, "--min", "0"]) == 0
    assert "irq" in capfdbinary.readouterr().out.decode()
    for wrong in ("-1", "101", "x", "nan"):
        with pytest.raises(SystemExit) as end:
            main([*command, f"--min={wrong}"])
        assert end.value.code == 2
        assert "is not from 0 % to 100 %" in capfdbinary.readouterr().err.decode()


def test_deep_tree_shows_every_name() -> None:
    names = [f"a_long_name_of_function_{n:02}" for n in range(60)]
    counts = [Count(stack("f", *names[n:]), 10 + n) for n in range(60)]
    counts += [Count(stack(f"leaf_{n}", *names[n:]), 10 + n) for n in range(60)]
    found = profile(*counts)
    pieces = renderer("tree")(found, ReportOptions(terminal=True, width=80, least=0.0))
    lines = "".join(map(str, pieces)).splitlines()
    assert max(map(len, lines)) <= 80
    for name in names:
        assert any(name[:19] in line for line in lines), name


def test_calls_of_stacks_with_equal_names_end_at_one_node() -> None:
    one, other = stack("ip_rcv", "a"), stack("ip_rcv", "a")
    top = build([Count(one, 2), Count(other, 3), Count(stack("ip_rcv", "b", "a"), 4)])
    (outer,) = top.children.values()
    assert (outer.total, outer.own) == (9, 0)
    leaf = outer.children["ip_rcv"]
    assert (leaf.total, leaf.own) == (5, 5)
