# SPDX-License-Identifier: MIT
"""Options that say whose calls are wanted."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from kwalk.commands.values import numbers, one_in, ranges, words
from kwalk.errors import UsageError
from kwalk.probe.filters import Filters
from kwalk.probe.wanted import Wanted

_ABOUT = (
    "They ask about the task that runs on the CPU when the function is called. In softirqs and "
    "interrupts that is whichever happened to run: the network's receive path, for example, may "
    "run in the name of the sender, of ksoftirqd, or of a process that has nothing to do with it. "
    "Several values of one option mean any of them; several options mean all."
)


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
