# SPDX-License-Identifier: MIT
"""The function a user names is found, or the user learns why not and what to try instead."""

from __future__ import annotations

import pytest

from kwalk.abi import Place
from kwalk.errors import UsageError
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.probe.target import Target, find

TABLE = Kallsyms(
    b"0000000000000000 A fixed_percpu_data\n"
    b"ffffffff81000000 T _stext\n"
    b"ffffffff81000010 T ip_rcv\n"
    b"ffffffff81000020 t ip_rcv_core\n"
    b"ffffffff81000030 t tcp_ack.isra.0\n"
    b"ffffffff81000040 t tcp_ack.part.0.cold\n"
    b"ffffffff81000048 t tcp_ack_update\n"
    b"ffffffff81000050 t setup_data\n"
    b"ffffffff81000060 t setup_data\n"
    b"ffffffff81000070 T __x64_sys_ni\n"
    b"ffffffff81000070 T sys_ni_alias\n"
    b"ffffffff81000080 t show\n"
    b"ffffffff81000090 T _etext\n"
    b"ffffffff82000000 D init_task\n"
    b"ffffffff82000010 d show_state\n"
    b"ffffffff82000020 t show_state\n"
    b"ffffffff83000000 T _sinittext\n"
    b"ffffffff83000010 t ip_init\n"
    b"ffffffff83000020 T _einittext\n"
    b"ffffffff83000020 T just_behind\n"
    b"ffffffffc0000000 t dummy_xmit\t[dummy]\n"
    b"ffffffffc0000010 t show\t[dummy]\n"
    b"ffffffffc0000020 t late_init\t[dummy]\n"
    b"ffffffffc0000030 t r\t[dummy]\n"
)


def refusal(name: str) -> tuple[str, str]:
    with pytest.raises(UsageError) as caught:
        find(name, TABLE)
    assert caught.value.exit_code == 2
    return caught.value.what, caught.value.hint


def test_function_of_vmlinux_or_of_a_module_is_found() -> None:
    assert find("ip_rcv", TABLE) == Target("ip_rcv", 0xFFFFFFFF81000010, "")
    assert find("tcp_ack.isra.0", TABLE).address == 0xFFFFFFFF81000030
    assert find("sys_ni_alias", TABLE).name == "sys_ni_alias"
    assert find("dummy_xmit", TABLE) == Target("dummy_xmit", 0xFFFFFFFFC0000000, "dummy")


@pytest.mark.parametrize(
    "name",
    ["", "ip rcv", "ip_rcv;", "ip_rcv\n", "-ip_rcv", "1st", "*", "a/b", "ip_rcv+", "ip_rcv-1"],
)
def test_invalid_name_is_refused(name: str) -> None:
    what, hint = refusal(name)
    assert what == f"{name!r} is not the name of a kernel function"
    assert "ip_rcv" in hint


def test_misspelt_name_suggests_close_ones() -> None:
    what, hint = refusal("ip_recv")
    assert what == "this kernel has no function ip_recv"
    assert hint.startswith("Did you mean ip_rcv")
    _, hint = refusal("completely_different")
    assert "Did you mean" not in hint
    assert "inlined" in hint


def test_compiler_clones_of_a_function_are_offered() -> None:
    what, hint = refusal("tcp_ack")
    assert what == "this kernel has no function tcp_ack"
    assert "turned it into tcp_ack.isra.0, tcp_ack.part.0.cold," in hint


def test_init_function_is_refused() -> None:
    what, _ = refusal("ip_init")
    assert what == "ip_init is an init function: the kernel freed its code after boot"
    assert find("just_behind", TABLE).address == 0xFFFFFFFF83000020
    assert find("late_init", TABLE).module == "dummy"


def test_ambiguous_name_is_refused_with_the_addresses() -> None:
    what, hint = refusal("setup_data")
    assert what == (
        "2 functions are called setup_data: 0xffffffff81000050, 0xffffffff81000060"
    )  # fmt: skip
    assert "trace the entries or returns of all" in hint
    what, _ = refusal("show")
    assert what.endswith("0xffffffff81000080, 0xffffffffc0000010 [dummy]")


def test_data_is_no_function() -> None:
    what, _ = refusal("init_task")
    assert what == "this kernel has no function init_task"


def test_data_of_the_same_name_does_not_get_in_the_way() -> None:
    assert find("show_state", TABLE).address == 0xFFFFFFFF82000020


