# SPDX-License-Identifier: MIT
"""The ledger's numbers: per-CPU sums, and fields of the kernel's own info structs."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from kwalk.abi import COUNTERS
from kwalk.transport import counters


@pytest.mark.parametrize(
    ("text", "cpus"), [("0\n", 1), ("0-3\n", 4), ("0-127\n", 128), ("0-1,2-9\n", 10)]
)
def test_possible_cpus_as_sysfs_writes_them(text: str, cpus: int) -> None:
    assert counters.possible_cpus(text) == cpus


def test_possible_cpus_with_a_hole_leave_room_for_every_value() -> None:
    # The kernel writes one value per possible CPU, 5 here; a smaller buffer would be overrun.
    assert counters.possible_cpus("0,2-5\n") >= 5


@pytest.mark.parametrize(
    ("text", "cpus"), [("0\n", [0]), ("0-3\n", [0, 1, 2, 3]), ("0,2-3,7\n", [0, 2, 3, 7])]
)
def test_online_cpus_as_sysfs_writes_them(text: str, cpus: list[int]) -> None:
    assert counters.online_cpus(text) == cpus


def test_counters_are_the_sums_of_all_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"checked": 5, "pool_full": 3, "lost_ring_full": 2}, {"checked": 7, "pool_full": 7}, {}]
    values = b"".join(map(COUNTERS.pack, rows))

    def lookup(key: bytes, size: int) -> bytes:
        assert (key, size) == (bytes(4), len(values))
        return values

    monkeypatch.setattr(counters, "possible_cpus", lambda: 3)
    obj: Any = SimpleNamespace(map={"counters": SimpleNamespace(lookup=lookup)}.get)
    blank = dict.fromkeys(COUNTERS.fields, 0)
    found = counters.Counters(obj)
    assert found.read() == {**blank, "checked": 12, "pool_full": 10, "lost_ring_full": 2}
    found.add(obj)  # a nested level's
    assert found.read() == {**blank, "checked": 24, "pool_full": 20, "lost_ring_full": 4}


def info(at: int, value: int, size: int) -> bytes:
    """An info struct of ``size`` bytes with 64 bits at ``at``, other bytes not zero."""
    data = bytearray(b"\xee" * 256)
    data[at : at + 8] = value.to_bytes(8, "little")
    return bytes(data[:size])


@pytest.mark.parametrize(("size", "missed"), [(256, 77), (216, 77), (215, 0), (0, 0)])
def test_recursion_misses_are_zero_where_the_kernel_has_no_such_field(
    size: int, missed: int
) -> None:
    obj: Any = SimpleNamespace(program_info=lambda program: info(208, 77, size))
    assert counters.kernel_misses(obj, "kw_fentry", link=False) == {"recursion": missed}


def link(kind: int, at: int, value: int, size: int) -> bytes:
    """What is known of a link of a kind (``enum bpf_link_type``)."""
    return (kind.to_bytes(4, "little") + info(at, value, 256)[4:])[:size]


@pytest.mark.parametrize(
    ("kind", "at", "size", "missed"),
    [
        (7, 48, 128, 9),  # BPF_LINK_TYPE_PERF_EVENT
        (7, 48, 56, 9),
        (7, 48, 48, 4),
        (8, 32, 128, 9),  # BPF_LINK_TYPE_KPROBE_MULTI
        (8, 32, 40, 9),
        (8, 32, 32, 4),
        (2, 48, 128, 0),  # BPF_LINK_TYPE_TRACING
    ],
)
def test_misses_of_kprobes_are_those_of_all_links(
    kind: int, at: int, size: int, missed: int
) -> None:
    obj: Any = SimpleNamespace(
        program_info={"kw_kprobe": info(208, 3, 256)}.get,
        link_infos=lambda: [link(kind, at, 4, 256), link(kind, at, 5, size)],
    )
    assert counters.kernel_misses(obj, "kw_kprobe", link=True) == {
        "recursion": 3,
        "kprobe_missed": missed,
    }


@pytest.mark.parametrize(("size", "count"), [(256, 1234), (220, 1234), (219, 0)])
def test_verified_insns_are_32_bits(size: int, count: int) -> None:
    obj: Any = SimpleNamespace(program_info=lambda program: info(216, 1234 | 5 << 32, size))
    assert counters.verified_insns(obj, "kw_kprobe") == count


@pytest.mark.parametrize(
    ("struct", "member", "offset"),
    [
        ("bpf_prog_info", "recursion_misses", counters._RECURSION_MISSES),
        ("bpf_prog_info", "verified_insns", counters._VERIFIED_INSNS),
        ("bpf_link_info", "perf_event.kprobe.missed", counters._MISSED[counters._PERF_EVENT]),
    ],
)
def test_offsets_are_those_of_the_uapi_header(
    gcc: Callable[..., subprocess.CompletedProcess[str]], struct: str, member: str, offset: int
) -> None:
    source = (
        "#include <stddef.h>\n#include <linux/bpf.h>\n"
        f'_Static_assert(offsetof(struct {struct}, {member}) == {offset}, "offset");\n'
    )
    built = gcc(source, "-fsyntax-only")
    if "has no member named" in built.stderr:
        pytest.skip(f"the installed linux/bpf.h is older than {member}; the VM tests cover it")
    assert built.returncode == 0, built.stderr
