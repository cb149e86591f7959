# SPDX-License-Identifier: MIT
"""The empty program: how it is attached, what it counts, and what it is as a method."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from kwalk.bench import empty, methods
from kwalk.bench.results import Outcome
from kwalk.bench.tool import ToolUnavailable
from kwalk.errors import NotSupported
from kwalk.libbpf import LibbpfError

PERF_EVENT = 7


class Object:
    """A BPF object in a kernel that refuses some ways of attaching.

    :ivar attached: (program, function) of each that is attached.
    """

    refuses: tuple[str, ...] = ()
    runs = 100
    recursion = 3
    missed = 20
    attached: list[tuple[str, str]]

    def __init__(self, image: bytes) -> None:
        assert image[:4] == b"\x7fELF"

    def set_autoload(self, wanted: dict[str, str | None]) -> None:
        ((name, target),) = wanted.items()
        self.target = target
        if name in self.refuses:
            raise LibbpfError(f"no {name}", 22)

    def load(self) -> None:
        pass

    def attach_trace(self, name: str, function: str) -> None:
        assert self.target == function
        self.attached.append((name, function))

    def attach_kprobe(self, name: str, function: str) -> None:
        assert self.target is None
        self.attached.append((name, function))

    def program_info(self, name: str) -> bytes:
        return struct.pack("<192xQQQ", 999, self.runs, self.recursion)

    def link_infos(self) -> Iterator[bytes]:
        yield struct.pack("<I44xQ", PERF_EVENT, self.missed)

    def close(self) -> None:
        self.attached.clear()


@pytest.fixture(autouse=True)
def kernel(monkeypatch: pytest.MonkeyPatch) -> type[Object]:
    monkeypatch.setattr(Object, "attached", [], raising=False)
    monkeypatch.setattr(Object, "refuses", ())
    monkeypatch.setattr(empty, "Object", Object)
    return Object


@pytest.mark.parametrize("function", ["ovl_open", "overlay:ovl_open"])
def test_counter_is_attached_by_fentry_where_that_works(
    kernel: type[Object], function: str
) -> None:
    with empty.counter(function) as counter:
        assert kernel.attached == [("kw_empty_fentry", "ovl_open")]
        assert counter.way == "fentry"
        # A run that the kernel refused, as the program was running, is a call, too.
        assert counter.calls() == 100 + 3
    assert kernel.attached == []


def test_counter_is_attached_by_kprobe_elsewhere(
    kernel: type[Object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "refuses", ("kw_empty_fentry",))
    with empty.counter("ip_rcv") as counter:
        assert kernel.attached == [("kw_empty_kprobe", "ip_rcv")]
        assert counter.calls() == 100 + 3 + 20


def test_function_that_cannot_be_traced_has_no_counter(
    kernel: type[Object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "refuses", ("kw_empty_fentry", "kw_empty_kprobe"))
    with pytest.raises(LibbpfError, match="no kw_empty_kprobe"):
        empty.counter("ip_rcv")


@pytest.mark.parametrize(
    ("name", "attach", "way"),
    [
        ("empty", "auto", "fentry"),
        ("empty", "kprobe", "kprobe"),
        ("empty:kprobe", "fentry", "kprobe"),
        ("empty:fentry", "auto", "fentry"),
    ],
)
@pytest.mark.parametrize("mode", ["count", "stream"])
def test_empty_program_is_a_method_that_delivers_nothing(
    kernel: type[Object], name: str, attach: str, way: str, mode: str
) -> None:
    made = methods.find(name, "ip_rcv", mode, attach)
    assert (made.name, made.version()) == (name, "")
    running = made.start()
    try:
        assert kernel.attached == [(f"kw_empty_{way}", "ip_rcv")]
        assert running.attach_seconds >= 0
        assert running.cpu_seconds() == 0
        assert running.finish() == Outcome(None, None)
        assert kernel.attached == []
    finally:
        running.kill()


def test_empty_program_that_cannot_be_attached_is_not_run(
    kernel: type[Object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "refuses", ("kw_empty_fentry",))
    with pytest.raises(ToolUnavailable, match="no kw_empty_fentry"):
        methods.find("empty:fentry", "ip_rcv", "count", "auto").start()


def test_missing_object_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(empty, "__file__", str(tmp_path / "empty.py"))
    with pytest.raises(NotSupported, match=r"without its empty BPF program \(empty.bpf.o\)"):
        empty.EmptyProgram("ip_rcv", "fentry")
