# SPDX-License-Identifier: MIT
"""Names and addresses agree with a naive reading of /proc/kallsyms."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwalk.errors import NotSupported
from kwalk.kernel import capabilities
from kwalk.kernel.kallsyms import Kallsyms, Symbol

VMLINUX = 0xFFFFFFFF81000000
TOP = (1 << 64) - 1
NAMES = st.text("ab.$_0", min_size=1, max_size=4)


def text_of(symbols: list[Symbol], kind: str = "t") -> bytes:
    lines = []
    for address, name, module in symbols:
        lines.append(f"{address:016x} {kind} {name}{f'{chr(9)}[{module}]' if module else ''}\n")
    return "".join(lines).encode()


@st.composite
def tables(draw: st.DrawFn) -> list[Symbol]:
    """Per-CPU symbols at 0 first, vmlinux in address order with aliases, the rest unordered."""
    table = [Symbol(0, draw(NAMES), "") for _ in range(draw(st.integers(0, 3)))]
    address = VMLINUX
    ends = draw(st.booleans())
    table += [Symbol(address, "_text", "")] * ends
    for gap in draw(st.lists(st.sampled_from((0, 1, 2, 16, 4096)), min_size=1, max_size=40)):
        address += gap
        table.append(Symbol(address, draw(NAMES), ""))
    table += [Symbol(address + 1, "_end", "")] * ends
    areas = st.sampled_from((0xFFFFC90000000000, 0xFFFFFFFF80000000, 0xFFFFFFFFC0000000))
    places = st.builds(lambda area, offset: area + offset, areas, st.integers(0, 300))
    for place in draw(st.lists(places, unique=True, max_size=12)):
        module = draw(st.sampled_from(("overlay", "bpf", "__builtin__ftrace")))
        table.append(Symbol(place, draw(NAMES), module))
    return table


def naive_lookup(table: list[Symbol], address: int) -> Symbol | None:
    best = None
    table = [symbol for symbol in table if not (symbol.module and symbol.name.startswith("$"))]
    if address >= next((symbol.address for symbol in table if symbol.name == "_end"), 1 << 64):
        table = [symbol for symbol in table if symbol.module]
    for symbol in table:
        if symbol.address <= address and (best is None or symbol.address > best.address):
            best = symbol
    return best


@given(tables(), st.data())
def test_lookup_is_the_first_symbol_at_the_nearest_address_below(
    table: list[Symbol], data: st.DataObject
) -> None:
    kallsyms = Kallsyms(text_of(table))
    near = [symbol.address + delta for symbol in table for delta in (-1, 0, 1)]
    drawn = data.draw(st.lists(st.integers(0, TOP), max_size=5))
    for address in [0, TOP, *drawn, *(at for at in near if at >= 0)]:
        assert kallsyms.lookup(address) == naive_lookup(table, address)


def test_mapping_symbols_name_nothing() -> None:
    lines = [
        "ffff9dcb60000000 T _text", "ffff9dcb61000000 T _end",
        "ffff9dcb65f64498 t $x\t[overlay]", "ffff9dcb65f64498 t ovl_exit\t[overlay]",
        "ffff9dcb65f644a0 t $d.3\t[overlay]", "ffff9dcb65f64500 t ovl_open\t[overlay]",
    ]  # fmt: skip
    kallsyms = Kallsyms("".join(f"{line}\n" for line in lines).encode())
    assert kallsyms.lookup(0xFFFF9DCB65F64498) == Symbol(0xFFFF9DCB65F64498, "ovl_exit", "overlay")
    assert kallsyms.lookup(0xFFFF9DCB65F644A4) == Symbol(0xFFFF9DCB65F64498, "ovl_exit", "overlay")
    assert kallsyms.functions() == {"_text", "_end", "ovl_exit", "ovl_open"}
    assert [found.name for found in kallsyms.functions_of(module="overlay")] == [
        "ovl_exit", "ovl_open",
    ]  # fmt: skip
    assert not list(kallsyms.functions_of("$"))


@given(tables())
def test_above_is_the_next_address_of_vmlinux(table: list[Symbol]) -> None:
    kallsyms = Kallsyms(text_of(table))
    own = [symbol.address for symbol in table if not symbol.module]
    for address in own:
        assert kallsyms.above(address) == min((at for at in own if at > address), default=0)


@given(tables(), NAMES)
def test_find_gives_every_symbol_of_exactly_that_name(table: list[Symbol], other: str) -> None:
    kallsyms = Kallsyms(text_of(table))
    data = Kallsyms(text_of(table, "d"))
    for name in {other, *(symbol.name for symbol in table)}:
        named = [symbol for symbol in table if symbol.name == name]
        assert kallsyms.find(name) == kallsyms.find(name, code=True) == data.find(name) == named
        assert data.find(name, code=True) == []


def test_find_takes_no_part_of_a_name_and_no_pattern() -> None:
    kallsyms = Kallsyms(
        b"ffffffff81000000 T __ip_rcv\n"
        b"ffffffff81000010 t ip_rcv.isra.0\n"
        b"ffffffff81000020 t ip_rcvXisraX0\n"
        b"ffffffff81000030 T ip_rcv\n"
        b"ffffffff81000040 T ip_rcv_finish\n"
        b"ffffffffc0000000 t ip_rcv\t[dummy]\n"
    )
    assert kallsyms.find("ip_rcv") == [
        Symbol(0xFFFFFFFF81000030, "ip_rcv", ""),
        Symbol(0xFFFFFFFFC0000000, "ip_rcv", "dummy"),
    ]
    assert [symbol.address for symbol in kallsyms.find("ip_rcv.isra.0")] == [0xFFFFFFFF81000010]
    assert kallsyms.find("ip_rc") == kallsyms.find(".*") == kallsyms.find("dummy") == []


def test_module_alias_first_in_the_table_names_the_address() -> None:
    table = [
        Symbol(VMLINUX, "_text", ""),
        Symbol(0xFFFFFFFFC0000000, "init_module", "dummy"),
        Symbol(0xFFFFFFFFC0000000, "dummy_init", "dummy"),
    ]
    assert Kallsyms(text_of(table)).lookup(0xFFFFFFFFC0000004) == table[1]


def test_address_is_vmlinux_own_symbol_and_zero_if_there_is_none() -> None:
    kallsyms = Kallsyms(
        b"ffffffff81000000 T _stext\n"
        b"ffffffff81000100 T _etext\n"
        b"ffffffffc0000000 t cleanup\t[dummy]\n"
    )
    assert kallsyms.address("_etext") == 0xFFFFFFFF81000100
    assert kallsyms.address("cleanup") == 0
    assert kallsyms.address("orc_lookup") == 0


def test_functions_are_code_of_vmlinux_modules_and_bpf() -> None:
    kinds = "AaBbDdRrVvTtWw"
    text = "".join(f"{VMLINUX + at:016x} {kind} name_{kind}\n" for at, kind in enumerate(kinds))
    text += "ffffffffc0000000 t in_module\t[dummy]\nffffffffc0000010 d data\t[dummy]\n"
    functions = Kallsyms(text.encode()).functions()
    assert functions == {"name_T", "name_t", "name_W", "name_w", "in_module"}


@pytest.mark.parametrize(
    "text",
    [
        text_of([Symbol(0, "a", ""), Symbol(0, "b", "")], "T"),
        text_of([Symbol(0, "a", ""), Symbol(0, "b", "dummy"), Symbol(0, "c", "bpf")]),
    ],
)
def test_hidden_addresses_are_told_apart_from_a_kernel_without_the_symbol(text: bytes) -> None:
    with pytest.raises(NotSupported, match="hides its symbols' addresses"):
        Kallsyms(text)


FIRST, NESTED = "0 0 4294967295", "0 1000 1"


@pytest.mark.parametrize(
    ("held", "restrict", "users", "told"),
    [
        (0, 0, FIRST, "lacks CAP_SYSLOG"),
        (0, 1, FIRST, "lacks CAP_SYSLOG"),
        (0, 2, FIRST, "kernel.kptr_restrict is 2"),
        (1 << 34, 2, FIRST, "kernel.kptr_restrict is 2"),
        (1 << 34, 1, FIRST, "a policy of this machine"),
        (1 << 34, 1, NESTED, "in a user namespace"),
    ],
)
def test_hidden_addresses_come_with_the_one_reason_that_holds(
    held: int,
    restrict: int,
    users: str,
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = {"STATUS": f"CapEff:\t{held:016x}\n", "KPTR": f"{restrict}\n", "UID_MAP": users}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        monkeypatch.setattr(capabilities, name, tmp_path / name)
    with pytest.raises(NotSupported) as caught:
        Kallsyms(text_of([Symbol(0, "a", ""), Symbol(0, "b", "")], "T"))
    reasons = [
        "lacks CAP_SYSLOG",
        "kernel.kptr_restrict is 2",
        "a policy of this machine",
        "in a user namespace",
    ]
    assert [reason for reason in reasons if reason in caught.value.hint] == [told]


def test_symbols_at_zero_do_not_mean_hidden() -> None:
    table = [Symbol(0, "fixed_percpu_data", ""), Symbol(0, "b", ""), Symbol(VMLINUX, "_text", "")]
    assert Kallsyms(text_of(table)).lookup(VMLINUX + 5) == table[2]


def test_missing_or_empty_table_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotSupported, match="absent cannot be read"):
        Kallsyms.read(tmp_path / "absent")
    (tmp_path / "empty").touch()
    with pytest.raises(NotSupported):
        Kallsyms.read(tmp_path / "empty")


def test_address_behind_the_image_has_no_name_of_vmlinux() -> None:
    table = [
        Symbol(VMLINUX, "ip_rcv", ""),
        Symbol(VMLINUX + 64, "_end", ""),
        Symbol(VMLINUX + 4096, "ovl_open", "overlay"),
    ]
    symbols = Kallsyms(text_of(table))
    assert symbols.lookup(VMLINUX + 63) == table[0]
    assert symbols.lookup(VMLINUX + 64) is None
    assert symbols.lookup(VMLINUX + 4095) is None
    assert symbols.lookup(VMLINUX + 4096) == table[2]


def test_aliases_are_all_names_at_an_address() -> None:
    symbols = Kallsyms(
        text_of(
            [
                Symbol(VMLINUX, "_text", ""),
                *(Symbol(VMLINUX + 16, name, "") for name in ("__do_a", "__ia32_a", "__x64_a")),
                Symbol(VMLINUX + 32, "b", ""),
                Symbol(VMLINUX + 4096, "init_module", "one"),
                Symbol(VMLINUX + 4096, "one_init", "one"),
            ]
        )
    )
    assert symbols.aliases(symbols.find("__ia32_a")[0]) == ["__do_a", "__ia32_a", "__x64_a"]
    assert symbols.aliases(symbols.find("b")[0]) == ["b"]
    assert symbols.aliases(symbols.find("one_init")[0]) == ["init_module", "one_init"]
    assert symbols.aliases(Symbol(VMLINUX + 17, "x", "")) == []


def test_data_of_the_same_name_is_found_unless_code_is_asked_for() -> None:
    lines = b"%016x D same\n%016x T same\n" % (VMLINUX, VMLINUX + 16)
    symbols = Kallsyms(lines)
    assert [s.address for s in symbols.find("same")] == [VMLINUX, VMLINUX + 16]
    assert [s.address for s in symbols.find("same", code=True)] == [VMLINUX + 16]
