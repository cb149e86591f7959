# SPDX-License-Identifier: MIT
"""arm64's addresses, prologues of BPF programs, and names of entry code."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwalk.abi import CONFIG
from kwalk.arch.aarch64 import AARCH64, addresses, jit
from kwalk.arch.architecture import UnknownFormat

SIZES = (36, 39, 42, 47, 48)  # of virtual addresses in bits; 52 keeps code where 48 and 47 do


@given(
    bits=st.sampled_from(SIZES),
    kaslr=st.booleans(),
    seed=st.integers(0, (1 << 64) - 1),
    gap=st.sampled_from([1 << 27, 1 << 31]),
    text=st.integers(0, 1 << 26),
)
def test_code_mask_covers_signatures_and_nothing_else(
    bits: int, kaslr: bool, seed: int, gap: int, text: int
) -> None:
    """With KIMAGE_VADDR behind the modules, moved as by kaslr_early_init()."""
    lowest = (1 << 64) - (1 << bits - 1)  # PAGE_END, MODULES_VADDR
    image = lowest + gap
    if kaslr:
        image += (1 << bits - 3) + (seed & (1 << bits - 2) - 1 & -(1 << 21))
    mask = addresses.code_mask(image + (text & -0x10000))
    signature = (1 << 64) - (1 << bits)
    assert mask & signature == signature
    for code in (image, lowest, lowest + 0x7000, (1 << 64) - 4):  # image, modules, BPF programs
        assert code & mask == mask
        assert (code & ~signature | seed & signature) | mask == code


@pytest.mark.parametrize(
    ("text", "lowest"),
    [
        (0xFFFF800080010000, 47),  # without KASLR
        (0xFFFFDEB658810000, 47),  # seen on 7.2 with 48 bits
        (0xFFFFDA13C7B10000, 47),
        (0xFFFF9DCB67A00000, 47),
        (0xFFFFFFC008010000, 38),  # 39 bits
        (0xFFFFFFE2A5C10000, 38),
        (0xFFFFFE0080010000, 41),  # 42 bits
        (0xFFFFFF4080010000, 41),
        (0xFFFFFFF808010000, 35),  # 36 bits
        (0xFFFFFFFC08010000, 35),
    ],
)
def test_code_mask_of_known_kernels(text: int, lowest: int) -> None:
    assert addresses.code_mask(text) == (1 << 64) - (1 << lowest)


@pytest.mark.parametrize(
    "text", [0, 1, 0x7FFFFFFFFFFFFFFF, 0x0000FFFF80010000, 0xFFFFFFFF81000000, (1 << 64) - 1]
)
def test_address_of_no_known_size_has_no_mask(text: int) -> None:
    assert addresses.code_mask(text) == 0


BTI, NOP, SIGN, MOVE = 0xD50324DF, 0xD503201F, 0xD503233F, 0xAA1E03E9
RECORD, SET_FP, SET_R10 = 0xA9BF7BFD, 0x910003FD, 0x910003F9
COUNT, COUNT_AT = 0xD280001A, 0x910003FA  # mov x26, #0; mov x26, sp
R6_R7, R8_R9, R8_FP = 0xA9BF53F3, 0xA9BF5BF5, 0xA9BF67F5  # stp x19, x20; x21, x22; x21, x25
FP_COUNT, COUNT_FP, FP_ZERO = 0xA9BF6BF9, 0xA9BF67FA, 0xA9BF7FF9
ZERO_COUNT, COUNT_COUNT, BOTTOM = 0xA9BF6BFF, 0xA9BF6BFA, 0xA9BF73FB
LOCALS = 0xD10083FF  # sub sp, sp, #32

PROGRAMS = {
    "6.1": (
        (MOVE, NOP, SIGN, RECORD, SET_FP, R6_R7, R8_R9, FP_COUNT, BOTTOM, SET_R10, COUNT, LOCALS),
        64,
    ),
    "6.1 without signatures": (
        (MOVE, NOP, RECORD, SET_FP, R6_R7, R8_R9, FP_COUNT, BOTTOM, SET_R10, COUNT),
        64,
    ),
    "6.1 with landing pads": (
        (BTI, MOVE, NOP, RECORD, SET_FP, R6_R7, R8_R9, FP_COUNT, BOTTOM, SET_R10, COUNT, BTI),
        64,
    ),
    "6.11": (
        (MOVE, NOP, SIGN, RECORD, SET_FP, R6_R7, R8_R9, COUNT_FP, COUNT, COUNT_FP, COUNT_AT,
         BOTTOM, SET_R10, LOCALS),
        80,
    ),
    "6.12": (
        (MOVE, NOP, SIGN, RECORD, SET_FP, ZERO_COUNT, COUNT_AT, R6_R7, R8_FP, SET_R10, LOCALS),
        48,
    ),
    "6.12 with one register": (
        (MOVE, NOP, SIGN, RECORD, SET_FP, ZERO_COUNT, COUNT_AT, FP_ZERO, SET_R10),
        32,
    ),
    "7.2 with landing pads": (
        (BTI, MOVE, NOP, SIGN, RECORD, SET_FP, ZERO_COUNT, COUNT_AT, BTI, R6_R7, R8_FP, SET_R10),
        48,
    ),
    "subprogram": (
        (MOVE, NOP, SIGN, RECORD, SET_FP, COUNT_COUNT, R6_R7, R8_FP, SET_R10),
        48,
    ),
}  # fmt: skip


def code(*words: int) -> bytes:
    return struct.pack(f"<{len(words)}I", *words)


@pytest.mark.parametrize("name", PROGRAMS)
def test_record_of_a_program_is_above_the_registers_it_saves(name: str) -> None:
    words, saved = PROGRAMS[name]
    assert jit.saved(code(*words, LOCALS, 0xD65F03C0) + b"\0\0") == saved


@pytest.mark.parametrize(
    "words",
    [
        (),
        (MOVE, NOP, SIGN, RECORD, SET_FP, ZERO_COUNT, COUNT_AT, R6_R7, LOCALS),  # R10 is not used
        (SIGN, RECORD, SET_FP, R6_R7, 0x52800019, SET_R10),  # a private stack: mov w25, #0
        (SIGN, RECORD, R6_R7, SET_R10),  # FP is not set
        (SIGN, RECORD, NOP, SET_FP, R6_R7, SET_R10),
        (SIGN, R6_R7, RECORD, SET_FP, R8_R9, SET_R10),
        (SIGN, 0xAA0203FD, 0xD10183BF, SET_R10),  # of an exception callback: mov x29, x2
        (SIGN, RECORD, SET_FP, 0xA9BE53F3, SET_R10),  # stp x19, x20, [sp, #-32]!
        (SIGN, RECORD, SET_FP, 0xA90153F3, SET_R10),  # stp x19, x20, [sp, #16]
        (SIGN, RECORD, SET_FP, 0xA9BF5013, SET_R10),  # stp x19, x20, [x0, #-16]!
        (SIGN, RECORD, SET_FP, R6_R7, 0x910043FF, SET_R10),  # add sp, sp, #16
        (*(NOP,) * 40, RECORD, SET_FP, R6_R7, SET_R10),
    ],
)
def test_program_of_another_form_is_not_guessed(words: tuple[int, ...]) -> None:
    assert jit.saved(code(*words, LOCALS, LOCALS)) == 0


@given(st.binary(max_size=200))
def test_saved_is_defined_for_any_bytes(data: bytes) -> None:
    assert jit.saved(data) % 16 == 0


ENTRY = """
    el1h_64_irq el1h_64_irq_handler el1h_64_sync el1h_64_sync_handler el1_interrupt el1_abort
    el0t_64_sync el0t_64_sync_handler el0t_64_irq el0t_64_irq_handler el0t_32_sync el0_svc el0_da
    el0_ia el0_interrupt el0_svc_common.constprop.0 do_el0_svc invoke_syscall
    invoke_syscall.constprop.0 ret_from_fork ret_to_user ret_to_kernel call_on_irq_stack
    do_interrupt_handler gic_handle_irq generic_handle_domain_irq generic_handle_arch_irq
    handle_irq_desc do_mem_abort __primary_switched irq_exit_rcu __irq_exit_rcu irqentry_exit
    handle_softirqs __do_softirq ____do_softirq do_softirq_own_stack run_ksoftirqd
"""
OTHERS = """
    ip_rcv vfs_read __arm64_sys_read do_page_fault do_translation_fault handle_mm_fault
    elevator_init elf_map el_something schedule kthread worker_thread hrtimer_interrupt
    arch_timer_handler_virt handle_percpu_devid_irq do_exit invoke_bpf_tramp do_idle sel_read_bool
    secondary_start_kernel request_irq enable_irq irq_domain_alloc retbleed gic_eoimode1_eoi_irq
"""


@pytest.mark.parametrize("name", ENTRY.split())
def test_names_of_entry_code_are_known(name: str) -> None:
    assert AARCH64.entry_code.match(name)


@pytest.mark.parametrize("name", OTHERS.split())
def test_other_names_are_not_entry_code(name: str) -> None:
    assert not AARCH64.entry_code.match(name)


def test_arm64_has_no_unwind_tables_and_no_generated_programs() -> None:
    with pytest.raises(UnknownFormat, match="no unwind tables"):
        AARCH64.find_tables(0, 0, b"")
    assert not AARCH64.static_frame(b"", 0)
    assert not AARCH64.table_symbols
    assert "code_mask" in CONFIG.fields


def test_barriers_return() -> None:
    AARCH64.acquire()
    AARCH64.release()
