# SPDX-License-Identifier: MIT
"""Cost of a call with and without generated programs, once these are there.

    kwalk lab run --icount -- python benchmarks/hot.py [FUNC...] [OUTPUT...]

An output is count, event or brief; ``:kprobe`` behind it attaches by kprobe. The load is redis SET,
as in ``make bench``. Figures are the kernel's run-time statistics, which count instructions there.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from kwalk.abi import Method, Output
from kwalk.engine.capture import Capture
from kwalk.libbpf import stats
from kwalk.options.probe import ProbeOptions

PORT = "7777"
WARM_SECONDS, SECONDS = 0.5, 0.6
POLL_SECONDS = 0.05
OUTPUTS = ("count", "count:kprobe", "event", "brief")


@contextmanager
def load() -> Iterator[None]:
    """Run redis-server under redis-benchmark, which does not end by itself."""
    server = subprocess.Popen(
        ["redis-server", "--save", "", "--port", PORT], stdout=subprocess.DEVNULL
    )
    ping = ["redis-cli", "-p", PORT, "ping"]
    while subprocess.run(ping, capture_output=True, check=False).stdout != b"PONG\n":
        time.sleep(0.1)
    words = ["redis-benchmark", "-p", PORT, "-t", "set", "-n", "100000000", "-q"]
    client = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        for process in (client, server):
            process.kill()
            process.wait()


def cost(function: str, output: Output, attach: str, fast: bool) -> str:
    """Return instructions a call, and the share of calls that generated programs took."""
    options = ProbeOptions(Method.MANUAL, attach, output=output, fast=fast)
    with Capture(function, options) as capture, stats.measured():

        def run(seconds: float, looks: bool) -> None:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                time.sleep(POLL_SECONDS)
                if looks:
                    capture.look()
                if output != Output.COUNT:
                    for _ in capture.reader.batches():
                        pass

        def measured() -> tuple[int, int, int]:
            probe, hot = capture.probe, capture.summary().hot
            spent, runs = stats.of_program(probe.obj.program_info(probe.program))
            return spent, runs, hot.taken if hot else 0

        run(WARM_SECONDS, looks=True)
        before = measured()
        run(SECONDS, looks=False)
        spent, runs, taken = (now - then for now, then in zip(measured(), before, strict=True))
        capture.stop()
    return f"{spent / max(runs, 1):8.0f} ({100 * taken / max(runs, 1):.0f} % taken)"


def main(words: Sequence[str]) -> int:
    """Print a line for each function and output."""
    outputs = [word for word in words if word.partition(":")[0].upper() in Output.__members__]
    functions = [word for word in words if word not in outputs] or ["ip_rcv"]
    print("instructions a call, by the walk alone and with generated programs")
    with load():
        for function in functions:
            for word in outputs or OUTPUTS:
                name, _, attach = word.partition(":")
                output, attach = Output[name.upper()], attach or "fentry"
                figures = [cost(function, output, attach, fast) for fast in (False, True)]
                print(f"{function:28} {name} by {attach}: {'  '.join(figures)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
