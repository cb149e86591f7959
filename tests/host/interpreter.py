# SPDX-License-Identifier: MIT
"""Runs of generated BPF programs in this process, instruction by instruction."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from library import ffi, library

_MASK = (1 << 64) - 1
_STACK = 512
# Registers with addresses of the kernel's memory, where a fault reads as 0; others have addresses
# of this process.
KERNELS = {0, 6, 9}
SMP_PROCESSOR_ID, TAIL_CALL, PROBE_READ, TASK = 8, 12, 113, 158
_ALU: dict[int, Callable[[int, int], int]] = {
    0x07: lambda a, b: a + b,
    0x17: lambda a, b: a - b,
    0x57: lambda a, b: a & b,
    0x67: lambda a, b: a << b,
    0xB7: lambda a, b: b,
}
_JUMPS: dict[int, Callable[[int, int], bool]] = {
    0x15: lambda a, b: a == b,
    0x55: lambda a, b: a != b,
    0x45: lambda a, b: bool(a & b),
    0x35: lambda a, b: a >= b,
    0xA5: lambda a, b: a < b,
}


class Interpreter:
    """A program, to be called with its context.

    :param instructions: Kept, as ``maps`` is.
    :param maps: Address of the memory of the map that each descriptor stands for.
    :ivar ran: Instructions so far.
    """

    def __init__(self, instructions: bytes, maps: dict[int, int]) -> None:
        self._insns = list(struct.iter_unpack("<BBhi", instructions))
        self.instructions, self.maps = instructions, maps
        self._lib = library()
        self.ran = 0
        self.callback = ffi.callback("int(void *)", self._run)

    def _load(self, base: int, address: int, size: int) -> int:
        if base in KERNELS:
            value = int(self._lib.host_load(address))
            return value & ((1 << 8 * size) - 1)
        return int(ffi.cast(f"uint{8 * size}_t *", address)[0])

    def _call(self, regs: list[int], number: int) -> int | None:
        """Call a helper; return the result of the program if another one took over."""
        if number == SMP_PROCESSOR_ID:
            regs[0] = self._lib.bpf_get_smp_processor_id()
        elif number == TASK:
            regs[0] = self._lib.bpf_get_current_task()
        elif number == PROBE_READ:
            to, source = ffi.cast("void *", regs[1]), ffi.cast("void *", regs[3])
            regs[0] = self._lib.bpf_probe_read_kernel(to, regs[2], source) & _MASK
        else:
            assert number == TAIL_CALL
            result = ffi.new("int *")
            if self._lib.host_tail_call(ffi.cast("void *", regs[1]), regs[3], result):
                return int(result[0])
            regs[0] = _MASK
        # What calls may leave in these registers.
        regs[1:6] = [0xDEAD] * 5
        return None

    def _run(self, context: Any) -> int:
        stack = ffi.new("char[]", _STACK)
        regs = [0xDEAD] * 11
        regs[1] = int(ffi.cast("uint64_t", context))
        regs[10] = int(ffi.cast("uint64_t", stack)) + _STACK
        at = 0
        while True:
            code, registers, off, imm = self._insns[at]
            dst, src = registers & 15, registers >> 4
            at += 1
            self.ran += 1
            operand = regs[src] if code & 8 else imm & _MASK
            if code == 0x18:
                value = imm & 0xFFFFFFFF
                upper = self._insns[at][3] & 0xFFFFFFFF
                regs[dst] = self.maps[value] + (upper if src == 2 else 0) if src else value
                if not src:
                    regs[dst] |= upper << 32
                at += 1
            elif code == 0x95:
                return regs[0] & 0x7FFFFFFF
            elif code == 0x85:
                if src == 2:  # bpf_rdonly_cast()
                    regs[0] = regs[1]
                    regs[1:6] = [0xDEAD] * 5
                elif (result := self._call(regs, imm)) is not None:
                    return result
            elif code == 0x05:
                at += off
            elif code & 0xE7 == 0x61:
                regs[dst] = self._load(src, (regs[src] + off) & _MASK, 8 if code & 0x18 else 4)
            elif code & 0xE6 == 0x62:
                size = 8 if code & 0x18 else 4
                value = (regs[src] if code & 1 else imm) & ((1 << 8 * size) - 1)
                ffi.cast(f"uint{8 * size}_t *", regs[dst] + off)[0] = value
            elif code & ~8 in _ALU:
                regs[dst] = _ALU[code & ~8](regs[dst], operand) & _MASK
            elif _JUMPS[code & ~8](regs[dst], operand):
                at += off
