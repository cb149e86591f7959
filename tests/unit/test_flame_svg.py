# SPDX-License-Identifier: MIT
from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from flamed import node
from hypothesis import given
from hypothesis import strategies as st
from recorded import profile, profiles, stack

from kwalk.api.profile import Profile
from kwalk.model.stack import Count, Group
from kwalk.report.calltree import build
from kwalk.report.flame.header import Header
from kwalk.report.flame.svg import WIDTH, drawing, fitting
from kwalk.report.formats import renderer
from kwalk.report.html import clean
from kwalk.report.style import ReportOptions
from kwalk.report.summary import as_text
from kwalk.support.text import counted

SVG = "{http://www.w3.org/2000/svg}"
EVIL = "</title><script>&\"'<![CDATA["
OPTIONS = ReportOptions()


def svg_of(found: Profile, options: ReportOptions = OPTIONS) -> str:
    return "".join(map(str, renderer("svg")(found, options)))


def frames(svg: str) -> dict[str, tuple[float, float, float]]:
    """Left edge, width and top of the frames, by their tooltips; the last of equal ones."""
    found = {}
    for group in ElementTree.fromstring(svg).iter(f"{SVG}g"):
        title, rect = group.find(f"{SVG}title"), group.find(f"{SVG}rect")
        assert title is not None
        assert rect is not None
        x, width, y = (float(rect.get(name, "")) for name in ("x", "width", "y"))
        found[title.text or ""] = (x, width, y)
    return found


def texts(svg: str) -> list[str]:
    return [text.text or "" for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]


@given(profiles(), st.booleans())
def test_svg_is_xml_with_the_totals_and_the_ledger(found: Profile, callers: bool) -> None:
    svg = svg_of(found, ReportOptions(callers=callers))
    titles = list(frames(svg))
    assert titles[0] == f"all: {counted(found.calls, 'calls')}"
    for child in build(found.counts, callers).hottest():
        if child.total > 0.001 * found.calls:
            wanted = f"{clean(child.name)}: {counted(child.total, 'calls')}, "
            assert any(wanted in title for title in titles)
    caption = " ".join(texts(svg))
    for line in as_text(found.summary).splitlines():
        assert " ".join(line.split()) in " ".join(caption.split())


def test_frames_lie_on_what_called_them() -> None:
    found = profile(Count(stack("f", "a", "root"), 30), Count(stack("f", "b", "root"), 10))
    placed = frames(svg_of(found))
    assert placed["all: 40 calls"][:2] == (10, WIDTH - 20)
    assert placed["root: 40 calls, 100.0 %"][:2] == (10, WIDTH - 20)
    assert placed["a: 30 calls, 75.0 %"][:2] == (10, 885)
    assert placed["b: 10 calls, 25.0 %"][:2] == (895, 295)
    ys = [placed[name][2] for name in ("all: 40 calls", "root: 40 calls, 100.0 %")]
    assert ys[0] > ys[1] > placed["a: 30 calls, 75.0 %"][2]


def test_callers_hang_below_the_function() -> None:
    found = profile(Count(stack("f", "a", "root"), 30), Count(stack("f", "b", "root"), 10))
    placed = frames(svg_of(found, ReportOptions(callers=True)))
    ys = [placed[name][2] for name in ("all: 40 calls", "f: 40 calls, 100.0 %")]
    assert ys[0] < ys[1] < placed["a: 30 calls, 75.0 %"][2]


def test_svg_has_no_references_and_no_scripts() -> None:
    found = profile(Count(stack(EVIL, "a"), 3, Group("comm", 0, EVIL + "\x00\x1b\udcff")))
    found.summary.notes = [EVIL]
    svg = svg_of(found, ReportOptions(title=EVIL))
    root = ElementTree.fromstring(svg)
    tags = {element.tag.removeprefix(SVG) for element in root.iter()}
    assert tags <= {"svg", "title", "style", "path", "rect", "text", "g"}
    assert not re.search(r"href|url\(|@import|\son\w+=", svg)
    assert re.findall(r"https?://[^\"]*", svg) == ["http://www.w3.org/2000/svg"]
    assert f"{EVIL}: 3 calls, 100.0 %" in frames(svg)
    svg.encode()


@pytest.mark.parametrize(("width", "text"), [(200, "tcp_v4_rcv"), (40, "tcp_\u2026"), (19, "")])
def test_text_is_cut_to_its_box(width: float, text: str) -> None:
    assert fitting("tcp_v4_rcv", width, 11) == text


def test_wide_letters_take_two_columns() -> None:
    assert fitting("\u6f22\u5b57", 11 * 0.61 * 4 + 0.1, 11) == "\u6f22\u5b57"
    assert fitting("\u6f22\u5b57", 11 * 0.61 * 3, 11) == ""


def test_narrow_frames_are_told() -> None:
    rows = [node(f"rare{index}", 1, node("x", 1)) for index in range(3)]
    tree = node("", 100_003, node("hot", 100_000), *rows)
    svg = "".join(drawing(tree, Header("f")))
    assert "frames narrower than 0.25 pixels are not drawn: 6;" in " ".join(texts(svg))
    assert "all: 100,003 calls" in frames(svg)
    assert not any("rare" in title for title in frames(svg))


def test_long_caption_lines_are_wrapped() -> None:
    found = profile(Count(stack("f"), 3))
    found.summary.notes = ["word " * 100]
    assert max(map(len, texts(svg_of(found)))) * 12 * 0.6 < WIDTH


def test_empty_recording_says_nothing_to_draw() -> None:
    assert "no stacks: there is nothing to draw" in texts(svg_of(profile(recursion=3)))


@pytest.mark.parametrize("callers", [False, True])
def test_functions_are_no_groups_though_a_task_is_called_like_them(callers: bool) -> None:
    """A group is the outermost frame of a stack, wherever that is drawn."""
    rows = [Count(stack("f", "a", "f", "root"), 3, Group("comm", 0, "f"))]
    svg = svg_of(profile(*rows), ReportOptions(callers=callers))
    placed = [
        (float(rect.get("y", "")), rect.get("class", "").rstrip("0123456789"))
        for rect in ElementTree.fromstring(svg).iter(f"{SVG}rect")
        if float(rect.get("width", "")) > 100
    ]
    # The group is next to the root when drawn root first, and the farthest with callers.
    kinds = [kind for _, kind in sorted(placed, reverse=not callers)]
    assert kinds == ["all", *(["vmlinux"] * 4 + ["group"])[:: 1 if callers else -1]]


def test_top_and_groups_are_heeded() -> None:
    rows = [Count(stack("f", f"g{n}"), n, Group("pid", n, "redis")) for n in range(1, 5)]
    svg = svg_of(profile(*rows), ReportOptions(top=1))
    assert "redis (4): 4 calls, 100.0 %" in frames(svg)
    assert any(text.startswith("left out by --top: 3 stacks, 6 calls") for text in texts(svg))
    assert "group" in texts(svg)
