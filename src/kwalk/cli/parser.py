# SPDX-License-Identifier: MIT
"""Parsers of command lines: argparse by its public API, made of ``options.CommandLine``.

Options cannot be abbreviated. The parser of a command reports its errors.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NoReturn, Protocol

from kwalk.cli.options import CommandLine, Kind, OneOf, Option, flat
from kwalk.support.stdio import write
from kwalk.version import __version__

# argparse formats each option once when it is added, for any width. To get the terminal's width it
# would import shutil and more.
_TRIED_WIDTH = 80
# Stands for "--" as the value of an option, which argparse would drop. No argv contains a NUL.
_DASHES = "\0"

Declared = Callable[[Option, argparse.Action], object]


class _Container(Protocol):
    """A parser, or a group of one."""

    def add_argument(self, *names: str, **how: Any) -> argparse.Action: ...


class _Print(argparse.Action):
    """Prints a text and exits; a write error is reported."""

    def __init__(self, *, text: Callable[[], str], **how: Any) -> None:
        super().__init__(nargs=0, default=argparse.SUPPRESS, **how)
        self.text = text

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> NoReturn:
        """Print and exit."""
        write(self.text())
        parser.exit()
        raise AssertionError


def build(
    line: CommandLine, declared: Declared = lambda option, action: None
) -> argparse.ArgumentParser:
    """Make the parser of a command.

    :param declared: Called with each option and its argparse action.
    """
    form = argparse.RawDescriptionHelpFormatter if line.literal else argparse.HelpFormatter
    parser = argparse.ArgumentParser(
        prog=line.prog,
        usage=f"{line.prog} {line.usage}" if line.usage else None,
        description=line.description or None,
        epilog=line.epilog or None,
        formatter_class=partial(form, width=_TRIED_WIDTH),
        allow_abbrev=False,
        add_help=False,
    )

    def declare(container: _Container, items: Iterable[Option]) -> None:
        for option in items:
            declared(option, container.add_argument(*option.names, **_how(option, help_text)))

    def help_text() -> str:
        return index(line) if line.children else parser.format_help()

    for item in line.items:
        if isinstance(item, Option):
            declare(parser, [item])
        elif isinstance(item, OneOf):
            declare(parser.add_mutually_exclusive_group(required=True), item.options)
        else:
            declare(parser.add_argument_group(item.title, item.text), flat(item.options))
    if line.children:
        parser.add_argument("child", metavar=line.child, type=_one_of(line.children))
    parser.formatter_class = form
    return parser


def _how(option: Option, help_text: Callable[[], str]) -> dict[str, Any]:
    """Return the keyword arguments of ``add_argument`` for an option."""
    how: dict[str, Any] = {"help": option.help.replace("%", "%%") or None}
    if option.dest:
        how["dest"] = option.dest
    if option.kind is Kind.HELP:
        return {**how, "action": _Print, "text": help_text}
    if option.kind is Kind.VERSION:
        return {**how, "action": _Print, "text": lambda: f"kwalk {__version__}\n"}
    how["default"] = option.default
    if option.kind is Kind.FLAG:
        return {**how, "action": "store_true"}
    if option.kind is Kind.SWITCH:
        return {**how, "action": argparse.BooleanOptionalAction}
    if option.kind is Kind.CONSTANT:
        return {**how, "action": "store_const", "const": option.const}
    if option.kind is Kind.VALUES:
        how["action"] = "extend"
    if option.nargs:
        how["nargs"] = option.nargs
    convert = _one_of(option.choices) if option.choices else option.type
    how["type"] = convert if option.is_argument else _behind_equals(convert)
    return {**how, "metavar": option.metavar or f"{{{','.join(option.choices)}}}"}


def _one_of(known: Collection[str]) -> Callable[[str], str]:
    """Return the type of a word of a choice."""

    def convert(text: str) -> str:
        from kwalk.cli.values import word_of

        return word_of(known)(text)

    return convert


def _behind_equals(convert: Callable[[str], object]) -> Callable[[str], object]:
    return lambda text: convert("--" if text == _DASHES else text)


def parse(line: CommandLine, words: Sequence[str]) -> argparse.Namespace:
    """Parse the words after a command, or print an error and exit.

    ``kwalk lab run``: the subcommand is found first, and its own parser takes the rest.
    """
    unknown: list[str] = []
    child = None
    if line.children:
        at = next((at for at, word in enumerate(words) if not word.startswith("-")), len(words))
        found, unknown = build(line).parse_known_args(words[: at + 1])
        child, words = found.child, words[at + 1 :]
        line = line.children[child]
    parser = build(line)
    found, more = parser.parse_known_args(list(_guarded(line, words)))
    unknown += more
    if unknown and not _take(line, found, unknown):
        parser.error(f"unrecognized arguments: {' '.join(unknown)}; see {line.prog} --help")
    if child:
        found.action = child
    return found


def _guarded(line: CommandLine, words: Iterable[str]) -> Iterator[str]:
    """Yield the words, with ``_DASHES`` in ``--option=--``."""
    valued = {name for option in line.each() if option.takes_value for name in option.names}
    for word in words:
        name, equals, value = word.partition("=")
        yield f"{name}={_DASHES}" if equals and value == "--" and name in valued else word


def _take(line: CommandLine, found: argparse.Namespace, words: Sequence[str]) -> bool:
    """Append words that follow an option to the FILE argument; return whether that is possible."""
    if any(word.startswith("-") for word in words):
        return False
    for option in line.each():
        if option.is_argument and option.metavar == "FILE" and option.nargs == "*":
            (name,) = option.names
            setattr(found, name, [*getattr(found, name), *words])
            return True
    return False


def first_argument(line: CommandLine, words: Sequence[str]) -> str | None:
    """Return the first word that is neither an option nor the value of one."""
    valued = {name for option in line.each() if option.takes_value for name in option.names}
    rest = iter(words)
    for word in rest:
        if not word.startswith("-"):
            return word
        if word in valued:
            next(rest, None)
    return None


def index(line: CommandLine) -> str:
    """Format the help of a command with subcommands, as wide as the terminal.

    The layout is argparse's for subparsers.
    """
    import shutil
    import textwrap

    width = shutil.get_terminal_size().columns - 2
    children = [(4, name, child.summary) for name, child in line.children.items()]
    options = [(2, ", ".join(option.names), option.help) for option in line.each()]
    widest = max(indent + len(name) for indent, name, _ in [*children, *options]) + 2
    column = min(widest, 24, max(width - 20, 4))

    def filled(text: str) -> str:
        return textwrap.fill(text, max(width, 11))

    def rows(found: list[tuple[int, str, str]]) -> Iterator[str]:
        for indent, name, text in found:
            first, *more = textwrap.wrap(text, max(width - column, 11))
            head = f"{'':{indent}}{name}"
            if len(head) > column - 2:
                yield head
                more, first, head = [first, *more], "", ""
            if first:
                yield f"{head:{column}}{first}"
            yield from (f"{'':{column}}{rest}" for rest in more)

    parts = [
        f"usage: {line.prog} {line.usage}",
        filled(line.description),
        "\n".join(["positional arguments:", f"  {line.child}", *rows(children)]),
        "\n".join(["options:", *rows(options)]),
        filled(line.epilog) if line.epilog else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"
