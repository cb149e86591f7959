# SPDX-License-Identifier: MIT
"""What the parsers say of each command: for the reference and the man pages."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from typing import NamedTuple

from kwalk.cli.parsers import COMMANDS, build_parser, command_parser
from kwalk.cli.published import build_parser as published

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
    found = [_page(command_parser(name), summary) for name, summary in COMMANDS.items()]
    return [*found, _page(published(), "print the kernel stacks of a function by symbol names")]


def top() -> Page:
    """Return that of ``kwalk`` itself; its children have nothing but a summary."""
    parser = build_parser(None)
    page = _page(parser, "show the kernel call stacks that lead to a kernel function")
    page.usage = "kwalk [-h] [--version] COMMAND ..."
    return page


def _page(parser: argparse.ArgumentParser, summary: str) -> Page:
    sections = []
    children = []
    for group in parser._action_groups:
        options = []
        for action in group._group_actions:
            if isinstance(action, argparse._SubParsersAction):
                children = _children(action)
            elif action.help is not argparse.SUPPRESS:
                options.append(_option(parser, action))
        if options:
            sections.append(Section(group.title or "", group.description or "", options))
    return Page(
        parser.prog,
        summary,
        _usage(parser),
        parser.description or summary,
        sections,
        parser.epilog or "",
        children,
    )


def _children(action: argparse._SubParsersAction[argparse.ArgumentParser]) -> list[Page]:
    texts = {choice.dest: choice.help or "" for choice in action._get_subactions()}
    return [_page(parser, texts[name]) for name, parser in action.choices.items()]


def _usage(parser: argparse.ArgumentParser) -> str:
    form = argparse.HelpFormatter(parser.prog, width=_WIDE)
    groups = parser._mutually_exclusive_groups
    form.add_usage(parser.usage, parser._actions, groups, prefix="")
    return form.format_help().strip()


def _option(parser: argparse.ArgumentParser, action: argparse.Action) -> Option:
    form = argparse.HelpFormatter(parser.prog, width=_WIDE)
    text = ""
    if action.help:
        text = form._expand_help(action)
    elif action.choices is not None and action.metavar:
        text = ", ".join(map(str, action.choices))
    if action.option_strings:
        value = "" if action.nargs == 0 else form._format_args(action, action.dest.upper())
        names = tuple(action.option_strings)
    else:
        names, value = (), form._format_args(action, action.dest)
    default = action.default
    shown = isinstance(default, str | int | float) and default and default is not argparse.SUPPRESS
    if shown and value and not isinstance(default, bool) and "default" not in text:
        text = f"{text} (default: {default})".lstrip()
    return Option(names, value, text)
