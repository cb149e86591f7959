# SPDX-License-Identifier: MIT
"""Progress of a function's prologue at an instruction, on kernels with frame pointers.

With ``-fno-omit-frame-pointer`` gcc and clang begin a function with ``push %rbp; mov %rsp,%rbp``,
after an ``endbr64`` (``CONFIG_X86_KERNEL_IBT``) and the place for ftrace
(``CONFIG_FUNCTION_TRACER``); return thunks and tail calls are jumps out of the function.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from kwalk.abi import Start

# endbr64; call __fentry__, or the 5-byte nop in its place; push %rbp; mov %rsp,%rbp
_PROLOGUE = re.compile(
    rb"(?:\xf3\x0f\x1e\xfa)?(?:\xe8....|\x0f\x1f\x44\x00.)?(\x55)(\x48\x89\xe5|\x48\x8b\xec)",
    re.DOTALL,
)
_RET = re.compile(rb"\xc3|\xc2|\xf3\xc3")
_JUMP = re.compile(rb"(?:\xe9|\x0f[\x80-\x8f])(.{4})|(?:\xeb|[\x70-\x7f])(.)", re.DOTALL)
# jmp *reg, jmp *memory: to a switch's case or, as a tail call, to anywhere.
_INDIRECT = re.compile(rb"[\x3e\x41]?\xff[\x20-\x27\x60-\x67\xa0-\xa7\xe0-\xe7]", re.DOTALL)
_LONGEST_JUMP = 6
_LONGEST_INSTRUCTION = 15
_BREAKPOINT = b"\xcc"


def start(code: bytes, offset: int, within: Callable[[int], bool | None]) -> Start:
    """Return the place of the return address before the instruction at ``offset`` runs.

    :param code: The function's code, and the bytes behind it that an instruction may reach into.
    :param within: Whether a byte, by its offset, belongs to the function; None if to no symbol.
    :return: ``Start.UNKNOWN`` if the prologue is of another form, a probe hides the instruction, or
        the target of its jump is known only when it runs.
    """
    match = _PROLOGUE.match(code)
    if not match:
        return Start.UNKNOWN
    if offset <= match.start(1):
        return Start.BARE
    if offset == match.start(2):
        return Start.PUSHED
    traced = code[offset : offset + _LONGEST_INSTRUCTION]
    # Instructions that leave the function (ret, a jump out of it) follow the epilogue.
    if _RET.match(traced):
        return Start.BARE
    hidden = traced.startswith(_BREAKPOINT) or len(traced) < _LONGEST_JUMP or not any(traced)
    if hidden or _INDIRECT.match(traced):
        return Start.UNKNOWN
    jump = _JUMP.match(traced)
    if not jump:
        return Start.FRAME
    distance = int.from_bytes(jump[1] or jump[2], "little", signed=True)
    inside = within(offset + jump.end() + distance)
    if inside is None:  # the slot of an optimized kprobe that stands in the instruction's place
        return Start.UNKNOWN
    return Start.FRAME if inside else Start.BARE
