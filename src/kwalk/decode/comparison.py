# SPDX-License-Identifier: MIT
"""The walk compared with the kernel's unwinder: both sides of a difference, and the numbers.

The comparison itself is done in BPF (``bpf/verify.bpf.h``). Of an event that differs one side is
recorded as the event, and for the first ones the other side follows as a record of its own.
"""

from __future__ import annotations

from kwalk.decode.records import Record
from kwalk.decode.stacks import StackTable
from kwalk.profile import Difference, Stack, Verify
from kwalk.transport.abi import TRUNCATED

SHOWN = 8


class Comparison:
    """Collects what a capture finds out by comparing.

    :param every: As in ``Verify``.
    """

    def __init__(self, table: StackTable, every: int) -> None:
        self._table = table
        self._every = every
        self._differences: list[Difference] = []
        # By CPU, the last event that differs: the record with the other side is the next of that
        # CPU's, or never comes.
        self._one_sided: dict[int, tuple[Record, Stack]] = {}

    def one_side(self, record: Record, stack: Stack) -> None:
        """Take note of an event that the walk and the kernel disagree about."""
        self._one_sided[record.cpu] = record, stack

    def other_side(self, record: Record) -> None:
        """Put a record that is no event beside the event that it belongs to."""
        event, one = self._one_sided.get(record.cpu, (record, None))
        if one is None or (event.time_ns, event.pid) != (record.time_ns, record.pid):
            return
        del self._one_sided[record.cpu]
        if len(self._differences) >= SHOWN:
            return
        if one.fallback:
            walked = self._table.walked(record.frames, bool(record.flags & TRUNCATED))
            self._differences.append(Difference(walked, one))
        else:
            kernel = self._table.unwound(record.frames) or self._table.walked(record.frames, False)
            self._differences.append(Difference(one, kernel))

    def verify(self, counted: dict[str, int]) -> Verify | None:
        """Return what was found, or None where nothing was compared, nor was to be.

        :param counted: The members of ``struct kw_counters``.
        """
        if not self._every and not counted["checked"]:
            return None
        wrong = {"int3_start": counted["wrong_start"], "stacked_hooks": counted["stacked_hooks"]}
        return Verify(
            every=self._every,
            checked=counted["checked"],
            mismatches=counted["mismatches"],
            missing_caller=counted["missing_caller"],
            kernel_wrong={cause: number for cause, number in wrong.items() if number},
            differences=list(self._differences),
        )


def self_check_notes(counted: dict[str, int]) -> list[str]:
    """Return what to say of the self-check: nothing, unless it failed."""
    if not counted["mismatches"]:
        return []
    return [
        f"the self-check failed: {counted['mismatches']} of {counted['checked']} stacks differ "
        "from the kernel's; since then its unwinder was asked each time (a bug of kwalk; "
        "please report it)"
    ]
