# SPDX-License-Identifier: MIT
"""Options that say how to trace, and whose calls: each is kept by the name of its choice.

``options.keywords.Choices`` says what the choices are, and what is made of them.
"""

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
        help="kernel function, such as ip_rcv; FUNC+0x1f for an instruction inside it, "
        "r:FUNC for its return, MODULE:FUNC for one of a module, 'tcp_*' or '/^ip6?_rcv$/' for all "
        "that match (`kwalk functions` lists them); t:sched:sched_switch for a tracepoint",
    ),
    option(
        "--freq",
        dest="frequency",
        type=values.within(limits.FREQUENCY),
        metavar="N",
        help="in place of FUNC: N samples a second of what each CPU does in the kernel",
    ),
)
METHOD = option(
    "--method",
    choices=words(*METHODS),
    default="auto",
    help="manual walks the stack in BPF; helper asks the kernel (bpf_get_stackid); "
    "auto is manual where the kernel allows it",
)
PROBE = (
    option(
        "--attach",
        choices=words(*ATTACHES),
        default="auto",
        help="way of attaching; auto takes the cheapest that the kernel lets us have: fentry for "
        "one function, kprobe.multi for many. For r:FUNC these mean fexit and kretprobes",
    ),
    option(
        "--depth",
        type=values.within(limits.DEPTH),
        default=limits.DEPTH.default,
        metavar="N",
        help="most frames of a stack; deeper ones are marked truncated "
        f"(default: {limits.DEPTH.default})",
    ),
    option(
        "--nodes",
        type=values.within(limits.NODES),
        default=limits.NODES.default,
        metavar="N",
        help="manual: frames, each in its context, that the tree of stacks has room for "
        f"(default: {limits.NODES_PER_CPU} for each CPU, {limits.nodes_for(1)} at least); when it "
        "is full, stacks are cut short and marked truncated",
    ),
    option(
        "--stack-entries",
        type=values.within(limits.STACK_ENTRIES),
        default=limits.STACK_ENTRIES.default,
        metavar="N",
        help="helper: stacks that each of its stack maps can hold "
        f"(default: {limits.STACK_ENTRIES.default})",
    ),
    flag("--strict", "exit code 1 if any call was lost, whatever the cause"),
)
VERIFY = option(
    "--verify",
    type=values.one_in,
    default=limits.VERIFY.default,
    metavar="1/N",
    help="compare the walk with the kernel's own unwinder on a random one in N events, "
    "or on every one (--verify alone); exit code 1 if any stack differs",
)
RING = option(
    "--ring",
    dest="ring_mib",
    type=values.ring_mib,
    default=limits.RING_MIB.default,
    metavar="MIB",
    help=f"size of the ring buffer between kernel and kwalk (default: {limits.RING_MIB.default})",
)
BUDGET = option(
    "--budget",
    type=values.percent,
    metavar="P%",
    help="keep what tracing costs, programs and kwalk itself, under this share of the CPU time "
    "that the machine uses, by taking calls at random; those left alone are counted",
)
_ABOUT_FILTERS = (
    "They ask about the task that runs on the CPU when the function is called. In softirqs and "
    "interrupts that is whichever happened to run: the network's receive path, for example, may "
    "run in the name of the sender, of ksoftirqd, or of a process that has nothing to do with it. "
    "Several values of one option mean any of them; several options mean all."
)


def _filter(
    name: str,
    parse: values.Type,
    choice: str,
    metavar: str,
    text: str,
    complete: Complete = Complete.NOTHING,
) -> Option:
    """Return an option that may be given again, with more values."""
    return Option(
        (name,), text, metavar, parse, [], kind=Kind.VALUES, complete=complete, dest=choice
    )


_FILTERS = (
    _filter("--pid", values.numbers, "pids", "PID",
            "calls by these processes; ends when they have ended", Complete.TASKS),
    _filter("--tid", values.numbers, "tids", "TID", "calls by these threads", Complete.TASKS),
    _filter("--comm", values.words, "comms", "NAME",
            "calls by tasks of these names (of threads, 15 bytes at most)", Complete.TASK_NAMES),
    _filter("--cgroup", values.words, "cgroups", "PATH",
            "calls by tasks in these cgroups (version 2), or below them", Complete.CGROUPS),
    _filter("--netns", values.words, "netns", "NAME",
            "calls by tasks in these network namespaces: a name of `ip netns`, a path such as "
            "/proc/1/ns/net, or an inode number", Complete.NETNS),
    _filter("--cpu", values.cpus, "cpus", "LIST", "calls on these CPUs, such as 0-3,5"),
    flag("--follow", "with --pid or a command: calls by the processes that these start, too"),
    option(
        "--sample",
        type=values.one_in,
        metavar="1/N",
        help="a random one in N of the calls that are wanted; those left alone are counted",
    ),
)  # fmt: skip
FILTERS = Section("filters (in the kernel)", _ABOUT_FILTERS, _FILTERS)


# What commands have in common that trace by any method; what they show is their own.
TRACING = (*PROBE, VERIFY, BUDGET, *SHAPE, FILTERS)
# Of commands behind which a command of the user's may follow.
USAGE = "[options] FUNC... [-- COMMAND...]"
EPILOG = "-- COMMAND: run this, trace its calls only, and end with it."


def choices(args: argparse.Namespace) -> Choices:
    """Return how to trace: the options that were parsed."""
    given = {name: value for name, value in vars(args).items() if value not in (None, [])}
    return cast(Choices, {name: given[name] for name in Choices.__annotations__ if name in given})
