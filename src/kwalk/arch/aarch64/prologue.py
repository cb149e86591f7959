# SPDX-License-Identifier: MIT
"""Whether a function's frame record is made at an instruction, by its data flow.

A function that calls others saves FP (x29) and LR (x30) as a frame record, then makes FP its
address, and restores both before it returns. Compilers schedule other instructions in between, and
make the record only where it is needed (shrink-wrapping): so all ways through the function to an
instruction are followed. Where one of them leaves it open, it is unknown.

Encodings are of the Arm ARM, "A64 instruction set encoding".
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from kwalk.abi import Start

_MOVE_TO_X9 = 0xAA1E03E9  # mov x9, x30
_RETURNS_MASK = 0xFFFFF000
_RETURNS = (0xD65F0000, 0xD69F0000)  # ret, retaa, retab; eret, eretaa, eretab
_BREAKPOINT_MASK, _BREAKPOINT = 0xFFE0001F, 0xD4200000  # brk
_BUG_IMMEDIATE = 0x800  # BUG_BRK_IMM; others of the kernel's go on, or hide an instruction
_FP, _LR = 29, 30


def start(code: bytes, traced: bytes, offset: int, within: Callable[[int], bool | None]) -> Start:
    """Return the place of the return address before the instruction at ``offset`` runs.

    :param code: The function's code; bytes behind its end are not looked at.
    :param traced: The bytes at ``offset``, which are in ``code`` as well.
    :param within: Whether a byte, by its offset, belongs to the function; None if to no symbol.
    :return: ``Start.BARE``: LR; ``Start.FRAME``: the record that FP points to; ``Start.UNKNOWN``:
        no way to the instruction was found, two ways differ, or a probe hides an instruction.
    """
    words = struct.unpack(f"<{len(code) // 4}I", code[: len(code) // 4 * 4])
    if offset & 3:
        return Start.UNKNOWN
    found: dict[int, Start] = {}
    waiting = [(0, Start.BARE)]
    while waiting:
        at, state = waiting.pop()
        if not (0 <= at < len(words) and within(4 * at)):
            continue
        before = found.get(at)
        if before == state or before == Start.UNKNOWN:
            continue
        found[at] = state = state if before is None else Start.UNKNOWN
        after = _after(words, at, state)
        waiting += [(to, after) for to in _next(words[at], at)]
    return found.get(offset // 4, Start.UNKNOWN)


def _after(words: tuple[int, ...], at: int, state: Start) -> Start:
    """Return the state behind an instruction."""
    word = words[at]
    if _is_breakpoint(word):
        return state if word >> 5 & 0xFFFF == _BUG_IMMEDIATE else Start.UNKNOWN
    if state == Start.UNKNOWN:
        return state
    if word & 0xFF8003FF == 0x910003FD:  # add x29, sp, #n
        return Start.FRAME
    if word & 0xFE407FFF == 0xA8407BFD:  # ldp x29, x30, [sp...]
        return Start.BARE
    if _is_call(word):
        traced = at and words[at - 1] == _MOVE_TO_X9  # ftrace's, which restores LR
        return state if state == Start.FRAME or traced else Start.UNKNOWN
    if _writes(word, _FP) or (state == Start.BARE and _writes(word, _LR)):
        return Start.UNKNOWN
    return state


def _is_breakpoint(word: int) -> bool:
    return word & _BREAKPOINT_MASK == _BREAKPOINT


def _is_call(word: int) -> bool:
    """Whether it is a BL, BLR, BLRAA or BLRAB."""
    return word & 0xFC000000 == 0x94000000 or word & 0xFEFFF000 == 0xD63F0000


def _writes(word: int, register: int) -> bool:
    """Return whether an instruction writes a general register; in doubt, True."""
    group = word >> 25 & 15
    if group in (0b1000, 0b1001, 0b0101, 0b1101):  # data processing
        return word & 31 == register
    if group & 0b0101 == 0b0100:  # loads and stores
        return register in _loaded(word)
    return False


def _loaded(word: int) -> set[int]:
    """Return the registers that a load or store writes, and perhaps others."""
    kind, vector = word >> 27 & 7, word >> 26 & 1
    first, base, second, third = (word >> bit & 31 for bit in (0, 5, 10, 16))
    if kind == 0b101:  # pairs
        written = {base} if word >> 23 & 1 else set()  # post-indexed, pre-indexed
        return written | {first, second} if word >> 22 & 1 and not vector else written
    if kind == 0b111:  # one register
        immediate = not word >> 24 & 1 and not word >> 21 & 1
        written = {base} if immediate and word >> 10 & 1 else set()
        atomic = not word >> 24 & 1 and word >> 21 & 1 and not word >> 10 & 3
        loads = (atomic or word >> 22 & 3) and not vector
        return written | {first} if loads else written
    return {first, second, third}  # exclusive, compare and swap, literals


def _next(word: int, at: int) -> Iterator[int]:
    """Yield the instructions that may follow."""
    if word & 0xFC000000 == 0x14000000:  # b
        yield at + _signed(word, 26)
        return
    if word & 0xFEFFF000 == 0xD61F0000:  # br, braa, brab: to a switch's case, or anywhere
        return
    if word & _RETURNS_MASK in _RETURNS:
        return
    if _is_breakpoint(word) and word >> 5 & 0xFFFF == _BUG_IMMEDIATE:
        yield at + 1  # WARN() goes on
        return
    yield at + 1
    if word & 0xFF000000 == 0x54000000 or word & 0x7E000000 == 0x34000000:  # b.cond, cbz, cbnz
        yield at + _signed(word >> 5, 19)
    elif word & 0x7E000000 == 0x36000000:  # tbz, tbnz
        yield at + _signed(word >> 5, 14)


def _signed(number: int, bits: int) -> int:
    low = number & ((1 << bits) - 1)
    return low - (1 << bits) if low >> (bits - 1) else low
