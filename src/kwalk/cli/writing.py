# SPDX-License-Identifier: MIT
"""Write a report to standard output or to a file."""

from __future__ import annotations

import argparse
import os
import stat
import sys
from collections.abc import Collection, Iterable, Mapping

from kwalk.cli import screen
from kwalk.errors import UsageError
from kwalk.report.style import ReportOptions
from kwalk.support.atomic_file import Replacement
from kwalk.support.printable import plain_lines
from kwalk.support.stdio import encoded, write_pieces


def look(args: argparse.Namespace, addresses: bool | None) -> ReportOptions:
    """Return the options of a report.

    :param args: With ``output``, ``top``, and the options of ``shared_options.TREES``.
    :param addresses: See ``ReportOptions``.
    """
    terminal = args.output is None and sys.stdout.isatty()
    return ReportOptions(
        top=args.top,
        addresses=addresses,
        callers=args.callers,
        least=args.min,
        terminal=terminal,
        width=screen.width(40),
        color=terminal and screen.colors(),
        title=args.title,
    )


def heeded(args: argparse.Namespace, heeds: Mapping[str, Collection[str]]) -> None:
    """Check that all options given have an effect on the format.

    :param args: With ``format``, ``top``, the options of ``shared_options.TREES``, maybe ``addr``
        and ``all``.
    :param heeds: Options that each format uses.
    :raises UsageError: if one has none.
    """
    given = {"callers": args.callers, "min": args.min is not None, "title": args.title}
    given["addr"] = getattr(args, "addr", None) is not None
    given |= {"top": args.top is not None, "all": getattr(args, "all", False)}
    for name, is_given in given.items():
        if is_given and name not in heeds[args.format]:
            those = ", ".join(each for each, names in heeds.items() if name in names)
            raise UsageError(
                f"--{name} has no effect with --format {args.format}", f"It works with {those}."
            )


def spare(inputs: Iterable[str], output: str | None) -> None:
    """Check that a report does not overwrite one of its inputs.

    :param inputs: Paths; ``-`` is standard input.
    :raises UsageError: if it would.
    """
    for path in inputs:
        try:
            read = os.fstat(sys.stdin.fileno()) if path == "-" else os.stat(path)
            same = output is not None and os.path.samestat(read, os.stat(output))
        except (OSError, ValueError, AttributeError):
            continue  # one does not exist; opening it reports that
        if same and stat.S_ISREG(read.st_mode):
            raise UsageError(
                f"{output} is an input and would be overwritten", "Give another file with -o."
            )


def write_report(
    pieces: Iterable[str | bytes],
    path: str | None,
    *,
    binary: bool = False,
    people: bool = False,
    secret: bool = False,
) -> None:
    """Write the pieces of a report.

    :param path: None is standard output.
    :param binary: Refuse to write to a terminal.
    :param people: Text for people; other text has control characters removed on a terminal only.
    :param secret: Only root can read the file, if root writes it.
    :raises OutputError: if they cannot be written.
    """
    if path is None and binary and sys.stdout.isatty():
        raise UsageError("refusing to write a binary format to a terminal", "Give a file with -o.")
    if people or (path is None and not binary and sys.stdout.isatty()):
        pieces = (
            piece if isinstance(piece, bytes) else plain_lines(piece, styles=people)
            for piece in pieces
        )
    if path is None:
        _write(pieces)
        return
    with Replacement(path, private=secret and os.geteuid() == 0) as file:
        for piece in pieces:
            file.write(piece)
        file.finish()


def _write(pieces: Iterable[str | bytes]) -> None:
    for piece in pieces:
        if not write_pieces([piece if isinstance(piece, bytes) else encoded(piece)]):
            return
