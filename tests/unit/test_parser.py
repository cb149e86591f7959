# SPDX-License-Identifier: MIT
"""Parsers made of options: their help, their values, and what argparse would do otherwise."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from kwalk.cli import parsers, values
from kwalk.cli.options import HELP, CommandLine, Kind, OneOf, Option, Section, flag, option, words
from kwalk.cli.parser import build, first_argument, index, parse

LINE = CommandLine(
    "kwalk x",
    options=(
        option("files", metavar="FILE", nargs="*", default=["a"], help="files"),
        option("-o", "--output", metavar="OUT", type=values.output, help="where to, 5 % of it"),
        flag("--all", "all of them"),
        option("--per", choices=words("pid", "comm"), help="groups"),
        option(
            "--pid",
            kind=Kind.VALUES,
            dest="pids",
            default=[],
            type=values.numbers,
            metavar="N",
        ),
        option("--cost", kind=Kind.SWITCH, help="cost"),
        Section("more", "Text.", (option("--top", type=values.positive_int, metavar="N"),)),
    ),
)


@pytest.mark.parametrize("name", [None, "lab"])
@pytest.mark.parametrize("columns", [20, 35, 44, 60, 80, 100, 200])
def test_index_is_laid_out_as_argparse_does_subparsers(
    monkeypatch: pytest.MonkeyPatch, name: str | None, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    line = parsers.command_line(name) if name else parsers.kwalk()
    parser = argparse.ArgumentParser(
        prog=line.prog,
        usage=f"{line.prog} {line.usage}",
        description=line.description,
        epilog=line.epilog or None,
    )
    for each in line.options:
        assert isinstance(each, Option)
        parser.add_argument(*each.names, action="version", version="0")
    children = parser.add_subparsers(metavar=line.child)
    for child, found in line.children.items():
        children.add_parser(child, help=found.summary)
    assert index(line) == parser.format_help()


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ([], {"files": ["a"], "output": None, "all": False, "pids": [], "cost": None}),
        (["b", "c"], {"files": ["b", "c"]}),
        (["b", "--all", "c"], {"files": ["b", "c"], "all": True}),
        (["-o", "-"], {"output": None}),
        (["-ox"], {"output": "x"}),
        (["--output=--"], {"output": "--"}),
        (["--pid=1,2", "--pid", "3"], {"pids": [1, 2, 3]}),
        (["--no-cost", "--top=3"], {"cost": False, "top": 3}),
        (["--", "--all"], {"files": ["--all"], "all": False}),
    ],
)
def test_values_are_parsed_by_their_options(given: list[str], found: dict[str, Any]) -> None:
    args = vars(parse(LINE, given))
    assert {name: args[name] for name in found} == found


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (["--al"], "unrecognized arguments: --al; see kwalk x --help"),
        (["--all", "b", "--nosuch"], "unrecognized arguments: --nosuch; see kwalk x --help"),
        (["--top=--"], "argument --top: '--' is not a whole number above 0"),
        (["--all=--"], "argument --all: ignored explicit argument '--'"),
        (["--output"], "argument -o/--output: expected one argument"),
    ],
)
def test_faults_are_told_by_the_command(
    capsys: pytest.CaptureFixture[str], given: list[str], fault: str
) -> None:
    with pytest.raises(SystemExit) as stop:
        parse(LINE, given)
    assert stop.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"kwalk x: error: {fault}"


def test_one_of_several_options_is_required(capsys: pytest.CaptureFixture[str]) -> None:
    line = CommandLine(
        "x",
        options=(
            OneOf(
                (option("--a", metavar="A"), option("--b", metavar="B")),
            ),
        ),
    )
    assert parse(line, ["--a", "1"]).a == "1"
    with pytest.raises(SystemExit):
        parse(line, [])
    assert "one of the arguments --a --b is required" in capsys.readouterr().err


def test_first_argument_is_no_value_of_an_option() -> None:
    assert first_argument(LINE, ["--top", "3", "--all", "x", "y"]) == "x"
    assert first_argument(LINE, ["--cost", "x"]) == "x"
    assert first_argument(LINE, ["-o", "x"]) is None
    assert first_argument(LINE, ["--output=x", "y"]) == "y"


def test_sections_hold_every_option_once() -> None:
    for line in (LINE, *map(parsers.command_line, parsers.COMMANDS)):
        held = [each for section in line.sections() for each in section.options]
        assert sorted(held) == sorted(line.each())
        assert held.count(HELP) == 1


def test_options_say_what_argparse_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    for line in (LINE, *map(parsers.command_line, parsers.COMMANDS)):
        shown = build(line).format_help()
        for each in line.each():
            for spelling in each.spellings:
                # Python 3.13 shows the value once, behind all spellings.
                together = f"{', '.join(each.spellings)} {each.value}".strip()
                assert f"{spelling} {each.value}".strip() in shown or together in shown
            assert each.help in " ".join(shown.split())
