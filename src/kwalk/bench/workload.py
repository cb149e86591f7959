# SPDX-License-Identifier: MIT
"""Load on the traced function: redis, or any command."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from errno import EAGAIN

from kwalk.bench import metric as metrics
from kwalk.bench.metric import Metric
from kwalk.bench.results import WorkloadRun
from kwalk.errors import KwalkError, NotSupported
from kwalk.kernel import shortage
from kwalk.support.parentage import Killer, ends_with_us
from kwalk.support.regex import compiled

AUTO = "auto"
TOO_SHORT_SECONDS = 0.05
_START_SECONDS = 30.0
_FIRST_SHARE = 4  # one in this many requests comes first, unmeasured


class Workload:
    """Command that is run repeatedly.

    :param words: The command; its stdout and stderr are searched for the metric.
    :param metric: Regular expression, or ``auto`` to recognize the program by its output.
    :param first: Command with a little of the same work, run before each measurement.
    """

    def __init__(self, words: Sequence[str], metric: str = AUTO, first: Sequence[str] = ()) -> None:
        self.words = list(words)
        self._first = list(first)
        self._asked = metric
        self._metric: Metric | None = None
        if metric != AUTO:
            self._metric = Metric("", "", metric)

    @property
    def text(self) -> str:
        """The command in shell syntax."""
        return shlex.join(self.words)

    @property
    def unit(self) -> str:
        """Unit of the rate; known after the first run."""
        return (self._metric.unit if self._metric else "") or "metric"

    def begin(self) -> bool:
        """Do a little of the work; return whether there is such a command."""
        if self._first:
            _output(self._first)
        return bool(self._first)

    def run(self) -> WorkloadRun:
        """Run it once.

        :raises KwalkError: if it cannot be started, fails, ends too soon, or prints no metric.
        """
        started = time.monotonic()
        try:
            code, output = _output(self.words)
        except OSError as error:
            limit = shortage.processes() if error.errno == EAGAIN else ""
            raise KwalkError(
                f"the workload {self.words[0]} cannot be started: {error.strerror}",
                limit or "Check its spelling, and that it is installed.",
            ) from None
        seconds = time.monotonic() - started
        # Programs that draw their progress end lines with \r.
        text = output.decode(errors="replace").replace("\r", "\n")
        if code:
            last = (text.strip().splitlines() or ["it printed nothing"])[-1]
            end = "exit code" if code > 0 else "signal"
            raise KwalkError(
                f"the workload failed ({end} {abs(code)}): {self.text}",
                f"Its last line was: {last}",
            )
        if seconds < TOO_SHORT_SECONDS:
            raise KwalkError(
                f"the workload ended after {seconds * 1000:.0f} ms, too soon to measure anything",
                "Give it work for a second or more.",
            )
        if self._metric is None:
            self._metric = metrics.recognize(text)
        return metrics.read(text, seconds, self._metric)


def check_metric(pattern: str) -> str:
    """Check the argument of ``--metric`` and return it.

    :raises BadPattern: if it is not a valid regular expression.
    """
    if pattern != AUTO:
        compiled(pattern, re.MULTILINE)
    return pattern


def _output(words: Sequence[str]) -> tuple[int, bytes]:
    """Run a command in a session of its own; return its exit code and output.

    An interruption kills its whole process group. The benchmark handles Ctrl-C on the terminal.
    """
    process = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=ends_with_us(),
    )
    try:
        guard = Killer(process.pid, group=True)
    except OSError:
        process.kill()
        process.wait()
        raise
    with process:
        assert process.stdout
        try:
            output = process.stdout.read()
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        finally:
            guard.dismiss()
    return process.returncode, output


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(7) == b"+PONG\r\n"
    except OSError:
        return False


@contextmanager
def redis(requests: int, metric: str = AUTO) -> Iterator[Workload]:
    """Workload ``redis-benchmark -t set`` on a private server, which ends with the block.

    :raises KwalkError: if redis is not installed, or its server does not start.
    """
    missing = [tool for tool in ("redis-server", "redis-benchmark") if not shutil.which(tool)]
    if missing:
        raise NotSupported(
            f"{' and '.join(missing)} cannot be found: the default workload needs redis",
            "Install redis (Debian: redis-server, redis-tools), or name a workload of your own: "
            "kwalk bench FUNC -- COMMAND",
        )
    port = _free_port()
    words = ["redis-server", "--bind", "127.0.0.1", "--port", str(port)]
    words += ["--save", "", "--appendonly", "no", "--daemonize", "no"]
    server = subprocess.Popen(  # own session: the benchmark handles Ctrl-C on the terminal
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=ends_with_us(),
    )
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not _answers(port):
            if server.poll() is not None or time.monotonic() > deadline:
                server.kill()
                assert server.stdout
                lines = server.stdout.read().decode(errors="replace").strip().splitlines()
                raise KwalkError(
                    "redis-server does not start",
                    f"Its last line was: {lines[-1] if lines else 'it printed nothing'}",
                )
            time.sleep(0.05)
        load = ["redis-benchmark", "-p", str(port), "-t", "set", "-n"]
        yield Workload([*load, str(requests)], metric, [*load, str(requests // _FIRST_SHARE)])
    finally:
        server.kill()
        server.wait()
        if server.stdout:
            server.stdout.close()


def redis_version() -> str:
    """Return redis's version; "" if it is not installed."""
    if not shutil.which("redis-server"):
        return ""
    words = ["redis-server", "--version"]
    out = subprocess.run(words, capture_output=True, text=True, check=False).stdout
    return "redis " + out.partition("v=")[2].partition(" ")[0]
