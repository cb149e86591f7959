#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Time of a hit on this processor: the walk, and a generated program in front of it.

    .venv/bin/python benchmarks/cycles.py [FRAMES] [STACKS]

Both are bpf/ and the emitted instructions, compiled for this machine by gcc, over stacks of a
synthetic kernel (tests/host). The lab's clock counts instructions and knows no caches; this shows
what those do. Ticks are of the time-stamp counter; the cost of reading it is left in.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
HOST = ROOT / "tests" / "host"
FOLDER = ROOT / "build" / "cycles"
ROUNDS, COLD_ROUNDS = 20_000, 1_500
# Bytes of other memory that are read before each hit.
CACHES = {"hot": 0, "out of L1": 256 << 10, "out of L2": 16 << 20}


def compiled(name: str, source: str | Path) -> Path:
    """Compile C to a shared object, whose other symbols are of the one loaded first."""
    target = FOLDER / f"{name}.so"
    if isinstance(source, str):
        path = FOLDER / f"{name}.c"
        path.write_text(source)
    else:
        path = source
    words = ["gcc", "-O2", "-fPIC", "-shared", "-w", str(path), "-o", str(target)]
    subprocess.run(words, check=True)
    return target


def measure(frame_pointers: bool, frames: int, stacks: int) -> None:
    """Print a line for the walk and one for the generated program."""
    import hots
    from layouts import FP_NEW, V6_12
    from library import ffi, library
    from translated import translated
    from worlds import World
    from x86.execution import Execution

    from kwalk.abi import HOT_PROGRAM

    # What is compiled here finds the stand-ins there.
    ffi.dlopen(os.environ["KWALK_HOST_OBJECT"], ffi.RTLD_NOW | ffi.RTLD_GLOBAL)
    world = World(FP_NEW if frame_pointers else V6_12, Random(7), functions=frames * 2, static=1.0)
    random, executions = world.random, []
    usable = [b for b in world.functions if b.static or not frame_pointers]
    for _ in range(stacks):
        execution = Execution(world.kernel, random, world.kernel.new_task())
        execution.from_user(world.syscall)
        while len(execution.callers) < frames - 2:
            execution.call(random.choice(usable))
        execution.call(world.func, prologue=False)
        executions.append(execution)
    contexts = [each.trampoline(world.func.start, 2) for each in executions]
    hot = hots.Hot(world, fentry=True, nodes=4000, typed_loads=1)
    loaded = hot.loaded
    loaded._know_memory()
    lib = library()
    harness = ffi.dlopen(str(compiled("cycles", Path(__file__).with_name("cycles.c"))))
    cpus = []
    for execution in executions:
        cpu = ffi.new("struct host_cpu *")
        ffi.memmove(cpu, loaded.cpus[0].state, ffi.sizeof("struct host_cpu"))
        cpu.task, cpu.arguments = execution.task, 2
        cpus.append(cpu)
    views = dict(loaded._views)
    other = ffi.new("uint8_t[]", max(CACHES.values()))

    def hits(program: Any) -> Any:
        found = ffi.new("struct hit[]", stacks)
        for hit, execution, context, cpu in zip(found, executions, contexts, cpus, strict=True):
            start = max(each for each in views if each <= execution.sp)
            hit.program, hit.context, hit.cpu = program, ffi.cast("void *", context), cpu
            hit.stack, hit.stack_size = start, len(views[start])
            hit.memory = ffi.cast("const uint8_t *", views[start])
        return found

    def ticks(program: Any) -> list[float]:
        row = []
        for size in CACHES.values():
            rounds = COLD_ROUNDS if size else ROUNDS
            found = ffi.new("uint32_t[]", rounds)
            harness.take(hits(program), stacks, rounds, other, size, found)
            row.append(median(list(found)[rounds // 5 :]))
        return row

    hot_entry = ffi.cast("int (*)(void *)", lib.host_find_program(b"kw_fentry_hot"))
    alone = ffi.cast("int (*)(void *)", lib.host_find_program(b"kw_fentry"))
    few = ffi.new("uint32_t[]", 10 * stacks)
    harness.take(hits(hot_entry), stacks, 10 * stacks, other, 0, few)
    made = hot.make()
    assert made == stacks, f"programs follow {made} of {stacks} stacks: {hot.refused}"
    assert hot.program
    source = translated(hot.program.instructions, hot.program.maps)
    program = ffi.dlopen(str(compiled(f"generated-{int(frame_pointers)}", source)))
    lib.host_set_tail(HOT_PROGRAM, ffi.addressof(program, "generated"))
    missed, before = hot.missed, loaded.tree.hits()
    rows = {"generated": ticks(hot_entry)}
    assert hot.missed == missed, "a known stack was missed"
    assert loaded.tree.hits() - before == ROUNDS + 2 * COLD_ROUNDS
    rows["walk"] = ticks(alone)
    name = "frame pointers" if frame_pointers else "ORC"
    for what in ("walk", "generated"):
        texts = "  ".join(f"{value:12.0f}" for value in rows[what])
        print(f"{name:16} {what:12} {texts}", flush=True)


def main() -> int:
    """Measure and print."""
    frames = int(sys.argv[1]) if len(sys.argv) > 1 else 26
    stacks = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    sys.path[:0] = [str(HOST), str(ROOT / "tests" / "unit"), str(ROOT / "tests")]
    from built import build

    os.environ["KWALK_HOST_OBJECT"] = str(build("timed", FOLDER))
    from library import ffi

    ffi.cdef(
        """struct hit { int (*program)(void *); void *context; struct host_cpu *cpu;
        uint64_t stack, stack_size; const uint8_t *memory; };
        void take(const struct hit *, uint32_t, uint32_t, const volatile uint8_t *, uint64_t,
        uint32_t *);
        int generated(void *);
        int (*host_find_program(const char *name))(void *ctx);""",
    )
    print(f"ticks a hit, median; {stacks} stacks of {frames} frames in turn")
    print(f"{'':16} {'':12} " + "  ".join(f"{name:>12}" for name in CACHES))
    for frame_pointers in (False, True):
        measure(frame_pointers, frames, stacks)
    return 0


if __name__ == "__main__":
    sys.exit(main())
