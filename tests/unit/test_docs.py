# SPDX-License-Identifier: MIT
"""The documentation: its links lead somewhere, its commands can be typed, its site is whole."""

from __future__ import annotations

import importlib
import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest
from shown import blocks, kwalks, mentions

from kwalk.cli import main, parsers, published
from kwalk.cli.options import CommandLine
from kwalk.cli.parser import parse

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))


# Links


def anchors(page: Path) -> set[str]:
    """Names of a page's headings, as GitHub and MyST make them."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    heads = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def links(page: Path) -> list[str]:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL)
    return re.findall(r"\]\(([^)\s]+)\)", text)


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name
)
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


def test_pages_can_all_be_reached() -> None:
    """From the index, page by page; only what `make docs` makes is not there yet."""
    seen, todo = set(), [DOCS / "index.md"]
    while todo:
        page = todo.pop()
        if page not in seen:
            seen.add(page)
            todo += [(page.parent / link.partition("#")[0]).resolve() for link in links(page)
                     if link.partition("#")[0].endswith(".md")]  # fmt: skip
    # Somebody may add a page; the site's index lists all of them.
    assert [page for page in PAGES if page not in seen] == []


# Commands


def typed(scripts: Callable[[str], Iterator[str]]) -> list[tuple[str, str]]:
    found = {
        (page.name, shlex.join(words))
        for page in [*PAGES, ROOT / "README.md"]
        for script in scripts(page.read_text())
        for words in kwalks(script)
    }
    return sorted(found)


@pytest.fixture
def error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Let the real parsers have a command, and nothing be run; return what they object to."""

    def parse_only(line: CommandLine, words: list[str]) -> None:
        parse(line, words)
        raise SystemExit(0)

    def error(words: list[str]) -> str:
        with pytest.raises(SystemExit) as stop:
            {"kwalk": main.main, "bpf_get_stack_test": published.main}[words[0]](words[1:])
        return capsys.readouterr().err if stop.value.code else ""

    for module in (main, published):
        monkeypatch.setattr(module, "parse", parse_only)
    return error


@pytest.mark.parametrize(("page", "command"), typed(blocks))
def test_commands_can_be_typed(page: str, command: str, error: Callable[..., str]) -> None:
    assert error(shlex.split(command)) == ""


@pytest.mark.parametrize(("page", "command"), typed(mentions))
def test_mentioned_commands_are_there(page: str, command: str, error: Callable[..., str]) -> None:
    objection = error(shlex.split(command))
    assert not objection or re.search(r"are required|expected one argument", objection)


def test_commands_are_found_and_wrong_ones_refused(error: Callable[..., str]) -> None:
    script = """PATH=x kwalk lab run --out out -- sh -c '
      redis-server >/dev/null & sleep 3
      kwalk record a -o x  # comment
      kwalk record --no-such-option' && kwalk report - | less
    """
    names = [words[1:3] for words in kwalks(script)]
    assert names == [["lab", "run"], ["record", "a"], ["record", "--no-such-option"],
                     ["report", "-"]]  # fmt: skip
    assert "--no-such-option" in error(["kwalk", "record", "--no-such-option"])
    assert "'x' is not one of " in error(["kwalk", "report", "--format", "x"])
    assert len(typed(blocks)) > 60
    assert len(typed(mentions)) > 10


# The reference


@pytest.fixture(scope="session")
def tools() -> ModuleType:
    """docs/tools/reference.py, and what it imports."""
    sys.path.insert(0, str(DOCS / "tools"))
    return importlib.import_module("reference")


def test_reference_has_every_command_and_option(tools: ModuleType, tmp_path: Path) -> None:
    paths = tools.write(tmp_path)
    names = {path.stem for path in paths}
    assert {f"kwalk-{name}" for name in parsers.COMMANDS} < names
    for page in tools.pages():
        text = (tmp_path / f"{page.file}.md").read_text()
        for child in page.children:
            assert f"## {tools.escape(child.name)}\n" in text
        for option in page.options():
            assert f"{{option}} {', '.join(option.spellings)}\n{tools.escape(option.text)}" in text
    nothing_new = [path.stat().st_mtime_ns for path in paths]
    (tmp_path / "kwalk-gone.md").touch()
    assert [path.stat().st_mtime_ns for path in tools.write(tmp_path)] == nothing_new
    assert not (tmp_path / "kwalk-gone.md").exists()


