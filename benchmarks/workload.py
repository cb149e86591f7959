# SPDX-License-Identifier: MIT
"""The load that methods are measured under: redis, one ``ip_rcv`` each way of a request."""

from __future__ import annotations

import csv
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

FUNCTION = "ip_rcv"
REQUESTS = 20_000


@contextmanager
def redis_server() -> Iterator[None]:
    """A private server on the usual port of the guest."""
    words = ["redis-server", "--save", "", "--port", "6379"]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    ping = ["redis-cli", "ping"]
    while subprocess.run(ping, capture_output=True, check=False).stdout != b"PONG\n":
        time.sleep(0.1)
    try:
        yield
    finally:
        server.kill()
        server.wait()


def throughput() -> float:
    """Requests per second of one benchmark."""
    words = ["redis-benchmark", "-t", "set", "-n", str(REQUESTS), "--csv"]
    out = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    rows = {row[0]: row[1] for row in csv.reader(out.splitlines()) if len(row) > 1}
    return float(rows["SET"])


def version() -> str:
    """Which redis it was."""
    words = ["redis-server", "--version"]
    out = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return "redis " + out.split("v=")[1].split()[0]
