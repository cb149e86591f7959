# SPDX-License-Identifier: MIT
"""How far a function's prologue has run at an instruction, on kernels with frame pointers.

With ``-fno-omit-frame-pointer`` gcc and clang begin a function with ``push %rbp; mov %rsp,%rbp``,
after an ``endbr64`` (``CONFIG_X86_KERNEL_IBT``) and the place for ftrace
(``CONFIG_FUNCTION_TRACER``); return thunks and tail calls are jumps out of the function.
"""

from __future__ import annotations

import re

from kwalk.transport.abi import Start

# endbr64; call __fentry__, or the 5-byte nop in its place; push %rbp; mov %rsp,%rbp
_PROLOGUE = re.compile(
    rb"(?:\xf3\x0f\x1e\xfa)?(?:\xe8....|\x0f\x1f\x44\x00.)?(\x55)(\x48\x89\xe5|\x48\x8b\xec)",
    re.DOTALL,
)


def start(code: bytes, traced: bytes, offset: int, size: int) -> Start:
    """Tell where the return address is when the instruction at ``offset`` is about to run.

    :param code: The function's first bytes.
    :param traced: The bytes at ``offset``.
    :param size: The function's size in bytes.
    :return: ``Start.UNKNOWN`` where the code does not begin in a way that is known here.
    """
    match = _PROLOGUE.match(code)
    if not match:
        return Start.UNKNOWN
    if offset <= match.start(1):
        return Start.BARE
    if offset == match.start(2):
        return Start.PUSHED
    return Start.BARE if _leaves(traced, offset, size) else Start.FRAME


def _leaves(traced: bytes, offset: int, size: int) -> bool:
    """The instruction leaves the function, its frame torn down: ret, or a jump out of it."""
    if traced[:1] in (b"\xc3", b"\xc2") or traced[:2] == b"\xf3\xc3":
        return True
    for opcode, length in ((rb"\xe9", 5), (rb"\x0f[\x80-\x8f]", 6)):
        if re.match(opcode, traced, re.DOTALL):
            distance = int.from_bytes(traced[length - 4 : length], "little", signed=True)
            return not 0 <= offset + length + distance < size
    return False
