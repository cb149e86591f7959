# SPDX-License-Identifier: MIT
"""What captures of unit tests are connected to in place of a kernel."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from planted import Planted, record, short

from kwalk.abi import COUNTERS, NO_ADDRESS, Method, Output, Unwinder
from kwalk.decode import counts
from kwalk.engine import capture as captures
from kwalk.engine import reader
from kwalk.kernel import kallsyms_cache
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.libbpf import stats
from kwalk.options.probe import ProbeOptions
from kwalk.probe import no_hits, translate
from kwalk.probe import probe as probes
from kwalk.probe.attach_multi import Watch
from kwalk.probe.config import Facts
from kwalk.probe.load import Loaded
from kwalk.probe.probe import Probe
from kwalk.probe.selection import Selection
from kwalk.transport.counters import online_cpus

SYMBOLS = Kallsyms(
    b"ffffffff81000000 T ip_rcv\n"
    b"ffffffff81000100 T a\n"
    b"ffffffff81000200 T b\n"
    b"ffffffff81000300 T c\n"
    b"ffffffff81000400 T d\n"
)
WAYS = {"kprobe": "kprobe", "fentry": "fentry", "r:kprobe": "kretprobe", "r:fentry": "fexit"}


Sent = bytes | Callable[[], bytes]


class Engine:
    """Stands in for a loaded program: its tree, its ring, its counters, its stack maps.

    :ivar ring: What the next read finds, one list of records a read.
    :ivar stacks: The helper's stacks by id; both maps hold the same.
    :ivar info: What the kernel tells of the program.
    :ivar programs: The ids of others' programs.
    :ivar done: What was done to it, in order.
    """

    def __init__(self) -> None:
        self.planted = Planted()
        self.ring: list[list[Sent]] = []
        self.stacks: dict[int, tuple[int, ...]] = {}
        self.counters = dict.fromkeys(COUNTERS.fields, 0)
        self.programs: list[int] = []
        self.unwinder = Unwinder.ORC
        self.method: Method | None = None
        self.attach = "fentry"
        self.kernel_frames = 127
        self.misses = {"recursion": 0}
        self.filtered = 0
        self.done: list[str] = []
        self.info = bytes(256)
        self.brief = False
        self.short = False
        self.active = 0
        self.after = no_hits.Found()
        self._ticks = 0

    def open(
        self, selection: Selection, symbols: Kallsyms, options: ProbeOptions, watch: Watch
    ) -> Probe:
        """Attach; what was asked for is what is used."""
        maps = {"counted": self.planted.map("counted"), "events": SimpleNamespace(fd=-1)}
        obj: Any = SimpleNamespace(
            map=maps.__getitem__,
            close=lambda: self.done.append("close"),
            detach=lambda: self.done.append("detach"),
            program_info=lambda name: self.info,
            sample_clocks=self.clocks,
            attach_sample=lambda program, cpu, frequency: self.done.append(f"sample {cpu}"),
        )
        method = self.method or options.method or Method.MANUAL
        self.brief = options.output == Output.BRIEF
        self.short = method == Method.MANUAL and not self.brief
        many = len(selection.targets) > 1
        target = selection.targets[0]
        loaded = Loaded(
            obj,
            self.planted.plant(NO_ADDRESS if many else target.traced),
            SimpleNamespace(filtered=lambda: self.filtered, close=lambda: None),  # type: ignore[arg-type]
            {
                "kernel_frames": self.kernel_frames,
                "per": int(options.per),
                "sampled": int(options.chance is not None),
                "many": int(many),
            },
            {},
            Facts(0, 0, b"", self.unwinder, True, 0),
            [],
        )
        way = WAYS[("r:" if target.returns else "") + self.attach]
        way = "kprobe.multi" if many else way
        now = time.monotonic()
        return Probe(loaded, selection, method, way, [], ["a note"], now, now)

    def batch(self, size: int, complete: bool = False) -> Iterator[memoryview]:
        """The ring's records of one read, in two runs."""
        sent = self.ring.pop(0) if self.ring else []
        records = [each if isinstance(each, bytes) else each() for each in sent]
        assert not any(len(data) % (size + 8) for data in records)
        half = len(records) // 2
        for run in (records[:half], records[half:]):
            if run:
                yield memoryview(b"".join(run))

    def clocks(self) -> dict[int, int]:
        """How long each CPU has been sampled; it goes on."""
        self._ticks += 1
        return dict.fromkeys(online_cpus(), self._ticks)

    def swap(self) -> int:
        """Turn new stacks to the other map."""
        idle, self.active = self.active, 1 - self.active
        self.done.append(f"swap {idle}")
        return idle

    def stack(self, idle: int, number: int) -> tuple[int, ...] | None:
        """Look up a stack."""
        self.done.append(f"look {idle}")
        return self.stacks.get(number)

    def walked(self, *addresses: int, flags: int = 0, cut: int = 0, **members: Any) -> Sent:
        """A record of a stack that was walked."""
        node = self.planted.walked(*addresses, cpu=members.get("cpu", 0), cut=cut)
        return self.hit(node, flags, **members)

    def kernels(self, *words: int, flags: int, mark: int = 1, **members: Any) -> Sent:
        """A record of a stack of the kernel's unwinder."""
        node = self.planted.kernels(*words, mark=mark, cpu=members.get("cpu", 0))
        return self.hit(node, flags, **members)

    def hit(self, node: int, flags: int = 0, **members: Any) -> Sent:
        """A record of a hit, which is sent in the form that the capture asks for."""

        def send() -> bytes:
            if self.short:
                return short(node, flags, **members)
            return record(node, flags, brief=self.brief, **members)

        return send

    def count(self, hits: int, **others: int) -> None:
        """Set what the program counted."""
        self.planted.hit(hits)
        self.counters |= others


def connect(monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Have every capture of a test use one engine."""
    engine = Engine()
    maps = SimpleNamespace(
        wait=lambda: engine.done.append("wait"),
        swap=engine.swap,
        clear=lambda idle: engine.done.append(f"clear {idle}"),
        stack=engine.stack,
    )
    ring = SimpleNamespace(batch=engine.batch, close=lambda: None)
    counters = SimpleNamespace(read=lambda: dict(engine.counters))
    monkeypatch.setattr(stats, "measured", nullcontext)
    monkeypatch.setattr(stats, "ids", lambda: iter(engine.programs))
    monkeypatch.setattr(captures, "check_access", lambda: None)
    monkeypatch.setattr(captures, "check_kernel", lambda symbols: None)
    monkeypatch.setattr(Kallsyms, "read", lambda *_: SYMBOLS)
    monkeypatch.setattr(kallsyms_cache, "state", lambda *_: b"")
    monkeypatch.setattr(captures, "open_probe", engine.open)
    monkeypatch.setattr(no_hits, "look", lambda probe, symbols, before, hits: engine.after)
    monkeypatch.setattr(translate, "is_nested", lambda kind: False)
    monkeypatch.setattr(reader, "Ring", lambda fd, size: ring)
    monkeypatch.setattr(reader, "StackMaps", lambda obj, depth, control: maps)
    monkeypatch.setattr(reader, "Counters", lambda obj: counters)
    monkeypatch.setattr(probes, "kernel_misses", lambda obj, program, link: dict(engine.misses))
    monkeypatch.setattr(reader, "kernel_release", lambda: "6.12.107")
    monkeypatch.setattr(counts, "possible_cpus", lambda: engine.planted.cpus)
    return engine


def words(*addresses: int, size: int = 127) -> tuple[int, ...]:
    """A stack of the helper's map: unused words are zero."""
    return addresses + (0,) * (size - len(addresses))
