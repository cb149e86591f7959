# SPDX-License-Identifier: MIT
"""Kernel addresses of arm64: which bits a signature of a return address stands in.

With pointer authentication (``CONFIG_ARM64_PTR_AUTH_KERNEL``) a function signs its return address
before it saves it. The signature takes the bits above the virtual address's, which are all set in
a kernel address (Arm ARM, "Pointer authentication"). ``ptrauth_strip_kernel_insn_pac()`` of
arch/arm64/include/asm/pointer_auth.h clears it; a program sets the bits.
"""

from __future__ import annotations

_BITS = 64
# Code lies in the upper half of a kernel's virtual addresses; kernels of 52 bits keep it in the
# upper half of 48 (PAGE_END, MODULES_VADDR, KIMAGE_VADDR of arch/arm64/include/asm/memory.h). KASLR
# sets up to two of the bits below in addresses of the image, not in addresses of modules and BPF
# (arch/arm64/kernel/pi/kaslr_early.c). So the lowest of the leading ones of an address of the image
# tells the size, and that the lowest bit which all code has set: of 47 and more, 42, 39, 36 bits.
_LOWEST_SET = ((44, 47), (39, 41), (36, 38), (33, 35))


def code_mask(text: int) -> int:
    """Return the bits that every address of code has set, whatever is signed.

    :param text: Address of ``_stext``; 0 if it is unknown.
    """
    lowest = (~text & (1 << _BITS) - 1).bit_length()
    for least, bit in _LOWEST_SET:
        if least <= lowest < _BITS:
            return (1 << _BITS) - (1 << bit)
    return 0
