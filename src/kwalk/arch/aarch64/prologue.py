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


def start(code: bytes, offset: int, within: Callable[[int], bool | None]) -> Start:
    """Return the place of the return address before the instruction at ``offset`` runs.

    :param code: The function's code; bytes behind its end are not looked at.
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
    if group & 0b0101 == 0b0100:  # loads and stores
        return register in _loaded(word)
    if group & 0b1110 == 0b1010:  # branches, system
        return word & 0xFFE00000 == 0xD5200000 and word & 31 == register  # mrs, sysl
    if group & 0b0111 == 0b0111 and not _leaves_vectors(word):
        return False
    return word & 31 == register  # data processing; of scalable instructions some


def _leaves_vectors(word: int) -> bool:
    """Whether a vector instruction writes a general register: conversions, umov, smov."""
    if word & 0x5F000000 == 0x1E000000:
        return not word >> 21 & 1 or not word >> 10 & 63
    return word & 0xBFE08400 == 0x0E000400


def _loaded(word: int) -> set[int]:
    """Return the general registers that a load or store writes, and perhaps others."""
    kind, vector, first, base = word >> 27 & 7, word >> 26 & 1, word & 31, word >> 5 & 31
    second, third = word >> 10 & 31, word >> 16 & 31
    if kind == 0b101:  # pairs
        written = {base} if word >> 23 & 1 else set()  # post-indexed, pre-indexed
        return written | {first, second} if word >> 22 & 1 and not vector else written
    if kind == 0b111:
        return _loaded_one(word, vector, first, base, third)
    if kind == 0b011 and not word >> 24 & 1:  # literals
        return set() if vector else {first}
    if kind == 0b001 and vector:  # structures
        return {base} if word >> 23 & 1 else set()  # post-indexed
    # Exclusive; compare and swap, by one or two registers; tags; copies and fills of memory.
    return {first, base, second, third, third + 1}


def _loaded_one(word: int, vector: int, first: int, base: int, third: int) -> set[int]:
    """Return the same of a load or store of one register, or an atomic operation."""
    if word >> 24 & 1:  # unsigned offset
        return {first} if word >> 22 & 3 and not vector else set()
    if not word >> 21 & 1:  # unscaled, post-indexed, unprivileged, pre-indexed
        written = {base} if word >> 10 & 1 else set()
        return written | {first} if word >> 22 & 3 and not vector else written
    if vector:
        return set()
    if word >> 10 & 1:  # ldraa, ldrab
        return {first, base}
    if word >> 11 & 1:  # register offset
        return {first} if word >> 22 & 3 else set()
    if word & 0xFFFFFC00 == 0xF83FD000:  # ld64b
        return set(range(first, first + 8))
    return {first, third}  # atomic; st64bv


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
