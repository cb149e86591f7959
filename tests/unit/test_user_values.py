# SPDX-License-Identifier: MIT
"""Values that users give, on command lines and to the library: refused in a sentence, or taken."""

from __future__ import annotations

import io
import warnings
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import pytest
from hostile import run, unprintable

import kwalk
from kwalk.abi import Output
from kwalk.bench.workload import check_metric
from kwalk.cli import completing, parsers
from kwalk.cli.options import CommandLine
from kwalk.cli.parser import parse
from kwalk.errors import UsageError
from kwalk.kernel import cgroups
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.options import filter_names
from kwalk.options.keywords import Choices, probe_options
from kwalk.probe.selection import matching
from kwalk.support.printable import clean_stderr
from kwalk.support.regex import BadPattern, compiled
from kwalk.tui.prompt import pattern_of

REDIS = str(Path(__file__).parents[1] / "data" / "redis.rec")
PATTERNS = [
    "a{99999999999999999999}",
    "(" * 3000 + ")" * 3000,
    "[",
    "(?P<a",
    "(?i",
    "*",
    "(?<=a+)",
    "\\",
    "a{4294967295}{4294967295}",
    "(?P<x>a)(?P<x>b)",
]


@pytest.mark.parametrize("text", PATTERNS)
def test_patterns_that_are_none_are_refused_everywhere(text: str) -> None:
    with pytest.raises(BadPattern):
        compiled(text)
    with pytest.raises(BadPattern):
        check_metric(text)
    found = kwalk.open(REDIS)
    for choice in ("from_caller", "group"):
        with pytest.raises(UsageError, match=choice):
            found.narrow(**{choice: text})  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="is not a regular expression"):
        matching(f"/{text}/", Kallsyms(b"ffffffff81000000 T _text\n"))
    with pytest.raises(UsageError):
        probe_options({"from_caller": text}, Output.COUNT)
    assert pattern_of(text).search(f"<{text}>")
    for words in (
        ["report", REDIS, "--group", text],
        ["report", REDIS, "--from-caller", text],
        ["bench", "ip_rcv", "--metric", text],
    ):
        code, _, err = run(words)
        assert code == 2
        assert "is not a regular expression" in err
        assert len(err) < 3000


