# SPDX-License-Identifier: MIT
"""Whether a function's frame is static: at a constant distance from BP at each of its calls.

Kernels with frame pointers. A compiled function pushes BP, and then moves SP by constants (PUSH,
POP, ADD and SUB with an immediate), except where it allocates an array of variable size, realigns
its stack or switches to another one. Otherwise compilers keep SP the same on each way to an
instruction; objtool checks that BP is set up before each call
(tools/objtool/Documentation/objtool.txt). So it is enough that no bytes of the function encode
another instruction that writes RSP. They are searched for at any byte, not only where instructions
begin. A kprobe hides the first bytes of the instruction that it is on.
"""

from __future__ import annotations

import re

# push %rbp; mov %rsp,%rbp: compilers may put other instructions between the two.
_PROLOGUE = re.compile(rb"\x55.{0,64}?\x48(?:\x89\xe5|\x8b\xec)", re.DOTALL)


def _any(numbers: list[int]) -> bytes:
    return b"[" + b"".join(b"\\x%02x" % number for number in numbers) + b"]"


# Intel SDM volume 2, 2.1 and appendix A. REX.W with RSP as ModRM.rm (no REX.B) or as ModRM.reg (no
# REX.R); RSP is register 4.
_REX_RM = _any([rex for rex in range(0x48, 0x50) if not rex & 1])
_REX_REG = _any([rex for rex in range(0x48, 0x50) if not rex & 4])
_RM = _any([0xC4 | reg << 3 for reg in range(8)])
_REG = _any([mod << 6 | 4 << 3 | rm for mod in range(4) for rm in range(8)])
_CHANGES_BY_IMMEDIATE = _any([0xC4 | op << 3 for op in (1, 2, 3, 4, 6)])  # not ADD, SUB, CMP
_WRITES = re.compile(
    b"|".join(
        (
            _REX_RM + rb"[\x81\x83]" + _CHANGES_BY_IMMEDIATE,
            # ADD, OR, ADC, SBB, AND, SUB, XOR, XCHG, MOV to r/m64; MOV of an immediate; shifts;
            # NOT, NEG, MUL, DIV; INC, DEC; POP r/m64
            _REX_RM + rb"[\x01\x09\x11\x19\x21\x29\x31\x87\x89\xc7\xc1\xd1\xd3\xf7\xff\x8f]" + _RM,
            # ADD, OR, ADC, SBB, AND, SUB, XOR, XCHG, MOV, LEA, MOVSXD, IMUL to r64
            _REX_REG + rb"[\x03\x0b\x13\x1b\x23\x2b\x33\x87\x8b\x8d\x63\x69\x6b]" + _REG,
            # CMOV, IMUL, BSF and the like
            _REX_REG + rb"\x0f[\x40-\x4f\xaf\xb0-\xbf]" + _REG,
            _REX_RM + rb"\x0f[\xb0-\xbf\xc0\xc1]" + _RM,
            # MOV of a 64-bit immediate, XCHG with RAX
            _REX_RM + rb"[\xbc\x94]",
        )
    ),
    re.DOTALL,
)


def is_static(code: bytes, offset: int) -> bool:
    """Return whether a frame is static at a return address.

    :param code: The function's bytes.
    :param offset: Offset of the return address in it.
    """
    prologue = _PROLOGUE.search(code)
    return bool(prologue and prologue.end() <= offset) and not _WRITES.search(code)
