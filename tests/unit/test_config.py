# SPDX-License-Identifier: MIT
"""What the BPF program is told is what the symbol table, the kernel and the options say."""

from __future__ import annotations

import time
from typing import Any

import pytest

from kwalk.abi import CONFIG, FACTS, Method, Output, Per, Place, Start, Unwinder
from kwalk.arch.x86_64.orc import KNOWN_HASHES, SINCE_7_1, UNTIL_7_0
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.options.filters import Filters
from kwalk.options.probe import ProbeOptions
from kwalk.probe import config as setting
from kwalk.probe.config import CannotWalk, Facts
from kwalk.probe.target import Target, find

BASE = 0xFFFFFFFF81000000
SYMBOLS = {
    "_stext": 0x0,
    "ip_rcv": 0x100,
    "ip_rcv_core": 0x180,
    "arch_rethook_trampoline": 0x200,
    "return_to_handler": 0x240,
    "ftrace_caller": 0x300,
    "ftrace_regs_caller": 0x380,
    "bpf_rdonly_cast": 0x400,
    "__entry_text_start": 0x800,
    "asm_exc_nmi": 0x820,
    "nested_nmi": 0x846,
    "first_nmi": 0x861,
    "repeat_nmi": 0x871,
    "end_repeat_nmi": 0x876,
    "nmi_restore": 0x8A3,
    "entry_SYSCALL32_ignore": 0x8C0,
    "__entry_text_end": 0x900,
    "__switch_to_asm": 0x910,
    "__switch_to": 0xA00,
    "behind_it": 0xAA0,
    "_etext": 0x1000,
    "__start_orc_unwind_ip": 0x2000,
    "__start_orc_unwind": 0x2190,
    "orc_fp_entry": 0x2800,
    "null_orc_entry": 0x2808,
    "__start_orc_header": 0x2810,
    "orc_lookup": 0x3000,
    "orc_lookup_end": 0x3040,
    "mod_tree": 0x4000,
    "bpf_tree": 0x4100,
    "ftrace_ops_list": 0x4200,
    "ftrace_list_end": 0x4300,
    "kprobe_insn_slots": 0x4400,
    "kprobe_optinsn_slots": 0x4500,
    "_sinittext": 0x5000,
    "_einittext": 0x5100,
    "_end": 0x6000,
}
ADDRESSED = {
    "text_start": "_stext",
    "text_end": "_etext",
    "init_start": "_sinittext",
    "init_end": "_einittext",
    "image_end": "_end",
    "orc_ip": "__start_orc_unwind_ip",
    "orc": "__start_orc_unwind",
    "orc_lookup": "orc_lookup",
    "rethook": "arch_rethook_trampoline",
    "graph_return": "return_to_handler",
    "mod_tree": "mod_tree",
    "bpf_tree": "bpf_tree",
    "ftrace_ops_list": "ftrace_ops_list",
    "ftrace_list_end": "ftrace_list_end",
    "ftrace_caller": "ftrace_caller",
    "ftrace_regs_caller": "ftrace_regs_caller",
    "entry_start": "__entry_text_start",
    "entry_end": "__entry_text_end",
    "insn_slots": "kprobe_insn_slots",
    "optinsn_slots": "kprobe_optinsn_slots",
}
PROLOGUE = bytes.fromhex("f30f1efa 0f1f440000 55 4889e5 415541")
HASH_7_1 = next(bytes.fromhex(h) for h, known in KNOWN_HASHES.items() if known == SINCE_7_1)
# orc_fp_entry and null_orc_entry of 6.12: BP at "previous SP" - 16, CFA at SP + 8.
FP_ENTRY, NULL_ENTRY = 0x1 << 36 | 0x4 << 32, 0x5 << 32 | 8


def table(*absent: str) -> Kallsyms:
    lines = [f"{BASE + at:016x} T {name}\n" for name, at in SYMBOLS.items() if name not in absent]
    return Kallsyms("".join(lines).encode())


def config(
    spelling: str = "ip_rcv",
    options: ProbeOptions | None = None,
    *absent: str,
    method: Method = Method.MANUAL,
    fentry: bool = True,
) -> dict[str, int]:
    target = find(spelling, table())
    return setting.config(target, table(*absent), options or ProbeOptions(), method, fentry)


def found(unwinder: Unwinder = Unwinder.ORC, **other: Any) -> Facts:
    facts: dict[str, Any] = {
        "fp_entry": FP_ENTRY,
        "null_entry": NULL_ENTRY,
        "header": bytes(20),
        "unwinder": unwinder,
        "counts_missed": True,
        "stack_size": 16384,
    }
    return Facts(**(facts | other))


