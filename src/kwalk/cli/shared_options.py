# SPDX-License-Identifier: MIT
"""Options that several commands share, each declared once."""

from __future__ import annotations

import argparse

from kwalk.cli import extensions, values
from kwalk.cli.options import Complete, Kind, Option, flag, option, words
from kwalk.options.keywords import PER

RECORDING = "kwalk.rec"


def top(text: str) -> Option:
    """Return ``--top``.

    :param text: Help.
    """
    return option("--top", type=values.positive_int, metavar="N", help=text)


def formats(by_ending: bool = False, /, **texts: str) -> Option:
    """Return ``--format``; the first format is the default.

    :param by_ending: No default; ``extensions.choose_format`` chooses.
    :param texts: Description of each format by its name.
    """
    what = "; ".join(f"{name}: {text}" for name, text in texts.items())
    if by_ending:
        what += f" (default: by the extension of OUT, else {next(iter(texts))})"
    default = None if by_ending else next(iter(texts))
    return option("--format", choices=texts, default=default, help=what)


def duration(text: str = "stop after S seconds") -> Option:
    """Return ``--duration``."""
    return option("--duration", type=values.seconds, metavar="S", help=text)


def page(text: str) -> Option:
    """Return ``--html``, the path of a page that is written in addition."""
    return option(
        "--html",
        type=extensions.check_page,
        metavar="FILE",
        complete=Complete.FILES,
        help=f"also write {text}; it needs no network",
    )


DURATION = duration()
PER_WHAT = option(
    "--per",
    choices=words(*filter(None, PER)),
    help="aggregate also by process, task name, CPU or cgroup; in softirqs and interrupts "
    "the task is the interrupted one",
)
ADDRESSES = option(
    "--addr",
    kind=Kind.SWITCH,
    help="show the address of each frame (default: in JSON only)",
)
OUTPUT = option(
    "-o",
    "--output",
    type=values.output,
    metavar="OUT",
    complete=Complete.FILES,
    help="output file (default: standard output, as is -)",
)
ONE_RECORDING = option(
    "recording",
    nargs="?",
    default=RECORDING,
    metavar="FILE",
    complete=Complete.FILES,
    help=f"a recording, or - for standard input (default: {RECORDING})",
)
SHAPE = (
    option(
        "--from-caller",
        type=values.expression,
        metavar="REGEX",
        help="show only stacks with a caller matching REGEX",
    ),
    option(
        "--until",
        type=values.name_pattern,
        metavar="NAME",
        help="cut stacks after the first frame named NAME, which may be a pattern ('*_sendmsg')",
    ),
)
RECORDINGS = option(
    "recordings",
    nargs="*",
    default=[RECORDING],
    metavar="FILE",
    complete=Complete.FILES,
    help=f"recordings, or - for standard input; several are merged (default: {RECORDING})",
)
NARROWED = (
    option(
        "--seconds",
        type=values.span,
        metavar="A-B",
        help="show only seconds A to B of a recording; A-: up to its end. Intervals, of about a "
        "second, are selected by their midpoints",
    ),
    *SHAPE,
    option(
        "--group",
        type=values.expression,
        metavar="REGEX",
        help="show only groups (of --per) whose displayed name matches REGEX",
    ),
    flag("--no-groups", "merge the groups of --per: one count per stack"),
)
TREES = (
    flag(
        "--callers",
        "trees, flame graphs, folded lines: traced function at the root, callers below",
    ),
    option(
        "--min",
        type=values.share,
        metavar="PERCENT",
        help="trees: merge branches with a smaller share of all calls "
        "(default: 0.5; with --top: 0)",
    ),
    option(
        "--title",
        default="",
        metavar="TEXT",
        help="title of the report, or prefix of its own title",
    ),
)


def addresses(args: argparse.Namespace) -> bool:
    """Whether to show addresses."""
    return bool(args.format == "json" if args.addr is None else args.addr)
