# SPDX-License-Identifier: MIT
from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from elements import Elements
from flamed import data_of, node, node_of, paths_of, summed
from hypothesis import given
from recorded import frame, profile, profiles, reread, stack, written

from kwalk.api.profile import Profile
from kwalk.arch import ARCHITECTURES
from kwalk.arch.x86_64 import X86_64
from kwalk.cli.main import main
from kwalk.model.profile import Timeline
from kwalk.model.stack import Count, Group
from kwalk.report import calltree
from kwalk.report.calls import bars, whole_calls
from kwalk.report.calltree import CallNode, trees
from kwalk.report.flame import colors as looks
from kwalk.report.flame.header import Header, header
from kwalk.report.flame.page import page
from kwalk.report.formats import renderer
from kwalk.report.style import ReportOptions
from kwalk.report.summary import as_text

OPTIONS = ReportOptions()
EVIL = "</script><script>alert(1)</script>&\"'<!--"


def html_of(found: Profile, options: ReportOptions = OPTIONS) -> str:
    return "".join(map(str, renderer("flamegraph")(found, options)))


@given(profiles())
def test_page_has_every_stack_with_its_calls(found: Profile) -> None:
    data = data_of(html_of(found))
    rows = []
    for tree in data["trees"]:
        group = data["names"][tree["group"]] if tree["group"] else ""
        node = node_of(data["names"], tree["nodes"])
        rows += [((group, *path), calls) for path, calls in paths_of(node).items()]
    expected = summed(
        [
            (
                (
                    str(count.group) if count.group else "",
                    *calltree.path(count, groups=False),
                ),
                count.calls,
            )
            for count in found
        ]
    )
    # Scaled calls are floats, added in another order.
    assert summed(rows) == pytest.approx(expected, rel=1e-12)
    assert sum(expected.values()) == pytest.approx(found.calls, rel=1e-12)


@given(profiles())
def test_page_has_the_ledger_above_the_graph(found: Profile) -> None:
    text = Elements(html_of(found)).text
    for line in as_text(found.summary).splitlines():
        assert line.strip() in text
    assert sum(bar.number for bar in bars(found)) == sum(whole_calls(found))


def test_header_names_function_method_kernel_and_time() -> None:
    found = profile(Count(stack("ip_rcv", "a"), 3), recursion=2)
    found.facts["started"] = "2026-11-25T16:51:18.793+00:00"
    text = Elements(html_of(found)).text
    for part in ("ip_rcv", "manual by fentry", "6.12.107", "2026-11-25 16:51:18", "lost: 2"):
        assert part in text


def test_names_cannot_leave_their_place() -> None:
    found = profile(
        Count(stack(EVIL, "a"), 3, Group("comm", 0, EVIL)),
        Count(stack("b"), 1, Group("comm", 0, "x")),
    )
    found.summary.function = EVIL
    found.summary.notes = [EVIL]
    found.facts["command"] = ["kwalk", EVIL]
    html = html_of(found)
    elements = Elements(html)
    assert len(elements.found["script"]) == 3
    assert elements.text.count(EVIL) >= 3
    data = data_of(html)
    assert data["names"].count(EVIL) == 2
    assert "<!--" not in html.replace("<!-- SPDX", "")


def test_names_of_tasks_may_be_any_bytes() -> None:
    name = b"\xff\x00\x1b[1m".decode(errors="surrogateescape")
    found = profile(Count(stack("a"), 3, Group("comm", 0, name)))
    found.facts["command"] = [name]
    html = html_of(found, ReportOptions(title=name))
    assert b"\x00" not in html.encode()
    assert name in data_of(html)["names"]


def test_page_has_the_licenses_of_its_libraries() -> None:
    html = html_of(profile(Count(stack("a"), 3)))
    for part in ("d3-flame-graph 5.0.0 (Apache-2.0", "ISC; Copyright", "BSD-3-Clause"):
        assert part in html


def test_top_option_tells_what_it_leaves_out() -> None:
    found = profile(*(Count(stack(f"f{index}"), index) for index in range(1, 11)))
    html = html_of(found, ReportOptions(top=2))
    data = data_of(html)
    assert paths_of(node_of(data["names"], data["trees"][0]["nodes"])) == {("f9",): 9, ("f10",): 10}
    assert "left out by --top: 8 stacks, 36 calls" in Elements(html).text
    assert "left out" not in Elements(html_of(found, ReportOptions(top=10))).text


def test_title_and_callers_are_options() -> None:
    found = profile(Count(stack("a"), 3))
    assert data_of(html_of(found))["callers"] is False
    html = html_of(found, ReportOptions(callers=True, title="My <title>"))
    assert data_of(html)["callers"] is True
    assert "<h1>My &lt;title&gt;</h1>" in html


def test_scaled_counts_are_told_apart_from_taken_ones() -> None:
    found = profile(Count(stack("a"), 3, scaled=4.5), Count(stack("b"), 4, scaled=6.25))
    data = data_of(html_of(found))
    assert node_of(data["names"], data["trees"][0]["nodes"]).total == 10.75
    assert "scaled: the recorded stacks stand for about 11 calls" in header(found, OPTIONS).ledger


def test_groups_come_the_hottest_first() -> None:
    one, two = Group("pid", 7, "redis"), Group("pid", 8, "redis")
    rows = [Count(stack("a"), 1, one), Count(stack("a", "b"), 5, two), Count(stack("a"), 2)]
    assert list(trees(rows)) == ["redis (8)", "", "redis (7)"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("ip_rcv", "vmlinux"),
        ("entry_SYSCALL_64_after_hwframe", "entry"),
        ("asm_sysvec_apic_timer_interrupt", "entry"),
        ("handle_softirqs", "entry"),
        ("nft_do_chain [nf_tables]", "module"),
        ("bpf_prog_1234_x [bpf]", "bpf"),
        (calltree.TRUNCATED, "truncated"),
        (calltree.function_name(frame("")), "unknown"),
        ("raw_irq_entry", "vmlinux"),
    ],
)
def test_kinds_of_frames(name: str, kind: str) -> None:
    assert looks.kind_of(name) == kind


