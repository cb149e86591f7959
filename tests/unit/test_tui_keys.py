# SPDX-License-Identifier: MIT
"""Bytes of a terminal as keys."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwalk.tui.keys import Decoder

PRESSED = {
    b"j": ["j"], b"\x1b[A": ["up"], b"\x1bOB": ["down"], b"\x1b[5~": ["pageup"],
    b"\x1b[6~": ["pagedown"], b"\r": ["enter"], b"\n": ["enter"], b"\x7f": ["backspace"],
    b"\x1b[1;5A": [], b"\x1b[<0;3;4M": [], b"\x1bx": [], b"\x01": [], b"\x1b[H": ["home"],
    "\N{LATIN SMALL LETTER E WITH ACUTE}".encode(): ["\N{LATIN SMALL LETTER E WITH ACUTE}"],
    b"\xff": ["\N{REPLACEMENT CHARACTER}"], b"\x0c": ["redraw"],
}  # fmt: skip


@pytest.mark.parametrize(("data", "keys"), PRESSED.items())
def test_key_is_decoded_from_the_terminals_bytes(data: bytes, keys: list[str]) -> None:
    decoder = Decoder()
    assert decoder.feed(data) == keys
    assert decoder.feed(b"q") == ["q"]


def test_esc_is_a_key_once_nothing_follows() -> None:
    decoder = Decoder()
    assert decoder.feed(b"\x1b\x1b") == ["esc"]
    assert decoder.rest() == ["esc"]
    assert decoder.feed(b"\x1b") == []
    assert decoder.waits
    assert decoder.rest() == ["esc"]
    assert not decoder.waits
    assert decoder.rest() == []
    assert decoder.feed(b"\x1b[") == []
    assert decoder.rest() == []  # a key that was cut short


@given(st.lists(st.sampled_from(list(PRESSED)), max_size=8), st.data())
def test_keys_may_come_in_pieces(pressed: list[bytes], draw: st.DataObject) -> None:
    data, decoder = b"".join(pressed), Decoder()
    found = []
    while data:
        size = draw.draw(st.integers(1, len(data)))
        found += decoder.feed(data[:size])
        data = data[size:]
    assert found == [key for part in pressed for key in PRESSED[part]]


@given(st.binary(max_size=200))
def test_decoder_takes_any_bytes(data: bytes) -> None:
    decoder = Decoder()
    for key in [*decoder.feed(data), *decoder.rest()]:
        assert key
