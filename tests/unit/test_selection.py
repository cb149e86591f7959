# SPDX-License-Identifier: MIT
"""Which functions a user's words name: one, all of a name, all that match."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwalk.abi import Place
from kwalk.errors import UsageError
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.probe.ftrace_sites import NOTRACE, Traceable
from kwalk.probe.selection import Selection, matching, select, sift
from kwalk.probe.target import Target

TABLE = Kallsyms(
    b"ffffffff81000000 T _stext\n"
    b"ffffffff81000008 t __pfx_tcp_ack\n"
    b"ffffffff81000010 T tcp_ack\n"
    b"ffffffff81000020 t tcp_push.isra.0\n"
    b"ffffffff81000030 t tcp_ack.cold\n"
    b"ffffffff81000040 W tcp_alias\n"
    b"ffffffff81000040 T tcp_alias_too\n"
    b"ffffffff81000050 T ip_rcv\n"
    b"ffffffff81000060 T ip6_rcv\n"
    b"ffffffff81000070 t show\n"
    b"ffffffff81000080 t show\n"
    b"ffffffff82000000 D tcp_data\n"
    b"ffffffff83000000 T _sinittext\n"
    b"ffffffff83000010 t tcp_init\n"
    b"ffffffff83000020 T _einittext\n"
    b"ffffffffc0000000 t ovl_open\t[overlay]\n"
    b"ffffffffc0000010 t show\t[overlay]\n"
    b"ffffffffc0000020 t tcp_mod\t[other]\n"
    b"ffffffffc0000030 t tcp_prog\t[bpf]\n"
    b"ffffffffc0000040 t tcp_slot\t[__builtin__kprobes]\n"
)
BASE = 0xFFFFFFFF81000000


def names(*spellings: str) -> list[str]:
    return [target.name for target in select(spellings, TABLE).targets]


@pytest.mark.parametrize(
    ("spelling", "found"),
    [
        ("tcp_*", ["tcp_ack", "tcp_push.isra.0", "tcp_alias", "tcp_mod"]),
        ("ip*_rcv", ["ip_rcv", "ip6_rcv"]),
        ("ip?_rcv", ["ip6_rcv"]),
        ("ip[6]_rcv", ["ip6_rcv"]),
        ("/^ip6?_rcv$/", ["ip_rcv", "ip6_rcv"]),
        ("/_rcv/", ["ip_rcv", "ip6_rcv"]),
        ("*_rcv", ["ip_rcv", "ip6_rcv"]),
        ("overlay:*", ["ovl_open", "show"]),
        ("overlay:ovl_*", ["ovl_open"]),
        ("overlay:/open/", ["ovl_open"]),
        ("other:tcp_*", ["tcp_mod"]),
        ("tcp_push*", ["tcp_push.isra.0"]),
    ],
)
def test_pattern_selects_all_functions_that_match(spelling: str, found: list[str]) -> None:
    selection = select([spelling], TABLE)
    assert [target.name for target in selection.targets] == found
    assert (selection.label, selection.open, selection.place) == (spelling, True, Place.ENTRY)


def test_padding_data_and_programs_are_no_functions() -> None:
    assert [t.name for t in matching("*tcp*", TABLE)] == [
        *("tcp_ack", "tcp_push.isra.0", "tcp_ack.cold", "tcp_alias", "tcp_init", "tcp_mod")
    ]


def test_alias_first_in_the_table_is_selected() -> None:
    (target,) = matching("tcp_alias*", TABLE)
    assert target == Target("tcp_alias", BASE + 0x40, "")


def test_functions_of_one_name_are_all_selected_by_address() -> None:
    selection = select(["show"], TABLE)
    assert [(t.address, t.module) for t in selection.targets] == [
        *((BASE + 0x70, ""), (BASE + 0x80, ""), (0xFFFFFFFFC0000010, "overlay"))
    ]
    assert not selection.open
    assert [t.returns for t in select(["r:show"], TABLE).targets] == [True] * 3


def test_names_and_patterns_select_each_function_once() -> None:
    assert names("ip_rcv", "ip*", "tcp_ack") == ["ip_rcv", "ip6_rcv", "tcp_ack"]
    assert select(["ip_rcv", "tcp_ack"], TABLE).label == "ip_rcv, tcp_ack"
    assert not select(["ip_rcv", "tcp_ack"], TABLE).open


def test_returns_of_all_that_match_are_traced() -> None:
    selection = select(["r:ip*"], TABLE)
    assert selection.place == Place.RETURN
    assert [target.label for target in selection.targets] == ["r:ip_rcv", "r:ip6_rcv"]


@pytest.mark.parametrize(
    "spellings", [("ip_rcv", "r:tcp_ack"), ("ip_rcv+0x4", "tcp_ack"), ("ip_rcv+0x4", "ip_rcv+0x5")]
)
def test_places_of_different_kinds_are_not_traced_together(spellings: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="cannot be traced together") as caught:
        select(spellings, TABLE)
    assert "r:FUNC" in caught.value.hint


@pytest.mark.parametrize(
    ("spelling", "what"),
    [
        ("udp_*", r"no function matches udp_\*"),
        ("overlay:tcp_*", r"no function of module overlay matches tcp_\*"),
        ("/[/", r"is not a regular expression: unterminated"),
        ("/", r"is not a regular expression: it must stand between two slashes"),
        ("//", r"is not a regular expression: it must stand between two slashes"),
        ("/a", r"is not a regular expression: it must stand between two slashes"),
        ("tcp_*+0x4", "is not the name of a kernel function"),
        ("tcp *", "is not the name of a kernel function"),
        ("tcp_init*", "tcp_init: it is an init function: the kernel freed"),
        ("tcp_ack.c*", "tcp_ack.cold: it is a part of tcp_ack"),
        ("nothing", "this kernel has no function nothing"),
    ],
)
def test_pattern_without_a_match_is_a_usage_error(spelling: str, what: str) -> None:
    with pytest.raises(UsageError, match=what) as caught:
        select([spelling], TABLE)
    assert caught.value.exit_code == 2
    assert caught.value.hint


def test_untraceable_functions_are_skipped_and_named() -> None:
    able = Traceable(frozenset({BASE + 0x10, BASE + 0x44}))
    selection = select(["tcp_*"], TABLE).sifted(able)
    assert [t.name for t in selection.targets] == ["tcp_ack", "tcp_alias"]
    assert [(s.target.name, s.why) for s in selection.skipped] == [
        *(("tcp_push.isra.0", NOTRACE), ("tcp_mod", NOTRACE))
    ]
    with pytest.raises(UsageError, match=r"no function of ip\* .*ip_rcv and 1 more"):
        select(["ip*"], TABLE).sifted(able)
    with pytest.raises(UsageError, match=r"\(ip_rcv\)"):
        Selection.one(Target("ip_rcv", BASE + 0x50, "")).sifted(able)


def test_functions_are_all_kept_without_an_ftrace_list() -> None:
    selection = select(["tcp_*"], TABLE)
    assert selection.sifted(Traceable()).targets == selection.targets


def test_sift_gives_the_reason_for_each_function() -> None:
    found = sift(matching("tcp_*", TABLE), TABLE, Traceable(frozenset({BASE + 0x10})))
    reasons = {skip.target.name: skip.why for skip in found}
    assert reasons.pop("tcp_ack") == ""
    assert reasons.pop("tcp_ack.cold").startswith("it is a part of tcp_ack")
    assert "freed its code" in reasons.pop("tcp_init")
    assert set(reasons.values()) == {NOTRACE}


@given(st.text("tcp_aklos*?[]", min_size=1, max_size=8))
def test_glob_matches_as_in_the_shell(glob: str) -> None:
    import fnmatch

    callable_ = {"tcp_ack", "tcp_alias", "tcp_push.isra.0", "tcp_mod", "ovl_open", "show"}
    wanted = {name for name in callable_ if fnmatch.fnmatchcase(name, glob)}
    if not re.search(r"[*?\[]", glob) or not wanted:
        return
    assert {t.name for t in select([glob], TABLE).targets} & callable_ == wanted


@pytest.mark.parametrize("spellings", [("tcp_alias", "tcp_alias_too"), ("tcp_alias_too", "tcp_*")])
def test_function_asked_for_by_two_names_is_one_and_has_the_first(
    spellings: tuple[str, str],
) -> None:
    same = [t for t in select(spellings, TABLE).targets if t.address == 0xFFFFFFFF81000040]
    assert [target.name for target in same] == [spellings[0]]
