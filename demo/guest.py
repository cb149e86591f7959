# SPDX-License-Identifier: MIT
"""The demo's part inside the virtual machine: load on redis, kwalk on it by each method.

Usage: guest.py RESULT, a JSON file: under ``methods`` each one's stacks with their counts, and the
summary that ends kwalk's output; under ``bench`` what ``kwalk bench`` printed.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

FUNCTION = "ip_rcv"
SECONDS = "1"
BENCH_SIZE = ["--runs", "1", "--requests", "5000"]
PORT = "6379"
BENCHMARK = ["redis-benchmark", "-h", "127.0.0.1", "-p", PORT, "-t", "set", "-q"]
TRACED = Path("/sys/kernel/tracing/enabled_functions")


def say(text: str) -> None:
    """Tell the host how far we are."""
    print(text, flush=True)


def start_redis() -> subprocess.Popen[bytes]:
    """Start a server on the loopback device that keeps nothing; return once it answers."""
    words = ["redis-server", "--bind", "127.0.0.1", "--port", PORT, "--save", ""]
    server = subprocess.Popen(words, stdout=DEVNULL)
    while server.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", int(PORT))):
            return server
        time.sleep(0.1)
    sys.exit(f"demo: redis-server ended with exit code {server.returncode}")


def is_traced() -> bool:
    """Tell whether something is attached to the function by now."""
    return any(line.split(maxsplit=1)[:1] == [FUNCTION] for line in TRACED.open())


def run_kwalk(method: str, output: Path) -> None:
    """Run kwalk for some seconds of load, which lasts as long as kwalk is attached."""
    words = [sys.executable, "-m", "kwalk", "count", FUNCTION, "--method", method]
    words += ["--format", "json", "--duration", SECONDS]
    with output.open("wb") as file:
        kwalk = subprocess.Popen(words, stdout=file, stderr=subprocess.PIPE)
    while kwalk.poll() is None and not is_traced():
        time.sleep(0.2)
    benchmark = subprocess.Popen([*BENCHMARK, "-l"], stdout=DEVNULL, stderr=DEVNULL)
    while kwalk.poll() is None and is_traced():
        time.sleep(0.2)
    benchmark.kill()
    benchmark.wait()
    _, message = kwalk.communicate()
    if kwalk.returncode:
        sys.exit(message.decode().strip())


def read_output(output: Path) -> dict[str, Any]:
    """Return what kwalk counted, the hottest stack first."""
    summary: dict[str, Any] = json.loads(output.read_text())
    return {"stacks": summary.pop("stacks")[::-1], "summary": summary}


def run_bench() -> str:
    """Return the table of what each method costs redis."""
    words = [sys.executable, "-m", "kwalk", "bench", FUNCTION, *BENCH_SIZE]
    bench = subprocess.run(words, capture_output=True, text=True, check=False)
    if bench.returncode:
        sys.exit(bench.stderr.strip())
    return bench.stdout


def main(result: Path) -> None:
    """Do it all; the host draws."""
    say("booted; starting redis-server")
    server = start_redis()
    # Read it from disk now, not in the seconds that count.
    subprocess.run([*BENCHMARK, "-n", "100"], stdout=DEVNULL, stderr=DEVNULL, check=False)
    found = {}
    for method in ("helper", "manual"):
        say(f"kwalk count {FUNCTION} --method {method} --format json --duration {SECONDS}")
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / "output"
            run_kwalk(method, output)
            found[method] = read_output(output)
    server.kill()
    server.wait()
    say(f"kwalk bench {FUNCTION} {' '.join(BENCH_SIZE)}")
    result.write_text(json.dumps({"methods": found, "bench": run_bench()}))
    say("done")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
