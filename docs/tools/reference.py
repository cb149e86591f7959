# SPDX-License-Identifier: MIT
"""Pages of the reference, in MyST's Markdown, from the commands' options."""

from __future__ import annotations

import re
from pathlib import Path

from commands import Page, Section, pages
from examples import EXAMPLES

_INDEX = """# Commands and options

Made from what `--help` says. `kwalk FUNC`, without a command, is `kwalk count FUNC`.

| command | does |
|---|---|
"""


def escape(text: str) -> str:
    """Return text that Markdown shows as it is, but for what stands between backquotes."""
    parts = re.split(r"(`[^`]+`)", text)
    return "".join(
        part if index % 2 else re.sub(r"([\\*_\[\]<>$|#~{}^])", r"\\\1", part)
        for index, part in enumerate(parts)
    )


def _sections(page: Page, level: str) -> list[str]:
    lines = [f"```{{program}} {page.name}", "```", ""]
    for section in page.sections:
        lines += _section(section, level)
    return lines


def _section(section: Section, level: str) -> list[str]:
    lines = [f"{level} {escape(section.title.removeprefix('positional ').capitalize())}", ""]
    if section.text:
        lines += [escape(section.text), ""]
    for option in section.options:
        lines += [f"````{{option}} {', '.join(option.spellings)}", escape(option.text), "````", ""]
    return lines


def _code(*lines: str, language: str = "text") -> list[str]:
    return [f"```{language}", *lines, "```", ""]


def page_text(page: Page) -> str:
    """Return the page of a command."""
    lines = [f"# {escape(page.name)}", "", f"{escape(page.text).rstrip('.')}.", ""]
    lines += _code(page.usage)
    if "\n" in page.note:
        lines += _code(*page.note.splitlines())
    elif page.note:
        lines += [escape(page.note), ""]
    for command, text in EXAMPLES.get(page.name, []):
        lines += [text, "", *_code(command, language="sh")]
    lines += _sections(page, "##")
    for child in page.children:
        lines += [f"## {escape(child.name)}", "", f"{escape(child.text).rstrip('.')}.", ""]
        lines += _code(child.usage) + _sections(child, "###")
    return "\n".join(lines)


def write(folder: Path) -> list[Path]:
    """Write all pages, and their index, into a folder; what is there already and not one goes."""
    folder.mkdir(exist_ok=True)
    found = pages()
    rows = [f"| [{escape(p.name)}]({p.file}.md) | {escape(p.summary)} |" for p in found]
    toctree = ["", "```{toctree}", ":hidden:", "", *(page.file for page in found), "```", ""]
    texts = {page.file: page_text(page) for page in found}
    texts["index"] = _INDEX + "\n".join(rows + toctree)
    for path in folder.glob("*.md"):
        if path.stem not in texts:
            path.unlink()
    paths = []
    for name, text in texts.items():
        path = folder / f"{name}.md"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
        paths.append(path)
    return paths
