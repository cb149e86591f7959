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
    """How often, and with what, an option is given."""

    VALUE = "one value, or of an argument as many as ``nargs`` says"
    VALUES = "values, which add up when it is given again"
    FLAG = "no value: True where it is given"
    SWITCH = "no value: True for --NAME, False for --no-NAME"
    CONSTANT = "no value: ``const`` where it is given"
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

    :ivar names: Spellings, such as ``-o`` and ``--output``; of an argument its ``dest`` alone.
    :ivar metavar: Stands for the value in ``--help``; "" for the choices.
    :ivar type: Converts a word, or raises ``argparse.ArgumentTypeError``.
    :ivar choices: Words that are taken, each with its meaning, or "".
    :ivar dest: Attribute that holds the value; "" derives it from ``names`` as argparse does.
    :ivar nargs: Of an argument: ``?``, ``*`` or ``+`` values, ``...`` for all the rest; "" for
        exactly one.
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
        """Whether it is given by its place."""
        return not self.names[0].startswith("-")

    @property
    def takes_value(self) -> bool:
        """Whether a value follows its name."""
        return not self.is_argument and self.kind in (Kind.VALUE, Kind.VALUES)

    @property
    def spellings(self) -> tuple[str, ...]:
        """Names to type, ``--no-NAME`` of a switch among them; of an argument none."""
        if self.is_argument:
            return ()
        more = [f"--no-{name[2:]}" for name in self.names if self.kind is Kind.SWITCH]
        return (*self.names, *more)

    @property
    def value(self) -> str:
        """The value as usage lines show it: ``N``, ``{text,json}``, ``[FILE ...]``, or ""."""
        if not (self.is_argument or self.takes_value):
            return ""
        one = self.metavar or f"{{{','.join(self.choices)}}}"
        return {"?": f"[{one}]", "*": f"[{one} ...]", "+": f"{one} [{one} ...]"}.get(
            self.nargs, one
        )


class Section(NamedTuple):
    """Options that ``--help`` shows under a title of their own."""

    title: str
    text: str
    options: tuple[Item, ...]


class OneOf(NamedTuple):
    """Options of which exactly one is given."""

    options: tuple[Option, ...]


Item = Option | Section | OneOf
HELP = Option(("-h", "--help"), "show this help message and exit", kind=Kind.HELP)


class CommandLine(NamedTuple):
    """A command, as far as parsing is concerned.

    :ivar prog: As it is typed: ``kwalk lab run``.
    :ivar summary: A line that lists of commands show.
    :ivar description: Stands above the options in ``--help``.
    :ivar usage: Follows ``prog`` in the usage; "" derives it from the options.
    :ivar epilog: Stands below the options.
    :ivar literal: The epilog's lines stay as they are.
    :ivar children: Commands of this one by their names; it takes one of them.
    :ivar child: Stands for such a name: ``ACTION``.
    :ivar helps: It has ``--help``.
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
        """The options with ``--help``."""
        return (HELP, *self.options) if self.helps else self.options

    def sections(self) -> Iterator[Section]:
        """Yield arguments, options, and the sections that have titles of their own."""
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
    """Yield the options of sections and alternatives, one by one."""
    for item in items:
        if isinstance(item, Option):
            yield item
        else:
            yield from flat(item.options)


def option(*names: str, help: str = "", **fields: Any) -> Option:
    """Return an option, or an argument, of these names."""
    return Option(names, help, **fields)


def flag(name: str, help: str) -> Option:
    """Return an option without a value, which is False where it is not given."""
    return Option((name,), help, default=False, kind=Kind.FLAG)


def words(*names: str) -> dict[str, str]:
    """Return choices that need no explanation."""
    return dict.fromkeys(names, "")
