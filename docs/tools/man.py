# SPDX-License-Identifier: MIT
"""Man pages of all commands, from their options: ``python docs/tools/man.py FOLDER``."""

from __future__ import annotations

import os
import sys
import textwrap
import time
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from commands import Page, Section, pages, top
from examples import EXAMPLES

from kwalk import __version__

EXIT = [
    ("0", "Done."),
    ("1", "Failed, with a message; also where --verify found a difference, or --strict a loss."),
    ("2", "The command line asks for something that cannot be."),
    ("130", "Ended by Ctrl-C before tracing had begun; kwalk bench and kwalk lab, by any Ctrl-C."),
    ("128 + N", "Ended at once by a second signal N: SIGINT (Ctrl-C) or SIGTERM."),
]
ENVIRONMENT = [
    ("KWALK_CACHE", "Folder for the kernels of the lab (~/.cache/kwalk)."),
    ("KWALK_KERNELS", "Folder of kernels that the lab may use besides Debian's."),
    ("NO_COLOR", "Where it is set, no colours are used."),
]
_SPECIAL = {"\\": r"\(rs", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti"}


def escape(text: str) -> str:
    """Return text, within a line, that groff prints as it is."""
    return "".join(_SPECIAL.get(letter, letter) for letter in text)


def _plain(line: str) -> str:
    """Return a line that groff prints as it is: one that begins with a full stop is a request."""
    return (r"\&" if line.startswith(".") else "") + escape(line)


def _text(text: str) -> list[str]:
    """Return lines of running text."""
    lines = textwrap.wrap(text, 76, break_long_words=False, break_on_hyphens=False)
    return [_plain(line) for line in lines]


def _literal(text: str) -> list[str]:
    """Return lines that stay as they are."""
    lines = [_plain(line) if line else ".sp" for line in text.splitlines()]
    return [".PP", ".nf", *lines, ".fi"]


def _option(spellings: Iterable[str], names: Iterable[str], text: str) -> list[str]:
    """Return one with what it does: names bold, values italic."""
    known = set(names)
    parts = []
    for spelling in spellings:
        name, _, value = spelling.partition(" ") if known else ("", "", spelling)
        bold = rf"\fB{escape(name)}\fR" if name else ""
        slanted = rf"\fI{escape(value)}\fR" if value else ""
        parts.append(f"{bold} {slanted}".strip())
    return [".TP", ", ".join(parts), *(_text(text) or [r"\&"])]


def _sections(sections: list[Section], heading: str) -> list[str]:
    lines = []
    for section in sections:
        title = section.title.removeprefix("positional ").upper()
        lines.append(f"{heading} {escape(title)}")
        lines += _text(section.text)
        for option in section.options:
            lines += _option(option.spellings, option.names, option.text)
    return lines


def _facts(rows: Iterable[tuple[str, str]]) -> list[str]:
    return [line for name, text in rows for line in (".TP", rf"\fB{escape(name)}\fR", *_text(text))]


def _synopsis(page: Page) -> list[str]:
    words = page.usage.removeprefix(page.name).strip()
    return [rf"\fB{escape(page.name)}\fR {escape(words)}".rstrip()]


def _sentence(text: str) -> str:
    text = text[0].upper() + text[1:]
    return text if text.endswith(".") else f"{text}."


def man(page: Page, also: list[str]) -> str:
    """Return the man page of a command.

    :param also: Names of the man pages that it refers to.
    """
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH") or time.time())
    date = time.strftime("%Y-%m-%d", time.gmtime(epoch))
    lines = [
        r".\" Written by docs/tools/man.py.",
        f'.TH {escape(page.file.upper())} 1 {date} "kwalk {__version__}" "kwalk"',
        ".SH NAME",
        rf"{escape(page.file)} \- {escape(page.summary)}",
        ".SH SYNOPSIS",
        *_synopsis(page),
    ]
    for child in page.children:
        lines += [".br", *_synopsis(child)]
    lines += [".SH DESCRIPTION", *_text(_sentence(page.text))]
    if page.note:
        lines += _literal(page.note) if "\n" in page.note else [".PP", *_text(page.note)]
    lines += _sections(page.sections, ".SH")
    for child in page.children:
        lines += [f".SH {escape(child.name.upper())}", *_text(_sentence(child.text))]
        lines += _sections(child.sections, ".SS")
    if page.name in EXAMPLES:
        lines.append(".SH EXAMPLES")
        for command, text in EXAMPLES[page.name]:
            lines += [".TP", rf"\fB{escape(command)}\fR", *_text(text)]
    lines += [".SH EXIT STATUS", *_facts(EXIT)]
    if page.name == "kwalk lab":
        lines += [".PP", *_text("kwalk lab run exits with its command's.")]
        lines += [".SH ENVIRONMENT", *_facts(ENVIRONMENT[:2])]
    lines += [".SH SEE ALSO", ",\n".join(rf"\fB{escape(name)}\fR(1)" for name in also)]
    return "\n".join(lines) + "\n"


def main_page(names: list[Page]) -> str:
    """Return kwalk(1)."""
    page = top()
    page.children = []
    text = man(page, [each.file for each in names])
    commands = [".SH COMMANDS"]
    for each in names:
        if each.name.startswith("kwalk "):
            name = each.name.removeprefix("kwalk ")
            commands += [".TP", rf"\fB{name}\fR", *_text(_sentence(each.summary))]
    more = [*commands, ".SH ENVIRONMENT", *_facts(ENVIRONMENT), ".SH EXIT STATUS"]
    return text.replace(".SH EXIT STATUS", "\n".join(more))


def write(folder: Path) -> list[Path]:
    """Write all man pages into a folder; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    found = pages()
    texts = {"kwalk": main_page(found)}
    for page in found:
        also = ["kwalk"] + [other.file for other in found if other is not page]
        texts[page.file] = man(page, also)
    paths = []
    for name, text in texts.items():
        path = folder / f"{name}.1"
        path.write_text(text, encoding="utf-8")
        paths.append(path)
    return paths


if __name__ == "__main__":
    print(*write(Path(sys.argv[1])), sep="\n")