@pytest.mark.parametrize("text", ["[[a]", "[a--b]x|[", "[a||b]", "/[a&&b]/"])
def test_regex_future_warnings_are_not_shown(text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with suppress(BadPattern):
            compiled(text)


NASTY = [
    *("", "-1", "0", "nan", "inf", "-inf", "1e999", "1e300", "5e-324", "9" * 4301, "9" * 400, "/"),
    *("\udcff", "\x1b[2J", "a" * 10_000, "1-2", "2-1", "nan-nan", "0-1e999", "%", "1/0", "=", ","),
    *("1/" + "9" * 5000, "0-99999", "\u0663", "\u00b2", "..", "*" * 3000, "(" * 3000, "\n"),
]


def options_of(name: str) -> list[tuple[str, ...]]:
    """Option strings of a command, of its own commands as well."""

    def each(line: CommandLine, *before: str) -> list[tuple[str, ...]]:
        valued = [option for option in line.each() if option.takes_value]
        found = [(*before, text) for option in valued for text in option.spellings]
        for word, child in line.children.items():
            found += each(child, *before, word)
        return found

    return each(parsers.command_line(name))


@pytest.mark.parametrize("name", parsers.COMMANDS)
def test_option_values_never_cause_a_traceback(name: str) -> None:
    """Checked as far as no kernel is needed: the words of a command line are parsed."""
    line = parsers.command_line(name)
    for words in options_of(name):
        for value in NASTY:
            given = [*words[:-1], f"{words[-1]}={value}"]
            code, err = run_parser(line, given)
            assert code in (0, 2)
            assert not unprintable(err)


def test_two_dashes_after_an_equals_sign_are_a_value() -> None:
    for option in ("--format", "--seconds", "--top", "--min"):
        code, out, err = run(["report", REDIS, f"{option}=--"])
        assert (code, out) == (2, "")
        assert f"argument {option}: " in err
    assert "other_groups" in run(["report", REDIS, "--group=--"])[1]


def run_parser(line: CommandLine, words: list[str]) -> tuple[int, str]:
    err = io.StringIO()
    with redirect_stdout(io.StringIO()), redirect_stderr(err), clean_stderr():
        try:
            parse(line, words)
        except SystemExit as end:
            return int(end.code or 0), err.getvalue()
    return 0, err.getvalue()


@pytest.mark.parametrize("value", NASTY)
def test_report_values_never_cause_a_traceback(tmp_path: Path, value: str) -> None:
    for option in ("--seconds", "--group", "--from-caller", "--until", "--top", "--min", "--title"):
        code, out, err = run(["report", REDIS, f"{option}={value}"])
        assert code in (0, 2)
        assert not unprintable(out + err)
    for words in (["report", value], ["info", value], ["diff", REDIS, value]):
        code, _, err = run(words)
        assert code in (1, 2)
        assert err.startswith(("kwalk", "usage"))
        assert not unprintable(err)
    output = (
        str(tmp_path / value) if len(value) > 20 else str(tmp_path / f"x{ord(value[:1] or 'x')}")
    )
    assert run(["report", REDIS, "-o", output])[0] in (0, 1, 2)


ARGUMENTS: list[Any] = [
    *("", "a\0b", "\ud800", "a" * 10_000, -1, 0, 1 << 64, 10**5000, -(10**5000), float("nan")),
    *(float("inf"), -0.0, 1e308, None, True, [], ["a\0b"], ["\ud800"], [-1], [10**5000], [1 << 40]),
    *(
        [[]],
        {},
        object(),
        b"\xff",
        [b"x"],
        ["9" * 4301],
        (1, 10**400),
        (float("nan"), 1),
        Path("a\0b"),
    ),
    *([Path("a\0b")], ["x" * 10_000], ("a",), ["/" + "x/" * 3000]),
]


@pytest.mark.parametrize("name", list(Choices.__annotations__))
def test_choices_of_the_library_are_refused_in_a_sentence(name: str) -> None:
    for value in ARGUMENTS:
        with suppress(kwalk.KwalkError):
            probe_options({name: value}, Output.COUNT)  # type: ignore[misc]


@pytest.mark.parametrize("name", ["from_caller", "until", "group", "apart", "seconds"])
def test_parts_of_a_profile_are_refused_in_a_sentence(name: str) -> None:
    found = kwalk.open(REDIS)
    for value in ARGUMENTS:
        with suppress(kwalk.KwalkError):
            found.narrow(**{name: value})


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "a" * 10_000, "", Path("a\0b")])
def test_names_that_no_file_can_have_are_said(name: str | Path) -> None:
    for use in (kwalk.open, kwalk.open(REDIS).save):
        with pytest.raises(kwalk.KwalkError, match=r"cannot be (read|written)"):
            use(name)


def test_numbers_of_network_namespaces_have_an_end() -> None:
    for number in ("9" * 4301, "4294967296"):
        with pytest.raises(UsageError, match="not the inode number of a network namespace"):
            filter_names._netns(number)
    assert filter_names._netns("4294967295") == 4294967295


def test_tasks_may_have_names_that_are_no_text(tmp_path: Path, monkeypatch: Any) -> None:
    for pid, name in (("7", b"\xff\xfe\x1b[2J\n"), ("8", b"bash\n"), ("9", b"a\nb\n")):
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "comm").write_bytes(name)
        (tmp_path / pid / "status").write_bytes(b"Name:\t" + name + b"Tgid:\t" + pid.encode())
    monkeypatch.setattr(completing, "PROC", str(tmp_path))
    assert completing.processes() == {"7": "\ufffd\ufffd?[2J", "8": "bash", "9": "a?b"}
    monkeypatch.setattr(filter_names, "PROC", tmp_path)
    filter_names._check_process(7)


def test_folders_may_have_names_that_are_no_text(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_bytes(
        b"1 2 3:4 / /mnt/\xff rw - ext4 /dev/x rw\n"
        b"5 6 7:8 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n"
    )
    assert cgroups.hierarchy(mounts) == cgroups.Hierarchy(Path("/sys/fs/cgroup"), 0)


def test_symbols_may_have_names_that_are_no_text() -> None:
    text = b"ffffffff81000000 T _text\nffffffff81000010 t a\xffb\t[m\xfe]\n"
    symbols = Kallsyms(text)
    assert "a\ufffdb" in symbols.functions()
    assert [s.module for s in symbols.functions_of("\udcff")] == []
    assert symbols.address("\ud800") == 0
