# SPDX-License-Identifier: MIT
"""Modules that data passes: docs/architecture.md lists all whose code runs, and no others."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from engine import Engine
from planted import A, B
from recorded import stack, written

import kwalk
from kwalk.abi import SHORT
from kwalk.cli.main import main
from kwalk.engine.capture import Capture
from kwalk.model.stack import Count, Group
from kwalk.options.probe import ProbeOptions
from kwalk.report.stream import TextStream
from kwalk.transport.ring import HEADER

HOME = Path(kwalk.__file__).parent
PAGE = Path(__file__).parents[2] / "docs" / "architecture.md"


def entered(run: Callable[[], object], *within: str) -> set[str]:
    """Modules of kwalk whose code runs, but for support/.

    :param within: Only what functions of these names call; none: all.
    """
    found: set[str] = set()
    inside: list[FrameType] = []

    def look(frame: FrameType, event: str, arg: Any) -> None:
        code = frame.f_code
        path = Path(code.co_filename)
        if event == "call" and (inside or not within or code.co_name in within):
            inside.append(frame)
            # Templates of jinja2 run as code, too.
            if path.is_relative_to(HOME) and path.suffix == ".py" and code.co_name != "<module>":
                found.add(path.relative_to(HOME).as_posix())
        elif event == "return" and inside and inside[-1] is frame:
            inside.pop()

    sys.setprofile(look)
    try:
        run()
    finally:
        sys.setprofile(None)
    return {name for name in found if not name.startswith("support/")}


def listed(heading: str) -> set[str]:
    """Modules that the page names under a heading."""
    text = PAGE.read_text().split(f"\n### {heading}\n")[1].split("\n#")[0]
    return set(re.findall(r"`(\w+/[\w/]+\.py)`", text))


def test_hit_enters_the_modules_that_are_listed(engine: Engine) -> None:
    ring = {"transport/ring.py"}  # which the test stands in for
    texts: list[bytes] = []
    with Capture("ip_rcv", ProbeOptions()) as capture:
        sent = engine.walked(A, B, comm=b"redis")
        assert not isinstance(sent, bytes)
        first_hit = sent()  # the task is in front of it, once
        engine.ring = [[first_hit], [first_hit[-HEADER - SHORT.size :]]]
        report = TextStream(capture.symbolizer)

        def read() -> None:
            for batch in capture.reader.batches():
                texts.append(b"".join(report.pieces(batch)))

        first, second = entered(read), entered(read)
    assert b"redis" in texts[0]
    assert texts[1] == texts[0]
    known = listed("A hit of a known stack, from the ring to its text")
    assert second | ring == known
    assert first | ring == known | listed("The first hit of a stack: these as well")


def test_recording_enters_the_modules_that_are_listed(tmp_path: Path) -> None:
    path, page = tmp_path / "a.rec", tmp_path / "a.html"
    group = Group("comm", 0, "redis")
    path.write_bytes(written([[Count(stack("ip_rcv", "a"), 3, group)]]))
    argv = ["report", str(path), "--format=flamegraph", "-o", str(page)]
    found = entered(lambda: main(argv), "load_parts", "write_report")
    assert "redis" in page.read_text()
    assert found == (
        listed("A recording, from the file to a flame graph") | listed("Beside that way")
    )
