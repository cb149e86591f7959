# SPDX-License-Identifier: MIT
"""Options that say whose calls are wanted."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable

from kwalk.commands.options import one_in
from kwalk.errors import UsageError
from kwalk.probe.filters import Filters
from kwalk.probe.wanted import Wanted

_ABOUT = (
    "They ask about the task that runs on the CPU when the function is called. In softirqs and "
    "interrupts that is whichever happened to run: the network's receive path, for example, may "
    "run in the name of the sender, of ksoftirqd, or of a process that has nothing to do with it. "
    "Several values of one option mean any of them; several options mean all."
)


def numbers(text: str) -> list[int]:
    """Whole numbers with commas between them."""
    words = text.split(",")
    if not all(word.isdecimal() and len(word) < 10 for word in words):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number, or several with commas")
    return [int(word) for word in words]


def ranges(text: str) -> list[int]:
    """Numbers of CPUs and ranges of them: ``0-3,5``."""
    found: list[int] = []
    for word in text.split(","):
        match = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", word, re.ASCII)
        if not match:
            raise argparse.ArgumentTypeError(f"{text!r} is not of the form 0-3,5")
        low, high = int(match[1]), int(match[2] or match[1])
        if low > high:
            raise argparse.ArgumentTypeError(f"{word} has no CPU in it: {high}-{low} has")
        found += range(low, high + 1)
    return found


def words(text: str) -> list[str]:
    """Words with commas between them."""
    return text.split(",")


def add_filter_options(parser: argparse.ArgumentParser) -> None:
    """Declare whose calls are wanted."""
    group = parser.add_argument_group("filters (in the kernel)", _ABOUT)

    def add(name: str, kind: Callable[[str], object], metavar: str, text: str) -> None:
        group.add_argument(name, type=kind, action="extend", default=[], metavar=metavar, help=text)

    add("--pid", numbers, "PID", "calls by these processes; ends when they have ended")
    add("--tid", numbers, "TID", "calls by these threads")
    add("--comm", words, "NAME", "calls by tasks of these names (of threads, 15 bytes at most)")
    add("--cgroup", words, "PATH", "calls by tasks in these cgroups (version 2), or below them")
    add("--netns", words, "NAME", "calls by tasks in these network namespaces: a name of "
        "`ip netns`, a path such as /proc/1/ns/net, or an inode number")  # fmt: skip
    add("--cpu", ranges, "LIST", "calls on these CPUs, such as 0-3,5")
    group.add_argument(
        "--follow",
        action="store_true",
        help="with --pid or a command: calls by the processes that these start, too",
    )
    group.add_argument(
        "--sample",
        type=one_in,
        metavar="1/N",
        help="a random one in N of the calls that are wanted; those left alone are counted",
    )
    parser.usage = f"{parser.prog} [options] FUNC... [-- COMMAND...]"
    parser.epilog = "-- COMMAND: run this, trace its calls only, and end with it."


def filters(args: argparse.Namespace, child: int | None = None) -> Filters:
    """Return the filters that were asked for.

    :param child: The process of a command to be run.
    :raises UsageError: if something that they name is not there.
    """
    if args.follow and not args.pid and not child:
        raise UsageError(
            "--follow wants processes to follow",
            "Give --pid, or a command: kwalk count FUNC --follow -- COMMAND.",
        )
    wanted = Wanted(
        args.pid, args.tid, args.comm, args.cpu, args.netns, args.cgroup, bool(args.follow)
    )
    return wanted.filters(child)
