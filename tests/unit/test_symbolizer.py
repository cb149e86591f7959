# SPDX-License-Identifier: MIT
"""An address is named after the function that its instruction, or its call, is in."""

from __future__ import annotations

from kwalk.kernel.kallsyms import Kallsyms
from kwalk.profile import Frame, Stack
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


def test_a_return_address_belongs_to_the_call_before_it() -> None:
    assert frame(0x48) == Frame("next", 8, "", BASE + 0x48)
    assert frame(0x40) == Frame("never_returns", 0x40, "", BASE + 0x40)


def test_behind_padding_there_was_no_call_but_an_interrupt() -> None:
    assert frame(0x90) == Frame("padded", 0, "", BASE + 0x90)
    assert frame(0x94) == Frame("padded", 4, "", BASE + 0x94)


def test_the_traced_function_is_named_by_its_first_byte() -> None:
    stack = Stack((BASE + 0x40,))
    assert Symbolizer(SYMBOLS).frames(stack) == [Frame("next", 0, "", BASE + 0x40)]