def code(traced: bytes, offset: int = 0x20) -> bytes:
    """The code of a function, with these bytes at an offset."""
    return PROLOGUE.ljust(offset, b"\x90")[:offset] + traced.ljust(16, b"\x90")


def test_addresses_are_those_of_the_symbol_table() -> None:
    told = config()
    assert {field: told[field] for field in ADDRESSED} == {
        field: BASE + SYMBOLS[name] for field, name in ADDRESSED.items()
    }
    assert told["orc_entries"] == 0x190 // 4
    assert told["orc_lookups"] == 0x40 // 4
    assert told["typed_loads"] == 1
    CONFIG.pack(told)


NMI_LABELS = ["nested_nmi", "first_nmi", "repeat_nmi", "end_repeat_nmi", "nmi_restore"]


@pytest.mark.parametrize("hidden", [[], NMI_LABELS])
def test_nmi_entry_extends_to_the_handlers_call(hidden: list[str]) -> None:
    told = config("ip_rcv", None, *hidden)
    assert told["nmi_start"] == BASE + SYMBOLS["asm_exc_nmi"]
    assert told["nmi_end"] - BASE in range(SYMBOLS["end_repeat_nmi"] + 0x14, 0x8C1)


def test_task_switch_extents_are_configured() -> None:
    told = config()
    assert [told[f"switch_{side}"] - BASE for side in ("start", "end")] == [0xA00, 0xAA0]
    assert [told[f"switch_asm_{side}"] - BASE for side in ("start", "end")] == [0x910, 0xA00]
    told = config("ip_rcv", None, "__switch_to", "__switch_to_asm")
    assert not any(told[name] for name in told if name.startswith("switch_"))


@pytest.mark.parametrize("above", [0x9F0, 0x9F1, 0x9FF, 0xA00])
def test_function_end_is_aligned_like_functions(above: int) -> None:
    # A label of assembler, such as one within padding, has no alignment of its own.
    lines = [f"{BASE + 0x910:016x} T __switch_to_asm\n", f"{BASE + above:016x} t label\n"]
    told = setting.config(
        find("ip_rcv", table()),
        Kallsyms("".join([f"{BASE:016x} T _stext\n", *lines]).encode()),
        ProbeOptions(),
        Method.MANUAL,
        True,
    )
    assert told["switch_asm_end"] == BASE + (0x9F0 if above == 0x9F0 else 0xA00)


def test_nmi_entry_is_zero_without_its_symbol() -> None:
    told = config("ip_rcv", None, "asm_exc_nmi")
    assert (told["nmi_start"], told["nmi_end"]) == (0, 0)


def test_image_end_defaults_to_the_end_of_the_text() -> None:
    told = config("ip_rcv", None, "_end")  # as without CONFIG_KALLSYMS_ALL
    assert told["image_end"] == told["text_end"] > 0


@pytest.mark.parametrize("field", sorted(set(ADDRESSED) - {"image_end"}))
def test_hidden_symbol_configures_zero(field: str) -> None:
    absent = {ADDRESSED[field]}
    if field in ("orc_ip", "orc"):
        absent = {"__start_orc_unwind_ip", "__start_orc_unwind"}
    if field == "orc_lookup":
        absent.add("orc_lookup_end")
    told = config("ip_rcv", None, *absent)
    assert told[field] == 0
    assert (told["orc_entries"] == 0) == (field in ("orc_ip", "orc"))
    assert (told["orc_lookups"] == 0) == (field == "orc_lookup")
    CONFIG.pack(told)


@pytest.mark.parametrize("name", SYMBOLS)
def test_config_packs_with_any_one_symbol_missing(name: str) -> None:
    told = CONFIG.unpack(CONFIG.pack(config("ip_rcv", None, name)))
    if "orc_unwind" in name:
        assert told["orc_entries"] == 0
    if "orc_lookup" in name:
        assert told["orc_lookups"] == 0


def test_typed_loads_are_off_without_the_kfunc() -> None:
    assert config("ip_rcv", None, "bpf_rdonly_cast")["typed_loads"] == 0


@pytest.mark.parametrize(
    ("absent", "first", "span"),
    [
        ((), 0x200, 0x40),
        (("return_to_handler",), 0x200, 0),
        (("arch_rethook_trampoline",), 0x240, 0),
    ],
)
def test_hook_range_spans_rethook_and_graph_return(
    absent: tuple[str, ...], first: int, span: int
) -> None:
    told = config("ip_rcv", None, *absent)
    assert (told["hook_first"] - BASE, told["hook_span"]) == (first, span)


