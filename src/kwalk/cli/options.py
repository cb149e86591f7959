# SPDX-License-Identifier: MIT
"""Command lines as data: commands, their options and arguments.

``parser.py`` makes an argparse parser of a command. Completion, the man pages and the reference
read this data, not the parser.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Any, NamedTuple


class Kind(Enum):
    """Number and use of an option's values."""

    VALUE = "one value; for an argument, ``nargs`` values"
    VALUES = "values, which accumulate if the option is repeated"
    FLAG = "no value: True if given"
    SWITCH = "no value: True for --NAME, False for --no-NAME"
    CONSTANT = "no value: ``const`` if given"
    HELP = "no value: print the help and exit"
    VERSION = "no value: print the version and exit"


class Complete(Enum):
    """Source of the values that a shell offers."""

    NOTHING = 0
    FILES = 1
    FOLDERS = 2
    TARGETS = 3
    TASKS = 4
    TASK_NAMES = 5
    CGROUPS = 6
    NETNS = 7
    PROGRAMS = 8
    KERNELS = 9
    METHODS = 10
    WORDS = 11


class Option(NamedTuple):
    """An option, or an argument.

    :ivar names: Spellings, such as ``-o`` and ``--output``; for an argument, its ``dest``.
    :ivar metavar: Stands for the value in ``--help``; "" for the choices.
    :ivar type: Converts a word, or raises ``argparse.ArgumentTypeError``.
    :ivar choices: Valid words, each with its meaning or "".
    :ivar dest: Attribute that holds the value; "" derives it from ``names`` as argparse does.
    :ivar nargs: For an argument: ``?``, ``*`` or ``+`` values, ``...`` for the rest; "" for one.
    :ivar const: Value of ``Kind.CONSTANT``.
    """

    names: tuple[str, ...]
    help: str = ""
    metavar: str = ""
    type: Callable[[str], object] = str
    default: object = None
    choices: Mapping[str, str] = {}
    kind: Kind = Kind.VALUE
    complete: Complete = Complete.NOTHING
    dest: str = ""
    nargs: str = ""
    const: object = None

    @property
    def is_argument(self) -> bool:
        """Whether it is positional."""
        return not self.names[0].startswith("-")

    @property
    def takes_value(self) -> bool:
        """Whether a value follows its name."""
        return not self.is_argument and self.kind in (Kind.VALUE, Kind.VALUES)

    @property
    def spellings(self) -> tuple[str, ...]:
        """Names with ``--no-NAME`` of a switch; none for an argument."""
        if self.is_argument:
            return ()
        more = [f"--no-{name[2:]}" for name in self.names if self.kind is Kind.SWITCH]
        return (*self.names, *more)

    @property
    def value(self) -> str:
        """Value as in usage lines: ``N``, ``{text,json}``, ``[FILE ...]``, or ""."""
        if not (self.is_argument or self.takes_value):
            return ""
        one = self.metavar or f"{{{','.join(self.choices)}}}"
        return {"?": f"[{one}]", "*": f"[{one} ...]", "+": f"{one} [{one} ...]"}.get(
            self.nargs, one
        )


class Section(NamedTuple):
    """Options under a title of their own in ``--help``."""

    title: str
    text: str
    options: tuple[Item, ...]


class OneOf(NamedTuple):
    """Options of which exactly one is given."""

    options: tuple[Option, ...]


Item = Option | Section | OneOf
HELP = Option(("-h", "--help"), "show this help message and exit", kind=Kind.HELP)


class CommandLine(NamedTuple):
    """Syntax and help of a command.

    :ivar prog: Name as typed: ``kwalk lab run``.
    :ivar summary: Line in lists of commands.
    :ivar description: Text above the options in ``--help``.
    :ivar usage: Usage after ``prog``; "" derives it from the options.
    :ivar epilog: Text below the options.
    :ivar literal: Keep the line breaks of the epilog.
    :ivar children: Subcommands by name, of which one must be given.
    :ivar child: Metavar of a subcommand: ``ACTION``.
    :ivar helps: Whether it has ``--help``.
    """

    prog: str
    summary: str = ""
    description: str = ""
    options: tuple[Item, ...] = ()
    usage: str = ""
    epilog: str = ""
    literal: bool = False
    children: Mapping[str, CommandLine] = {}
    child: str = ""
    helps: bool = True

    def each(self) -> Iterator[Option]:
        """Yield all options and arguments, ``--help`` first."""
        yield from flat(self.items)

    @property
    def items(self) -> tuple[Item, ...]:
        """Options with ``--help``."""
        return (HELP, *self.options) if self.helps else self.options

    def sections(self) -> Iterator[Section]:
        """Yield the sections of ``--help``: arguments, options, titled sections."""
        plain = [
            option
            for item in self.items
            if not isinstance(item, Section)
            for option in flat((item,))
        ]
        arguments = tuple(option for option in plain if option.is_argument)
        yield Section("positional arguments", "", arguments)
        rest = tuple(option for option in plain if not option.is_argument)
        yield Section("options", "", rest)
        yield from (item for item in self.options if isinstance(item, Section))


def flat(items: tuple[Item, ...]) -> Iterator[Option]:
    """Yield the options of all items, in order."""
    for item in items:
        if isinstance(item, Option):
            yield item
        else:
            yield from flat(item.options)


def option(*names: str, help: str = "", **fields: Any) -> Option:
    """Return an option, or an argument, of these names."""
    return Option(names, help, **fields)


def flag(name: str, help: str) -> Option:
    """Return an option without a value: True if given, else False."""
    return Option((name,), help, default=False, kind=Kind.FLAG)


def words(*names: str) -> dict[str, str]:
    """Return choices without explanations."""
    return dict.fromkeys(names, "")
