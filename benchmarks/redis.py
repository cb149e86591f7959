# SPDX-License-Identifier: MIT
"""What each method costs redis: run inside the lab, with ``--icount`` for figures that repeat.

Usage: ``kwalk lab run --icount --kernel NAME -- .venv/bin/python benchmarks/redis.py``

Per method and way of attaching: throughput of ``redis-benchmark -t set`` with BPF statistics off,
and in a second run with statistics on, the instructions (under ``--icount``; nanoseconds
otherwise) that one run of the program takes. The events are read after the load has ended, so
that only the probe is measured; in ``stream`` rows ``kwalk stream`` writes them to a file
meanwhile.
"""

from __future__ import annotations

import csv
import json
import os
import platform
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kwalk.capture import Capture
from kwalk.probe.options import ProbeOptions
from kwalk.transport.abi import Method

FUNCTION = "ip_rcv"
REQUESTS = 10_000
STATISTICS = Path("/proc/sys/kernel/bpf_stats_enabled")
# struct bpf_prog_info: run_time_ns and run_cnt
RUN_TIME, RUN_COUNT = 192, 200


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


def probed(method: Method, attach: str) -> dict[str, Any]:
    """Measure with a probe attached, its events read afterwards."""
    result: dict[str, Any] = {}
    for statistics in ("0", "1"):
        STATISTICS.write_text(statistics)
        options = ProbeOptions(method, attach, ring_bytes=64 << 20)
        started = time.monotonic()
        with Capture(FUNCTION, options) as capture:
            attached = time.monotonic() - started
            rate = throughput()
            info = capture.probe.obj.program_info(capture.probe.program)
            capture.stop()
            for _ in capture.read():
                pass
            ledger = capture.summary().ledger
        assert ledger.balance == 0
        if statistics == "0":
            result |= {"rps": rate, "events": ledger.hits, "lost": sum(ledger.lost.values())}
            result |= {"fallback": ledger.fallback, "attach_seconds": round(attached, 2)}
        else:
            (spent,) = struct.unpack_from("<Q", info, RUN_TIME)
            (runs,) = struct.unpack_from("<Q", info, RUN_COUNT)
            result["per_event"] = round(spent / runs)
    STATISTICS.write_text("0")
    return result


def streamed(method: str, attach: str) -> dict[str, Any]:
    """Measure with ``kwalk stream`` writing every event to a file, on the same CPU."""
    words = [f"{sys.prefix}/bin/kwalk", "stream", FUNCTION, "--format", "json"]
    words += ["--method", method, "--attach", attach]
    path = Path("/tmp/stream.json")
    with path.open("w") as out:
        process = subprocess.Popen(words, stdout=out, stderr=subprocess.DEVNULL)
    while not path.stat().st_size:  # one request is enough to show that it is attached
        subprocess.run(["redis-cli", "ping"], capture_output=True, check=False)
        time.sleep(0.2)
    rate = throughput()
    process.terminate()
    process.wait()
    ledger = json.loads(path.read_text().splitlines()[-1])["ledger"]
    return {"rps": rate, "events": ledger["hits"], "lost": sum(ledger["lost"].values())}


def main() -> None:
    """Measure everything and print one JSON object."""
    rows: dict[str, dict[str, Any]] = {}
    with redis_server():
        throughput()  # warm-up
        rows["none"] = {"rps": throughput()}
        for method in (Method.HELPER, Method.MANUAL):
            for attach in ("kprobe", "fentry"):
                name = f"{str(method.name).lower()} {attach}"
                rows[name] = probed(method, attach)
                rows[f"{name} stream"] = streamed(str(method.name).lower(), attach)
        rows["none again"] = {"rps": throughput()}
    for row in rows.values():
        row["change"] = f"{100 * (row['rps'] / rows['none']['rps'] - 1):+.1f}%"
    facts = {"kernel": platform.release(), "lab": os.environ.get("KWALK_LAB", "")}
    print(json.dumps({**facts, "function": FUNCTION, "requests": REQUESTS, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
