# SPDX-License-Identifier: MIT
"""Texts of recordings from strangers: no terminal gets what it would obey, by no way."""

from __future__ import annotations

import json
import zlib
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hostile
import pytest
from hostile import as_json, block, columns, run, unprintable

from kwalk.cli import completing
from kwalk.cli.commands.diff import FORMATS as DIFFS
from kwalk.decode.records import process_name
from kwalk.model.stack import Frame
from kwalk.recording.blocks import MAGIC
from kwalk.report.formats import FORMATS
from kwalk.report.frame import stack_lines

EVIL = "\x1b]0;p\x07\x9b31m\u202e\nq\u2066"
MARKS = ("\x1b", "\x9b", "\u202e", "\u2066", "\x07")
WIDE = ("\x1b]0;", "\x9b31m", "\u202e", "\u2066")
FACTS = ("host", "kernel_version", "started", "kwalk", "seconds", "machine", "unwinder", "kernel")


def evil(places: str) -> bytes:
    """A recording that is evil in one kind of place, or in all of them."""

    def at(place: str, otherwise: str = "fine") -> str:
        return EVIL if places in (place, "everywhere") else otherwise

    told = {name: at(name) for name in ("function", "method", "attach", "kernel", "unit")}
    summary = hostile.summary(
        **told,
        notes=[at("notes")],
        unseen=at("unseen"),
        ledger={"hits": 12, "recorded": 10, "lost": {at("causes"): 2}, "uncounted": [at("notes")]},
        verify={"every": 1, "checked": 3, "kernel_wrong": {at("causes"): 1}, "differences": []},
    )
    facts = {name: at("facts") for name in FACTS}
    frames = [[at("frames", "ip_rcv"), 0, at("modules", ""), 1], [at("frames", "a"), 5, "", 2]]
    kinds = ("comm", "pid", "cgroup") if places == "everywhere" else (places,)
    groups = [[kind, 7, at(kind)] for kind in kinds if kind in ("comm", "pid", "cgroup")]
    keys = list(range(1, len(groups) + 1)) or [0]
    numbers = [10, *([0] * (len(keys) - 1))]
    rows = columns(("I", list(range(len(keys)))), ("q", numbers))
    parts = [
        block(b"BEGN", as_json(facts | {"command": [at("facts")], "merged": [{"host": EVIL}]})),
        block(b"FRAM", as_json(frames)),
        block(b"NODE", columns(("I", [0, 1]), ("I", [0, 1]))),
        block(b"GRUP", as_json(groups)),
        block(b"KEYS", columns(("I", [2] * len(keys)), ("I", [0] * len(keys)), ("I", keys))),
        block(b"TICK", array("d", [1.0]).tobytes() + rows),
        block(b"LEDG", as_json(summary)),
        block(b"DONE", b""),
    ]
    return b"".join([MAGIC, *parts])


PLACES = (
    *("everywhere", "function", "method", "attach", "kernel", "unit", "notes", "unseen", "causes"),
    *("facts", "frames", "modules", "comm", "pid", "cgroup"),
)
WORDS = [
    *(["report", "--format", name] for name in FORMATS),
    *(["diff", "--format", name] for name in DIFFS),
    *(["diff", "--format", name, "--all"] for name in ("text", "tree")),
    *(["info", "--format", name] for name in ("text", "json")),
]


@pytest.mark.parametrize("where", ["file", "pipe", "terminal"])
@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_outputs_hold_no_escape_sequences(
    words: list[str], where: str, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    path, out = tmp_path / "x.rec", tmp_path / "out"
    binary = "pprof" in words or "perfetto" in words
    if where == "file" and words[0] == "info":
        pytest.skip("it goes to standard output only")
    if where != "file" and binary:
        pytest.skip("a terminal is refused")
    for place in PLACES:
        path.write_bytes(evil(place))
        target = ["-o", str(out)] if where == "file" else []
        names = [str(path)] * (1 + (words[0] == "diff"))
        code, text, err = run([*words, *target, *names], terminal=where == "terminal")
        assert (code, unprintable(err)) == (0, set()), (place, err)
        data = out.read_bytes() if target else text.encode()
        if binary:
            data = zlib.decompress(data, 31)
        marks = WIDE if binary else MARKS  # a number's byte can be any of the others
        assert not [mark for mark in marks if mark.encode() in data], place
        assert data
        if "json" in words or "speedscope" in words:
            json.loads(data)  # where they are escaped
        elif not binary:
            assert unprintable(data.decode()) <= {"\r"}, place


def test_marks_are_not_lost_where_json_can_escape_them(tmp_path: Path) -> None:
    (tmp_path / "x.rec").write_bytes(evil("function"))
    out = run(["report", "--format", "json", str(tmp_path / "x.rec")])[1]
    assert json.loads(out)["function"] == EVIL


def test_lines_of_source_are_clean() -> None:
    frame = Frame(EVIL, 1, EVIL, 1, EVIL, True)
    assert not unprintable(stack_lines([frame], truncated=True, addresses=True))


@pytest.mark.parametrize(
    "find", [completing.groups, completing.namespaces], ids=["cgroups", "namespaces"]
)
def test_completion_offers_no_escape_sequences(
    find: Callable[[str], list[str]], tmp_path: Path, monkeypatch: Any
) -> None:
    from kwalk.kernel import cgroups
    from kwalk.options import filter_names

    (tmp_path / "fine").mkdir()
    (tmp_path / EVIL).mkdir()
    monkeypatch.setattr(cgroups, "hierarchy", lambda: (tmp_path, 0))
    monkeypatch.setattr(filter_names, "NETNS", tmp_path)
    assert completing._Finder().filter_completions([*find(""), "fine"]) == ["fine"]


@pytest.mark.parametrize("name", [EVIL.encode(), b"\xff\xfe\x1b[2J", b"fine\0\x1b"])
def test_names_of_tasks_are_clean(name: bytes) -> None:
    assert process_name(name).isprintable()
