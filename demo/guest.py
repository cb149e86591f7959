# SPDX-License-Identifier: MIT
"""Part of the demo inside the virtual machine: redis under load, traced by both methods.

Usage: guest.py RESULT WIDTH. RESULT is a JSON file with the output of ``kwalk compare``, WIDTH
columns wide, and of ``kwalk bench``, under the names of these commands.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from subprocess import DEVNULL

FUNCTION = "ip_rcv"
COMPARE = ["compare", FUNCTION, "--duration", "1", "--no-cost"]
BENCH_SIZE = ["--runs", "1", "--requests", "5000"]
PORT = "6379"
BENCHMARK = ["redis-benchmark", "-h", "127.0.0.1", "-p", PORT, "-t", "set", "-q"]
# kwalk has to start beside the load, on one CPU.
NICE = ["nice", "-n", "19"]


def say(text: str) -> None:
    """Report progress to the host."""
    print(text, flush=True)


def start_redis() -> subprocess.Popen[bytes]:
    """Start a server without persistence on the loopback device; return once it answers."""
    words = [*NICE, "redis-server", "--bind", "127.0.0.1", "--port", PORT, "--save", ""]
    server = subprocess.Popen(words, stdout=DEVNULL)
    while server.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", int(PORT))):
            return server
        time.sleep(0.1)
    sys.exit(f"demo: redis-server ended with exit code {server.returncode}")


def run_compare(width: str) -> str:
    """Return the output of ``kwalk compare`` during a continuous load."""
    words = [sys.executable, "-m", "kwalk", *COMPARE]
    benchmark = subprocess.Popen([*NICE, *BENCHMARK, "-l"], stdout=DEVNULL, stderr=DEVNULL)
    try:
        kwalk = subprocess.run(
            words, capture_output=True, text=True, check=False, env=os.environ | {"COLUMNS": width}
        )
    finally:
        benchmark.kill()
        benchmark.wait()
    if kwalk.returncode:
        sys.exit(kwalk.stderr.strip())
    return kwalk.stdout


def run_bench() -> str:
    """Return the table of each method's overhead for redis."""
    words = [sys.executable, "-m", "kwalk", "bench", FUNCTION, *BENCH_SIZE]
    bench = subprocess.run(words, capture_output=True, text=True, check=False)
    if bench.returncode:
        sys.exit(bench.stderr.strip())
    return bench.stdout


def main(result: Path, width: str) -> None:
    """Run both; the host prints the results."""
    say("booted; starting redis-server")
    server = start_redis()
    say(f"kwalk {' '.join(COMPARE)}")
    found = {"compare": run_compare(width)}
    server.kill()
    server.wait()
    say(f"kwalk bench {FUNCTION} {' '.join(BENCH_SIZE)}")
    result.write_text(json.dumps(found | {"bench": run_bench()}))
    say("done")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
