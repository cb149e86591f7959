# SPDX-License-Identifier: MIT
"""Results of ``--verify``, the comparison with the kernel's unwinder, as text."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING

from kwalk.model.ledger import Verify
from kwalk.model.stack import Stack
from kwalk.report.frame import frame_text
from kwalk.support.text import form, plural

if TYPE_CHECKING:  # the engine is nothing that a report needs
    from kwalk.symbolize.symbolizer import Symbolizer

#: Why the kernel's own stack is wrong; docs/verify.md explains each.
KERNEL_WRONG = {
    "int3_start": "the kernel unwound from the address after the probe's int3, where another "
    "rule holds",
    "stacked_hooks": "a return address was replaced twice, and the kernel undid it once",
    "nested_nmi": "an NMI came during another (or between two tasks), and the kernel did not reach "
    "the code that the first had interrupted",
    "task_switch": "an NMI came during a task switch, and the kernel did not accept the stack, the "
    "next task's already, as the current task's",
    "stack_switch": "the function was called right behind a switch of stacks, and the kernel "
    "looked for its callers on the new stack only",
    "overwritten": "the kernel gave the stack of another hit, which a preempting task left in its "
    "buffer; asked again, it gave this one's",
}


def lines(verify: Verify, symbolizer: Symbolizer | None = None) -> list[str]:
    """Return the lines for the summary: the numbers, then the differences."""
    return numbers(verify) + differences(verify, symbolizer)


def numbers(verify: Verify) -> list[str]:
    """Return lines with the numbers of stacks compared, different, and wrong in the kernel."""
    if not verify.every and not verify.mismatches:
        return []  # only the self-check ran, and it passed
    if not verify.checked:
        return ["  verify: nothing was compared"]
    found = [
        f"  verify: {plural(verify.checked, 'stack')} compared with the kernel's unwinder, "
        f"{verify.mismatches:,} {form(verify.mismatches, 'differs', 'differ')}"
    ]
    if verify.missing_caller:
        found.append(
            f"  verify: {verify.missing_caller:,} of the kernel's "
            f"{form(verify.missing_caller, 'lacks', 'lack')} the direct caller, which kwalk has"
        )
    for cause, number in verify.kernel_wrong.items():
        why = KERNEL_WRONG.get(cause, cause)  # a later version may know more
        are = form(number, "is", "are")
        found.append(f"  verify: {number:,} of the kernel's {are} wrong: {why}")
    return found


def differences(verify: Verify, symbolizer: Symbolizer | None = None) -> list[str]:
    """Return both stacks of each difference side by side, if their frames have names."""
    found = []
    for number, (walked, kernel) in enumerate(verify.differences, 1):
        left, right = _texts(walked, symbolizer), _texts(kernel, symbolizer)
        if left and right:
            found.append(f"  difference {number}: the walk on the left, the kernel on the right")
            found += _side_by_side(left, right)
    return found


def _texts(stack: Stack, symbolizer: Symbolizer | None) -> list[str]:
    frames = stack.frames or (symbolizer.frames(stack) if symbolizer else ())
    return [frame_text(frame) for frame in frames]


def _side_by_side(left: list[str], right: list[str]) -> list[str]:
    width = max(map(len, left), default=0)
    return [
        f"    {own:{width}}  {' ' if own == other else '|'}  {other}".rstrip()
        for own, other in zip_longest(left, right, fillvalue="")
    ]
