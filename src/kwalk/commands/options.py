# SPDX-License-Identifier: MIT
"""Options that several commands share, and their checked types."""

from __future__ import annotations

import argparse
import fnmatch
import math
import re

from kwalk.choices import ATTACHES, METHODS, PER
from kwalk.probe.filters import Filters
from kwalk.probe.options import ProbeOptions
from kwalk.transport.abi import MAX_FRAMES, Method, Output

RECORDING = "kwalk.rec"
FIRST_CHANCE = 0.01  # to be taken, until it is known what a call costs


def positive_int(text: str) -> int:
    """A whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def seconds(text: str) -> float:
    """A time above 0 in seconds."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return value


def frequency(text: str) -> int:
    """A number of samples a second."""
    value = positive_int(text)
    if value > 10000:
        raise argparse.ArgumentTypeError(f"{text} is not from 1 to 10000")
    return value


def depth(text: str) -> int:
    """A number of frames."""
    value = positive_int(text)
    if not 2 <= value <= MAX_FRAMES:
        raise argparse.ArgumentTypeError(f"{text} is not from 2 to {MAX_FRAMES}")
    return value


def ring_bytes(text: str) -> int:
    """A size in MiB that is a power of two, in bytes."""
    value = positive_int(text)
    if value & (value - 1) or value > 1024:
        raise argparse.ArgumentTypeError(f"{text} is not a power of two from 1 to 1024 (MiB)")
    return value << 20


def stack_entries(text: str) -> int:
    """A number of stacks in a map."""
    value = positive_int(text)
    if value > 1 << 20:
        raise argparse.ArgumentTypeError(f"{text} is not from 1 to {1 << 20}")
    return value


def tree_nodes(text: str) -> int:
    """A number of nodes; the kernel takes no value of a map of 2 GiB or more."""
    value = positive_int(text)
    if value > 1 << 23:
        raise argparse.ArgumentTypeError(f"{text} is not from 1 to {1 << 23}")
    return value


def one_in(text: str) -> int:
    """``1/N``, or ``1`` for every one; returns N."""
    whole, slash, number = text.partition("/")
    if whole != "1" or (slash and not (number.isdecimal() and 0 < int(number) <= 1 << 30)):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form 1/N, such as 1/100")
    return int(number or "1")


def percent(text: str) -> float:
    """A share such as ``2%`` or ``2``, as a number below 1."""
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        value = math.nan
    if not 0 < value < 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not a percentage such as 2%")
    return value / 100


def share(text: str) -> float:
    """A percentage from 0 to 100, as a number up to 1."""
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        value = math.nan
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not a percentage from 0 to 100")
    return value / 100


def add_budget_option(parser: argparse.ArgumentParser) -> None:
    """Declare how much tracing may cost."""
    parser.add_argument(
        "--budget",
        type=percent,
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
        type=frequency,
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
        "--top", type=positive_int, metavar="N", help="show the N hottest stacks only"
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
        type=share,
        metavar="PERCENT",
        help="trees: sum up branches with a smaller share of all calls "
        "(default: 0.5; with --top: 0)",
    )
    parser.add_argument("--title", default="", metavar="TEXT", help="what stands above pictures")


def add_ring_option(parser: argparse.ArgumentParser) -> None:
    """Declare the size of the ring of records."""
    parser.add_argument(
        "--ring",
        type=ring_bytes,
        default=16 << 20,
        metavar="MIB",
        help="size of the ring buffer between kernel and kwalk (default: 16)",
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
            type=one_in,
            default=0,
            metavar="1/N",
            help="compare the walk with the kernel's own unwinder on a random one in N events, "
            "or on every one (--verify alone); exit code 1 if any stack differs",
        )
    parser.add_argument(
        "--depth",
        type=depth,
        default=MAX_FRAMES,
        metavar="N",
        help="most frames of a stack; deeper ones are marked truncated (default: %(default)s)",
    )
    parser.add_argument(
        "--nodes",
        type=tree_nodes,
        default=1 << 17,
        metavar="N",
        help="manual: frames, each in its context, that the tree of stacks has room for "
        "(default: %(default)s); when it is full, stacks are cut short and marked truncated",
    )
    parser.add_argument(
        "--stack-entries",
        type=stack_entries,
        default=16384,
        metavar="N",
        help="helper: stacks that each of its stack maps can hold (default: %(default)s)",
    )
    parser.add_argument(
        "--strict", action="store_true", help="exit code 1 if any call was lost, whatever the cause"
    )


def expression(text: str) -> re.Pattern[str]:
    """A regular expression."""
    try:
        return re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no regular expression: {error}") from None


def glob(text: str) -> re.Pattern[str]:
    """A name, perhaps with ``*``, ``?``, ``[...]`` in it."""
    return re.compile(fnmatch.translate(text))


def add_shape_options(parser: argparse.ArgumentParser) -> None:
    """Declare what is seen of stacks."""
    parser.add_argument(
        "--from-caller",
        type=expression,
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
        ring_bytes=getattr(args, "ring", 0),
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
