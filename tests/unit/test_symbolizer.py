# SPDX-License-Identifier: MIT
"""An address is named after the function that its instruction, or its call, is in."""

from __future__ import annotations

import pytest

from kwalk.errors import NotSupported
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.model.stack import Frame, Stack
from kwalk.symbolize.symbolizer import Symbolizer

BASE = 0xFFFFFFFF81000000
SYMBOLS = Kallsyms(
    "".join(
        f"{BASE + offset:016x} T {name}\n"
        for offset, name in [
            (0, "never_returns"), (0x40, "next"), (0x80, "__pfx_padded"), (0x90, "padded"),
        ]
    ).encode()
)  # fmt: skip


def frame(offset: int) -> Frame:
    stack = Stack((BASE, BASE + offset))
    return Symbolizer(SYMBOLS).frames(stack)[1]


def test_return_address_is_named_by_the_byte_before() -> None:
    assert frame(0x48) == Frame("next", 8, "", BASE + 0x48)
    assert frame(0x40) == Frame("never_returns", 0x40, "", BASE + 0x40)


def test_behind_padding_there_was_no_call_but_an_interrupt() -> None:
    assert frame(0x90) == Frame("padded", 0, "", BASE + 0x90)
    assert frame(0x94) == Frame("padded", 4, "", BASE + 0x94)


def test_traced_function_is_named_by_its_first_byte() -> None:
    stack = Stack((BASE + 0x40,))
    assert Symbolizer(SYMBOLS).frames(stack) == [Frame("next", 0, "", BASE + 0x40)]


BEFORE = (
    b"ffffffff81000000 T _stext\nffffffffc0000000 t old\t[gone]\nffffffffc0001000 t same\t[stays]\n"
)
NOW = (
    b"ffffffff81000000 T _stext\n"
    b"ffffffffc0001000 t same\t[stays]\n"
    b"ffffffffc0002000 t new\t[came]\n"
    b"ffffffffc0003000 t bpf_prog_1\t[bpf]\n"
)


@pytest.mark.parametrize(
    ("address", "name", "module"),
    [
        (0xFFFFFFFFC0000010, "old", "gone"),
        (0xFFFFFFFFC0001010, "same", "stays"),
        (0xFFFFFFFFC0002010, "new", "came"),
        (0xFFFFFFFFC0003010, "bpf_prog_1", "bpf"),
        (0xFFFFFFFF81000010, "_stext", ""),
    ],
)
def test_module_address_has_the_name_of_its_time(address: int, name: str, module: str) -> None:
    reads: list[int] = []

    def read() -> Kallsyms:
        reads.append(1)
        return Kallsyms(NOW)

    symbolizer = Symbolizer(Kallsyms(BEFORE), read=read)
    for _ in range(3):
        frame = symbolizer.frame(address)
        assert (frame.name, frame.module, frame.offset) == (name, module, 0x10)
    assert symbolizer.frame(address + 1).name == name
    assert len(reads) == bool(module)


def test_unreadable_new_table_changes_nothing() -> None:
    def read() -> Kallsyms:
        raise NotSupported("hidden now")

    symbolizer = Symbolizer(Kallsyms(BEFORE), read=read)
    assert symbolizer.frame(0xFFFFFFFFC0001010).name == "same"


def test_called_stack_is_named_by_return_addresses_only() -> None:
    table = Kallsyms(b"ffffffff81000000 T a\nffffffff81000010 T b\n")
    stack = Stack((0xFFFFFFFF81000010, 0xFFFFFFFF81000010))
    assert [f.name for f in Symbolizer(table).frames(stack)] == ["b", "a"]
    assert [f.name for f in Symbolizer(table, called=True).frames(stack)] == ["a", "a"]


def test_traced_function_has_the_name_that_was_asked_for() -> None:
    table = Kallsyms(
        b"ffffffff81000000 T __do_a\nffffffff81000000 T __ia32_a\nffffffff81000010 T b.cold\n"
    )
    address = 0xFFFFFFFF81000000
    asked = Frame("__ia32_a", 0, "", address)
    symbolizer = Symbolizer(table, entries={address: asked})
    stack = Stack((address, address + 8, address + 0x18))
    assert [f.name for f in symbolizer.frames(stack)] == ["__ia32_a", "__do_a", "b.cold"]
    assert symbolizer.also(stack) == [["__do_a"], ["__ia32_a"], ["b"]]
