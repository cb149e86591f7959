# SPDX-License-Identifier: MIT
"""Manual and helper on the same hits: the kernel's own unwinder is the reference."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ONE_OF_EACH_UNWINDER, call, pairs, without_caller
from machine import HERE

from kwalk.abi import Method
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.options.probe import ProbeOptions
from kwalk.symbolize.symbolizer import Symbolizer

EVENTS = 1000
CALLER = "__netif_receive_skb_one_core"
INNER = ["ip_rcv", CALLER]
OUTER = ["process_backlog", "__napi_poll", "net_rx_action"]


@pytest.mark.parametrize("attach", ["kprobe", "fentry"])
def test_every_stack_of_ip_rcv_is_the_kernels(
    attach: str, redis: None, symbols: Kallsyms, lacks_caller: Callable[[str], bool]
) -> None:
    options = ProbeOptions(Method.BOTH, attach)
    found, summary = pairs("ip_rcv", options, lambda number: number >= EVENTS)
    assert len(found) >= EVENTS
    assert summary.attach == attach
    assert summary.ledger.balance == 0
    assert summary.ledger.hits >= len(found)

    walked = [manual for manual, _ in found if not manual.stack.fallback]
    assert len(walked) >= 0.98 * len(found), "the walk gave up too often"
    for manual, helper in found:
        if helper is None:
            continue
        expected = without_caller(manual) if lacks_caller(attach) else manual.stack.addresses
        assert helper.stack.addresses == expected

    symbolizer = Symbolizer(symbols)
    for stack in {manual.stack for manual in walked}:
        names = [frame.name for frame in symbolizer.frames(stack)]
        assert names[:2] == INNER
        places = [names.index(name) for name in OUTER]
        assert places == sorted(places)
    helpers = {helper.stack for _, helper in found if helper}
    for stack in helpers:
        names = [frame.name for frame in symbolizer.frames(stack)]
        assert names[0] == "ip_rcv"
        assert (CALLER in names) != lacks_caller(attach)


def names_of(method: str, attach: str) -> set[str]:
    code, out, err = call(
        "kwalk", "stream", "ip_rcv", "--method", method, "--attach", attach, "--duration", "4"
    )
    assert code == 0, err
    assert f"({method} by {attach}" in err
    blocks = [block.splitlines()[1:] for block in out.strip().split("\n\n")]
    assert len(blocks) > 100
    return {"\n".join(line.split()[-1] for line in block) for block in blocks}


@ONE_OF_EACH_UNWINDER
@pytest.mark.parametrize("attach", ["kprobe", "fentry"])
def test_separate_runs_show_the_same_hot_stacks(
    attach: str, redis: None, lacks_caller: Callable[[str], bool]
) -> None:
    manual, helper = names_of("manual", attach), names_of("helper", attach)
    exceptions = re.compile(HERE.exceptions)
    sends = {
        stack
        for stack in manual
        if f"{HERE.syscall_prefix}sys_sendto" in stack and not exceptions.search(stack)
    }
    assert sends
    if lacks_caller(attach):
        cut = {"\n".join(line for line in s.splitlines() if CALLER not in line) for s in manual}
        assert len(cut & helper) >= len(sends)
        assert all(CALLER in stack for stack in manual)
        assert not any(CALLER in stack for stack in helper)
    else:
        assert sends & helper


def test_orc_without_data_symbols(
    redis: None, frame_pointers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernels without CONFIG_KALLSYMS_ALL show neither the look-up table nor sample entries."""
    if frame_pointers:
        pytest.skip("this kernel has no ORC")
    if not Path("/sys/kernel/btf/vmlinux").exists() or not has_orc_header():
        pytest.skip("this kernel carries no hash of its ORC format")
    hidden = {"orc_lookup", "orc_lookup_end", "orc_fp_entry", "null_orc_entry"}
    address = Kallsyms.address
    monkeypatch.setattr(
        Kallsyms, "address", lambda self, name: 0 if name in hidden else address(self, name)
    )
    found, summary = pairs("ip_rcv", ProbeOptions(Method.BOTH), lambda number: number >= 500)
    assert summary.method == "both"
    assert len(found) >= 500
    walked = [pair for pair in found if not pair[0].stack.fallback]
    assert len(walked) >= 0.98 * len(found)
    assert all(h is None or m.stack.addresses == h.stack.addresses for m, h in walked)


def has_orc_header() -> bool:
    return bool(Kallsyms.read().address("__start_orc_header"))


def test_unknown_orc_format_uses_the_helper_and_says_so(
    redis: None, frame_pointers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if frame_pointers or not has_orc_header():
        pytest.skip("this kernel carries no hash of its ORC format")
    from kwalk.arch.x86_64 import orc
    from kwalk.engine.capture import Capture

    monkeypatch.setattr(orc, "KNOWN_HASHES", {})
    with Capture("ip_rcv", ProbeOptions(Method.MANUAL)) as capture:
        capture.stop()
        summary = capture.summary()
    assert summary.method == "helper"
    assert any("unknown format" in note for note in summary.notes)
