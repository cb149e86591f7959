# SPDX-License-Identifier: MIT
"""Man pages: all that the parsers say is in them, and no formatter objects to anything."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from kwalk.cli.parsers import COMMANDS


@pytest.fixture(scope="session")
def tools(root: Path) -> ModuleType:
    """docs/tools/man.py, and what it imports."""
    sys.path.insert(0, str(root / "docs" / "tools"))
    return importlib.import_module("man")


@pytest.fixture(scope="session")
def pages(tools: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return list(tools.write(tmp_path_factory.mktemp("man")))


def needs(program: str, package: str) -> None:
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed (Debian: apt-get install {package})")


def test_man_pages_exist_for_each_command(pages: list[Path]) -> None:
    names = {page.stem for page in pages}
    assert names == {"kwalk", "bpf_get_stack_test", *(f"kwalk-{name}" for name in COMMANDS)}


def test_man_pages_are_installed() -> None:
    assert (Path(sys.prefix) / "share" / "man" / "man1" / "kwalk-count.1").exists()


def shown(page: Path) -> str:
    """What a reader sees, on one line."""
    words = ["mandoc", "-Tutf8", "-Owidth=1000", str(page)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    return " ".join(re.sub(".\b", "", done.stdout).split())


def test_man_pages_show_all_that_the_parsers_say(tools: ModuleType, pages: list[Path]) -> None:
    needs("mandoc", "mandoc")
    texts = {page.stem: shown(page) for page in pages}
    for page in tools.pages():
        text = texts[page.file]
        assert page.summary in text
        assert " ".join(page.note.split()) in text
        for option in page.options():
            assert ", ".join(option.spellings) in text
            assert " ".join(option.text.split()) in text, option
        for command, what in tools.EXAMPLES.get(page.name, []):
            assert f"{command} {what}" in text
        assert page.name.removeprefix("kwalk ") in texts["kwalk"]


def test_mandoc_finds_nothing_wrong(pages: list[Path]) -> None:
    needs("mandoc", "mandoc")
    done = subprocess.run(
        ["mandoc", "-Tlint", "-Wwarning", *pages], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_groff_finds_nothing_wrong(pages: list[Path]) -> None:
    needs("groff", "groff-base")
    for page in pages:
        words = ["groff", "-man", "-ww", "-b", "-z", "-Tutf8", str(page)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")


def test_man_shows_one(pages: list[Path]) -> None:
    needs("man", "man-db")
    page = next(page for page in pages if page.stem == "kwalk-count")
    env = {**os.environ, "MANWIDTH": "100", "MANPAGER": "cat", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(["man", "-l", page], env=env, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("KWALK-COUNT(1)")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "text", [".so x", "'tcp_*'", "\\fBx", "a - b", "a-b", "`x`", "^x$", "~x", '"x"', ".\\x"]
)
def test_text_is_shown_as_it_is(tools: ModuleType, tmp_path: Path, text: str) -> None:
    """Also at the beginning of a line, where groff looks for requests."""
    needs("mandoc", "mandoc")
    page = tmp_path / "x.1"
    lines = [".TH X 1 2026-01-01", ".SH NAME", r"x \- y", ".SH TEXT", *tools._text(text)]
    page.write_text("\n".join([*lines, *tools._literal(text)]) + "\n")
    assert f"TEXT {text} {text} " in shown(page)


def test_man_page_date_is_source_date_epoch(
    tools: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert "KWALK 1 1970-01-02 " in tools.main_page(tools.pages())
