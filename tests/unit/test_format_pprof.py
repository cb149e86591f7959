# SPDX-License-Identifier: MIT
"""pprof's format: decoded by the protobuf run-time, and read by ``go tool pprof``."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from converted import by_name, close, exact, report
from hypothesis import given, settings
from hypothesis import strategies as st
from pprof_schema import PprofProfile, unknown_fields
from recorded import frame, profile, profiles, stack

from kwalk.api.profile import Profile
from kwalk.model.profile import Timeline
from kwalk.model.stack import NAMELESS, Count, Frame, Group, Stack
from kwalk.report.calltree import TRUNCATED
from kwalk.support.printable import plain


def decoded(data: bytes) -> Any:
    found = PprofProfile.FromString(gzip.decompress(data))
    assert unknown_fields(found) == 0
    return found


def sums(found: Any) -> dict[tuple[str, ...], int]:
    """Calls of each stack, by the names of its functions, root first."""
    strings = found.string_table
    functions = {function.id: strings[function.name] for function in found.function}
    locations = {
        location.id: [functions[line.function_id] for line in location.line]
        for location in found.location
    }
    calls: Counter[tuple[str, ...]] = Counter()
    for sample in found.sample:
        names = [name for place in sample.location_id for name in locations[place]]
        calls[tuple(reversed(names))] += sample.value[0]
    return dict(calls)


@given(profiles())
def test_samples_have_every_count(found: Profile) -> None:
    made = decoded(report("pprof", found))
    assert close(sums(made), by_name(found, plain), 0 if exact(found) else len(found))
    if not exact(found):
        assert [sample.value[1] for sample in made.sample] == [count.count for count in found]
    assert made.string_table[0] == ""
    assert len(set(made.string_table)) == len(made.string_table)
    mappings = {mapping.id: mapping for mapping in made.mapping}
    for location in made.location:
        if location.mapping_id:
            mapping = mappings[location.mapping_id]
            assert mapping.memory_start <= location.address
            assert location.address < mapping.memory_limit or location.address == (1 << 64) - 1
    for sample, count in zip(made.sample, found, strict=True):
        addresses = {location.id: location.address for location in made.location}
        wanted = [f.address for f in count.stack.frames] + [0] * count.stack.truncated
        assert [addresses[place] for place in sample.location_id] == wanted
        group = {key: plain(str(value)) or NAMELESS for key, value in
                 (count.group.as_data() if count.group else {}).items()
                 if value is not None}  # fmt: skip
        labels = {made.string_table[label.key]: made.string_table[label.str]
                  for label in sample.label}  # fmt: skip
        marks = {key for key in ("truncated", "fallback") if getattr(count.stack, key)}
        assert labels == group | dict.fromkeys(marks, "yes")


@given(profiles(), st.integers(1, 4))
def test_top_leaves_the_sum_as_it_was(found: Profile, top: int) -> None:
    made = decoded(report("pprof", found, top=top))
    whole = decoded(report("pprof", found))
    half = 0 if exact(found) else 1  # of a call: floats added up otherwise may fall just below it
    assert abs(sum(sums(made).values()) - sum(sums(whole).values())) <= half


def example() -> Profile:
    group = Group("pid", 0, "swapper")
    found = profile(
        Count(stack("ip_rcv", "a", "main"), 700, group),
        Count(stack("ip_rcv", "b@overlay", "main", truncated=True), 300),
        recursion=12,
    )
    found.facts["started"] = "2026-11-25T16:50:56.462+00:00"
    found.timeline = Timeline(ends=[1.0, 2.5])
    return found


def test_capture_facts_are_in_the_profile() -> None:
    made = decoded(report("pprof", example(), title="A title"))
    strings = made.string_table
    assert made.time_nanos == 1795625456462000000
    assert made.duration_nanos == 2_500_000_000
    assert [(strings[t.type], strings[t.unit]) for t in made.sample_type] == [("calls", "count")]
    assert strings[made.default_sample_type] == "calls"
    comments = [strings[index] for index in made.comment]
    assert comments[0] == "A title"
    assert comments[1].startswith("ip_rcv: 1,012 calls = 1,000 stacks + 12 lost")
    assert any(line.startswith("lost: 12 recursion") for line in comments)
    assert "command: kwalk record ip_rcv" in comments
    assert [strings[m.filename] for m in made.mapping] == ["[kernel.kallsyms]", "[overlay]"]
    assert made.mapping[0].memory_start == 0xFFFFFFFF81000000
    names = {strings[f.name]: strings[f.system_name] for f in made.function}
    assert names["b [overlay]"] == "b"


def test_equal_profiles_are_equal_files() -> None:
    assert report("pprof", example()) == report("pprof", example())


def test_inlined_functions_are_lines_of_the_location() -> None:
    base = frame("a", 0x20)
    frames = (
        frame("ip_rcv", 0),
        base._replace(name="inner", offset=0, source="net/x.h:7", inlined=True),
        base._replace(name="outer", offset=0, source="net/x.c:8", inlined=True),
        base._replace(source="net/y.c:9"),
    )
    found = profile(Count(Stack(tuple(f.address for f in frames), frames=frames), 3))
    made = decoded(report("pprof", found))
    strings = made.string_table
    functions = {f.id: (strings[f.name], strings[f.filename]) for f in made.function}
    lines = [[(*functions[line.function_id], line.line) for line in place.line]
             for place in made.location]  # fmt: skip
    assert lines == [
        [("ip_rcv", "", 0)],
        [("inner", "net/x.h", 7), ("outer", "net/x.c", 8), ("a", "net/y.c", 9)],
    ]
    assert made.mapping[0].has_inline_frames


GO = shutil.which("go")
needs_go = pytest.mark.skipif(not GO, reason="go tool pprof is not installed (golang-go)")


def go_pprof(path: Path, *options: str) -> str:
    assert GO
    command = [GO, "tool", "pprof", "-symbolize=none", *options, str(path)]
    # Newer versions of Go compile the tool when it is first run, into a cache below HOME.
    env = os.environ | {"PPROF_TMPDIR": str(path.parent)}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=500)
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_go
@pytest.mark.timeout(600)
def test_go_tool_pprof_shows_the_same_counts(tmp_path: Path) -> None:
    path = tmp_path / "x.pb.gz"
    path.write_bytes(report("pprof", example()))
    top = go_pprof(path, "-top")
    assert "Total samples = 1000" in top
    assert "ip_rcv: 1,012 calls = 1,000 stacks + 12 lost" in top
    rows = {line.split(None, 5)[5]: line.split()[3] for line in top.splitlines()
            if re.match(r"\s+\d+ +[\d.]+%", line)}  # fmt: skip
    rows |= {line.split(None, 5)[5]: line.split()[3] for line in top.splitlines()
             if re.match(r"\s+0 +0%", line)}  # fmt: skip
    assert rows == {
        "ip_rcv": "1000", "a": "700", "b [overlay]": "300", "main": "1000", TRUNCATED: "300"
    }  # fmt: skip
    tags = go_pprof(path, "-tags")
    assert re.search(r"pid: Total 700.*\n\s+700.*: 0", tags)
    assert re.search(r"comm: Total 700.*\n\s+700.*: swapper", tags)
    assert re.search(r"truncated: Total 300", tags)


@needs_go
@pytest.mark.timeout(600)
def test_go_tool_pprof_shows_a_task_without_a_name(tmp_path: Path) -> None:
    path = tmp_path / "x.pb.gz"
    path.write_bytes(report("pprof", profile(Count(stack("ip_rcv"), 7, Group("comm", 0, "")))))
    assert re.search(r"comm: Total 7(\.0)?\b.*\n\s+7.*: \(no name\)", go_pprof(path, "-tags"))


@needs_go
@pytest.mark.timeout(600)
@settings(max_examples=30)
@given(st.data())
def test_go_tool_pprof_reads_any_profile(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("go") / "x.pb.gz"
    found = data.draw(profiles())
    path.write_bytes(report("pprof", found))
    samples = go_pprof(path, "-raw").partition("Samples:\n")[2].partition("Locations")[0]
    rows = re.findall(r"^ +(\d+)(?: +(\d+))?:", samples, re.MULTILINE)
    taken = [int(second or first) for first, second in rows]
    assert sum(taken) == found.summary.ledger.recorded
    assert len(taken) == len(found)


def test_addresses_without_a_name_and_names_without_an_address() -> None:
    unknown = Frame("", 0, "", 0xFFFFFFFFA0001234)
    nowhere = Frame("[unknown]", 0, "", 0)
    found = profile(Count(Stack((0, unknown.address), frames=(nowhere, unknown)), 1))
    made = decoded(report("pprof", found))
    assert sums(made) == {("0xffffffffa0001234", "[unknown]"): 1}
    assert [place.mapping_id for place in made.location] == [0, 1]
