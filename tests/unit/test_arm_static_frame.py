# SPDX-License-Identifier: MIT
"""Functions of arm64 whose frame record is at a constant distance from SP at each call."""

from __future__ import annotations

import random
import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from kwalk.arch.aarch64.static_frame import changes_sp, is_static

SAVE = 0xA9BE7BFD  # stp x29, x30, [sp, #-32]!
SET_FP = 0x910003FD  # mov x29, sp
CALL = 0x94000010  # bl
RESTORE = 0xA8C27BFD  # ldp x29, x30, [sp], #32
RET = 0xD65F03C0
PROLOGUE = (SAVE, SET_FP)

# Words, and what they are, in the assembler's words.
CONSTANT = {
    0xD10083FF: "sub sp, sp, #32",
    0x914007FF: "add sp, sp, #1, lsl #12",
    0x910003BF: "mov sp, x29",
    0xD10043BF: "sub sp, x29, #16",
    0xA90153F3: "stp x19, x20, [sp, #16]",
    0xF81F0FF3: "str x19, [sp, #-16]!",
    0xF84107F3: "ldr x19, [sp], #16",
    0x6DBF27E8: "stp d8, d9, [sp, #-16]!",
    0x4C9F7FE0: "st1 { v0.2d }, [sp], #16",
    0x910043E0: "add x0, sp, #16",
    0x8B2063E0: "add x0, sp, x0",
    0xF10043FF: "cmp sp, #16",
    0xF240001F: "tst x0, #0x1",
    0xAA0003FF: "mov xzr, x0",
    0xCB01001F: "sub xzr, x0, x1",
    0xD503233F: "paciasp",
}
WRITES = {
    0x9100001F: "mov sp, x0",
    0x9100021F: "mov sp, x16",
    0x9100401F: "add sp, x0, #16",
    0xCB2063FF: "sub sp, sp, x0",
    0x8B3F63FF: "add sp, sp, xzr",
    0xCB20701F: "sub sp, x0, x0, uxtx #4",
    0x927CEC1F: "and sp, x0, #0xfffffffffffffff0",
    0xB27C03FF: "orr sp, xzr, #0x10",
    0xD27C03FF: "eor sp, xzr, #0x10",
    0x110043FF: "add wsp, wsp, #16",
    0x0B2043FF: "add wsp, wsp, w0, uxtw",
    0x9ADF13FF: "irg sp, sp",
    0x918103FF: "addg sp, sp, #16, #0",
    0xD18103FF: "subg sp, sp, #16, #0",
    0x4CC27FE0: "ld1 { v0.2d }, [sp], x2",
    0x0D8287E0: "st1 { v0.d }[0], [sp], x2",
    0x043F503F: "addvl sp, sp, #1",
    0x047F503F: "addpl sp, sp, #1",
    0xD50041BF: "msr SPSel, #1",
}


def function(*words: int, prologue: tuple[int, ...] = PROLOGUE) -> tuple[bytes, int]:
    """Return a function, and the offset behind its call."""
    before = (*prologue, *words, CALL)
    code = (*before, RESTORE, RET)
    return struct.pack(f"<{len(code)}I", *code), 4 * len(before)


def test_arm_frames_without_other_instructions_are_static() -> None:
    assert is_static(*function())


@pytest.mark.parametrize("word", [*CONSTANT], ids=[*CONSTANT.values()])
def test_arm_frames_that_move_by_constants_are_static(word: int) -> None:
    assert is_static(*function(word))


@pytest.mark.parametrize("word", [*WRITES], ids=[*WRITES.values()])
@pytest.mark.parametrize("late", [False, True])
def test_arm_functions_that_compute_sp_have_dynamic_frames(word: int, late: bool) -> None:
    """Wherever in the function: it may be in a loop."""
    whole, offset = function() if late else function(word)
    assert not is_static(whole + struct.pack("<I", word) if late else whole, offset)


def test_arm_frames_are_not_there_before_the_record_is_made() -> None:
    """Nor behind it, nor in functions without one."""
    code, offset = function(prologue=(CALL, *PROLOGUE))
    assert is_static(code, offset) == is_static(code, 4) is False
    code, offset = function()
    assert not is_static(code, 4)
    assert not is_static(code, 8)
    assert not is_static(code, len(code) + 4)
    assert not is_static(*function(prologue=()))
    assert not is_static(*function(prologue=(SAVE,)))
    assert not is_static(b"", 0)


def test_arm_records_at_two_places_are_dynamic() -> None:
    assert not is_static(*function(SET_FP | 16 << 10))
    assert is_static(*function(SET_FP))


def test_arm_frames_behind_hidden_instructions_are_dynamic() -> None:
    """A breakpoint of a kprobe hides one, which is not known."""
    assert not is_static(*function(0xD4200080))


def _written(text: str) -> bool:
    """Return whether an instruction, as the disassembler writes it, computes SP."""
    name, _, rest = text.partition("\t")
    operands = [operand.strip() for operand in rest.split(",")]
    if re.search(r"\[sp\], *x\d", rest) or (name == "msr" and operands[0].lower() == "spsel"):
        return True
    if operands[0] not in ("sp", "wsp") or name in ("cmp", "cmn", "tst", "stg", "st2g"):
        return False
    if name in ("stzg", "stz2g"):
        return False
    constant = name in ("add", "sub") and operands[2].startswith("#")
    return not (
        operands[0] == "sp" and (constant or name == "mov") and operands[1] in ("sp", "x29")
    )


@pytest.mark.skipif(not shutil.which("llvm-mc"), reason="no llvm")
@pytest.mark.parametrize("seed", range(2))
def test_every_word_that_writes_sp_is_recognized(seed: int, tmp_path: Path) -> None:
    """As the disassembler sees it, over random words, most of them with SP as an operand."""
    numbers = random.Random(seed)
    words = [
        numbers.getrandbits(32) | numbers.choice((0, 31)) | numbers.choice((0, 31 << 5))
        for _ in range(30000)
    ] + [*CONSTANT, *WRITES]
    source = "".join(f".inst {word:#x}\n" for word in words)
    command = ["llvm-mc", "-triple=aarch64", "-filetype=obj", "-o", str(tmp_path / "a.o")]
    subprocess.run(command, input=source, text=True, check=True)
    command = ["llvm-objdump", "-d", "--no-show-raw-insn", "--mattr=+v8.7a,+mte,+sve2,+pauth"]
    out = subprocess.run(
        [*command, "a.o"], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    found = re.findall(r"^ *([0-9a-f]+):\s+(\S.*)", out.stdout, re.MULTILINE)
    known = {int(at, 16) // 4: text for at, text in found if not text.startswith("<unknown>")}
    assert len(known) > 9000
    wrong = {f"{words[n]:#x} {t}" for n, t in known.items() if changes_sp(words[n]) != _written(t)}
    assert wrong == set()
    listed = {n: text for n, text in enumerate((CONSTANT | WRITES).values(), 30000) if n in known}
    assert len(listed) > len(CONSTANT) + 10
    for number, text in listed.items():
        assert known[number].split()[0] == text.split()[0]
        assert _written(known[number]) == (text in WRITES.values())
