# SPDX-License-Identifier: MIT
"""Many functions at once: each stack begins with the one that was called."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from engine import SYMBOLS, Engine, words
from planted import A, B, C, D, record, short

from kwalk.abi import FALLBACK, NO_ADDRESS, Method, NodeKind, Output
from kwalk.engine.capture import Capture
from kwalk.model.event import Event
from kwalk.model.ledger import Summary
from kwalk.model.stack import Count, Frame
from kwalk.options.probe import ProbeOptions
from kwalk.symbolize.symbolizer import Symbolizer
from kwalk.transport.context_tree import NODE_BYTES

ONE, TWO = SYMBOLS.address("a"), SYMBOLS.address("b")


def function(engine: Engine, address: int, cpu: int = 0, kernel: bool = False) -> int:
    """The node of a function under a root."""
    root = engine.planted.root(cpu) + (NODE_BYTES if kernel else 0)
    return engine.planted.child(root, address, NodeKind.FUNCTION)


def below(engine: Engine, at: int, *addresses: int, kind: NodeKind = NodeKind.PLAIN) -> int:
    for address in addresses:
        at = engine.planted.child(at, address, kind)
    return at


@pytest.fixture(autouse=True)
def hits(engine: Engine) -> None:
    engine.count(6)


def counted(method: Method = Method.MANUAL) -> tuple[Sequence[Count], Summary]:
    with Capture(["a", "b"], ProbeOptions(method, output=Output.COUNT)) as capture:
        capture.stop()
        return capture.counts(), capture.summary()


def addresses(counts: Sequence[Count]) -> list[tuple[tuple[int, ...], int]]:
    return [(count.stack.addresses, count.count) for count in counts]


def test_stacks_of_several_functions_and_cpus_are_told_apart(engine: Engine) -> None:
    for cpu, number in ((0, 1), (1, 2)):
        engine.planted.count(below(engine, function(engine, ONE, cpu), C, D), ended=number)
    engine.planted.count(below(engine, function(engine, TWO), C, D), ended=2)
    engine.planted.count(function(engine, TWO), cut=1)
    counts, summary = counted()
    assert addresses(counts) == [((TWO,), 1), ((TWO, C, D), 2), ((ONE, C, D), 3)]
    assert [count.stack.truncated for count in counts] == [True, False, False]
    assert (summary.function, summary.attach) == ("a, b", "kprobe.multi")
    assert summary.ledger.balance == 0


def test_kernels_stacks_begin_at_their_function(engine: Engine) -> None:
    at = below(
        engine, function(engine, TWO, kernel=True), 1, ONE, TWO + 4, C, D, kind=NodeKind.KERNEL
    )
    engine.planted.count(at, ended=5)
    at = below(engine, function(engine, TWO, kernel=True), 1, ONE, kind=NodeKind.KERNEL)
    engine.planted.count(at, cut=1)
    counts, summary = counted()
    assert addresses(counts) == [((TWO,), 1), ((TWO, C, D), 5)]
    assert summary.ledger.fallback == summary.ledger.recorded == 6


def test_function_without_room_is_unknown_and_truncated(engine: Engine) -> None:
    engine.planted.count(engine.planted.root(), cut=6)
    (count,), summary = counted()
    assert (count.stack.addresses, count.stack.truncated) == ((NO_ADDRESS,), True)
    assert Symbolizer(SYMBOLS).frames(count.stack) == [Frame("[unknown]", 0, "", 0)]
    assert summary.ledger.truncated == 6


def test_helper_counts_name_their_function(engine: Engine) -> None:
    engine.stacks = {1: words(ONE, TWO, C), 2: words(TWO, C)}
    one, two = function(engine, ONE), function(engine, TWO)
    engine.planted.count_stack(1, stack_id=1, node=one)
    engine.planted.count_stack(2, stack_id=1, node=two)
    engine.planted.count_stack(2, stack_id=2, node=two)
    engine.planted.count_stack(1, stack_id=2, node=one)
    counts, summary = counted(Method.HELPER)
    assert addresses(counts) == [((ONE, TWO, C), 1), ((TWO, C), 4)]
    assert summary.ledger.lost == {"no_entry_frame": 1}
    assert summary.ledger.balance == 0


@pytest.mark.parametrize("method", [Method.MANUAL, Method.HELPER])
def test_events_begin_with_the_function_that_was_called(engine: Engine, method: Method) -> None:
    engine.count(3)
    if method == Method.MANUAL:
        nodes = [below(engine, function(engine, f), C) for f in (ONE, TWO)]
        nodes.append(
            below(engine, function(engine, ONE, kernel=True), 1, ONE, D, kind=NodeKind.KERNEL)
        )
        engine.ring = [[short(nodes[0]), short(nodes[1]), short(nodes[2], FALLBACK)]]
    else:
        engine.stacks = {1: words(ONE, C), 2: words(TWO, C), 3: words(ONE, D)}
        engine.ring = [
            [record(function(engine, f), stack_id=n) for n, f in ((1, ONE), (2, TWO), (3, ONE))]
        ]
    found: list[Event] = []
    with Capture(["a", "b"], ProbeOptions(method)) as capture:
        capture.stop()
        found += capture.read()
        assert capture.summary().ledger.balance == 0
    assert [event.stack.addresses for event in found] == [(ONE, C), (TWO, C), (ONE, D)]


def test_filtered_hits_are_in_the_ledger_and_not_scaled(engine: Engine) -> None:
    engine.count(20)
    engine.filtered = 80
    engine.planted.sample_out(16)
    engine.planted.count(below(engine, function(engine, ONE), A), ended=3, each=5)
    engine.planted.count(below(engine, function(engine, ONE), B), ended=1, each=5)
    options = ProbeOptions(Method.MANUAL, output=Output.COUNT, chance=1.0)
    with Capture(["a", "b"], options) as capture:
        capture.stop()
        counts = capture.counts()
        assert capture.scale == 5
        assert capture.seen()[:2] == (100, 96)
        ledger = capture.summary().ledger
    assert ledger.not_wanted == {"filtered": 80, "sampled_out": 16}
    assert ledger.balance == 0
    assert [count.scaled for count in counts] == [5, 15]
