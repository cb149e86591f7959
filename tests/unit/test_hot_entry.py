# SPDX-License-Identifier: MIT
"""Which probes have an entry program for generated ones, and the places of their map."""

from __future__ import annotations

from typing import Any

import pytest

from kwalk.abi import HOT_LEAVES, Method, Place
from kwalk.options.filters import Filters
from kwalk.options.probe import ProbeOptions
from kwalk.probe.hot_entry import LEAF_BYTES, leaf_at, leaves_bytes, wants
from kwalk.probe.selection import Selection
from kwalk.probe.target import Target

ONE = Selection.one(Target("ip_rcv", 0xFFFFFFFF81000000, ""))
INSIDE = Selection.one(Target("ip_rcv", 0xFFFFFFFF81000000, "", 9))
RETURN = Selection.one(Target("ip_rcv", 0xFFFFFFFF81000000, "", returns=True))


@pytest.mark.parametrize("way", ["fentry", "kprobe"])
def test_one_function_by_the_manual_method_has_one(way: str) -> None:
    assert wants(way, ONE, ProbeOptions(), Method.MANUAL)


@pytest.mark.parametrize(
    ("way", "selection", "options", "method"),
    [
        ("fentry", ONE, {"fast": False}, Method.MANUAL),
        ("fentry", ONE, {"chance": 0.5}, Method.MANUAL),
        ("fentry", ONE, {"filters": Filters(pids=(7,))}, Method.MANUAL),
        ("fentry", ONE, {}, Method.HELPER),
        ("fentry", ONE, {}, Method.BOTH),
        ("kprobe.multi", ONE, {}, Method.MANUAL),
        ("kprobe", INSIDE, {}, Method.MANUAL),
        ("kretprobe", RETURN, {}, Method.MANUAL),
        ("fexit", RETURN, {}, Method.MANUAL),
    ],
)
def test_other_probes_have_none(
    way: str, selection: Selection, options: dict[str, Any], method: Method
) -> None:
    assert (selection.place == Place.ENTRY) == (selection is ONE)
    assert not wants(way, selection, ProbeOptions(**options), method)


@pytest.mark.parametrize("cpus", [1, 2, 3, 64, 65])
def test_every_leaf_has_a_place_of_its_own(cpus: int) -> None:
    places = {leaf_at(cpu, number) for cpu in range(cpus) for number in (0, 1, HOT_LEAVES - 1)}
    assert len(places) == 3 * cpus
    assert max(places) + LEAF_BYTES <= leaves_bytes(cpus)
