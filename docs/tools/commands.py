# SPDX-License-Identifier: MIT
"""Pages about the commands, from their options: for the reference and the man pages."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from kwalk.cli import options, published
from kwalk.cli.options import CommandLine
from kwalk.cli.parser import build
from kwalk.cli.parsers import COMMANDS, command_line, kwalk

_WIDE = 10_000


class Option(NamedTuple):
    """An option, or an argument.

    :ivar names: As they are typed, without a value; of an argument none.
    :ivar value: What stands for its value: ``N``; "" where it takes none.
    :ivar text: What it does, its default with it.
    """

    names: tuple[str, ...]
    value: str
    text: str

    @property
    def spellings(self) -> list[str]:
        """How it is written: ``-o FILE``, ``--output FILE``."""
        return [f"{name} {self.value}".strip() for name in self.names] or [self.value]


class Section(NamedTuple):
    """Options that belong together."""

    title: str
    text: str
    options: list[Option]


@dataclass
class Page:
    """A command.

    :ivar name: As it is typed: ``kwalk lab run``.
    :ivar summary: One line.
    :ivar note: What stands below all, lines as they are.
    :ivar children: The commands that it has.
    """

    name: str
    summary: str
    usage: str
    text: str
    sections: list[Section]
    note: str = ""
    children: list[Page] = field(default_factory=list)

    @property
    def file(self) -> str:
        """A name for files: ``kwalk-lab-run``."""
        return self.name.replace(" ", "-")

    def options(self) -> list[Option]:
        """All options and arguments, those of its children as well."""
        own = [option for section in self.sections for option in section.options]
        return own + [option for child in self.children for option in child.options()]


def pages() -> list[Page]:
    """Return one for each command, in the order of ``kwalk --help``."""
    return [_page(line) for line in (*map(command_line, COMMANDS), published.LINE)]


def top() -> Page:
    """Return that of ``kwalk`` itself; its children have nothing but a summary."""
    page = _page(
        kwalk()._replace(summary="show the kernel call stacks that lead to a kernel function")
    )
    page.usage = "kwalk [-h] [--version] COMMAND ..."
    return page


def _page(line: CommandLine) -> Page:
    sections = []
    for section in line.sections():
        shown = [_option(option) for option in options.flat(section.options)]
        if shown:
            sections.append(Section(section.title, section.text, shown))
    return Page(
        line.prog,
        line.summary,
        _usage(line),
        line.description or line.summary,
        sections,
        line.epilog,
        [_page(child) for child in line.children.values()],
    )


def _usage(line: CommandLine) -> str:
    parser = build(line)
    parser.formatter_class = partial(argparse.HelpFormatter, width=_WIDE)
    return parser.format_usage().removeprefix("usage: ").strip()


def _option(option: options.Option) -> Option:
    text = option.help or (", ".join(option.choices) if option.metavar else "")
    default = option.default
    shown = isinstance(default, str | int | float) and default and not isinstance(default, bool)
    if shown and option.value and "default" not in text:
        text = f"{text} (default: {default})".lstrip()
    return Option(option.spellings, option.value, text)
