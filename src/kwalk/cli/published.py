# SPDX-License-Identifier: MIT
"""``bpf_get_stack_test``: the published tool's interface on kwalk's engine."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from kwalk.abi import Output
from kwalk.cli import trace_options
from kwalk.cli.main import guarded
from kwalk.cli.options import CommandLine, Complete, OneOf, option
from kwalk.cli.parser import parse
from kwalk.cli.parsers import spell_out
from kwalk.options.keywords import Choices, probe_options
from kwalk.support.stdio import check_stdout

PROG = "bpf_get_stack_test"
LINE = CommandLine(
    PROG,
    summary="print the kernel stacks of a function as symbol names",
    description="Print the kernel stack of every call of a kernel function, one symbol name "
    "a line, until Ctrl-C.",
    options=(
        OneOf(
            (
                option(
                    "--helper",
                    metavar="FUNC",
                    complete=Complete.TARGETS,
                    help="take stacks with bpf_get_stackid()",
                ),
                option(
                    "--manual",
                    metavar="FUNC",
                    complete=Complete.TARGETS,
                    help="walk the stack in the BPF program",
                ),
            )
        ),
        *trace_options.PROBE,
        trace_options.VERIFY,
        trace_options.RING,
    ),
)


def chosen_by(args: argparse.Namespace) -> Choices:
    """Return the tracing options."""
    chosen = trace_options.choices(args)
    chosen["method"] = "helper" if args.helper else "manual"
    return chosen


def _run(args: argparse.Namespace) -> int:
    from kwalk.cli.streaming import run
    from kwalk.cli.tracing import TracingSession
    from kwalk.report.stream import NamesStream

    check_stdout()
    chosen = chosen_by(args)
    options = probe_options(chosen, Output.BRIEF)
    with TracingSession([args.helper or args.manual], options, chosen, prog=PROG) as session:
        finished = run(session, NamesStream(session.capture.symbolizer))
    return finished.conclude(session.capture.symbolizer, args.strict)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the ``bpf_get_stack_test`` script."""
    words = spell_out(sys.argv[1:] if argv is None else argv)
    return guarded(PROG, lambda: _run(parse(LINE, words)))