@pytest.mark.parametrize(
    ("spelling", "place", "traced", "label"),
    [
        ("ip_rcv", Place.ENTRY, 0xFFFFFFFF81000010, "ip_rcv"),
        ("ip_rcv+0xf", Place.INSIDE, 0xFFFFFFFF8100001F, "ip_rcv+0xf"),
        ("ip_rcv+0x0A", Place.INSIDE, 0xFFFFFFFF8100001A, "ip_rcv+0xa"),
        ("ip_rcv+10", Place.INSIDE, 0xFFFFFFFF8100001A, "ip_rcv+0xa"),
        ("ip_rcv+0x0", Place.ENTRY, 0xFFFFFFFF81000010, "ip_rcv"),
        ("r:ip_rcv", Place.RETURN, 0xFFFFFFFF81000010, "r:ip_rcv"),
        ("tcp_ack.isra.0+0x4", Place.INSIDE, 0xFFFFFFFF81000034, "tcp_ack.isra.0+0x4"),
        ("r:tcp_ack.isra.0", Place.RETURN, 0xFFFFFFFF81000030, "r:tcp_ack.isra.0"),
        ("dummy_xmit+0x1", Place.INSIDE, 0xFFFFFFFFC0000001, "dummy_xmit+0x1"),
        ("r:dummy_xmit", Place.RETURN, 0xFFFFFFFFC0000000, "r:dummy_xmit"),
        ("r", Place.ENTRY, 0xFFFFFFFFC0000030, "r"),
        ("r:r", Place.RETURN, 0xFFFFFFFFC0000030, "r:r"),
    ],
)
def test_place_in_a_function_is_found_and_labelled_as_spelt(
    spelling: str, place: Place, traced: int, label: str
) -> None:
    target = find(spelling, TABLE)
    assert (target.place, target.traced, target.label) == (place, traced, label)
    assert target.address == find(target.name, TABLE).address
    assert find(label, TABLE) == target


@pytest.mark.parametrize(
    "spelling",
    [
        *("ip_rcv+0x", "ip_rcv+-1", "ip_rcv+0x1+0x2", "ip_rcv+0x1f/0x30", "ip_rcv+f", "+0x1"),
        *("r:", "r:a:b:ip_rcv", "r: ip_rcv", "ip_rcv:1", "ip_rcv +1", ":ip_rcv", "a-b:ip_rcv"),
    ],
)
def test_invalid_place_is_answered_with_valid_spellings(spelling: str) -> None:
    what, hint = refusal(spelling)
    assert what == f"{spelling!r} is not the name of a kernel function"
    assert "ip_rcv+0x1f" in hint
    assert "r:ip_rcv" in hint


def test_offset_beyond_the_function_is_refused() -> None:
    assert find("ip_rcv+0xf", TABLE).offset == 0xF
    what, _ = refusal("ip_rcv+16")
    assert what == "ip_rcv ends before ip_rcv+0x10"
    what, _ = refusal("dummy_xmit+0x10")
    assert what == "dummy_xmit ends before dummy_xmit+0x10"
    # Of two names for one function the first names its stacks; a place may be given by both.
    assert find("sys_ni_alias+0xf", TABLE).traced == 0xFFFFFFFF8100007F
    assert refusal("sys_ni_alias+0x10")[0] == "sys_ni_alias ends before sys_ni_alias+0x10"


def test_last_function_ends_at_the_top_of_memory() -> None:
    assert find("r+0x3fffffcf", TABLE).traced == (1 << 64) - 1
    for offset in ("0x3fffffd0", "0xffffffffffffffff"):
        assert refusal(f"r+{offset}")[0] == f"r ends before r+{offset}"


@pytest.mark.parametrize("digits", ["0x1" + 16 * "0", 20 * "9", 5000 * "9"], ids=len)
def test_invalid_number_is_no_offset(digits: str) -> None:
    assert "is not the name of a kernel function" in refusal(f"ip_rcv+{digits}")[0]


@pytest.mark.parametrize("digits", ["\N{ARABIC-INDIC DIGIT THREE}", "\N{SUPERSCRIPT TWO}"])
def test_offsets_have_the_digits_that_stacks_have(digits: str) -> None:
    assert "is not the name of a kernel function" in refusal(f"ip_rcv+{digits}")[0]


def test_return_with_an_offset_is_refused() -> None:
    what, hint = refusal("r:ip_rcv+0x4")
    assert what == "r:ip_rcv+0x4: a return has no offset"
    assert hint == "Give r:ip_rcv, or ip_rcv+0x4."


@pytest.mark.parametrize("form", ["{}+0x4", "r:{}"])
def test_place_in_an_untraceable_function_is_refused_like_it(
    form: str,
) -> None:
    for name in ("ip_recv", "tcp_ack", "ip_init", "setup_data", "init_task"):
        assert refusal(form.format(name)) == refusal(name)


def test_module_prefix_selects_the_module() -> None:
    assert find("dummy:show", TABLE) == Target("show", 0xFFFFFFFFC0000010, "dummy")
    assert find("r:dummy:show", TABLE).label == "r:show"
    assert find("r:dummy:r", TABLE).returns
    assert find("dummy:show+0x4", TABLE).traced == 0xFFFFFFFFC0000014
    what, hint = refusal("other:show")
    assert what == "module other has no function show"
    assert "kwalk functions show" in hint
    assert refusal("dummy:nothing")[0] == "this kernel has no function nothing"
