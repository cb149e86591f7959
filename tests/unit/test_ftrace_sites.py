# SPDX-License-Identifier: MIT
"""What ftrace lists, from the kernel's memory or from its file."""

from __future__ import annotations

import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kwalk.abi import CALLS, CALLS_BYTES
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.libbpf import LibbpfError
from kwalk.probe import ftrace_sites
from kwalk.probe.ftrace_sites import NOTRACE, in_memory, listed, read
from kwalk.probe.target import Target

A = Target("a", 0xFFFFFFFF81000100, "")
B = Target("b", 0xFFFFFFFF81000200, "")
M = Target("b", 0xFFFFFFFFC0000200, "mod")
SYMBOLS = Kallsyms(b"ffffffff81000000 T _stext\nffffffff82000000 d ftrace_pages_start\n")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "available_filter_functions_addrs",
            "ffffffff81000100 a\nffffffffc0000204 b [mod]\nffffffff81000300 c\n",
        ),
        ("available_filter_functions", "a\nb [mod]\nc\n"),
    ],
)
def test_tracefs_list_is_by_address_or_by_name(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    able = listed(tmp_path)
    assert able.known
    assert (able.why_not(A), able.why_not(B), able.why_not(M)) == ("", NOTRACE, "")


def test_list_of_names_has_one_of_several_for_a_function(tmp_path: Path) -> None:
    (tmp_path / "available_filter_functions").write_text("__do_a\n")
    symbols = Kallsyms(b"ffffffff81000100 T __do_a\nffffffff81000100 T __ia32_a\n")
    able = listed(tmp_path, symbols)
    assert able.why_not(A._replace(name="__ia32_a")) == ""
    assert able.why_not(B) == NOTRACE


def test_missing_tracefs_list_leaves_it_unknown(tmp_path: Path) -> None:
    able = listed(tmp_path)
    assert not able.known
    assert able.why_not(A) == ""


def test_ftrace_call_is_at_the_entry_or_behind_endbr() -> None:
    for place, why in ((A.address, ""), (A.address + 4, ""), (A.address + 8, NOTRACE)):
        assert ftrace_sites.Traceable(frozenset({place})).why_not(A) == why


class Ftrace:
    """Pages of records, as the program copies them: so many at a time.

    :ivar asked: Each question.
    """

    def __init__(self, pages: list[list[int]], room: int = 3, size: int = 16) -> None:
        self.pages = pages
        self.room = room
        self.size = size
        self.asked: list[dict[str, int]] = []
        self.data = b""
        self.code = 0

    def run(self, program: str, context: bytes) -> tuple[int, bytes]:
        ask = CALLS.unpack(context)
        self.asked.append(ask)
        if ask["first"]:
            assert ask["page"] == 0xFFFFFFFF82000000
        index = 0 if ask["first"] else ask["page"] - 1000
        records = self.pages[index][ask["from"] :][: self.room]
        self.data = b"".join(
            struct.pack("<Q", ip).ljust(self.size, b"\xee") for ip in records
        ).ljust(CALLS_BYTES, b"\xdd")
        done = ask["from"] + len(records)
        last = done >= len(self.pages[index])
        following = 0 if last and index + 1 == len(self.pages) else 1000 + index + last
        answer = {"page": following, "from": 0 if last else done, "nr": len(records)}
        return self.code, CALLS.pack({**answer, "size": self.size})

    def map(self, name: str) -> Any:
        assert name == "calls"
        return SimpleNamespace(lookup=lambda key, size: self.data[:size])


@pytest.mark.parametrize("size", [16, 24])
def test_ftrace_pages_are_read_in_parts(size: int) -> None:
    pages = [[A.address, *range(1, 9)], [], [B.address], list(range(20, 23)), [M.address + 4]]
    ftrace: Any = Ftrace(pages, size=size)
    able = in_memory(ftrace, SYMBOLS)
    assert [able.why_not(target) for target in (A, B, M)] == ["", "", ""]
    assert able.why_not(A._replace(address=0xEEEEEEEEEEEEEEEE)) == NOTRACE
    assert len(ftrace.asked) == 7


def test_hidden_ftrace_pages_fall_back_to_the_tracefs_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ftrace_sites, "TRACING", tmp_path)
    (tmp_path / "available_filter_functions").write_text("a\n")
    broken: Any = Ftrace([[B.address]])
    broken.code = -1
    hidden = Kallsyms(b"ffffffff81000000 T _stext\n")
    for able in (in_memory(broken, SYMBOLS), in_memory(broken, hidden)):
        assert (able.why_not(A), able.why_not(B)) == ("", NOTRACE)

    def refuse(image: bytes) -> Any:
        raise LibbpfError("no", 1)

    monkeypatch.setattr(ftrace_sites, "Object", refuse)
    assert read(SYMBOLS, lambda: b"").why_not(B) == NOTRACE
