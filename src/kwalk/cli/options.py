# SPDX-License-Identifier: MIT
"""Options that several commands share, each declared once; ``add`` gives them to a parser."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from kwalk.cli import extensions, values
from kwalk.options.keywords import PER

RECORDING = "kwalk.rec"
Group = Callable[[argparse._ActionsContainer], object]


def add(parser: argparse._ActionsContainer, *groups: Group) -> None:
    """Declare options, in this order."""
    for group in groups:
        group(parser)


def option(*names: str, **how: Any) -> Group:
    """Return an option, or an argument, as ``add_argument`` takes it."""
    return lambda parser: parser.add_argument(*names, **how)


def several(*groups: Group) -> Group:
    """Return options that belong together."""
    return lambda parser: add(parser, *groups)


def section(title: str, text: str, *groups: Group) -> Group:
    """Return options that ``--help`` shows under a title of their own."""
    return lambda parser: add(parser.add_argument_group(title, text), *groups)


def top(text: str) -> Group:
    """Return how many are to be shown.

    :param text: Of what, and what is shown otherwise.
    """
    return option("--top", type=values.positive_int, metavar="N", help=text)


def formats(by_ending: bool = False, /, **texts: str) -> Group:
    """Return the choice of a format; the first one is the default.

    :param by_ending: None is, for ``endings.choose_format``.
    :param texts: What each is, in a few words, by its name.
    """
    what = "; ".join(f"{name}: {text}" for name, text in texts.items())
    if by_ending:
        what += f" (default: by the ending of OUT's name, or {next(iter(texts))})"

    def add_format(parser: argparse._ActionsContainer) -> None:
        default = None if by_ending else next(iter(texts))
        added = parser.add_argument("--format", choices=tuple(texts), default=default, help=what)
        # For shells that show what each value means.
        added.completer = lambda **_: texts  # type: ignore[attr-defined]

    return add_format


def duration(text: str = "stop after S seconds") -> Group:
    """Return how long it goes on."""
    return option("--duration", type=values.seconds, metavar="S", help=text)


def page(text: str) -> Group:
    """Return the file of a page that is written as well."""
    return option(
        "--html",
        type=extensions.check_page,
        metavar="FILE",
        help=f"write {text}, too; it needs no network",
    )


DURATION = duration()
PER_WHAT = option(
    "--per",
    choices=[name for name in PER if name],
    help="count each process, name of a task, CPU or cgroup apart; in softirqs and "
    "interrupts the task is the one that happened to run",
)
ADDRESSES = option(
    "--addr",
    action=argparse.BooleanOptionalAction,
    help="show the address of each frame (default: in JSON only)",
)
OUTPUT = option(
    "-o",
    "--output",
    type=values.output,
    metavar="OUT",
    help="write to this file (default, or -: standard output)",
)
ONE_RECORDING = option(
    "recording",
    nargs="?",
    default=RECORDING,
    metavar="FILE",
    help="a recording, or - for standard input (default: %(default)s)",
)
SHAPE = several(
    option(
        "--from-caller",
        type=values.expression,
        metavar="REGEX",
        help="only stacks that come through a function whose name this finds",
    ),
    option(
        "--until",
        type=values.name_pattern,
        metavar="NAME",
        help="leave out what lies outside of the first frame of this name ('*_sendmsg' will do)",
    ),
)
RECORDINGS = option(
    "recordings",
    nargs="*",
    default=[RECORDING],
    metavar="FILE",
    help=f"recordings, - for standard input; several are added up (default: {RECORDING})",
)
NARROWED = several(
    option(
        "--seconds",
        type=values.span,
        metavar="A-B",
        help="only the intervals, of about a second, whose middle lies between these seconds of a "
        "recording; A-: to its end",
    ),
    SHAPE,
    option(
        "--group",
        type=values.expression,
        metavar="REGEX",
        help="only groups (of --per) in whose name, as it is shown, this finds something",
    ),
    option(
        "--no-groups",
        action="store_true",
        help="add up what was counted apart by --per: each stack once",
    ),
)
TREES = several(
    option(
        "--callers",
        action="store_true",
        help="trees, flame graphs, folded lines: begin at the traced function, callers below it",
    ),
    option(
        "--min",
        type=values.share,
        metavar="PERCENT",
        help="trees: sum up branches with a smaller share of all calls "
        "(default: 0.5; with --top: 0)",
    ),
    option(
        "--title",
        default="",
        metavar="TEXT",
        help="what stands above the report, or before its name",
    ),
)


def addresses(args: argparse.Namespace) -> bool:
    """Whether addresses are to be shown."""
    return bool(args.format == "json" if args.addr is None else args.addr)
