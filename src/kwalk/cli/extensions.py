# SPDX-License-Identifier: MIT
"""Formats by file extension."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence

from kwalk.cli import values
from kwalk.errors import UsageError

# Formats that a file with each extension may have; the first one is the default.
ENDINGS = {
    ".txt": ("text", "tree", "folded", "csv"),
    ".text": ("text", "tree", "folded", "csv"),
    ".log": ("text", "tree"),
    ".folded": ("folded",),
    ".collapsed": ("folded",),
    ".json": ("json", "speedscope"),
    ".csv": ("csv",),
    ".pb.gz": ("pprof",),
    ".pprof": ("pprof",),
    ".speedscope": ("speedscope",),
    ".speedscope.json": ("speedscope",),
    ".perfetto": ("perfetto",),
    ".perfetto-trace": ("perfetto",),
    ".pftrace": ("perfetto",),
    ".html": ("flamegraph",),
    ".htm": ("flamegraph",),
    ".svg": ("svg",),
}
HTML = "flamegraph"
# An extension begins with a letter: numbers are dates or versions.
_ANY = re.compile(r"\.[a-z][a-z0-9_-]*$")


def ending(path: str) -> str:
    """Return the extension of a file: the longest known one, else any, else ""."""
    name = os.path.basename(path).lower().lstrip(".")
    known = [each for each in ENDINGS if name.endswith(each) and name != each]
    if known:
        return max(known, key=len)
    found = _ANY.search(name)
    return found[0] if found else ""


def choose_format(args: argparse.Namespace, names: Sequence[str]) -> None:
    """Set ``args.format`` by the extension of the output file, unless ``--format`` was given.

    :param args: With ``format`` (or None) and ``output``.
    :param names: Formats of the command; the first one is the default.
    :raises UsageError: if the extension is unknown, or does not fit ``--format``.
    """
    found = ending(args.output) if args.output else ""
    meant = ENDINGS.get(found, ())
    if args.format is not None:
        if meant and args.format not in meant:
            raise UsageError(
                f"the name {args.output} does not fit --format {args.format}",
                f"Give it another ending, such as {_usual(args.format)}"
                + (", or leave --format out." if set(meant) & set(names) else "."),
            )
        return
    fitting = [name for name in meant if name in names]
    if found and not fitting:
        known = sorted({each for each, of in ENDINGS.items() if of[0] in names})
        raise UsageError(
            f"no format has the extension of {args.output}",
            f"Choose one with --format; known extensions are {', '.join(known)}.",
        )
    args.format = fitting[0] if fitting else names[0]


def check_page(path: str) -> str:
    """Type of options: path of an HTML page."""
    return _checked(path, HTML, "a page of HTML")


def check_recording(path: str) -> str:
    """Type of options: path of a recording."""
    return _checked(path, "", "a recording; `kwalk report` makes other files of it")


def promises_report(path: str) -> bool:
    """Whether a file has the extension of a report."""
    return ending(path) in ENDINGS


def _checked(path: str, wanted: str, what: str) -> str:
    if promises_report(path) and wanted not in ENDINGS[ending(path)]:
        raise argparse.ArgumentTypeError(f"{path} is not a name for {what}")
    return values.file_name(path)


def _usual(name: str) -> str:
    """Return the usual extension of a format; a tree has the extension of text."""
    fitting = {each: of for each, of in ENDINGS.items() if name in of}
    return next((each for each, of in fitting.items() if of[0] == name), next(iter(fitting)))
