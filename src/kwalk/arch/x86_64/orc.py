# SPDX-License-Identifier: MIT
"""Detection of the running kernel's ORC format.

BTF has the layout of ``struct orc_entry``, which CO-RE follows, but not the numbers of registers,
which changed once (7.1). From 6.4 on the kernel has a hash of the definition (scripts/orc_hash.sh),
which reveals a format that kwalk was not tested with.
"""

from __future__ import annotations

from typing import NamedTuple

from kwalk.arch.architecture import UnknownFormat


class OrcFormat(NamedTuple):
    """Register numbers of ``struct orc_entry``."""

    reg_sp: int
    reg_prev_sp: int


UNTIL_7_0 = OrcFormat(reg_sp=5, reg_prev_sp=1)
SINCE_7_1 = OrcFormat(reg_sp=3, reg_prev_sp=8)
KNOWN_FORMATS = (UNTIL_7_0, SINCE_7_1)

# SHA-1 of the ORC_REG_* and ORC_TYPE_* lines and struct orc_entry of
# arch/x86/include/asm/orc_types.h, as scripts/orc_hash.sh makes it.
KNOWN_HASHES = {
    "fe5d32bf581bd63b2ca9a5c65ba5a625eab3fe24": UNTIL_7_0,
    "137c36ad7627c4dd55932176bb0ecdbd5041fc82": SINCE_7_1,
}


def read_format(fp_entry: int, null_entry: int) -> OrcFormat:
    """Decode the register numbers from two entries whose meaning is known.

    orc_fp_entry finds BP at "previous SP" - 16, null_orc_entry has its CFA at SP + 8
    (arch/x86/kernel/unwind_orc.c). Registers are the two halves of byte 4.

    :param fp_entry: The 8 bytes at ``orc_fp_entry``, as a little-endian number.
    :param null_entry: The same of ``null_orc_entry``.
    """
    return OrcFormat(reg_sp=null_entry >> 32 & 15, reg_prev_sp=fp_entry >> 36 & 15)


def find_format(fp_entry: int, null_entry: int, header: bytes) -> OrcFormat:
    """Return the register numbers of the running kernel.

    :param fp_entry: The bytes for ``read_format``; 0 if kallsyms has no data symbols: then
        the header decides.
    :param header: The kernel's ``orc_header``; all zero if it has none.
    :raises UnknownFormat: if kwalk was not tested with the format; the text has it.
    """
    named = KNOWN_HASHES.get(header.hex())
    if any(header) and named is None:
        raise UnknownFormat(f"format hash {header.hex()}")
    if not fp_entry and named:
        return named
    found = read_format(fp_entry, null_entry)
    if found not in KNOWN_FORMATS or (named and named != found):
        raise UnknownFormat(f"register numbers SP={found.reg_sp}, previous SP={found.reg_prev_sp}")
    return found


def find_tables(fp_entry: int, null_entry: int, header: bytes) -> dict[str, int]:
    """Return ``find_format``'s register numbers as members of ``struct kw_control``."""
    registers = find_format(fp_entry, null_entry, header)
    return {"orc_reg_sp": registers.reg_sp, "orc_reg_prev_sp": registers.reg_prev_sp}
