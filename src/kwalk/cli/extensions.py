# SPDX-License-Identifier: MIT
"""What the ending of a file's name says of the format that is to be in it."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence

from kwalk.cli import values
from kwalk.errors import UsageError

# The formats that a file of each ending may hold; the first one is what is meant by the ending.
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
# Numbers, as of days or versions, say nothing of what is in a file.
_ANY = re.compile(r"\.[a-z][a-z0-9_-]*$")


def ending(path: str) -> str:
    """Return the ending of a file's name: a known one, the longest, or any; "" if it has none."""
    name = os.path.basename(path).lower().lstrip(".")
    known = [each for each in ENDINGS if name.endswith(each) and name != each]
    if known:
        return max(known, key=len)
    found = _ANY.search(name)
    return found[0] if found else ""


def choose_format(args: argparse.Namespace, names: Sequence[str]) -> None:
    """Choose the format where none was asked for: that of the file's ending, or the first one.

    :param args: Has ``format``, None where none was asked for, and ``output``.
    :param names: Of the formats that there are.
    :raises UsageError: if the ending is of no format, or of others than the one asked for.
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
    """Return the path of a page of HTML, or raise as ``argparse`` wants it from a type."""
    return _checked(path, HTML, "a page of HTML")


def check_recording(path: str) -> str:
    """Return the path of a recording; like ``check_page``."""
    return _checked(path, "", "a recording; `kwalk report` makes other files of it")


def promises_report(path: str) -> bool:
    """Whether a file of this name is expected to hold a report."""
    return ending(path) in ENDINGS


def _checked(path: str, wanted: str, what: str) -> str:
    if promises_report(path) and wanted not in ENDINGS[ending(path)]:
        raise argparse.ArgumentTypeError(f"{path} is not a name for {what}")
    return values.file_name(path)


def _usual(name: str) -> str:
    """Return the usual ending of a format; of the tree, which has none, that of text."""
    fitting = {each: of for each, of in ENDINGS.items() if name in of}
    return next((each for each, of in fitting.items() if of[0] == name), next(iter(fitting)))
