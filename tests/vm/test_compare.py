# SPDX-License-Identifier: MIT
"""``kwalk compare`` on each kind of kernel: agreement, and frames that the helper misses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from conftest import ONE_OF_EACH_UNWINDER, call

pytestmark = ONE_OF_EACH_UNWINDER
CALLER = "__netif_receive_skb_one_core"
READ = ("dd", "if=/dev/zero", "of=/dev/null", "bs=100", "count=2000", "status=none")


def check_ledgers(data: dict[str, Any]) -> None:
    hits = set()
    for side in data["sides"].values():
        ledger = side["ledger"]
        assert ledger["balance"] == 0
        without = [*ledger["lost"].values(), *ledger["not_wanted"].values()]
        assert ledger["hits"] == ledger["recorded"] + sum(without)
        hits.add(ledger["hits"])
    assert len(hits) == 1, "the same calls"
    assert sum(pair["count"] for pair in data["pairs"]) == data["events"]


def test_redis_by_both_methods(redis: None, frame_pointers: bool, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    code, out, err = call(
        "kwalk", "compare", "ip_rcv", "--duration", "2", "--html", str(page), "--format", "json",
        timeout=180,
    )  # fmt: skip
    assert code == 0, err
    data = json.loads(out)
    check_ledgers(data)
    assert data["events"] > 100
    assert data["seconds"] < 10
    helper, manual = data["sides"]["helper"], data["sides"]["manual"]
    assert 0 < manual["cost"]["each"] < helper["cost"]["each"]
    assert (helper["cost"]["attach"], manual["cost"]["attach"]) == ("kprobe", "fentry")
    lost = sum(data["kinds"].get(kind, 0) for kind in ("helper_lost", "manual_lost"))
    seen = data["events"] - lost
    if frame_pointers:
        assert data["unwinder"] == "frame pointer"
        assert data["kinds"]["helper_lacks"] == seen > 0
        assert helper["misses"] == {CALLER: seen}
        assert all(pair["only"]["manual"] == [1] for pair in data["pairs"] if pair["helper"])
    else:
        assert data["unwinder"] == "orc"
        assert data["kinds"]["same"] == seen > 0
        assert helper["misses"] == {}
    assert manual["misses"] == {}
    text = page.read_text()
    assert CALLER in text
    assert ('class="m has"' in text) == frame_pointers


def test_command_by_both_methods(frame_pointers: bool) -> None:
    code, out, err = call(
        "kwalk", "compare", "vfs_read", "--no-cost", "--attach", "kprobe", "--", *READ
    )
    assert code == 0, err
    assert "both by kprobe, in one program" in out
    assert "ksys_read+" in out
    assert out.count("+ 0 lost") == 2
    if frame_pointers:
        assert " ->  ksys_read+" in out
        assert "-> The helper misses " in out
    else:
        assert "Both methods agree on all 2," in out


def test_calls_are_chosen_and_manual_is_verified_at_once() -> None:
    code, out, err = call(
        "kwalk", "compare", "vfs_read", "--no-cost", "--verify", "--from-caller", "^ksys_read$",
        "--until", "ksys_read", "--format", "json", "--", *READ,
    )  # fmt: skip
    assert code == 0, err
    data = json.loads(out)
    check_ledgers(data)
    assert data["verify"]["checked"] > 1000
    assert data["verify"]["mismatches"] == 0
    walked = [pair["manual"]["frames"] for pair in data["pairs"] if pair["manual"]]
    assert {frames[-1]["name"] for frames in walked} == {"ksys_read"}


def test_small_stack_map_loses_stacks_of_the_helper_only(redis: None) -> None:
    code, out, err = call(
        "kwalk", "compare", "ip_rcv", "--no-cost", "--stack-entries", "1", "--duration", "2",
        "--format", "json", "--strict",
    )  # fmt: skip
    data = json.loads(out)
    check_ledgers(data)
    lost, manual = (data["sides"][side]["ledger"]["lost"] for side in ("helper", "manual"))
    assert lost["eexist"] > 0
    assert "eexist" not in manual
    # Now and then a stack is lost by another cause, too.
    alone = sum(number for cause, number in lost.items() if cause not in manual)
    assert data["kinds"]["helper_lost"] == alone, lost
    assert code == 1, err
