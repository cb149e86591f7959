# SPDX-License-Identifier: MIT
"""``kwalk bench``: overhead of tracing a function on a workload, by each method."""

from __future__ import annotations

import argparse
import re
import signal
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from kwalk.bench import methods
from kwalk.cli import screen, shared_options, values
from kwalk.cli.options import CommandLine, Complete, Kind, option, words
from kwalk.errors import KwalkError, UsageError
from kwalk.options.validate import no_expression
from kwalk.support.regex import BadPattern

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kwalk.bench.results import Results
    from kwalk.bench.tool import Tool

_REQUESTS = 100_000
_RUNS = 7


def _metric(text: str) -> str:
    from kwalk.bench.workload import check_metric

    def check(value: object) -> str:
        try:
            return check_metric(str(value))
        except BadPattern as error:
            raise no_expression(error) from None

    return values.checked(str, check)(text)


def _labelled(text: str) -> list[tuple[str, Path]]:
    """Type of ``--tools``: a label and a folder."""
    label, _, folder = text.partition("=")
    if not re.fullmatch(r"[\w.+-]+", label) or not folder:
        raise argparse.ArgumentTypeError(f"{text!r} is not LABEL=DIR")
    return [(label, Path(folder).absolute())]


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


class BenchCommand:
    """See ``kwalk bench --help``."""

    line = CommandLine(
        "kwalk bench",
        options=(
            option(
                "function",
                metavar="FUNC",
                complete=Complete.TARGETS,
                help="kernel function, such as ip_rcv",
            ),
            option(
                "--methods",
                default=methods.DEFAULT,
                metavar="A,B",
                complete=Complete.METHODS,
                help=f"methods to compare with no tracing: {', '.join(methods.ATTACHED)} (also as "
                f"NAME:kprobe and NAME:fentry), {', '.join(methods.OTHERS)} "
                f"(default: {methods.DEFAULT})",
            ),
            option(
                "--tools",
                type=_labelled,
                default=[],
                metavar="LABEL=DIR",
                kind=Kind.VALUES,
                complete=Complete.NOTHING,
                help=f"DIR has other versions of {', '.join(methods.PROGRAMS)}: the methods "
                "NAME@LABEL; may be repeated",
            ),
            option(
                "--attach",
                choices=words("auto", *methods.ATTACHES),
                default="auto",
                help="attach type of kwalk's methods (default: auto)",
            ),
            option(
                "--mode",
                choices=words("count", "stream"),
                default="count",
                help="count stacks in the kernel, or print each event to a file (default: count)",
            ),
            option(
                "--runs",
                type=values.positive_int,
                default=_RUNS,
                metavar="N",
                help=f"rounds; each runs every method once (default: {_RUNS}); one more run of "
                "each, not timed, counts its calls",
            ),
            option(
                "--metric",
                type=_metric,
                default="auto",
                metavar="REGEX",
                help="metric to compare, higher is better: first group of REGEX in the workload's "
                "output; auto recognizes redis-benchmark, wrk, fio, pgbench and sysbench, and "
                "uses the run time of any other command",
            ),
            option(
                "--requests",
                type=values.positive_int,
                metavar="N",
                help=f"requests of the default workload per run (default: {_REQUESTS})",
            ),
            shared_options.formats(text="a table", json="one JSON object, with every run"),
            shared_options.page("an HTML page with charts"),
        ),
        usage="FUNC [option ...] [-- COMMAND ...]",
        epilog="COMMAND is the workload (default: redis-benchmark -t set on a private "
        "redis-server).",
    )

    def run(self, args: argparse.Namespace) -> int:
        """Measure and print the results, also of an interrupted run."""
        from kwalk.kernel import switches
        from kwalk.kernel.capabilities import check_access
        from kwalk.kernel.kallsyms import Kallsyms
        from kwalk.probe.selection import select
        from kwalk.support.atomic_file import Replacement
        from kwalk.support.stdio import check_stdout

        check_stdout()
        folders = dict(args.tools)
        tools = methods.find_all(args.methods, args.function, args.mode, args.attach, folders)
        if args.workload and args.requests:
            raise UsageError(
                "--requests is for the default workload only",
                "Leave it out, and say how much in the command itself.",
            )
        check_access()
        # Other tools attach without a check, which can make the kernel disable ftrace.
        if found := switches.ftrace():
            raise found
        select([args.function], Kallsyms.read())
        signal.signal(signal.SIGTERM, _interrupt)
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            signal.signal(signal.SIGHUP, _interrupt)
        # Created before time is spent on its contents.
        with Replacement(args.html) if args.html else nullcontext() as page:
            results, code = self._measure(args, tools)
            measured = any(row.runs for row in results.rows)
            try:
                _print(results, args.format)
            finally:
                if page and measured:
                    from kwalk.report.bench.page import as_html

                    page.write(as_html(results))
                    page.finish()
        return code or int(not measured)

    def _measure(self, args: argparse.Namespace, tools: Sequence[Tool]) -> tuple[Results, int]:
        """Return the results and the exit code."""
        from kwalk.bench import workload as workloads
        from kwalk.bench.experiment import Experiment

        own = workloads.redis(args.requests or _REQUESTS, args.metric)
        given = workloads.Workload(args.workload, args.metric)
        code = 0
        with nullcontext(given) if args.workload else own as workload:
            experiment = Experiment(args.function, args.mode, tools, workload, self._say)
            results = experiment.results
            try:
                experiment.run(args.runs)
            except KeyboardInterrupt:
                results.stopped = "interrupted"
                code = 130
            except KwalkError as error:
                if not any(row.runs for row in results.rows):
                    raise
                results.stopped = error.what
                print(f"kwalk: {error}", file=sys.stderr)
                code = 1
        return results, code

    @staticmethod
    def _say(text: str) -> None:
        print(f"kwalk bench: {text}", file=sys.stderr, flush=True)


def _print(results: Results, form: str) -> None:
    import json

    from kwalk.report.bench import text as bench
    from kwalk.support.stdio import write

    if form == "json":
        text = json.dumps(bench.as_data(results), indent=1) + "\n"
    else:
        text = bench.as_text(results, screen.width(80))
    write(text)


command = BenchCommand()
