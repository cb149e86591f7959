# SPDX-License-Identifier: MIT
"""Ways to get the stacks that lead to a function: kwalk's, and those of other tools.

Each is a context: attached inside it. After the load ``finish`` ends the tool and returns how many
events it has, and how many of these it lost, as far as it says so.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import programs
import workload

TRACING = Path("/sys/kernel/tracing")
OUT, ERR = Path("/tmp/bench.out"), Path("/tmp/bench.err")
ATTACH_SECONDS = 120


class NotHere(Exception):
    """This tool can't be measured on this machine; the text says why."""


@dataclass
class Run:
    """An attached tool.

    :ivar attach_seconds: From its start until it was attached.
    :ivar finish: Ends it; returns what goes into the row.
    """

    finish: Callable[[], dict[str, Any]]
    attach_seconds: float = 0.0


@dataclass(frozen=True)
class Method:
    """A row of the table."""

    name: str
    start: Callable[[], Run]
    version: Callable[[], str]


def _output(*words: str) -> str:
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    return (result.stdout + result.stderr).strip()


def _touched() -> bool:
    """Make a packet or two arrive."""
    return subprocess.run(["redis-cli", "ping"], capture_output=True, check=False).returncode == 0


def _spawn(words: list[str], attached: Callable[[], bool]) -> tuple[subprocess.Popen[str], float]:
    started = time.monotonic()
    with OUT.open("w") as out, ERR.open("w") as err:
        process = subprocess.Popen(words, stdout=out, stderr=err, text=True)
    while not attached():
        if process.poll() is not None or time.monotonic() > started + ATTACH_SECONDS:
            process.kill()
            raise NotHere((ERR.read_text().strip().splitlines() or ["it did not attach"])[-1])
        time.sleep(0.02)
    return process, time.monotonic() - started


def _end(process: subprocess.Popen[str]) -> tuple[str, str]:
    process.send_signal(signal.SIGINT)
    process.wait()
    return OUT.read_text(), ERR.read_text()


def _kwalk(*words: str, command: str = "count") -> Method:
    """A command line of kwalk's own, output to a file."""
    form = ["--format", "json"] if command == "count" else []

    def start() -> Run:
        if command == "published":
            line = [f"{sys.prefix}/bin/bpf_get_stack_test", *words]
        else:
            line = [f"{sys.prefix}/bin/kwalk", command, workload.FUNCTION, *form, *words]
        process, seconds = _spawn(line, lambda: "tracing" in ERR.read_text())

        def finish() -> dict[str, Any]:
            if command != "count":
                time.sleep(2)  # as long as it may take a reader to catch up with the load
                seen = OUT.read_text().count("\n\n")
            out, err = _end(process)
            head = re.search(r": ([\d,]+) calls = ([\d,]+) stacks \+ ([\d,]+) lost", err)
            if not head:
                raise NotHere((err.strip().splitlines() or ["it printed nothing"])[-1])
            hits, stacks, lost = (int(text.replace(",", "")) for text in head.groups())
            row: dict[str, Any] = {"events": hits, "lost": lost}
            if command == "count":
                row["fallback"] = json.loads(out)["ledger"]["fallback"]
            else:
                assert out.count("\n\n") == stacks
                row["printed_2s_after"] = seen
            return row

        return Run(finish, seconds)

    from kwalk import __version__

    name = "bpf_get_stack_test" if command == "published" else f"kwalk {command}"
    return Method(f"{name} {' '.join(words)}", start, lambda: f"kwalk {__version__}")


def _bpftrace(probe: str, action: str, name: str) -> Method:
    def start() -> Run:
        if not shutil.which("bpftrace"):
            raise NotHere("bpftrace is not installed")
        program = f"{probe}:{workload.FUNCTION} {{ {action} }}"
        words = ["bpftrace", "-e", program]
        process, seconds = _spawn(words, lambda: "Attaching" in OUT.read_text() and _attached())

        def finish() -> dict[str, Any]:
            time.sleep(2)
            out, err = _end(process)
            lost = sum(map(int, re.findall(r"Lost (\d+) events", out + err)))
            counts = re.findall(r"^\]: (\d+)$", out, re.MULTILINE)
            printed = len(re.findall(r"^\s+ip_rcv\+", out, re.MULTILINE))
            return {"events": sum(map(int, counts)) or printed, "lost": lost}

        return Run(finish, seconds)

    return Method(f"bpftrace {name}", start, lambda: _output("bpftrace", "--version"))


def _attached() -> bool:
    """bpftrace says that it attaches before it does; the program's first run shows when it has."""
    programs.count_cost(True)
    before = programs.loaded()
    _touched()
    after = programs.loaded()
    programs.count_cost(False)
    return any(runs > before.get(number, (0, 0))[1] for number, (_, runs) in after.items())


