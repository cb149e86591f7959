# SPDX-License-Identifier: MIT
"""The place of the return address in random functions for arm64, against an interpreter."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from kwalk.abi import Start
from kwalk.arch.aarch64 import prologue

STEPS, RUNS = 300, 40


class Insn(NamedTuple):
    """An instruction.

    :ivar word: Its encoding, without the distance of a branch.
    :ivar effect: Its name, for the interpreter.
    :ivar to: Label that it may branch to.
    """

    word: int
    effect: str = ""
    to: str = ""


HARMLESS = (
    0xD503201F,  # nop
    0x8B020020,  # add x0, x1, x2
    0xF9400BE0,  # ldr x0, [sp, #16]
    0xA90153F3,  # stp x19, x20, [sp, #16]
    0xB8404420,  # ldr w0, [x1], #4
    0x910043FF,  # add sp, sp, #16
    0xEB02003F,  # cmp x1, x2
    0xD5384100,  # mrs x0, sp_el0
    0xC85F7C20,  # ldxr x0, [x1]
    0x4CDF7020,  # ld1 {v0.16b}, [x1], #16
    0x4EA28C3D,  # cmtst v29.4s, v1.4s, v2.4s
)
ENTRY = (Insn(0xAA1E03E9), Insn(0x94000040))  # mov x9, x30; bl ftrace_caller
SIGN, CHECK = Insn(0xD503233F), Insn(0xD50323BF)  # paciasp, autiasp
RECORDS = (
    (0xA9BE7BFD, 0x910003FD, 0xA8C27BFD),  # stp x29, x30, [sp, #-32]!; mov x29, sp; ldp
    (0xA9037BFD, 0x9100C3FD, 0xA9437BFD),  # stp x29, x30, [sp, #48]; add x29, sp, #48; ldp
)
CALLS = (Insn(0x94000100, "call"), Insn(0xD63F0000, "call"), Insn(0xD73F0822, "call"))
RETURNS = (Insn(0xD65F03C0, "leave"), Insn(0xD65F0BFF, "leave"))  # ret, retaa
TAIL_CALLS = (Insn(0x17000000, "leave"), Insn(0xD61F0200, "leave"))  # b elsewhere, br x16
BRANCHES = (0x54000001, 0x34000000, 0xB5000013, 0x36180000, 0xB7F80001)  # b.ne, cbz, cbnz, tbz
WARN = Insn(0xD4210000)  # brk #0x800
LOSSES = (
    Insn(0xAA0003FE, "lr"),  # mov x30, x0
    Insn(0xD538411E, "lr"),  # mrs x30, sp_el0
    Insn(0xF94003FE, "lr"),  # ldr x30, [sp]
    Insn(0xA8C153DE, "lr"),  # ldp x30, x20, [x30], #16
    Insn(0xAA0003FD, "fp"),  # mov x29, x0
    Insn(0xF94003FD, "fp"),  # ldr x29, [sp]
    Insn(0xF80087A0, "fp"),  # str x0, [x29], #8
    Insn(0x4CDF73A0, "fp"),  # ld1 {v0.16b}, [x29], #16
    Insn(0x9E66001D, "fp"),  # fmov x29, d0
)


class Generator:
    """Random code of a function.

    :param odd: It uses FP and LR for other things as well.
    """

    def __init__(self, random: Random, odd: bool) -> None:
        self.random, self.odd = random, odd
        self.code: list[Insn | str] = []
        self._labels = 0

    def _label(self) -> str:
        self._labels += 1
        return f"l{self._labels}"

    def _some(self) -> None:
        self.code += [Insn(word) for word in self.random.choices(HARMLESS, k=2)]
        if self.random.random() < 0.1:
            self.code.append(WARN)

    def function(self) -> list[Insn | str]:
        """Generate a function: with a record from the start, from a branch on, or without one."""
        random = self.random
        if random.random() < 0.5:
            self.code += ENTRY
        kind = random.choice(("whole", "whole", "wrapped", "leaf"))
        if kind == "wrapped":
            self._early_exit()
        self._block(2, False)
        if kind != "leaf":
            self._framed()
        else:
            self.code.append(random.choice(RETURNS))
        return self.code

    def _early_exit(self) -> None:
        skip = self._label()
        self._some()
        self.code.append(Insn(self.random.choice(BRANCHES), "branch", skip))
        self.code.append(self.random.choice((*RETURNS, *TAIL_CALLS)))
        self.code.append(skip)

    def _framed(self) -> None:
        random = self.random
        save, make, restore = random.choice(RECORDS)
        self.code += [SIGN, Insn(save, "save")]
        self._some()
        self.code.append(Insn(make, "frame"))
        self._block(3, True)
        for number in range(random.randint(1, 3)):  # epilogues, each reached by a branch
            last = self._label()
            if number:
                self.code.append(last)
                self._block(1, True)
            self._some()
            after = self._label()
            self.code.append(Insn(random.choice(BRANCHES), "branch", after))
            self.code += [Insn(restore, "restore"), CHECK]
            self.code.append(random.choice((*RETURNS, *TAIL_CALLS)))
            self.code.append(after)
        self.code += [Insn(restore, "restore"), random.choice(RETURNS)]

    def _block(self, depth: int, framed: bool) -> None:
        random = self.random
        for _ in range(random.randint(0, 3)):
            kind = random.choice(("some", "call", "if", "else", "loop", "odd"))
            if kind == "call" and framed:
                self.code.append(random.choice(CALLS))
            elif kind == "odd" and self.odd and random.random() < 0.5:
                self.code.append(random.choice(LOSSES))
            elif kind in ("if", "else", "loop") and depth:
                self._branch(kind, depth - 1, framed)
            else:
                self._some()

    def _branch(self, kind: str, depth: int, framed: bool) -> None:
        first, last = self._label(), self._label()
        branch = self.random.choice(BRANCHES)
        if kind == "loop":
            self.code.append(first)
            self._block(depth, framed)
            self.code.append(Insn(branch, "branch", first))
            return
        self.code.append(Insn(branch, "branch", first))
        self._block(depth, framed)
        if kind == "else":
            self.code.append(Insn(0x14000000, "jump", last))
        self.code.append(first)
        if kind == "else":
            self._block(depth, framed)
            self.code.append(last)


def assemble(code: list[Insn | str]) -> tuple[list[Insn], dict[str, int], bytes]:
    """Return the instructions, the places of labels, and the machine code."""
    insns: list[Insn] = []
    labels: dict[str, int] = {}
    for item in code:
        if isinstance(item, str):
            labels[item] = len(insns)
        else:
            insns.append(item)
    words = []
    for at, insn in enumerate(insns):
        word = insn.word
        if insn.to:
            distance = labels[insn.to] - at
            if insn.effect == "jump":
                word |= distance & 0x3FFFFFF
            elif word & 0x7E000000 == 0x36000000:
                word |= (distance & 0x3FFF) << 5
            else:
                word |= (distance & 0x7FFFF) << 5
        words.append(word)
    return insns, labels, b"".join(word.to_bytes(4, "little") for word in words)


def places(insns: list[Insn], labels: dict[str, int], random: Random) -> list[set[Start]]:
    """Run the code on many ways; return where the return address was at each instruction."""
    found: list[set[Start]] = [set() for _ in insns]
    for _ in range(RUNS):
        at, lr, fp = 0, "return", "caller"
        for _ in range(STEPS):
            if fp == "record":
                found[at].add(Start.FRAME)
            elif (lr, fp) == ("return", "caller"):
                found[at].add(Start.BARE)
            else:
                found[at].add(Start.UNKNOWN)
            insn = insns[at]
            if insn.effect == "leave":
                break
            if insn.effect == "frame":
                fp = "record"
            elif insn.effect == "restore":
                lr, fp = "return", "caller"
            elif insn.effect in ("call", "lr"):
                lr = "lost"
            elif insn.effect == "fp":
                fp = "lost"
            taken = insn.effect == "jump" or (insn.effect == "branch" and random.random() < 0.5)
            at = labels[insn.to] if taken else at + 1
    return found


@given(st.builds(Random, st.integers(0, (1 << 32) - 1)), st.booleans())
@settings(max_examples=50)
def test_start_is_where_the_interpreter_has_the_return_address(random: Random, odd: bool) -> None:
    insns, labels, code = assemble(Generator(random, odd).function())
    for at, truth in enumerate(places(insns, labels, random)):
        place = prologue.start(code, 4 * at, range(len(code)).__contains__)
        if place != Start.UNKNOWN:
            assert truth <= {place}, f"{4 * at:#x}"
        elif not odd:
            assert not truth, f"{4 * at:#x}"
