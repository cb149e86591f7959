# SPDX-License-Identifier: MIT
"""Options that several commands share."""

from __future__ import annotations

import argparse
import fnmatch
import re

from kwalk import limits
from kwalk.choices import ATTACHES, METHODS, PER
from kwalk.commands import values
from kwalk.probe.filters import Filters
from kwalk.probe.options import ProbeOptions
from kwalk.transport.abi import Method, Output

RECORDING = "kwalk.rec"
FIRST_CHANCE = 0.01  # to be taken, until it is known what a call costs


def add_budget_option(parser: argparse.ArgumentParser) -> None:
    """Declare how much tracing may cost."""
    parser.add_argument(
        "--budget",
        type=values.percent,
        metavar="P%",
        help="keep what tracing costs, programs and kwalk itself, under this share of the CPU time "
        "that the machine uses, by taking calls at random; those left alone are counted",
    )


def add_target(parser: argparse.ArgumentParser, method: bool = True) -> None:
    """Declare what to trace.

    :param method: And by which method.
    """
    parser.add_argument(
        "functions",
        nargs="*",
        metavar="FUNC",
        help="kernel function, such as ip_rcv; FUNC+0x1f for an instruction inside it, "
        "r:FUNC for its return, MODULE:FUNC for one of a module, 'tcp_*' or '/^ip6?_rcv$/' for all "
        "that match (`kwalk functions` lists them); t:sched:sched_switch for a tracepoint",
    )
    parser.add_argument(
        "--freq",
        type=values.within(limits.FREQUENCY),
        metavar="N",
        help="in place of FUNC: N samples a second of what each CPU does in the kernel",
    )
    if not method:
        return
    parser.add_argument(
        "--method",
        choices=tuple(METHODS),
        default="auto",
        help="manual walks the stack in BPF; helper asks the kernel (bpf_get_stackid); "
        "auto is manual where the kernel allows it",
    )


def add_address_option(parser: argparse.ArgumentParser) -> None:
    """Declare whether addresses are shown."""
    parser.add_argument(
        "--addr",
        action=argparse.BooleanOptionalAction,
        help="show the address of each frame (default: in JSON only)",
    )


def addresses(args: argparse.Namespace) -> bool:
    """Whether addresses are to be shown."""
    return bool(args.format == "json" if args.addr is None else args.addr)


def add_per_option(parser: argparse.ArgumentParser) -> None:
    """Declare what is counted apart."""
    parser.add_argument(
        "--per",
        choices=[name for name in PER if name],
        help="count each process, name of a task, CPU or cgroup apart; in softirqs and "
        "interrupts the task is the one that happened to run",
    )


def add_recording(parser: argparse.ArgumentParser, name: str = "recording") -> None:
    """Declare a recording that is read."""
    parser.add_argument(
        name,
        nargs="?",
        default=RECORDING,
        metavar="FILE",
        help="a recording, or - for standard input (default: %(default)s)",
    )


def add_output(parser: argparse.ArgumentParser) -> None:
    """Declare where a report goes."""
    parser.add_argument(
        "-o", "--output", metavar="OUT", help="write to this file (default: standard output)"
    )


def add_look_options(parser: argparse.ArgumentParser) -> None:
    """Declare how a report is to look (``writing.look``)."""
    parser.add_argument(
        "--top", type=values.positive_int, metavar="N", help="show the N hottest stacks only"
    )
    add_address_option(parser)
    add_tree_options(parser)


def add_tree_options(parser: argparse.ArgumentParser) -> None:
    """Declare how trees and flame graphs are to look."""
    parser.add_argument(
        "--callers",
        action="store_true",
        help="trees and flame graphs: begin at the traced function, its callers below it",
    )
    parser.add_argument(
        "--min",
        type=values.share,
        metavar="PERCENT",
        help="trees: sum up branches with a smaller share of all calls "
        "(default: 0.5; with --top: 0)",
    )
    parser.add_argument("--title", default="", metavar="TEXT", help="what stands above pictures")


def add_ring_option(parser: argparse.ArgumentParser) -> None:
    """Declare the size of the ring of records."""
    parser.add_argument(
        "--ring",
        type=values.ring_mib,
        default=limits.RING_MIB.default,
        metavar="MIB",
        help="size of the ring buffer between kernel and kwalk (default: %(default)s)",
    )


def add_probe_options(parser: argparse.ArgumentParser, verify: bool = True) -> None:
    """Declare how to attach and how much memory to take.

    :param verify: And whether to compare stacks with the kernel's.
    """
    parser.add_argument(
        "--attach",
        choices=ATTACHES,
        default="auto",
        help="way of attaching; auto takes the cheapest that the kernel lets us have: fentry for "
        "one function, kprobe.multi for many. For r:FUNC these mean fexit and kretprobes",
    )
    if verify:
        parser.add_argument(
            "--verify",
            type=values.one_in,
            default=limits.VERIFY.default,
            metavar="1/N",
            help="compare the walk with the kernel's own unwinder on a random one in N events, "
            "or on every one (--verify alone); exit code 1 if any stack differs",
        )
    parser.add_argument(
        "--depth",
        type=values.within(limits.DEPTH),
        default=limits.DEPTH.default,
        metavar="N",
        help="most frames of a stack; deeper ones are marked truncated (default: %(default)s)",
    )
    parser.add_argument(
        "--nodes",
        type=values.within(limits.NODES),
        default=limits.NODES.default,
        metavar="N",
        help="manual: frames, each in its context, that the tree of stacks has room for "
        "(default: %(default)s); when it is full, stacks are cut short and marked truncated",
    )
    parser.add_argument(
        "--stack-entries",
        type=values.within(limits.STACK_ENTRIES),
        default=limits.STACK_ENTRIES.default,
        metavar="N",
        help="helper: stacks that each of its stack maps can hold (default: %(default)s)",
    )
    parser.add_argument(
        "--strict", action="store_true", help="exit code 1 if any call was lost, whatever the cause"
    )


def glob(text: str) -> re.Pattern[str]:
    """A name, perhaps with ``*``, ``?``, ``[...]`` in it."""
    return re.compile(fnmatch.translate(text))


def add_shape_options(parser: argparse.ArgumentParser) -> None:
    """Declare what is seen of stacks."""
    parser.add_argument(
        "--from-caller",
        type=values.expression,
        metavar="REGEX",
        help="only stacks that come through a function whose name this finds",
    )
    parser.add_argument(
        "--until",
        type=glob,
        metavar="NAME",
        help="leave out what lies outside of the first frame of this name ('*_sendmsg' will do)",
    )


def _chance(args: argparse.Namespace) -> float | None:
    if getattr(args, "sample", None):
        return 1 / float(args.sample)
    return FIRST_CHANCE if getattr(args, "budget", None) else None


def probe_options(
    args: argparse.Namespace, output: Output, filters: Filters | None = None
) -> ProbeOptions:
    """Return the parsed options for the engine.

    :param args: ``args.method`` is a name, or a ``Method`` where the command has chosen.
    """
    method = args.method
    return ProbeOptions(
        method=method if isinstance(method, Method) else METHODS[method],
        attach=args.attach,
        depth=args.depth,
        ring_bytes=getattr(args, "ring", 0) << 20,
        stack_entries=args.stack_entries,
        verify=getattr(args, "verify", 0),
        output=output,
        nodes=args.nodes,
        per=PER[getattr(args, "per", None)],
        chance=_chance(args),
        frequency=getattr(args, "freq", None),
        through=getattr(args, "from_caller", None),
        until=getattr(args, "until", None),
        filters=filters or Filters(),
    )