@pytest.mark.parametrize("machine", ["x86_64", "other", "unheard_of", ""])
@pytest.mark.parametrize("name", ["svg", "flamegraph"])
def test_entry_code_is_that_of_the_machine_that_was_recorded(
    name: str, machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = X86_64._replace(name="other", entry_code=re.compile("el0_svc"))
    monkeypatch.setitem(ARCHITECTURES, "other", other)
    reader = os.uname_result(("Linux", "host", "7.1.0", "#1", "other"))
    monkeypatch.setattr(os, "uname", lambda: reader)
    own = "el0_svc" if machine == "other" else "do_syscall_64"
    for entry in ("el0_svc", "do_syscall_64"):
        found = profile(Count(stack("ip_rcv", entry), 1))
        found.facts["machine"] = machine
        text = "".join(map(str, renderer(name)(found, OPTIONS)))
        assert (looks.KINDS["entry"].what in text) == (entry == own)


def test_legend_names_the_kinds_that_occur() -> None:
    found = profile(
        Count(stack("a", "b@overlay", truncated=True), 3), Count(stack("do_syscall_64"), 1)
    )
    text = Elements(html_of(found)).text
    for kind in ("vmlinux", "module", "truncated", "entry"):
        assert looks.KINDS[kind].what in text
    assert looks.KINDS["bpf"].what not in text


def test_functions_have_the_same_colour_every_time() -> None:
    assert [looks.shade(name) for name in ("ip_rcv", "tcp_ack", "vfs_read")] == [1, 2, 3]
    colors = {
        looks.color(kind, number, dark)
        for kind in looks.KINDS
        for number in range(looks.SHADES)
        for dark in (False, True)
    }
    assert len(colors) == 2 * len(looks.KINDS) * looks.SHADES


def test_empty_profile_makes_a_page() -> None:
    html = html_of(profile(recursion=3))
    assert data_of(html)["trees"] == []
    assert "3 lost" in Elements(html).text


def test_bars_are_of_all_calls_where_not_every_one_was_taken() -> None:
    one, other = stack("ip_rcv", "a"), stack("ip_rcv", "b")
    ticks = [
        [Count(one, 2, None, 200.0)],
        [Count(one, 3, None, 300.0), Count(other, 1, None, 50.0)],
    ]
    found = reread(written(ticks))
    found.timeline.ends[:] = [1.0, 3.0]
    assert [bar.number for bar in bars(found)] == [200, 150]
    html = html_of(found)
    assert "0.0 s to 1.0 s: 200 calls, 200/s" in html
    assert "1.0 s to 3.0 s: 150 calls, 75/s" in html
    assert "calls a second, at most 200" in html


def test_bars_are_joined_where_there_are_too_many() -> None:
    timeline = Timeline(ends=[float(second) for second in range(1, 1001)])
    for second in range(1000):
        timeline.intervals.append(second)
        timeline.counts.append(0)
        timeline.numbers.append(second)
    rows = [Count(stack("ip_rcv"), sum(range(1000)))]
    found = bars(Profile(rows, profile(*rows).summary, timeline))
    assert len(found) == 200
    assert sum(bar.number for bar in found) == sum(range(1000))
    assert (found[0].start, found[0].end, found[0].rate) == (0.0, 5.0, 2.0)
    assert [bar.start for bar in found[1:]] == [bar.end for bar in found[:-1]]


def changed() -> CallNode:
    """A difference: twice as many calls by ``more``, none any more by ``gone``."""
    children = [
        node("more", 40, before=20), node("less", 10, before=30.5), node("gone", 0, before=49.5),
        node("new", 50),
    ]  # fmt: skip
    return node("", 100, *children, before=100)


def test_difference_page_has_the_calls_of_both_sides() -> None:
    head = Header("a against b", [("before", "a.rec")], ["one", "two"])
    html = "".join(page({"": changed()}, head, change=True))
    data = data_of(html)
    assert data["change"] is True
    found = node_of(data["names"], data["trees"][0]["nodes"], change=True)
    assert {child.name: (child.total, child.before) for child in found.children.values()} == {
        "more": (40, 20), "less": (10, 30.5), "gone": (0, 49.5), "new": (50, 0),
    }  # fmt: skip
    assert (found.total, found.before) == (100, 100)
    assert "fewer calls than before (1/2 or less)" in Elements(html).text


def test_fractions_beside_large_counts_are_exact() -> None:
    rows = [Count(stack("f"), 1, scaled=1.5), Count(stack("f", "a"), 1 << 40, scaled=1.5 * 2**40)]
    data = data_of(html_of(profile(*rows)))
    found = paths_of(node_of(data["names"], data["trees"][0]["nodes"]))
    assert found == {("f",): 1.5, ("a", "f"): 1.5 * 2**40}


@pytest.mark.parametrize(("name", "begin"), [("flamegraph", b"<!DOCTYPE html>"), ("svg", b"<svg ")])
def test_report_writes_them(tmp_path: Path, name: str, begin: bytes) -> None:
    recording, output = tmp_path / "kwalk.rec", tmp_path / "out"
    recording.write_bytes(written([[Count(stack("ip_rcv", "a"), 3)]]))
    options = ["--format", name, "--title", "A title", "--callers", "-o", str(output)]
    assert main(["report", str(recording), *options]) == 0
    data = output.read_bytes()
    assert data.startswith(begin)
    assert b"A title" in data
