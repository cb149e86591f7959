# SPDX-License-Identifier: MIT
"""Comparisons for tests: as a kernel with frame pointers, or one with ORC, would give them."""

from __future__ import annotations

from collections import Counter

from recorded import stack

from kwalk.model.comparison import Comparison, MethodCost, Pair, Sides
from kwalk.model.ledger import Ledger
from kwalk.model.stack import Stack

MANUAL = stack("ip_rcv", "one_core", "skb", "napi_poll", "entry_SYSCALL_64")
HELPER = Stack(MANUAL.addresses[:1] + MANUAL.addresses[2:])
HELPER.frames = MANUAL.frames[:1] + MANUAL.frames[2:]
LACKS = Pair(HELPER, MANUAL)
SAME = Pair(MANUAL, MANUAL)
LOST = Pair(None, MANUAL, "eexist")
MANUAL_LOST = Pair(HELPER, None)
DIFFERENT = Pair(stack("ip_rcv", "a", "y", "b@overlay"), stack("ip_rcv", "a", "x", "b@overlay"))
COSTS = Sides[MethodCost | None](
    MethodCost(7945.4, 10410, "kprobe"), MethodCost(1417.0, 10411, "fentry")
)


def comparison(
    pairs: dict[Pair, int],
    unwinder: str = "frame pointer",
    costs: Sides[MethodCost | None] = COSTS,
    clock: str = "instructions",
) -> Comparison:
    """A comparison whose ledgers close."""
    ledgers = Sides(Ledger(hits=1), Ledger(hits=1))
    for ledger in ledgers:
        ledger.lose("filtered", 1)
    for pair, number in pairs.items():
        for ledger, found in zip(ledgers, pair[:2], strict=True):
            ledger.hits += number
            if found:
                ledger.record(found, number)
            else:
                ledger.lose(pair.cause or "no_entry_frame", number)
    return Comparison(
        "ip_rcv", "fentry", "6.12.107-fp", unwinder, "calls", 3.04, Counter(pairs), ledgers, costs,
        clock, ["a note"],
    )  # fmt: skip
