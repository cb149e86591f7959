# SPDX-License-Identifier: MIT
"""Names of code that comes and goes: of the code that was there, or of none."""

from __future__ import annotations

import pytest
from planted import FUNC, A, B, Planted

from kwalk.abi import Per, Source
from kwalk.decode.contexts import Contexts
from kwalk.decode.groups import Groups
from kwalk.decode.stacks import StackTable
from kwalk.kernel import modules
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.kernel.modules import Module
from kwalk.model.stack import Stack
from kwalk.symbolize.dynamic_code import DynamicSymbols, code_of_module, code_of_program
from kwalk.symbolize.symbolizer import Symbolizer

PLACE = 0xFFFFFFFFC0000000
VMLINUX = b"ffffffff81000000 T _text\nffffffff82000000 T _end\n"
OLD = Module("kwold", PLACE, 0x4000, "Live", 41)
NEW = Module("kwnew", PLACE, 0x4000, "Live", 42)
# A rebuilt module: all that /proc/modules shows of it is as before.
REBUILT = OLD._replace(number=43)


def table(*symbols: tuple[int, str, str], loaded: tuple[Module, ...] = ()) -> Kallsyms:
    lines = b"".join(b"%016x t %s\t[%s]\n" % (a, n.encode(), m.encode()) for a, n, m in symbols)
    made = Kallsyms(VMLINUX + lines)
    made.modules = loaded
    return made


BEFORE = table(
    *((PLACE + 16 * number, f"old_{number:03}", "kwold") for number in range(100)), loaded=(OLD,)
)
NOW = table((PLACE, "new_big", "kwnew"), (PLACE + 0x900, "new_last", "kwnew"), loaded=(NEW,))


class Machine:
    """The modules and the table of a kernel, as they are now."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, now: Kallsyms) -> None:
        self.now = now
        self.reads = 0
        monkeypatch.setattr(modules, "read", lambda: self.now.modules)

    def read(self) -> Kallsyms:
        self.reads += 1
        return self.now


def test_module_of_now_wins_over_one_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, NOW)
    symbolizer = Symbolizer(BEFORE, read=machine.read)
    frame = symbolizer.frame(PLACE + 16 * 53 + 1)
    assert (frame.name, frame.module, frame.offset) == ("new_big", "kwnew", 16 * 53 + 1)
    assert "first [kwold], then [kwnew]" in symbolizer.moved[0]


def test_table_without_modules_goes_by_the_symbols_of_now(monkeypatch: pytest.MonkeyPatch) -> None:
    before, now = Kallsyms(BEFORE._text), Kallsyms(NOW._text)
    symbolizer = Symbolizer(before, read=Machine(monkeypatch, now).read)
    assert symbolizer.frame(PLACE + 16 * 53 + 1).name == "new_big"


def test_gone_module_keeps_what_nobody_else_has_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    below = Module("stays", PLACE - 0x1000, 0x3000, "Live", 7)  # of which a part lies elsewhere
    stays = (PLACE - 0x1000, "stays_one", "stays")
    before = table(stays, (PLACE, "old", "kwold"), loaded=(OLD, below))
    now = table(stays, loaded=(below,))
    symbolizer = Symbolizer(before, read=Machine(monkeypatch, now).read)
    assert symbolizer.frame(PLACE + 8)[:3] == ("old", 8, "kwold")
    assert symbolizer.frame(PLACE - 0x1000 + 8)[:3] == ("stays_one", 8, "stays")
    assert symbolizer.moved == []


def test_place_of_several_gone_modules_has_the_name_of_the_last() -> None:
    passing = DynamicSymbols(BEFORE)
    passing.renew(NOW)
    passing.renew(table())
    found = passing.lookup(PLACE + 8, 0)
    assert found
    assert (found.name, found.module) == ("new_big", "kwnew")


def test_walked_frame_has_the_name_of_the_code_that_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, NOW)
    symbolizer = Symbolizer(BEFORE, read=machine.read)
    address = PLACE + 16 * 53 + 1
    old, new = code_of_module(OLD), code_of_module(NEW)
    assert symbolizer.frame(address, old)[:3] == ("old_053", 1, "kwold")
    assert machine.reads == 0  # the first table had it
    assert symbolizer.frame(address, new)[:3] == ("new_big", 16 * 53 + 1, "kwnew")
    machine.now = table(
        *((PLACE + 32 * n, f"re_{n}", "kwold") for n in range(50)), loaded=(REBUILT,)
    )
    rebuilt = code_of_module(REBUILT)
    assert symbolizer.frame(address, rebuilt)[:3] == ("re_26", 17, "kwold")
    assert symbolizer.frame(address, old).name == "old_053"
    assert symbolizer.frame(address, new).name == "new_big"
    stack = Stack((FUNC, address, address), codes=(0, old, new))
    assert [frame.name for frame in symbolizer.frames(stack)][1:] == ["old_053", "new_big"]
    assert symbolizer.moved == []


def test_code_that_no_table_showed_has_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, NOW)
    symbolizer = Symbolizer(BEFORE, read=machine.read)
    unseen = code_of_module(NEW._replace(number=99))
    assert symbolizer.frame(PLACE + 20, unseen).name == ""
    # It is looked for again: the name may be there at the next look.
    machine.now = table((PLACE, "late", "late"), loaded=(Module("late", PLACE, 4096, "Live", 99),))
    symbolizer.look_again()
    assert symbolizer.frame(PLACE + 20, unseen).name == "late"


@pytest.mark.parametrize("after", ["bpf_prog_2_b", "bpf_prog_1_a"])
def test_bpf_program_at_the_place_of_another(monkeypatch: pytest.MonkeyPatch, after: str) -> None:
    before = table((PLACE, "bpf_prog_1_a", "bpf"), (PLACE + 64, "bpf_prog_0_x", "bpf"))
    machine = Machine(monkeypatch, table((PLACE + 32, after, "bpf")))
    symbolizer = Symbolizer(before, read=machine.read)
    first = symbolizer.frame(PLACE + 40, code_of_program("bpf_prog_1_a"))
    assert first[:3] == ("bpf_prog_1_a", 40, "bpf")
    other = symbolizer.frame(PLACE + 80, code_of_program("bpf_prog_2_b"))
    assert other[:3] == (("bpf_prog_2_b", 48, "bpf") if after[-1] == "b" else ("", 0, ""))


def test_name_without_identity_is_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, BEFORE)
    symbolizer = Symbolizer(BEFORE, read=machine.read)
    assert symbolizer.frame(PLACE + 17).name == "old_001"
    machine.now = NOW
    symbolizer.look_again()
    assert symbolizer.frame(PLACE + 17).name == "new_big"


def test_modules_at_one_address_make_two_stacks() -> None:
    planted = Planted()
    leaves = []
    for number in (41, 42, 0):
        module = planted.take(planted.walked(A), PLACE)
        planted.write(module, source=Source.MODULE, delta=number)
        leaves.append(planted.take(module, B))
    contexts = Contexts(planted.tree, StackTable(FUNC, 127, False), Groups(Per.PID))
    stacks = [contexts.stack(leaf) for leaf in leaves]
    assert [stack and stack.codes for stack in stacks] == [
        (0, 0, code_of_module(OLD), 0), (0, 0, code_of_module(NEW), 0), ()
    ]  # fmt: skip
    assert (
        len({id(stack) for stack in stacks}) == len({stack and stack.key for stack in stacks}) == 3
    )
    assert all(stack and stack.addresses == (FUNC, A, PLACE, B) for stack in stacks)
    planted.close()