def _define(text: str) -> None:
    """Append, since opening the file otherwise clears every event there is."""
    fd = os.open(TRACING / "kprobe_events", os.O_WRONLY | os.O_APPEND)
    try:
        os.write(fd, text.encode() + b"\n")
    finally:
        os.close(fd)


@contextmanager
def _kprobe_event() -> Iterator[Path]:
    _define(f"p:bench/hit {workload.FUNCTION}")
    try:
        yield TRACING / "events" / "bench" / "hit"
    finally:
        _define("-:bench/hit")


def _hist() -> Method:
    def start() -> Run:
        started = time.monotonic()
        event = _kprobe_event()
        folder = event.__enter__()
        key = "common_stacktrace"
        try:
            (folder / "trigger").write_text(f"hist:keys={key}:size=8192\n")
        except OSError:
            key = "stacktrace"
            (folder / "trigger").write_text(f"hist:keys={key}:size=8192\n")

        def finish() -> dict[str, Any]:
            text = (folder / "hist").read_text()
            (folder / "trigger").write_text(f"!hist:keys={key}:size=8192\n")
            event.__exit__(None, None, None)
            hits, dropped = (
                int(re.findall(rf"{what}: (\d+)", text)[-1]) for what in ("Hits", "Dropped")
            )
            return {"events": hits, "lost": dropped}

        return Run(finish, time.monotonic() - started)

    return Method("ftrace hist trigger", start, lambda: "the kernel's own")


def _hits() -> int:
    """Calls that the kprobe event has seen."""
    rows = [line.split() for line in (TRACING / "kprobe_profile").read_text().splitlines()]
    return next(int(row[1]) for row in rows if row[0] == "hit")


def _hit() -> bool:
    """Whether the kprobe event sees calls by now."""
    before = _hits()
    _touched()
    return _hits() > before


def _perf() -> Method:
    def start() -> Run:
        if not shutil.which("perf"):
            raise NotHere("perf is not installed")
        event = _kprobe_event()
        event.__enter__()
        data = "/tmp/bench.data"
        words = ["perf", "record", "-a", "-g", "-e", "bench:hit", "-o", data]
        started = time.monotonic()
        with OUT.open("w") as out, ERR.open("w") as err:
            process = subprocess.Popen(words, stdout=out, stderr=err, text=True)
        while not _hit() and process.poll() is None:  # it says nothing when it has attached
            time.sleep(0.05)
        seconds = time.monotonic() - started
        if process.poll() is not None:
            event.__exit__(None, None, None)
            raise NotHere(ERR.read_text().strip())

        def finish() -> dict[str, Any]:
            _end(process)
            hits = _hits()
            event.__exit__(None, None, None)
            stats = _output("perf", "report", "--stats", "-i", data)
            Path(data).unlink()
            found = {
                name: int(number) for name, number in re.findall(r"(\w+) events: +(\d+)", stats)
            }
            # It counts the times that it lost samples, not the samples.
            return {"events": hits, "lost": hits - found.get("SAMPLE", 0)}

        return Run(finish, seconds)

    return Method("perf record -g", start, lambda: _output("perf", "--version"))


def _bcc() -> Method:
    def start() -> Run:
        tool = shutil.which("stackcount-bpfcc") or shutil.which("stackcount")
        if not tool:
            raise NotHere("bcc is not installed")
        words = [tool, workload.FUNCTION]
        process, seconds = _spawn(words, lambda: "Tracing" in OUT.read_text())

        def finish() -> dict[str, Any]:
            out, _ = _end(process)
            counts = re.findall(r"^    (\d+)$", out, re.MULTILINE)
            if not counts:
                raise NotHere("it printed no stack")
            return {"events": sum(map(int, counts)), "lost": 0}

        return Run(finish, seconds)

    return Method("bcc stackcount", start, lambda: _output("dpkg-query", "-W", "bpfcc-tools"))


METHODS = [
    _kwalk("--method", "manual", "--attach", "fentry"),
    _kwalk("--method", "manual", "--attach", "kprobe"),
    _kwalk("--method", "helper", "--attach", "kprobe"),
    _kwalk("--method", "helper", "--attach", "fentry"),
    _bpftrace("kprobe", "@[kstack] = count();", "kprobe, count by stack"),
    _bcc(),
    _hist(),
    _perf(),
    _kwalk("--manual", workload.FUNCTION, command="published"),
    _kwalk("--helper", workload.FUNCTION, command="published"),
    _kwalk("--method", "manual", command="stream"),
    _kwalk("--method", "helper", command="stream"),
    _bpftrace("kprobe", 'printf("%s\\n", kstack);', "kprobe, print every stack"),
]
