# SPDX-License-Identifier: MIT
"""``bpf_get_stack_test``: the published tool's interface on kwalk's engine."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from kwalk.abi import Output
from kwalk.cli import options, trace_options
from kwalk.cli.main import guarded
from kwalk.cli.parser import Parser
from kwalk.cli.parsers import spell_out
from kwalk.options.keywords import Choices, probe_options
from kwalk.support.stdio import check_stdout


def build_parser() -> Parser:
    """Return the parser of ``bpf_get_stack_test``."""
    parser = Parser(
        prog="bpf_get_stack_test",
        description="Print the kernel stack of every call of a kernel function, one symbol name "
        "a line, until Ctrl-C.",
    )
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("--helper", metavar="FUNC", help="take stacks with bpf_get_stackid()")
    group.add_argument("--manual", metavar="FUNC", help="walk the stack in the BPF program")
    options.add(parser, trace_options.PROBE, trace_options.VERIFY, trace_options.RING)
    return parser


def chosen_by(args: argparse.Namespace) -> Choices:
    """Return how to trace, of the options that were parsed."""
    chosen = trace_options.choices(args)
    chosen["method"] = "helper" if args.helper else "manual"
    return chosen


def _run(args: argparse.Namespace) -> int:
    from kwalk.cli.running import Stopper, announce, run
    from kwalk.engine.capture import Capture
    from kwalk.report.stream import NamesStream

    check_stdout()
    chosen = probe_options(chosen_by(args), Output.BRIEF)
    with Stopper() as stopper, Capture(args.helper or args.manual, chosen) as capture:
        announce("bpf_get_stack_test", capture)
        finished = run(capture, stopper, NamesStream(capture.symbolizer))
    return finished.conclude(capture.symbolizer, args.strict)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the ``bpf_get_stack_test`` script."""
    words = spell_out(sys.argv[1:] if argv is None else argv)
    return guarded("bpf_get_stack_test", lambda: _run(build_parser().parse(words)))
