# SPDX-License-Identifier: MIT
"""Overhead of ``kwalk top`` for redis, at a terminal of 80x24, beside ``kwalk count``.

Run it as root on an idle machine, such as the lab, whose clock can count instructions:

    kwalk lab run --icount --timeout 3000 -- python benchmarks/top.py [FUNC [REQUESTS [RUNS]]]
"""

from __future__ import annotations

import os
import pty
import signal
import sys
import termios
import threading
import time

from kwalk import __version__
from kwalk.bench import closing, own, workload
from kwalk.bench.experiment import Experiment
from kwalk.bench.results import Outcome
from kwalk.bench.tool import Tool, ToolUnavailable
from kwalk.report.bench import text as bench

COLUMNS, LINES = 80, 24


class Top:
    """``kwalk top`` at a terminal of its own, whose output a thread reads."""

    def __init__(self, words: list[str]) -> None:
        started = time.monotonic()
        self._pid, self._fd = pty.fork()
        if not self._pid:
            os.environ["TERM"] = "xterm"
            os.execv(sys.executable, [sys.executable, "-m", "kwalk", *words])
        termios.tcsetwinsize(self._fd, (LINES, COLUMNS))
        self._said = bytearray()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        while b"ledger: " not in self._said:
            if not self._thread.is_alive():
                raise ToolUnavailable(self._said.decode(errors="replace"))
            time.sleep(0.05)
        self.attach_seconds = time.monotonic() - started

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._fd, 65536)
            except OSError:  # the other end has been closed
                return
            if not data:
                return
            self._said += data

    def cpu_seconds(self) -> float:
        """See ``Running``."""
        with open(f"/proc/{self._pid}/schedstat") as file:
            return int(file.read().split()[0]) / 1e9

    def finish(self) -> Outcome:
        """Press q; return the output (see ``Running``)."""
        os.write(self._fd, b"q")
        self._thread.join(60)
        os.waitpid(self._pid, 0)
        self._pid = 0
        told = closing.from_text(self._said.decode(errors="replace"))
        if not told:
            raise ToolUnavailable("it said nothing in the end")
        return Outcome(told.hits, told.lost, told.fallback)

    def kill(self) -> None:
        """See ``Running``."""
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._pid = 0


class TopTool:
    """``kwalk top`` as a ``kwalk.bench.tool.Tool``."""

    def __init__(self, function: str, *words: str) -> None:
        self.name = " ".join(["top", *words])
        self._words = ["top", function, *words]

    def start(self) -> Top:
        """See ``Tool``."""
        return Top(self._words)

    def version(self) -> str:
        """See ``Tool``."""
        return f"kwalk {__version__}"


def main(function: str = "ip_rcv", requests: str = "100000", runs: str = "2") -> int:
    """Measure, and print the table."""
    tools: list[Tool] = [own.kwalk(function, "count", "auto", "auto", "count"), TopTool(function)]
    with workload.redis(int(requests), "auto") as load:
        it = Experiment(function, "count", tools, load, lambda text: print(text, flush=True))
        it.run(int(runs))
        print(bench.as_text(it.results, 110))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
