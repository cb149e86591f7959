# SPDX-License-Identifier: MIT
"""A file holds what the ending of its name says."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from recorded import profile, stack

from kwalk.cli.commands import diff
from kwalk.cli.extensions import ENDINGS, ending
from kwalk.cli.main import main
from kwalk.model.stack import Count
from kwalk.report.formats import FORMATS

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """A command line of each command, in a folder with a recording."""
    monkeypatch.chdir(tmp_path)
    profile(Count(stack("ip_rcv", "a", "main"), 5)).save("a.rec")
    return {"report": ["report", "a.rec"], "diff": ["diff", "a.rec", "a.rec"]}


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("x.html", ".html"),
        ("X.HTML", ".html"),
        ("a/b.c/x.svg", ".svg"),
        ("x.v2.json", ".json"),
        ("x.speedscope.json", ".speedscope.json"),
        ("x.pb.gz", ".pb.gz"),
        ("x.json.gz", ".gz"),
        ("x.png", ".png"),
        ("x", ""),
        (".html", ""),
        ("a.html/x", ""),
        ("x.2", ""),
        ("x.2026-11-30", ""),
        ("ip_rcv.6.1.0", ""),
        ("x.", ""),
        ("/dev/stdout", ""),
    ],
)
def test_ending_of_a_name(name: str, found: str) -> None:
    assert ending(name) == found


def test_format_names_all_have_an_extension() -> None:
    known = {name for names in ENDINGS.values() for name in names}
    assert known == {*FORMATS}
    assert known >= {*diff.FORMATS}


@pytest.mark.parametrize("end", ENDINGS)
def test_report_has_the_format_of_its_ending(
    words: dict[str, list[str]], run: Run, end: str
) -> None:
    assert run(main, *words["report"], "-o", f"x{end}")[0] == 0
    assert run(main, *words["report"], "-o", "wanted", "--format", ENDINGS[end][0])[0] == 0
    found, wanted = Path(f"x{end}").read_bytes(), Path("wanted").read_bytes()
    if end == ".pb.gz":  # the time of packing is in it
        found, wanted = gzip.decompress(found), gzip.decompress(wanted)
    assert found == wanted
    kinds: dict[str, Callable[[], object]] = {
        ".html": lambda: found.startswith(b"<!DOCTYPE html>"),
        ".json": lambda: json.loads(found)["stacks"],
        ".speedscope.json": lambda: json.loads(found)["profiles"],
        ".svg": lambda: b"<svg " in found,
        ".folded": lambda: found == b"main;a;ip_rcv 5\n",
    }
    assert end not in kinds or kinds[end]()


@pytest.mark.parametrize(
    ("name", "begins"), [("x.html", "<!DOCTYPE"), ("x.json", '{"schema":"kwalk.diff/'), ("x", "")]
)
def test_diff_has_the_format_of_its_ending(
    words: dict[str, list[str]], run: Run, name: str, begins: str
) -> None:
    assert run(main, *words["diff"], "-o", name)[0] == 0
    assert Path(name).read_text().startswith(begins)


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("report", "x.png"), ("report", "x.rec"), ("report", "x.pdf"), ("report", "x.json.gz"),
        ("report", "x.svgz"), ("diff", "x.svg"), ("diff", "x.csv"), ("diff", "x.pb.gz"),
    ],
)  # fmt: skip
def test_ending_of_no_format_is_refused(
    words: dict[str, list[str]], run: Run, command: str, name: str
) -> None:
    code, out, err = run(main, *words[command], "-o", name)
    assert (code, out) == (2, "")
    assert f"no format has the extension of {name}\n  Choose one with --for" in err
    assert ".html, " in err
    assert (".svg" in err.partition("known extensions are")[2]) == (command == "report")
    assert os.listdir() == ["a.rec"]
    if name not in ("x.svg", "x.csv", "x.pb.gz"):
        assert run(main, *words[command], "-o", name, "--format", "json")[0] == 0
        assert json.loads(Path(name).read_text())


@pytest.mark.parametrize(
    ("command", "form", "name", "usual"),
    [
        ("report", "json", "x.html", ".json"),
        ("report", "text", "x.svg", ".txt"),
        ("report", "flamegraph", "x.speedscope.json", ".html"),
        ("report", "json", "x.speedscope.json", ".json"),
        ("report", "csv", "x.html", ".csv,"),
        ("report", "folded", "x.html", ".folded,"),
        ("report", "speedscope", "x.txt", ".speedscope,"),
        ("diff", "tree", "x.html", ".txt"),
        ("diff", "json", "x.svg", ".json"),
    ],
)
def test_ending_of_another_format_is_refused(
    words: dict[str, list[str]], run: Run, command: str, form: str, name: str, usual: str
) -> None:
    code, out, err = run(main, *words[command], "-o", name, "--format", form)
    assert (code, out) == (2, "")
    assert f"the name {name} does not fit --format {form}\n" in err
    assert f"Give it another ending, such as {usual}" in err
    assert ("leave --format out" in err) == ((command, name) != ("diff", "x.svg"))
    assert os.listdir() == ["a.rec"]


@pytest.mark.parametrize(
    ("form", "name"), [("folded", "x.txt"), ("speedscope", "x.json"), ("csv", "x"), ("svg", "x.2")]
)
def test_format_may_go_into_what_names_no_other(
    words: dict[str, list[str]], run: Run, form: str, name: str
) -> None:
    assert run(main, *words["report"], "--format", form, "-o", name)[0] == 0


@pytest.mark.usefixtures("words")
@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("record ip_rcv -o x.html", "x.html is not a name for a recording"),
        ("record ip_rcv --output x.JSON", "x.JSON is not a name for a recording"),
        ("record ip_rcv --output=", "a file cannot have an empty name"),
        ("bench ip_rcv --html x.json", "x.json is not a name for a page of HTML"),
        ("compare ip_rcv --html x.svg", "x.svg is not a name for a page of HTML"),
        ("compare ip_rcv --html=", "a file cannot have an empty name"),
    ],
)
def test_name_of_something_else_is_refused(
    usage_error: Callable[..., str], command: str, why: str
) -> None:
    assert why in usage_error(main, *command.split())
    assert os.listdir() == ["a.rec"]
