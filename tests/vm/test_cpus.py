# SPDX-License-Identifier: MIT
"""All CPUs at once: kwalk's counts against ftrace's hist trigger, by stack.

The matrix runs this file on a machine with four CPUs.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from complaints import complaints, forget
from conftest import TRACING, ftrace_probe
from test_ledger import NEVER_RUN, SETTLE_SECONDS

from kwalk.abi import Method, Output, Per
from kwalk.engine.capture import Capture
from kwalk.model.ledger import Summary
from kwalk.model.stack import Count
from kwalk.options.probe import ProbeOptions
from kwalk.symbolize.symbolizer import Symbolizer

# Called by sockets only, from tasks and softirqs, through more than 100 stacks.
FUNCTION = "skb_release_data"
ATTEMPTS = 3
HERE = Path(__file__).parent
CPUS = os.cpu_count() or 1
pytestmark = pytest.mark.skipif(CPUS < 4, reason="the matrix runs this with four CPUs")
TRAFFIC = """
import os, sys
sys.path.insert(0, sys.argv[2])
import sockets
os.sched_setaffinity(0, {int(sys.argv[1])})
print(flush=True)
sys.stdin.readline()
for _ in range(3):
    sockets.traffic()
"""

READS = "fd = os.open('/dev/zero', os.O_RDONLY)\nwhile True: os.read(fd, 1)"


@contextmanager
def hammers() -> Iterator[list[subprocess.Popen[str]]]:
    """Start a process on each CPU, which begins when a line is written to it."""
    pipe = subprocess.PIPE
    made = [
        subprocess.Popen(
            [sys.executable, "-c", TRAFFIC, str(cpu), str(HERE)],
            stdin=pipe, stdout=pipe, text=True,
        )
        for cpu in range(CPUS)
    ]  # fmt: skip
    for process in made:
        assert process.stdout
        process.stdout.readline()
    try:
        yield made
    finally:
        for process in made:
            process.kill()
            process.wait()


def hit(processes: list[subprocess.Popen[str]]) -> None:
    """Run all of them at once to their ends, and let the network come to rest."""
    for process in processes:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        assert process.wait(timeout=200) == 0
    time.sleep(SETTLE_SECONDS)  # delayed ACKs


@contextmanager
def hist(function: str) -> Iterator[list[str]]:
    """Set ftrace's hist trigger on a function, keyed by stack; finally its text is in the list."""
    text: list[str] = []
    with ftrace_probe(f"p:kwtest/hist {function}"):
        folder = TRACING / "events" / "kwtest" / "hist"
        key = "common_stacktrace"
        try:
            (folder / "trigger").write_text(f"hist:keys={key}:size=32768\n")
        except OSError:  # before 6.3
            key = "stacktrace"
            (folder / "trigger").write_text(f"hist:keys={key}:size=32768\n")
        try:
            yield text
            text.append((folder / "hist").read_text())
        finally:
            (folder / "trigger").write_text(f"!hist:keys={key}:size=32768\n")


def hist_stacks(text: str) -> Counter[tuple[str, ...]]:
    """Parse the stacks of a hist trigger with their counts, innermost frame first."""
    stacks: Counter[tuple[str, ...]] = Counter()
    for block, number in re.findall(r"\{[^:]*:(.*?)\} hitcount: +(\d+)", text, re.DOTALL):
        frames = [line.split()[0].split("/")[0] for line in block.splitlines() if line.strip()]
        stacks[tuple(frames)] += int(number)
    return stacks


def calls(profile: str) -> int:
    """Return the hits of ftrace's own probe, missed ones included."""
    rows = [line.split() for line in profile.splitlines()]
    return next(int(row[1]) + int(row[2]) for row in rows if row[0] == "hist")


def from_function(frames: tuple[str, ...]) -> tuple[str, ...]:
    """Return the callers of ``FUNCTION`` in a stack of ftrace, without ftrace's own frames."""
    names = [frame.partition("+")[0] for frame in frames]
    return frames[names.index(FUNCTION) + 1 :]


@dataclass(frozen=True)
class Measured:
    """Counts of both; ``hist`` has the trigger's text, ``calls`` the hits of its probe."""

    counts: Sequence[Count]
    summary: Summary
    symbolizer: Symbolizer
    calls: int
    hist: list[str]


