# SPDX-License-Identifier: MIT
"""Generated BPF programs with typed loads as C, to be timed (``interpreter.py`` runs all)."""

from __future__ import annotations

import struct

from interpreter import KERNELS, SMP_PROCESSOR_ID, TAIL_CALL, TASK

_C_TYPES = {4: "uint32_t", 8: "uint64_t"}
_ALU = {0x07: "+", 0x17: "-", 0x57: "&", 0x67: "<<"}
_JUMPS = {0x15: "==", 0x55: "!=", 0x45: "&", 0x35: ">=", 0xA5: "<"}
_HEAD = """
#include <stdint.h>
extern struct { uint64_t start, size; const uint8_t *memory; } host_quick;
uint64_t host_load_any(uint64_t address);
long bpf_get_smp_processor_id(void);
uint64_t bpf_get_current_task(void);
int host_tail_call(void *ctx, uint32_t slot, int *result);
static inline __attribute__((always_inline)) uint64_t load(uint64_t address)
{
	if (address - host_quick.start < host_quick.size)
		return *(const uint64_t *)(host_quick.memory + (address - host_quick.start));
	return host_load_any(address);
}
int generated(void *ctx)
{
	uint64_t r0, r1 = (uint64_t)ctx, r2, r3, r4, r5, r6, r7, r8, r9;
	uint8_t stack[512];
	uint64_t r10 = (uint64_t)(stack + sizeof(stack));
	int result;
"""


def translated(instructions: bytes, maps: dict[int, int]) -> str:
    """Return a BPF program as a C function.

    :param maps: Address of the memory of the map that each descriptor stands for.
    """
    rows = list(struct.iter_unpack("<BBhi", instructions))
    lines, at = [], 0
    while at < len(rows):
        code, registers, off, imm = rows[at]
        dst, src = f"r{registers & 15}", registers >> 4
        operand = f"r{src}" if code & 8 else f"(uint64_t)(int64_t){imm}"
        lines.append(f"l{at}:;")
        size = _C_TYPES[8 if code & 0x18 else 4]
        if code == 0x18:
            upper = rows[at + 1][3] & 0xFFFFFFFF
            number = imm & 0xFFFFFFFF
            value = maps[number] + (upper if src == 2 else 0) if src else number | upper << 32
            lines.append(f"{dst} = {value}ULL;")
            at += 1
        elif code == 0x95:
            lines.append("return (int)r0;")
        elif code == 0x85 and src == 2:  # bpf_rdonly_cast()
            lines.append("r0 = r1;")
        elif code == 0x85 and imm == SMP_PROCESSOR_ID:
            lines.append("r0 = bpf_get_smp_processor_id();")
        elif code == 0x85 and imm == TASK:
            lines.append("r0 = bpf_get_current_task();")
        elif code == 0x85 and imm == TAIL_CALL:
            lines.append("if (host_tail_call((void *)r1, r3, &result)) return result;")
        elif code == 0x05:
            lines.append(f"goto l{at + 1 + off};")
        elif code & 0xE7 == 0x61:
            place = f"r{src} + {off}"
            read = f"load({place})" if src in KERNELS else f"*({size} *)({place})"
            lines.append(f"{dst} = ({size}){read};")
        elif code & 0xE6 == 0x62:
            value = f"r{src}" if code & 1 else str(imm)
            lines.append(f"*({size} *)({dst} + {off}) = {value};")
        elif code & ~8 == 0xB7:
            lines.append(f"{dst} = {operand};")
        elif code & ~8 in _ALU:
            lines.append(f"{dst} {_ALU[code & ~8]}= {operand};")
        else:
            lines.append(f"if ({dst} {_JUMPS[code & ~8]} {operand}) goto l{at + 1 + off};")
        at += 1
    return "\n\t".join([_HEAD, *lines]) + "\n}\n"
