# SPDX-License-Identifier: MIT
"""The walk compared with the kernel's unwinder: both stacks of differences, and the numbers.

The comparison itself is done in BPF (``bpf/trace/verify.bpf.h``). Both sides of an event that
differs are in the tree: one is the event's stack, the other is named beside it.
"""

from __future__ import annotations

from kwalk.abi import FALLBACK
from kwalk.decode.contexts import Contexts
from kwalk.decode.records import Record
from kwalk.model.ledger import Difference, Verify
from kwalk.model.stack import Stack
from kwalk.support.text import form, plural

SHOWN = 8


class DifferenceCollector:
    """Collects the first differences of a capture.

    :param every: See ``Verify``.
    """

    def __init__(self, contexts: Contexts, every: int) -> None:
        self._contexts = contexts
        self._every = every
        self._differences: list[Difference] = []

    def difference(self, record: Record, stack: Stack | None) -> None:
        """Add a hit for which the walk and the kernel disagree.

        :param stack: Stack of the hit; None if it is the kernel's and lacks FUNC.
        """
        if len(self._differences) >= SHOWN:
            return
        if record.flags & FALLBACK:
            walked, kernel = self._contexts.stack(record.other), stack
        else:
            walked, kernel = stack, self._contexts.stack(record.other)
            kernel = kernel or self._contexts.whole(record.other)
        if walked and kernel:
            self._differences.append(Difference(walked, kernel))

    def verify(self, counted: dict[str, int]) -> Verify | None:
        """Return the result; None if nothing was compared, and ``every`` is 0.

        :param counted: Members of ``struct kw_counters``.
        """
        if not self._every and not counted["checked"]:
            return None
        wrong = {
            "int3_start": counted["wrong_start"],
            "stacked_hooks": counted["stacked_hooks"],
            "nested_nmi": counted["nested_nmi"],
            "task_switch": counted["task_switch"],
            "stack_switch": counted["stack_switch"],
            "overwritten": counted["overwritten"],
        }
        return Verify(
            every=self._every,
            checked=counted["checked"],
            mismatches=counted["mismatches"],
            missing_caller=counted["missing_caller"],
            kernel_wrong={cause: number for cause, number in wrong.items() if number},
            differences=list(self._differences),
        )


def self_check_notes(counted: dict[str, int]) -> list[str]:
    """Return the notes on the self-check; empty unless it failed."""
    if not counted["mismatches"]:
        return []
    stacks = plural(counted["checked"], "stack")
    differ = form(counted["mismatches"], "differs", "differ")
    return [
        f"the self-check failed: {counted['mismatches']:,} of {stacks} {differ} "
        "from the kernel's; since then its unwinder was asked each time (a bug of kwalk; "
        "please report it)"
    ]