def measure(options: ProbeOptions) -> Measured:
    """Attach both, run the traffic, read both."""
    with hammers() as processes, hist(FUNCTION) as text, Capture(FUNCTION, options) as capture:
        hit(processes)
        capture.stop()
        counts, summary = capture.counts(), capture.summary()
        independent = calls((TRACING / "kprobe_profile").read_text())
        return Measured(counts, summary, Symbolizer(capture.symbols), independent, text)


@pytest.mark.parametrize("attach", ["kprobe", "fentry"])
def test_counts_are_those_of_ftrace(attach: str, frame_pointers: bool) -> None:
    options = ProbeOptions(Method.MANUAL, attach, output=Output.COUNT)
    # The trigger drops calls while another CPU adds the same stack: then it can't be a reference.
    for _ in range(ATTEMPTS):
        measured = measure(options)
        dropped = re.findall(r"Dropped: (\d+)", measured.hist[0])[-1]
        if dropped == "0":
            break
    assert dropped == "0"
    counts, summary, symbolizer = measured.counts, measured.summary, measured.symbolizer
    independent = measured.calls
    ledger = summary.ledger
    assert ledger.balance == 0
    assert set(ledger.lost) <= NEVER_RUN
    assert ledger.hits == independent > 500 * CPUS

    theirs: Counter[tuple[str, ...]] = Counter()
    for traced, number in hist_stacks(measured.hist[0]).items():
        theirs[from_function(traced)] += number
    # Frame-pointer unwinding lacks the direct caller unless it starts below the function.
    ours: Counter[tuple[str, ...]] = Counter()
    for count in counts:
        frames = [f"{f.name}+{f.offset:#x}" for f in symbolizer.frames(count.stack)][1:]
        ours[tuple(frames)] += count.count
    kept = max(map(len, theirs))
    missing = 1 if frame_pointers and not any(theirs[stack[:kept]] for stack in ours) else 0
    cut: Counter[tuple[str, ...]] = Counter()
    for stack, number in ours.items():
        # A stack shorter than the trigger's limit is complete.
        fits = [stack[missing:][:length] for length in range(kept, 0, -1)]
        match = next((s for s in fits if s in theirs), fits[0] if fits else ())
        cut[match] += number
    unseen = independent - theirs.total() + sum(ledger.lost.values())
    print(f"{len(theirs)} stacks of ftrace's, {len(ours)} of kwalk's, {unseen} calls not run")
    assert len(theirs) > 50
    for side in (cut - theirs, theirs - cut):
        for stack, number in sorted(side.items()):
            print(number, " ".join(stack))
    differ = (cut - theirs).total() + (theirs - cut).total()
    assert differ <= unseen


def test_cpu_that_goes_and_comes_back_loses_no_call() -> None:
    """Calls on all CPUs, on three, on all again: none is unaccounted for."""
    switch = Path(f"/sys/devices/system/cpu/cpu{CPUS - 1}/online")
    forget()
    options = ProbeOptions(Method.MANUAL, output=Output.COUNT, per=Per.CPU)
    loops = [
        subprocess.Popen(
            [sys.executable, "-c", f"import os\nos.sched_setaffinity(0, {{{cpu}}})\n{READS}"]
        )
        for cpu in range(CPUS)
    ]
    try:
        with Capture("vfs_read", options) as capture:
            time.sleep(2)
            os.sched_setaffinity(loops[-1].pid, {0, CPUS - 1})  # else the kernel complains
            switch.write_text("0")
            time.sleep(1)
            switch.write_text("1")
            os.sched_setaffinity(loops[-1].pid, {CPUS - 1})
            before = on_cpu(capture.counts(), CPUS - 1)
            time.sleep(2)
            capture.stop()
            counts, ledger = capture.counts(), capture.summary().ledger
    finally:
        switch.write_text("1")
        for process in loops:
            process.kill()
            process.wait()
    assert ledger.balance == 0
    assert set(ledger.lost) <= NEVER_RUN
    assert all(on_cpu(counts, cpu) > 100 for cpu in range(CPUS))
    assert on_cpu(counts, CPUS - 1) > before > 0
    assert complaints() == []


def on_cpu(counts: Sequence[Count], cpu: int) -> int:
    return sum(count.count for count in counts if count.group and count.group.number == cpu)
