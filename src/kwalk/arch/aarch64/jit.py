# SPDX-License-Identifier: MIT
"""Where a BPF program's frame record is, from its machine code.

The prologue saves FP and LR, then pairs of registers that the program changes, and takes SP for the
program's frame pointer, R10 (x25): ``build_prologue()`` in arch/arm64/net/bpf_jit_comp.c. How many
pairs there are depends on the kernel's version and on the program.
"""

from __future__ import annotations

import itertools
import struct

_SAVE_RECORD = 0xA9BF7BFD  # stp x29, x30, [sp, #-16]!
_SET_FP = 0x910003FD  # mov x29, sp
_SET_R10 = 0x910003F9  # mov x25, sp
_PUSH, _PUSH_MASK = 0xA9BF03E0, 0xFFFF83E0  # stp any, any, [sp, #-16]!
_PAIR_BYTES = 16
_LONGEST = 32  # instructions
# Instructions that may stand in a prologue and leave SP as it is.
_NEUTRAL = {
    0xD503201F,  # nop
    0xD503245F,  # bti c
    0xD503249F,  # bti j
    0xD50324DF,  # bti jc
    0xD503233F,  # paciasp
    0xAA1E03E9,  # mov x9, x30
    0x910003C9,  # add x9, x30, #0: the same
    0xD280001A,  # mov x26, #0: the count of tail calls
    0x910003FA,  # mov x26, sp: its address, since 6.11
}


def saved(code: bytes) -> int:
    """Return the bytes from R10 up to the program's frame record; 0 if the code does not tell.

    :param code: Machine code of the program.
    """
    words = struct.unpack(f"<{len(code) // 4}I", code[: len(code) // 4 * 4])[:_LONGEST]
    pairs: int | None = None
    for word, following in itertools.pairwise(words):
        if pairs is None:
            if word == _SAVE_RECORD and following == _SET_FP:
                pairs = 0
            elif word not in _NEUTRAL:
                return 0
        elif word == _SET_R10:
            return pairs * _PAIR_BYTES
        elif word & _PUSH_MASK == _PUSH:
            pairs += 1
        elif word != _SET_FP and word not in _NEUTRAL:
            return 0
    return 0
