# SPDX-License-Identifier: MIT
"""``kwalk functions``: what can be traced, each once, and the reasons against the others."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from kwalk.cli.main import main
from kwalk.kernel import kallsyms_cache
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.probe import ftrace_sites, load
from kwalk.probe.ftrace_sites import Traceable

SYMBOLS = Kallsyms(
    b"ffffffff81000100 t show\n"
    b"ffffffff81000200 T tcp_one\n"
    b"ffffffff81000300 T tcp_two\n"
    b"ffffffff81000400 t show\n"
    b"ffffffffc0000000 t ovl_show\t[overlay]\n"
)
PLACES = frozenset({0xFFFFFFFF81000100, 0xFFFFFFFF81000204, 0xFFFFFFFFC0000000})
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Kallsyms, "read", lambda *_: SYMBOLS)
    monkeypatch.setattr(kallsyms_cache, "state", lambda *_: b"")
    monkeypatch.setattr(ftrace_sites, "read", lambda symbols, image: Traceable(PLACES))
    monkeypatch.setattr(load, "image", lambda: b"")


def test_functions_are_listed_with_the_reason_against_each(run: Run) -> None:
    code, out, err = run(main, "functions", "*")
    assert code == 0
    able, *rest = [line.partition(": ") for line in out.splitlines()]
    assert able == ("show 0xffffffff81000100", "", "")
    assert [name for name, _, why in rest if not why] == ["tcp_one", "ovl_show [overlay]"]
    assert {name for name, _, why in rest if why} == {"tcp_two", "show 0xffffffff81000400"}
    assert "5 functions, 3 can be traced" in err


def test_functions_matched_twice_are_listed_once(run: Run) -> None:
    _, out, _ = run(main, "functions", "tcp_*", "*_one", "show", "--format", "json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["name"] for row in rows] == ["show", "tcp_one", "tcp_two", "show"]
    assert [row["traceable"] for row in rows] == [True, True, False, False]


def test_misspelt_command_is_suggested(run: Run) -> None:
    code, _, err = run(main, "functions", "tcp_tree")
    assert code == 2
    assert "Did you mean" not in err
    for word, command in (("strean", "stream"), ("funktions", "functions")):
        code, _, err = run(main, word)
        if code == 2:  # else it could not come so far
            assert f"Did you mean the command: kwalk {command}" in err


def test_aliases_are_listed_beside_the_function(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    table = Kallsyms(b"ffffffff81000100 T __do_a\nffffffff81000100 T __ia32_a\n")
    monkeypatch.setattr(Kallsyms, "read", lambda *_: table)
    assert run(main, "functions", "__ia32_a")[1] == "__ia32_a (also __do_a)\n"
    row = json.loads(run(main, "functions", "*_a", "--format", "json")[1])
    assert (row["name"], row["aliases"]) == ("__do_a", ["__ia32_a"])