def test_hook_range_is_empty_without_hooks() -> None:
    told = config("ip_rcv", None, "arch_rethook_trampoline", "return_to_handler")
    assert (told["hook_first"], told["hook_span"]) == (0, 0)


@pytest.mark.parametrize(
    ("spelling", "at", "place"),
    [
        ("ip_rcv", 0x100, Place.ENTRY),
        ("ip_rcv+0x1f", 0x11F, Place.INSIDE),
        ("r:ip_rcv", 0x100, Place.RETURN),
    ],
)
def test_traced_address_and_place_are_configured(spelling: str, at: int, place: Place) -> None:
    told = config(spelling)
    assert (told["func"], told["place"]) == (BASE + at, place)


def test_probe_options_are_configured() -> None:
    told = config("ip_rcv", ProbeOptions(depth=20, verify=100), method=Method.BOTH, fentry=False)
    assert (told["max_frames"], told["verify"]) == (20, 100)
    assert (told["method"], told["fentry"]) == (Method.BOTH, 0)
    assert config()["fentry"] == 1
    assert config()["verify"] == 0


@pytest.mark.parametrize("output", list(Output))
@pytest.mark.parametrize("per", list(Per))
def test_output_and_grouping_are_configured(output: Output, per: Per) -> None:
    told = config("ip_rcv", ProbeOptions(output=output, per=per))
    assert (told["output"], told["per"]) == (output, per)


@pytest.mark.parametrize(
    ("options", "slow"),
    [
        (ProbeOptions(Method.MANUAL, output=Output.COUNT), 0),
        (ProbeOptions(Method.MANUAL, output=Output.COUNT, depth=20, nodes=99), 0),
        (ProbeOptions(Method.MANUAL, output=Output.EVENT), 1),
        (ProbeOptions(Method.MANUAL, output=Output.BRIEF), 1),
        (ProbeOptions(Method.MANUAL, output=Output.COUNT, per=Per.PID), 1),
        (ProbeOptions(Method.MANUAL, output=Output.COUNT, verify=100), 1),
        (ProbeOptions(None, output=Output.COUNT), 1),  # its first stacks are compared
        (ProbeOptions(Method.HELPER, output=Output.COUNT), 1),
        (ProbeOptions(Method.BOTH, output=Output.COUNT), 1),
    ],
)
def test_slow_is_unset_for_plain_counting_only(options: ProbeOptions, slow: int) -> None:
    method = options.method or Method.MANUAL
    assert config("ip_rcv", options, method=method)["slow"] == slow


@pytest.mark.parametrize("cpus", [1, 4, 512])
@pytest.mark.parametrize("nodes", [1, 1 << 17])
@pytest.mark.parametrize(
    ("method", "fentry", "levels"),
    [(Method.MANUAL, True, 3), (Method.MANUAL, False, 1), (Method.HELPER, True, 1)],
)
def test_nodes_are_those_for_frames_and_those_of_cpus(
    monkeypatch: pytest.MonkeyPatch,
    cpus: int,
    nodes: int,
    method: Method,
    fentry: bool,
    levels: int,
) -> None:
    monkeypatch.setattr(setting, "possible_cpus", lambda: cpus)
    told = config("ip_rcv", ProbeOptions(nodes=nodes), method=method, fentry=fentry)
    assert told["nodes"] == nodes + 8 * (1 + levels * cpus)
    assert setting.levels(method, fentry) == levels
    assert "first_part" not in told  # 0: level 0
    size = told["node_mask"] // 64 + 1
    assert size & (size - 1) == 0
    assert told["node_mask"] == (size - 1) * 64
    assert told["nodes"] <= size < 2 * told["nodes"]


@pytest.mark.parametrize("method", [Method.MANUAL, Method.HELPER, Method.BOTH])
def test_self_check_is_for_the_automatic_method_only(method: Method) -> None:
    assert config("ip_rcv", ProbeOptions(method=None))["self_check"] > 0
    assert config("ip_rcv", ProbeOptions(method=method), method=method)["self_check"] == 0


def answered(
    spelling: str, absent: tuple[str, ...] = (), **fields: Any
) -> tuple[dict[str, Any], Facts]:
    """What kw_facts is asked, and what is made of its answer."""
    asked: dict[str, Any] = {}

    class Object:
        def run(self, name: str, context: bytes) -> tuple[int, bytes]:
            assert name == "kw_facts"
            asked.update(FACTS.unpack(context))
            return 0, FACTS.pack(asked | fields)

    symbols = table(*absent)
    obj: Any = Object()
    return asked, setting.facts(obj, symbols)