def test_examples_can_be_typed(tools: ModuleType, error: Callable[..., str]) -> None:
    names = {page.name for page in tools.pages()}
    assert set(tools.EXAMPLES) <= names
    for name, examples in tools.EXAMPLES.items():
        for command, _ in examples:
            found = list(kwalks(command))
            assert found
            assert " ".join(found[0]).startswith(name.split()[0])
            for words in found:
                assert error(words) == ""


# Pictures


@pytest.mark.parametrize("picture", sorted(DOCS.glob("images/*.svg")), ids=lambda path: path.stem)
def test_pictures_are_whole_for_light_and_dark_and_shown(picture: Path) -> None:
    text = picture.read_text()
    tree = ElementTree.fromstring(text)
    space = "{http://www.w3.org/2000/svg}"
    assert tree.find(f"{space}title") is not None
    assert tree.find(f"{space}desc") is not None
    light, _, dark = text.partition("prefers-color-scheme: dark")
    classes = {name for found in re.findall(r'class="([^"]+)"', text) for name in found.split()}
    painted = {name for name in classes if re.search(rf"\.{name}\b[^}}]*(?:fill|stroke): #", light)}
    assert painted
    assert {name for name in painted if f".{name} " not in dark} == set()
    assert set(re.findall(r"https?://[^\"'\s)]+", text)) == {"http://www.w3.org/2000/svg"}
    assert any(f"images/{picture.name}" in page.read_text() for page in PAGES)


# The site


class Loaded(HTMLParser):
    """What a browser loads for a page by itself, and where its links lead."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.ids.add(found.get("id", ""))
        if tag == "a":
            self.links.append(found.get("href", ""))
            return
        for name in ("src", "href", "data", "srcset", "poster", "action"):
            if name in found and found.get("rel") not in ("next", "prev", "index", "search"):
                self.loaded.append(found[name])


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not all(map(importlib.util.find_spec, ("sphinx", "furo", "myst_parser"))):
        pytest.skip("Sphinx is not installed (make docs installs it)")
    folder = tmp_path_factory.mktemp("site")
    words = ["-m", "sphinx", "-q", "-W", "--keep-going", "-d", str(folder / "trees"), str(DOCS)]
    done = subprocess.run(
        [sys.executable, *words, str(folder / "html")], capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stderr) == (0, "")
    return folder / "html"


@pytest.mark.timeout(400)
def test_site_loads_nothing_from_outside(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > len(PAGES) + len(parsers.COMMANDS)
    for page in pages:
        for target in Loaded(page.read_text()).loaded:
            assert not re.match(r"([a-z]+:)?//", target), (page.name, target)
    for style in site.rglob("*.css"):
        for target in re.findall(r"url\(([^)]*)\)|@import", style.read_text()):
            assert target.strip("\"'").startswith(("data:", "#")), (style.name, target)
    for script in site.rglob("*.js"):
        text = script.read_text(errors="replace")
        assert not re.search(r"(fetch|import|open|load)\(?\s*[\"'`](https?:)?//", text), script.name


def test_links_of_the_site_lead_somewhere(site: Path) -> None:
    pages = {page: Loaded(page.read_text()) for page in site.rglob("*.html")}
    for page, found in pages.items():
        for link in found.links + found.loaded:
            name, _, anchor = link.partition("#")
            if re.match(r"[a-z]+:", link) or not link:
                continue
            target = (page.parent / name.partition("?")[0]).resolve() if name else page
            assert target.exists(), (page.name, link)
            if anchor and target in pages:
                assert anchor in pages[target].ids, (page.name, link)
