# SPDX-License-Identifier: MIT
"""CPU time and memory of all reports on the costliest recordings of 100 kB within the limits.

``python benchmarks/strangers.py [FOLDER]`` writes them into a folder and runs kwalk on each.
"""

from __future__ import annotations

import json
import os
import random
import struct
import subprocess
import sys
import tempfile
import zlib
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

SIZE = 100_000
UNPACKED = (4 << 20) + 32 * SIZE - 400_000
"""Bytes that one block may unpack to, with room for the others."""
MAGIC = b"kwalk rec\n\x00\x01"
FORMATS = (
    *("text", "tree", "folded", "json", "csv", "pprof", "speedscope", "perfetto", "flamegraph"),
    "svg",
)
LEDGER = {"hits": 10, "recorded": 10}
SUMMARY = {"function": "f", "method": "m", "attach": "a", "kernel": "k", "notes": []}


def block(kind: bytes, contents: bytes, level: int = 9) -> bytes:
    """Return a block."""
    packed = zlib.compress(contents, level)
    check = zlib.crc32(packed, zlib.crc32(kind))
    return struct.pack("<4sII", kind, len(packed), check) + packed


def many(kind: bytes, item: bytes, begin: bytes = b"[", end: bytes = b"]") -> bytes:
    """Return a block with as many items as fit."""
    return block(kind, begin + b",".join([item] * (UNPACKED // (len(item) + 2))) + end)


def columns(*values: tuple[str, list[int]]) -> bytes:
    """Return columns of these codes."""
    size = struct.pack("<I", len(values[0][1]))
    return b"".join([size, *(array(code, column).tobytes() for code, column in values)])


def recording(
    frames: int = 2,
    nodes: Sequence[tuple[int, int]] = ((0, 0), (1, 1)),
    keys: Sequence[int] = (2,),
    rows: Sequence[int] = (),
    *,
    group: int = 0,
    extra: Sequence[bytes] = (),
    **told: Any,
) -> bytes:
    """Return a recording, filled up to its size with incompressible data.

    :param keys: Node of each key.
    :param rows: Keys of the rows; by default one row for each key.
    :param extra: Further blocks.
    :param told: Further members of the ledger's block.
    """
    named = [[f"f{number}", 1, "", number + 1] for number in range(frames)]
    parents, of = ([pair[side] for pair in nodes] for side in (0, 1))
    zeros = [0] * len(keys)
    counted = rows or list(range(len(keys)))
    body = b"".join(
        [
            *extra,
            block(b"FRAM", json.dumps(named).encode()),
            block(b"NODE", columns(("I", parents), ("I", of))),
            block(b"KEYS", columns(("I", list(keys)), ("I", zeros), ("I", [group] * len(keys)))),
            block(
                b"TICK",
                struct.pack("<d", 1.0) + columns(("I", list(counted)), ("q", [1] * len(counted))),
            ),
            block(b"LEDG", json.dumps(SUMMARY | {"ledger": LEDGER} | told).encode()),
            block(b"DONE", b""),
        ]
    )
    fill = random.Random(1).randbytes(max(SIZE - len(MAGIC) - len(body) - 30, 0))
    return MAGIC + block(b"NEWS", fill, 0) + body


def apart(number: int, depth: int) -> bytes:
    """Return stacks that share their inner frames only, so that no two share a branch."""
    nodes = [(node, node) for node in range(depth - 1)]
    nodes += [(depth - 1, depth + other) for other in range(number)]
    return recording(depth + number, nodes, [depth + other for other in range(number)])


def worst() -> Iterator[tuple[str, bytes]]:
    """Yield names and contents of recordings, each with the most of one thing that is allowed."""
    yield "apart-127", apart(6200, 127)
    yield "apart-1024", apart(820, 1024)
    chain = [(node, node) for node in range(1024)]
    yield "chain-1024", recording(1024, chain, [*range(1, 1025), *([1024] * 300)])
    yield "rows", recording(rows=[0] * (UNPACKED // 12))
    yield "keys", recording(keys=[2] * 270_000, rows=[0])
    yield "nodes", recording(nodes=[(0, 0)] * (UNPACKED // 8))
    yield "frames", recording(extra=[many(b"FRAM", b'["",0,"",0]')], nodes=[(0, 0), (1, 1)])
    yield "groups", recording(extra=[many(b"GRUP", b'["",0,""]')], group=1)
    yield "causes", recording(ledger=LEDGER | {"lost": {f"{cause}": 1 for cause in range(20_000)}})
    yield "notes", recording(notes=[""] * (UNPACKED // 4))
    yield "uncounted", recording(ledger=LEDGER | {"uncounted": ["x"] * (UNPACKED // 5)})
    differ: list[list[list[int]]] = [[[], []]] * (UNPACKED // 10)
    yield "differences", recording(verify={"checked": 1, "differences": differ})
    yield "merged", recording(extra=[many(b"BEGN", b"{}", b'{"merged":[', b"]}")])
    yield "command", recording(extra=[many(b"BEGN", b'""', b'{"command":[', b"]}")])
    yield "function", recording(function="f" * UNPACKED)


def main(folder: Path) -> None:
    """Measure all of them."""
    other = folder / "other.rec"
    other.write_bytes(apart(819, 1023))
    for name, data in worst():
        path = folder / f"{name}.rec"
        path.write_bytes(data)
        file = str(path)
        commands = {form: ["report", file, "--format", form] for form in FORMATS}
        commands |= {"info": ["info", file], "merge": ["report", file, file, "--format", "tree"]}
        commands |= {
            f"diff {form}": ["diff", file, file, "--format", form]
            for form in ("text", "tree", "json", "flamegraph")
        }
        # The two have nothing in common: twice as much to draw.
        commands["diff others"] = ["diff", file, str(other), "--format", "flamegraph"]
        print(f"{name}: {len(data):,} bytes", flush=True)
        for command, words in commands.items():
            with open(folder / "out", "wb") as out:
                child = subprocess.Popen([sys.executable, "-m", "kwalk", *words], stdout=out)
                _, status, used = os.wait4(child.pid, 0)
            code = os.waitstatus_to_exitcode(status)
            mib = used.ru_maxrss / 1024
            seconds = used.ru_utime + used.ru_stime
            print(f"  {command:16} {seconds:5.1f} s {mib:6.0f} MiB  exit {code}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as made:
            main(Path(made))