def test_facts_are_asked_for_where_the_symbols_are() -> None:
    asked, _ = answered("ip_rcv+0x1f", ("null_orc_entry",))
    assert asked["orc_fp_entry"] == BASE + 0x2800
    assert asked["orc_null_entry"] == 0
    assert asked["orc_header"] == BASE + 0x2810
    asked, _ = answered("ip_rcv", ("orc_fp_entry", "__start_orc_header"))
    assert (asked["orc_fp_entry"], asked["orc_header"]) == (0, 0)


def test_facts_are_what_the_kernel_answered() -> None:
    _, facts = answered(
        "ip_rcv",
        fp_entry=FP_ENTRY,
        null_entry=NULL_ENTRY,
        header=HASH_7_1,
        unwinder=2,
        counts_missed=1,
        stack_pages=8,
    )
    assert facts == Facts(
        fp_entry=FP_ENTRY,
        null_entry=NULL_ENTRY,
        header=HASH_7_1,
        unwinder=Unwinder.ORC,
        counts_missed=True,
        stack_size=32768,
    )


def test_stack_size_defaults_where_it_is_unknown() -> None:
    assert answered("ip_rcv", stack_pages=0)[1].stack_size == 16384


def test_orc_control_has_the_registers_and_the_last_entry() -> None:
    symbols = table()
    told = setting.control(found(), symbols, find("ip_rcv", symbols), b"")
    assert told == {
        "stack_size": 16384,
        "orc_reg_sp": UNTIL_7_0.reg_sp,
        "orc_reg_prev_sp": UNTIL_7_0.reg_prev_sp,
        "orc_last": 99,
    }
    known = found(fp_entry=0, null_entry=0, header=HASH_7_1)
    told = setting.control(known, symbols, find("ip_rcv", symbols), b"")
    assert (told["orc_reg_sp"], told["orc_reg_prev_sp"]) == SINCE_7_1


@pytest.mark.parametrize(
    ("spelling", "traced", "place"),
    [
        ("ip_rcv+0x9", PROLOGUE[9:], Start.BARE),
        ("ip_rcv+0xa", PROLOGUE[10:], Start.PUSHED),
        ("ip_rcv+0x20", bytes.fromhex("4889df"), Start.FRAME),
        ("ip_rcv+0x20", bytes.fromhex("c3"), Start.BARE),
        # ip_rcv is 0x80 bytes long.
        ("ip_rcv+0x20", bytes.fromhex("e95a000000"), Start.FRAME),
        ("ip_rcv+0x20", bytes.fromhex("e95b000000"), Start.BARE),
        ("ip_rcv+0x20", bytes.fromhex("e9dbffffff"), Start.FRAME),
        ("ip_rcv+0x20", bytes.fromhex("e9daffffff"), Start.BARE),
    ],
)
def test_frame_pointer_control_has_the_start_by_the_code(
    spelling: str, traced: bytes, place: Start
) -> None:
    symbols = table()
    facts = found(Unwinder.FRAME_POINTER, stack_size=8192)
    target = find(spelling, symbols)
    told = setting.control(facts, symbols, target, code(traced, target.offset))
    assert told == {"stack_size": 8192, "start": place}


@pytest.mark.parametrize("jump", ["0f88", "0f85", "e9"])
@pytest.mark.parametrize(
    ("to", "place"),
    [
        ("ip_rcv.cold", Start.FRAME),
        ("ip_rcv.cold.12", Start.FRAME),
        ("ip_rcv_core.cold", Start.BARE),
        ("ip_rcv_core", Start.BARE),
        ("ip_rcv.part.0", Start.BARE),
        ("__x86_return_thunk", Start.BARE),
    ],
)
def test_jump_to_the_cold_part_keeps_the_frame(jump: str, to: str, place: Start) -> None:
    # gcc: js ip_rcv.cold, in which -0x24(%rbp) is used and which jumps back.
    symbols = Kallsyms(
        f"{BASE:016x} T ip_rcv\n{BASE:016x} T alias\n{BASE + 0x80:016x} t other\n"
        f"{BASE + 0x1000:016x} t {to}\n{BASE + 0x1020:016x} t behind\n".encode()
    )
    opcode = bytes.fromhex(jump)
    for into in (0, 0x1F):
        distance = 0x1000 + into - 0x20 - len(opcode) - 4
        traced = opcode + distance.to_bytes(4, "little")
        facts = found(Unwinder.FRAME_POINTER)
        for spelling in ("ip_rcv+0x20", "alias+0x20"):
            told = setting.control(facts, symbols, find(spelling, symbols), code(traced))
            assert told["start"] == place


