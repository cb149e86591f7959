# SPDX-License-Identifier: MIT
"""``kwalk lab``: run a command in a disposable virtual machine with a kernel of your choice."""

from __future__ import annotations

import argparse
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from kwalk.cli.lab_options import LINE
from kwalk.errors import UsageError
from kwalk.lab import kernels
from kwalk.support.stdio import write


class LabCommand:
    """See ``kwalk lab --help``; kwalk.lab does the work."""

    line = LINE

    def run(self, args: argparse.Namespace) -> int:
        """Run the action."""
        with _signals_raise():
            if args.action == "run":
                return self._run(args)
            if args.action == "fetch":
                return self._fetch(args)
            if args.action == "headers":
                return self._headers(args)
            if args.action == "peers":
                return self._peers()
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
            cpu_model=args.cpu_model,
            timeout=args.timeout,
            out=args.out,
            append=args.append,
            verbose=args.verbose,
        )
        return run(machine, args.argv)

    def _fetch(self, args: argparse.Namespace) -> int:
        from kwalk.lab import userland

        for name in args.names:
            kernel = kernels.find(name)
            if not kernel.platform.is_native:
                userland.find(kernel.platform)
            write(f"{name}: {kernel.release}\n")
        return 0

    def _headers(self, args: argparse.Namespace) -> int:
        from kwalk.lab import headers

        write(f"{headers.find(args.of)}\n")
        return 0

    def _peers(self) -> int:
        from kwalk.lab import peers

        write(f"{peers.find()}\n")
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
        for title in ("NAME", "ARCH", "VERSION", "UNWINDER", "CACHED", "SOURCE"):
            table.add_column(title, no_wrap=True)
        for name in kernels.NAMES:
            kernel = kernels.cached(name)
            if kernel:
                facts = (kernel.release, kernel.unwinder, "yes")
            else:
                facts = ("-", kernels.expected_unwinder(name), "no")
            table.add_row(name, kernels.platform_of(name).name, *facts, kernels.source(name))
        console.print(table)
        write(trimmed(console.file.getvalue()))  # type: ignore[attr-defined]
        return 0


def _is_root(folder: Path) -> bool:
    try:
        return folder.samefile("/")
    except OSError:  # it does not exist, or is a link to itself
        return False


@contextmanager
def _signals_raise() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise SystemExit, so that an incomplete download is removed."""

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
