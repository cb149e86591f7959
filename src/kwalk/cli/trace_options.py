# SPDX-License-Identifier: MIT
"""Tracing options and filters; ``dest`` is the keyword in ``options.keywords.Choices``."""

from __future__ import annotations

import argparse
from typing import cast

from kwalk.cli import values
from kwalk.cli.options import Complete, Kind, Option, Section, flag, option, words
from kwalk.cli.shared_options import SHAPE
from kwalk.options import limits
from kwalk.options.keywords import ATTACHES, METHODS, Choices

TARGET = (
    option(
        "functions",
        nargs="*",
        metavar="FUNC",
        complete=Complete.TARGETS,
        help="kernel function, such as ip_rcv; FUNC+0x1f: an instruction in it; r:FUNC: its "
        "return; MODULE:FUNC: a module's function; 'tcp_*' or '/^ip6?_rcv$/': all that match "
        "(`kwalk functions` lists them); t:sched:sched_switch: a tracepoint",
    ),
    option(
        "--freq",
        dest="frequency",
        type=values.within(limits.FREQUENCY),
        metavar="N",
        help="instead of FUNC: sample the kernel stack of each CPU N times a second",
    ),
)
METHOD = option(
    "--method",
    choices=words(*METHODS),
    default="auto",
    help="manual: walk the stack in BPF; helper: call bpf_get_stackid(); "
    "auto: manual if the kernel supports it",
)
PROBE = (
    option(
        "--attach",
        choices=words(*ATTACHES),
        default="auto",
        help="attach type; auto: the cheapest that the kernel supports, fentry for one function, "
        "kprobe.multi for many. With r:FUNC they stand for fexit and kretprobes",
    ),
    option(
        "--depth",
        type=values.within(limits.DEPTH),
        default=limits.DEPTH.default,
        metavar="N",
        help="maximum frames per stack; deeper stacks are truncated "
        f"(default: {limits.DEPTH.default})",
    ),
    option(
        "--nodes",
        type=values.within(limits.NODES),
        default=limits.NODES.default,
        metavar="N",
        help="manual: size of the calling-context tree in nodes "
        f"(default: {limits.NODES_PER_CPU} per CPU, at least {limits.nodes_for(1)}); once it is "
        "full, new stacks are truncated",
    ),
    option(
        "--fast",
        kind=Kind.SWITCH,
        default=True,
        help="manual: generate BPF programs for the stacks that are seen most, which take less "
        "than the walk (default); --no-fast: always walk",
    ),
    option(
        "--stack-entries",
        type=values.within(limits.STACK_ENTRIES),
        default=limits.STACK_ENTRIES.default,
        metavar="N",
        help="helper: size of each of its two stack maps, in stacks "
        f"(default: {limits.STACK_ENTRIES.default})",
    ),
    flag("--strict", "exit with code 1 if any hit was lost"),
)
VERIFY = option(
    "--verify",
    type=values.one_in,
    default=limits.VERIFY.default,
    metavar="1/N",
    help="compare the walk with the kernel's own unwinder for a random one in N hits, "
    "or for each (--verify alone); exit with code 1 if any stack differs",
)
RING = option(
    "--ring",
    dest="ring_mib",
    type=values.ring_mib,
    default=limits.RING_MIB.default,
    metavar="MIB",
    help=f"size of the BPF ring buffer in MiB (default: {limits.RING_MIB.default})",
)
BUDGET = option(
    "--budget",
    type=values.percent,
    metavar="P%",
    help="limit overhead to P% of used CPU time by sampling; skipped calls are counted",
)
_ABOUT_FILTERS = (
    "Filters look at the task that is current on the CPU when the probe fires. In softirqs and "
    "interrupts that is the interrupted task: the network's receive path, for example, may run as "
    "the sender, as ksoftirqd, or as an unrelated process. A hit passes if it matches any value of "
    "each option."
)


def _filter(
    name: str,
    parse: values.Type,
    choice: str,
    metavar: str,
    text: str,
    complete: Complete = Complete.NOTHING,
) -> Option:
    """Return an option whose values accumulate if it is repeated."""
    return Option(
        (name,), text, metavar, parse, [], kind=Kind.VALUES, complete=complete, dest=choice
    )


_FILTERS = (
    _filter("--pid", values.numbers, "pids", "PID",
            "only these processes; tracing ends when they have ended", Complete.TASKS),
    _filter("--tid", values.numbers, "tids", "TID", "only these threads", Complete.TASKS),
    _filter("--comm", values.words, "comms", "NAME",
            "only tasks of these names (of threads, at most 15 bytes)", Complete.TASK_NAMES),
    _filter("--cgroup", values.words, "cgroups", "PATH",
            "only tasks in these cgroups (version 2) or below", Complete.CGROUPS),
    _filter("--netns", values.words, "netns", "NAME",
            "only tasks in these network namespaces: a name of `ip netns`, a path such as "
            "/proc/1/ns/net, or an inode number", Complete.NETNS),
    _filter("--cpu", values.cpus, "cpus", "LIST", "only these CPUs, such as 0-3,5"),
    flag("--follow", "with --pid or a command: also trace child processes started from now on"),
    option(
        "--sample",
        type=values.one_in,
        metavar="1/N",
        help="trace a random one in N of the calls that pass the filters; skipped calls are "
        "counted",
    ),
)  # fmt: skip
FILTERS = Section("filters (in the kernel)", _ABOUT_FILTERS, _FILTERS)


# Options of all commands that trace by any method.
TRACING = (*PROBE, VERIFY, BUDGET, *SHAPE, FILTERS)
# For commands that take a command of the user.
USAGE = "[options] FUNC... [-- COMMAND...]"
EPILOG = "-- COMMAND: run COMMAND, trace only its calls, and stop when it ends."


def choices(args: argparse.Namespace) -> Choices:
    """Return the tracing options that were given."""
    given = {name: value for name, value in vars(args).items() if value not in (None, [])}
    return cast(Choices, {name: given[name] for name in Choices.__annotations__ if name in given})