def test_cold_part_may_be_named_after_an_alias() -> None:
    symbols = Kallsyms(
        f"{BASE:016x} T first\n{BASE:016x} T ip_rcv\n{BASE + 0x80:016x} t other\n"
        f"{BASE + 0x1000:016x} t ip_rcv.cold\n{BASE + 0x1020:016x} t behind\n".encode()
    )
    jump = code(bytes.fromhex("e9db0f0000"))
    facts = found(Unwinder.FRAME_POINTER)
    told = setting.control(facts, symbols, find("ip_rcv+0x20", symbols), jump)
    assert told["start"] == Start.FRAME


def test_unknown_prologue_has_an_unknown_start() -> None:
    symbols = table()
    facts = found(Unwinder.FRAME_POINTER)
    told = setting.control(facts, symbols, find("ip_rcv+0x20", symbols), bytes(0x30))
    assert told["start"] == Start.UNKNOWN


def cannot(facts: Facts, *absent: str) -> str:
    with pytest.raises(CannotWalk) as caught:
        setting.control(facts, table(*absent), Target("ip_rcv", BASE + 0x100, ""), b"")
    return caught.value.what


def test_cannot_walk_says_why() -> None:
    assert cannot(found(Unwinder.NONE)) == (
        "this kernel has neither ORC tables nor frame pointers"
    )  # fmt: skip
    for name in ("__start_orc_unwind_ip", "__start_orc_unwind", "_stext", "_etext"):
        assert (
            cannot(found(), name) == f"this kernel's ORC tables can't be found (no symbol {name})"
        )
    assert "in an unknown format (format hash 0101" in cannot(found(header=b"\1" * 20))
    assert "in an unknown format (register numbers SP=7" in cannot(found(null_entry=7 << 32))


def test_frame_pointers_need_no_orc_symbols() -> None:
    symbols = table("__start_orc_unwind_ip", "__start_orc_unwind", "_stext", "_etext")
    target = find("ip_rcv", symbols)
    told = setting.control(found(Unwinder.FRAME_POINTER), symbols, target, b"")
    assert told == {"stack_size": 16384}


@pytest.mark.parametrize("zone", ["UTC", "EST5", "Asia/Kolkata", "XXX-14"])
def test_midnight_is_that_of_the_local_clock(monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        since = config()["midnight_ns"] + time.monotonic_ns()
        expected = time.strftime("%H:%M:%S", time.localtime())
    finally:
        monkeypatch.undo()
        time.tzset()
    assert config()["midnight_ns"] < 86_400 * 10**9
    second = since // 10**9 % 86_400
    found = f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"
    assert found == expected or since % 10**9 > 900_000_000  # which the next second came after


def test_midnight_ignores_clock_readings_that_were_held_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, held_up = [1_000], iter([0, 5_000_000, 0, 7_000_000, 0, 3_000_000, 0, 0, 0, 4_000_000])

    def monotonic_ns() -> int:
        now[0] += 10 + next(held_up, 0)
        return now[0]

    whole = 100_000 * 10**9
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    try:
        monkeypatch.setattr(time, "monotonic_ns", monotonic_ns)
        monkeypatch.setattr(time, "time_ns", lambda: whole + now[0])
        found = config()["midnight_ns"]
    finally:
        monkeypatch.undo()
        time.tzset()
    assert abs(found - whole % (86_400 * 10**9)) < 100


def test_midnight_is_not_negative_with_an_unset_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "EST5")
    time.tzset()
    try:
        monkeypatch.setattr(time, "time_ns", time.monotonic_ns)
        assert 0 <= config()["midnight_ns"] < 86_400 * 10**9
    finally:
        monkeypatch.undo()
        time.tzset()


def test_digits_are_three_to_a_word() -> None:
    table = setting.digits()
    assert len(table) == 4 * 1024
    assert [table[4 * n : 4 * n + 4] for n in (0, 7, 42, 999)] == [
        b"000\0",
        b"007\0",
        b"042\0",
        b"999\0",
    ]


@pytest.mark.parametrize(
    ("options", "special"),
    [
        (ProbeOptions(Method.MANUAL, output=Output.COUNT), 0),
        (ProbeOptions(Method.MANUAL, output=Output.COUNT, chance=0.5), 1),
        (ProbeOptions(Method.MANUAL, output=Output.COUNT, filters=Filters(pids=(1,))), 1),
    ],
)
def test_special_is_set_by_filters_sampling_and_many(options: ProbeOptions, special: int) -> None:
    assert config("ip_rcv", options, method=Method.MANUAL)["special"] == special
