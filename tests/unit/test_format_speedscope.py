# SPDX-License-Identifier: MIT
"""speedscope's format: all counts are in it, and speedscope itself shows them."""

from __future__ import annotations

import base64
import html
import json
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from converted import by_name, report
from hypothesis import given
from hypothesis import strategies as st
from recorded import frame, profile, profiles, stack

from kwalk.api.profile import Profile
from kwalk.model.stack import Count, Group, Stack


def parsed(found: Profile, **options: Any) -> Any:
    return json.loads(report("speedscope", found, **options))


def sums(data: Any, index: int = 0) -> dict[tuple[str, ...], Fraction]:
    """Calls of each stack of a profile, by the names of its functions, root first."""
    names = [frame["name"] for frame in data["shared"]["frames"]]
    calls: dict[tuple[str, ...], Fraction] = defaultdict(Fraction)
    chosen = data["profiles"][index]
    for sample, weight in zip(chosen["samples"], chosen["weights"], strict=True):
        calls[tuple(names[number] for number in sample)] += Fraction(weight)
    return dict(calls)


@given(profiles())
def test_profiles_have_every_count(found: Profile) -> None:
    data = parsed(found)
    assert sums(data) == pytest.approx(by_name(found))
    groups = sorted({str(count.group) for count in found if count.group})
    assert sorted(made["name"] for made in data["profiles"][1:]) == groups
    for index, made in enumerate(data["profiles"]):
        assert made["endValue"] == sum(made["weights"])
        counts = [c for c in found if not index or (c.group and str(c.group) == made["name"])]
        assert sums(data, index) == pytest.approx(by_name(counts))


@given(profiles(), st.integers(1, 4))
def test_top_leaves_the_sum_as_it_was(found: Profile, top: int) -> None:
    for made, whole in zip(
        parsed(found, top=top)["profiles"], parsed(found)["profiles"], strict=True
    ):
        assert made["endValue"] == pytest.approx(whole["endValue"])


def example() -> Profile:
    one, two = Group("comm", 0, "redis <1>"), Group("cpu", 3, "")
    return profile(
        Count(stack("ip_rcv", "a", "main"), 700, one),
        Count(stack("ip_rcv", "b@overlay", "main", truncated=True), 300, two),
        Count(stack("ip_rcv", "a", "main"), 5, two),
        recursion=12,
    )


def test_ledger_is_in_the_names_and_under_kwalk() -> None:
    data = parsed(example(), title="A title")
    assert data["$schema"] == "https://www.speedscope.app/file-format-schema.json"
    assert data["name"].startswith("A title - ip_rcv: 1,017 calls = 1,005 stacks + 12 lost")
    assert data["profiles"][0]["name"] == data["name"]
    assert data["kwalk"]["ledger"]["lost"] == {"recursion": 12}
    assert data["kwalk"]["facts"]["command"] == ["kwalk", "record", "ip_rcv"]
    assert data["exporter"].startswith("kwalk ")


def test_groups_are_ordered_by_calls_then_name() -> None:
    numbers = {"d": 1, "c": 7, "b": 7, "a": 30}
    rows = [Count(stack("f"), n, Group("comm", 0, name)) for name, n in numbers.items()]
    assert [made["name"] for made in parsed(profile(*rows))["profiles"][1:]] == list("abcd")


def test_frames_have_their_source() -> None:
    base = frame("a", 0x20)
    frames = (
        frame("ip_rcv", 0),
        base._replace(name="inner", offset=0, source="net/x.h:7", inlined=True),
        base._replace(source="net/y.c:9"),
    )
    found = profile(Count(Stack(tuple(f.address for f in frames), frames=frames), 3))
    assert sorted(parsed(found)["shared"]["frames"], key=lambda row: row["name"]) == [
        {"name": "a", "file": "net/y.c", "line": 9},
        {"name": "inner (inlined)", "file": "net/x.h", "line": 7},
        {"name": "ip_rcv"},
    ]


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PLACES = [Path(sys.prefix, "node"), Path("/usr/local/lib"), Path("/usr/lib")]
PAGES = [p / "node_modules/speedscope/dist/release/index.html" for p in PLACES]
PAGE = next((page for page in PAGES if page.exists()), None)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--enable-unsafe-swiftshader", "--virtual-time-budget=20000", "--dump-dom"),
)


@pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed")
@pytest.mark.skipif(
    not PAGE, reason="speedscope is not installed (npm install --prefix .venv/node speedscope)"
)
@pytest.mark.parametrize(
    ("index", "wanted"),
    [
        (0, {"ip_rcv": ("1,005", "1,005"), "a": ("705", "0"), "b [overlay]": ("300", "0"),
             "main": ("1,005", "0"), "[truncated]": ("300", "0")}),
        (1, {"ip_rcv": ("700", "700"), "a": ("700", "0"), "main": ("700", "0")}),
        (2, {"ip_rcv": ("305", "305"), "a": ("5", "0"), "b [overlay]": ("300", "0"),
             "main": ("305", "0"), "[truncated]": ("300", "0")}),
    ],
)  # fmt: skip
def test_speedscope_shows_the_same_counts(
    tmp_path: Path, index: int, wanted: dict[str, tuple[str, str]]
) -> None:
    """Its table of functions, with their total and own weights, is in the page's DOM."""
    data = parsed(example()) | {"activeProfileIndex": index}
    encoded = base64.b64encode(json.dumps(data).encode()).decode()
    script = tmp_path / "profile.js"
    script.write_text(f"speedscope.loadFileFromBase64('x.json', '{encoded}')")
    assert CHROMIUM
    assert PAGE
    url = f"{PAGE.as_uri()}#view=sandwich&localProfilePath={script}"
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path}/browser", url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    cells = [html.unescape(cell).strip() for cell in re.findall(r">([^<>]+)<", done.stdout)]
    begin = cells.index("Symbol Name") + 1
    weights = re.compile(r"([\d,]+) \([\d.]+%\)|0 \(0%\)")
    rows = {}
    while begin + 2 < len(cells) and weights.fullmatch(cells[begin]):
        total, own, name = cells[begin : begin + 3]
        rows[name] = total.split()[0], own.split()[0]
        begin += 3
    assert rows == wanted
    assert f"{data['name']} - speedscope" in cells
