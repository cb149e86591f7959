# SPDX-License-Identifier: MIT
"""Limits on what is drawn: they are kept, told, and nothing that is counted goes missing."""

from __future__ import annotations

import html
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import profile, profiles, stack

from kwalk.api.profile import Profile
from kwalk.model.stack import Count, Group
from kwalk.report import calltree, frame_limits
from kwalk.report.calltree import build, trees
from kwalk.report.diff.change import DiffNode
from kwalk.report.diff.compare import compare
from kwalk.report.flame.svg import drawing
from kwalk.report.formats import FORMATS, renderer
from kwalk.report.frame_limits import Room
from kwalk.report.style import ReportOptions

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import strangers


def apart(number: int = 40, depth: int = 10) -> Profile:
    """Stacks without a common caller, one more call for each."""
    names = [[f"f{n}_{frame}" for frame in range(depth)] for n in range(number)]
    return profile(*(Count(stack(*path), 1 + n) for n, path in enumerate(names)))


def size(node: Any) -> int:
    children = node.children
    return sum(1 + size(child) for child in getattr(children, "values", lambda: children)())


@given(profiles(), st.integers(0, 30), st.booleans())
def test_trees_keep_to_their_room_and_all_calls_are_told(
    found: Profile, most: int, callers: bool
) -> None:
    left: Room[float] = Room(most)
    top = build(found.counts, callers, left)
    assert size(top) <= max(most, 0) or not left.left_out
    assert top.total + sum(left.left_out) == pytest.approx(found.calls)
    if not left.left_out:
        assert top == build(found.counts, callers)


def test_hottest_stacks_come_first() -> None:
    left: Room[float] = Room(100)
    top = build(apart().counts, room=left)
    assert sorted(child.total for child in top.children.values()) == list(range(31, 41))
    assert sum(left.left_out) == sum(range(1, 31))


def test_shared_frames_need_no_room() -> None:
    same = [Count(stack("f", "a", "main"), n, Group("pid", n, "x")) for n in range(1, 50)]
    found = [Count(count.stack, count.count) for count in same]
    left: Room[float] = Room(3)
    assert build(found, room=left).total == sum(range(1, 50))
    assert not left.left_out


def test_groups_share_the_room() -> None:
    counts = [
        Count(count.stack, count.count, Group("comm", 0, f"g{index % 3}"))
        for index, count in enumerate(apart())
    ]
    left: Room[float] = Room(100)
    drawn = trees(counts, left)
    assert sum(map(size, drawn.values())) <= 100
    told = sum(tree.total for tree in drawn.values()) + sum(left.left_out)
    assert told == sum(range(1, 41))


def words(text: str) -> str:
    return " ".join(html.unescape(re.sub(r"<script.*?</script>|<[^>]*>", " ", text,
                                         flags=re.DOTALL)).split())  # fmt: skip


@pytest.mark.parametrize("name", ["tree", "svg", "flamegraph"])
@pytest.mark.parametrize("callers", [False, True])
def test_reports_tell_what_there_was_no_room_for(
    name: str, callers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ReportOptions(callers=callers, least=0.0)
    told = "left out, beyond the limit of 100 frames: 30 stacks, 465 calls, in no frame"
    whole = words("".join(map(str, renderer(name)(apart(), options))))
    assert "beyond the limit of" not in whole
    assert name == "flamegraph" or "f0_9" in whole
    monkeypatch.setattr(frame_limits, "MOST_FRAMES", 100)
    part = words("".join(map(str, renderer(name)(apart(), options))))
    assert told in part
    assert "f0_9" not in part
    assert "820 calls = 820 stacks + 0 lost" in part
    if name == "tree":  # shares are of all calls
        assert f"{100 * 40 / 820:.1f} %" in part


def test_differences_tell_what_there_was_no_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    import kwalk.report.diff.flame as flame
    import kwalk.report.diff.tree as tree

    before, after = apart(), apart(20)
    changed = compare(before, after)
    for module in (tree, flame):
        assert "beyond the limit of" not in words(
            "".join(module.render(changed, ReportOptions(), True))
        )
    monkeypatch.setattr(frame_limits, "MOST_FRAMES", 200)
    for module in (tree, flame):
        text = words("".join(module.render(changed, ReportOptions(least=0.0), True)))
        assert "left out, beyond the limit of 200 frames: 20 stacks, " in text
    left: Room[Any] = Room()
    top: DiffNode = changed.tree(room=left)
    assert size(top) == 200
    assert top.stacks + len(left.left_out) == 40
    # What changed most is there.
    least = min(abs(child.total - child.before) for child in top.children.values())
    assert least >= max(abs(change.change) for change in left.left_out)


def test_pictures_draw_the_widest_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    from kwalk.report.flame import svg
    from kwalk.report.flame.header import header

    found = apart()
    tree = build(found.counts)
    head = header(found, ReportOptions(), Room())
    whole = "".join(drawing(tree, head))
    assert whole.count("<rect") > 400
    assert "are not drawn" not in whole
    monkeypatch.setattr(svg, "MOST_DRAWN", 51)
    part = "".join(drawing(tree, head))
    drawn = re.findall(r"<title>(f\d+)_(\d+):", part)
    assert len(drawn) == 50
    assert {name for name, _ in drawn} == {"f39", "f38", "f37", "f36", "f35"}
    assert "(or of that width, beyond 51): 350; their calls are in the frames around them" in words(
        part
    )


@pytest.mark.parametrize("command", [*FORMATS, "diff tree", "diff flamegraph", "diff json"])
def test_costliest_small_file_takes_little_time_and_memory(command: str, tmp_path: Path) -> None:
    """Far more than that is asked for (``benchmarks/strangers.py``), for slow machines."""
    data = strangers.apart(820, 1024)
    assert len(data) <= strangers.SIZE
    path = tmp_path / "x.rec"
    path.write_bytes(data)
    *first, form = command.split()
    names = [str(path)] * (1 + bool(first))

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
        resource.setrlimit(resource.RLIMIT_AS, (768 << 20, 768 << 20))

    done = subprocess.run(
        [sys.executable, "-m", "kwalk", *(first or ["report"]), *names, "--format", form,
         "-o", str(tmp_path / "out")],
        capture_output=True, text=True, preexec_fn=limit, check=False,
    )  # fmt: skip
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)


def test_limits_are_those_that_the_page_names() -> None:
    page = (Path(__file__).parents[2] / "docs" / "recording.md").read_text()
    for number in (frame_limits.MOST_FRAMES, frame_limits.MOST_DRAWN):
        assert f"{number:,}" in page


def test_names_are_those_of_the_frames() -> None:
    names = calltree.FunctionNames()
    frames = stack("a", "b@overlay", "a").frames
    assert [names.of(frame) for frame in frames] == list(map(calltree.function_name, frames))
