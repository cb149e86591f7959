# SPDX-License-Identifier: MIT
"""Return addresses replaced by other tracers: stacks have the original ones."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack

import pytest
from conftest import pairs, without_caller
from machine import HERE
from verified import (
    fexit_programs,
    graph_tracer,
    kretprobes,
    must_agree,
    names,
    verified,
)

from kwalk.abi import Method
from kwalk.arch import here
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.options.probe import ProbeOptions
from kwalk.probe import load
from kwalk.probe.config import config as config_of

EVENTS = 1000
HOOKED = ["ip_rcv", "process_backlog", "tcp_sendmsg"]
Tracer = Callable[..., AbstractContextManager[None]]


def hooks(symbols: Kallsyms) -> set[int]:
    """Return the values of replaced return addresses: the trampolines' first bytes.

    Their code can be in a stack, interrupted or calling the tracer, but not at this address.
    """
    known = here().symbols
    return {symbols.address(known[name]) for name in ("rethook", "graph_return")}


@pytest.mark.parametrize("attach", ["kprobe", "fentry"])
@pytest.mark.parametrize(
    "tracer",
    [kretprobes, graph_tracer, pytest.param(fexit_programs, marks=pytest.mark.fentry)],
)
def test_replaced_return_addresses(
    tracer: Tracer, attach: str, redis: None, symbols: Kallsyms, lacks_caller: Callable[[str], bool]
) -> None:
    with tracer(*HOOKED):
        summary, stacks, symbolizer = verified("ip_rcv", attach, EVENTS)
    # The kernel enters new trampolines into its tree some time later; meanwhile a walk through one
    # falls back.
    must_agree(summary, symbolizer, 0.05 if tracer is fexit_programs else 0.0)
    assert summary.verify
    assert summary.verify.checked >= EVENTS * 0.95
    assert summary.verify.kernel_wrong == {}
    trampolines = 0
    for stack in stacks:
        found = names(stack, symbolizer)
        assert not set(stack.addresses) & hooks(symbols)
        # The function itself is hooked, too; its caller must be the original one.
        assert found[1] == "__netif_receive_skb_one_core" or tracer is fexit_programs
        assert "__netif_receive_skb_one_core" in found
        if tracer is not fexit_programs:
            assert found[found.index("process_backlog") + 1] == "__napi_poll"
            continue
        at = found.index("process_backlog")
        assert found[at + 1].startswith("bpf_trampoline_")
        if found[at + 2] == "process_backlog":
            # In the trampoline its prologue has not run: frame pointers may miss its caller.
            beyond = "net_rx_action" if lacks_caller("fentry") else "__napi_poll"
            assert found[at + 3] == beyond
        else:  # newer kernels jump to such a trampoline, whose caller is then the function's
            assert found[at + 2] == "__napi_poll"
        trampolines += 1
    assert trampolines == (len(stacks) if tracer is fexit_programs else 0)


@pytest.mark.fentry
def test_both_hooks_on_one_address(redis: None, symbols: Kallsyms) -> None:
    """The kernel undoes one of the two; the walk undoes both, and says that the kernel errs."""
    orders: list[tuple[Tracer, Tracer]] = [(kretprobes, graph_tracer), (graph_tracer, kretprobes)]
    wrong = 0
    for first, second in orders:
        with first("ip_rcv", "process_backlog"), second("ip_rcv", "process_backlog"):
            summary, stacks, symbolizer = verified("ip_rcv", "fentry", EVENTS)
        must_agree(summary, symbolizer)
        assert summary.verify
        assert set(summary.verify.kernel_wrong) <= {"stacked_hooks"}
        wrong += summary.verify.kernel_wrong.get("stacked_hooks", 0)
        for stack in stacks:
            found = names(stack, symbolizer)
            assert found[1] == "__netif_receive_skb_one_core"
            assert found[found.index("process_backlog") + 1] == "__napi_poll"
            assert not set(stack.addresses) & hooks(symbols)
    with graph_tracer("ip_rcv"):  # and kwalk's own kretprobe on top of it
        summary, stacks, symbolizer = verified("r:ip_rcv", "kprobe", EVENTS // 4)
    must_agree(summary, symbolizer)
    assert {names(stack, symbolizer)[1] for stack in stacks} == {"__netif_receive_skb_one_core"}
    if symbols.address("kprobe_ftrace_handler"):
        assert wrong >= EVENTS, "in one of the two orders the kernel shows a trampoline"
    else:  # a kretprobe is a breakpoint before ftrace's call, so the graph tracer comes second
        assert wrong == 0


@pytest.mark.skipif(not HERE.checks_code, reason="frame records are followed through any code")
@pytest.mark.fentry
def test_unknown_code_falls_back_to_the_kernels_unwinder(
    redis: None, frame_pointers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the list of BPF programs a trampoline's code is unknown to the walk."""
    right = config_of

    def config(*args: object, **keywords: object) -> dict[str, int]:
        made: dict[str, int] = right(*args, **keywords)  # type: ignore[arg-type]
        return made | {"bpf_tree": 0}

    monkeypatch.setattr(load, "config_of", config)
    with fexit_programs("process_backlog"):
        options = ProbeOptions(Method.BOTH, verify=1)
        found, summary = pairs("ip_rcv", options, lambda number: number >= 300)
    assert len(found) >= 300
    assert summary.ledger.balance == 0
    assert summary.verify
    assert summary.verify.checked == 0, "an event that fell back is not compared with itself"
    for manual, helper in found:
        assert manual.stack.fallback
        assert helper is not None
        expected = without_caller(manual) if frame_pointers else manual.stack.addresses
        assert helper.stack.addresses == expected


def test_graph_tracer_after_kwalks_own_kretprobe(redis: None, symbols: Kallsyms) -> None:
    """Now the graph tracer replaces the address first, and the kretprobe's registers show that."""
    with ExitStack() as later:

        def burst() -> None:
            later.pop_all().close()
            later.enter_context(graph_tracer("ip_rcv"))
            time.sleep(0.5)

        summary, stacks, symbolizer = verified("r:ip_rcv", "kprobe", EVENTS // 2, burst)
    must_agree(summary, symbolizer)
    assert summary.verify
    assert set(summary.verify.kernel_wrong) <= {"stacked_hooks"}
    for stack in stacks:
        assert names(stack, symbolizer)[1] == "__netif_receive_skb_one_core"
        assert not set(stack.addresses) & hooks(symbols)
