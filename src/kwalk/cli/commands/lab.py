# SPDX-License-Identifier: MIT
"""``kwalk lab``: run a command in a throw-away virtual machine with a kernel of your choice."""

from __future__ import annotations

import argparse
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from kwalk.cli import values
from kwalk.errors import UsageError
from kwalk.lab import kernels
from kwalk.options import limits
from kwalk.support.stdio import write

_LEAST_MEMORY = 256  # MiB; with less, Debian's kernels do not get as far as the command


def memory_size(text: str) -> str:
    """Check a ``--memory`` such as ``512M`` or ``2G``; QEMU takes it as it is."""
    if not re.fullmatch(r"[1-9][0-9]*[MG]", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 512M or 2G")
    if text.endswith("M") and int(text[:-1]) < _LEAST_MEMORY:
        raise argparse.ArgumentTypeError(f"{text} is too little: at least {_LEAST_MEMORY}M")
    return text


class LabCommand:
    """Parses and decides; kwalk.lab does the work."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare ``run``, ``kernels``, ``fetch``, ``headers`` and ``nmi``."""
        actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
        run = actions.add_parser(
            "run",
            help="run a command in a virtual machine",
            usage="kwalk lab run [OPTIONS] -- COMMAND...",
            description="Boot a kernel on this machine's own files, run COMMAND as root with an "
            "empty stdin, and exit with its exit code. What it writes is thrown away, except in "
            "the folder of --out.",
        )
        self._add_run_options(run)
        actions.add_parser("kernels", help="list the kernels that can be had")
        fetch = actions.add_parser("fetch", help="put kernels into the cache without booting")
        fetch.add_argument("names", metavar="NAME", nargs="+", choices=kernels.NAMES)
        headers = actions.add_parser(
            "headers",
            help="print the folder of a kernel's headers, for tools that compile",
            description="Put the headers of a kernel into the cache, unless they are there, and "
            "print their folder. bcc takes it from BCC_KERNEL_SOURCE.",
        )
        headers.add_argument("of", metavar="NAME", choices=(*kernels.SUITES, kernels.FRAME_POINTER))
        nmi = actions.add_parser(
            "nmi",
            help="inside the lab: have NMIs injected into its virtual machine",
            description="In a virtual machine of `kwalk lab run`, have the host inject NMIs into "
            "it, and end when the last one is injected. Linux lets CPU 0 only have them, unless "
            "it was booted with --append apic_extnmi=all.",
        )
        nmi.add_argument(
            "--count",
            metavar="N",
            type=values.positive_int,
            default=1,
            help="how many, one after the other (default: %(default)s)",
        )
        nmi.add_argument(
            "--interval",
            metavar="S",
            type=values.seconds,
            default=0.0,
            help="seconds of the machine's clock between two (default: none)",
        )

    def _add_run_options(self, parser: argparse.ArgumentParser) -> None:
        add = parser.add_argument
        names = ", ".join(kernels.NAMES)
        add(
            "--kernel",
            metavar="NAME",
            default=kernels.DEFAULT,
            help=f"{names}, or the path of a vmlinuz (default: %(default)s)",
        )
        add("--modules", metavar="DIR", type=Path, help="modules of a kernel given by its path")
        add(
            "--cpus",
            metavar="N",
            type=values.within(limits.LAB_CPUS),
            default=limits.LAB_CPUS.default,
            help="virtual CPUs (default: %(default)s)",
        )
        add(
            "--memory",
            metavar="SIZE",
            type=memory_size,
            default="2G",
            help="such as 512M or 2G (default: %(default)s)",
        )
        add(
            "--icount",
            action="store_true",
            help="let the guest's clock count instructions: one CPU, repeatable figures",
        )
        add(
            "--parallel",
            action="store_true",
            help="where there is no KVM: emulate each virtual CPU in a host thread of its own; "
            "quicker, but a kernel that attaches a probe under load may panic then",
        )
        add(
            "--timeout",
            metavar="S",
            type=values.seconds,
            help="end the command S seconds after its start",
        )
        add("--out", metavar="DIR", type=Path, help="a folder whose changes are kept")
        add("--append", metavar="ARGS", default="", help="more arguments for the kernel")
        add("--verbose", action="store_true", help="show the guest's console on stderr")
        add("argv", metavar="COMMAND", nargs="+", help="the command and its arguments")

    def run(self, args: argparse.Namespace) -> int:
        """Run the action that was asked for."""
        with _signals_raise():
            if args.action == "run":
                return self._run(args)
            if args.action == "fetch":
                return self._fetch(args)
            if args.action == "headers":
                return self._headers(args)
            if args.action == "nmi":
                return self._nmi(args)
            return self._kernels()

    def _run(self, args: argparse.Namespace) -> int:
        from kwalk.lab import MachineOptions, run

        if args.out and _is_root(args.out):
            raise UsageError("--out cannot be the root folder", "Give a folder of its own.")
        if args.modules and args.kernel in kernels.NAMES:
            raise UsageError(
                f"the modules of {args.kernel} are known",
                "Leave --modules out, or give --kernel the path of a kernel image.",
            )
        if args.parallel and args.icount:
            raise UsageError(
                "--icount emulates one CPU: there is nothing to run in parallel",
                "Leave --parallel out, or measure by the time: leave --icount out.",
            )
        machine = MachineOptions(
            kernel=args.kernel,
            modules=args.modules,
            cpus=args.cpus,
            memory=args.memory,
            icount=args.icount,
            parallel=args.parallel,
            timeout=args.timeout,
            out=args.out,
            append=args.append,
            verbose=args.verbose,
        )
        return run(machine, args.argv)

    def _fetch(self, args: argparse.Namespace) -> int:
        for name in args.names:
            write(f"{name}: {kernels.find(name).release}\n")
        return 0

    def _headers(self, args: argparse.Namespace) -> int:
        from kwalk.lab import headers

        write(f"{headers.find(args.of)}\n")
        return 0

    def _nmi(self, args: argparse.Namespace) -> int:
        from kwalk.lab import nmi

        nmi.inject(args.count, args.interval)
        return 0

    def _kernels(self) -> int:
        import io

        from rich.console import Console
        from rich.table import Table

        from kwalk.cli import screen
        from kwalk.report.ansi import trimmed

        console = Console(file=io.StringIO(), width=screen.whole(60))
        table = Table(box=None, pad_edge=False)
        for title in ("NAME", "VERSION", "UNWINDER", "CACHED", "SOURCE"):
            table.add_column(title, no_wrap=True)
        for name in kernels.NAMES:
            kernel = kernels.cached(name)
            if kernel:
                facts = (kernel.release, kernel.unwinder, "yes")
            else:
                facts = ("-", kernels.expected_unwinder(name), "no")
            table.add_row(name, *facts, kernels.source(name))
        console.print(table)
        write(trimmed(console.file.getvalue()))  # type: ignore[attr-defined]
        return 0


def _is_root(folder: Path) -> bool:
    try:
        return folder.samefile("/")
    except OSError:  # nothing is there, or a link to itself
        return False


@contextmanager
def _signals_raise() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end this process by an exception: half a download is then removed."""

    def end(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ends = [signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        ends.append(signal.SIGHUP)
    before = {number: signal.signal(number, end) for number in ends}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


command = LabCommand()
