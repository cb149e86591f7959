# SPDX-License-Identifier: MIT
"""Agreement of a recording's summary with its counts: a file can come from anywhere."""

from __future__ import annotations

from collections.abc import Iterator

from kwalk.model.counts import Counts
from kwalk.model.ledger import HotUse, Ledger, NestedUse, Sampling, Summary, TreeUse, Verify
from kwalk.model.profile import MOST
from kwalk.recording.broken import Broken

ORIGIN = "the recording is damaged or was not made by kwalk"
UNMATCHED = f"the ledger does not match the counts: {ORIGIN}; the report shows the counts"


def agree(summary: Summary, counts: Counts, whole: bool) -> None:
    """Correct a summary that contradicts the counts or itself, with a note for each correction.

    Hits that the ledger has beyond its counts and causes are lost to ``unmatched``; if the end of
    the recording is missing, to ``not_recorded``.

    :param whole: Whether the recording was ended.
    """
    told = summary.ledger
    found = Ledger(
        uncounted=told.uncounted,
        recorded=sum(counts.numbers),
        truncated=counts.among(stack.truncated for stack in counts.stacks),
        fallback=counts.among(stack.fallback for stack in counts.stacks),
    )
    for cause, number in told.causes.items():
        found.lose(cause, max(number, 0))
    parts = ("recorded", "truncated", "fallback", "causes")
    matches = all(getattr(told, part) == getattr(found, part) for part in parts)
    found.hits = told.hits
    if not matches or told.hits < 0 or (whole and found.balance):
        summary.notes.append(UNMATCHED)
        found.close("unmatched")
    elif not whole:
        found.close("not_recorded")
    summary.ledger = found
    # While hits go on, what took them is read later than their number.
    for name in _impossible(summary, summary.ledger.hits if whole else MOST):
        summary.notes.append(f"its {name} is impossible, and left out: {ORIGIN}")


def check_sums(recorded: int, told: Ledger) -> None:
    """Check that recorded hits and causes add up to less than ``MOST``.

    :param recorded: Sum of the counts.
    :param told: Ledger of the recording.
    :raises Broken: if they do not.
    """
    if recorded + sum(max(number, 0) for number in told.causes.values()) >= MOST:
        raise Broken(f"its ledger adds up to {MOST:,} or more")


def _impossible(summary: Summary, hits: int) -> Iterator[str]:
    """Remove impossible members of a summary of at most ``hits`` hits; yield their names."""
    if summary.verify and not _may_be(summary.verify):
        summary.verify = None
        yield "comparison with the kernel's unwinder"
    if summary.tree and not _has_room(summary.tree):
        summary.tree = None
        yield "use of the tree"
    if summary.sampling and not _is_kept(summary.sampling):
        summary.sampling = None
        yield "budget"
    if summary.hot and not _took(summary.hot, hits):
        summary.hot = None
        yield "use of generated programs"
    if summary.nested and not _nests(summary.nested, hits):
        summary.nested = None
        yield "number of nested hits"


def _may_be(verify: Verify) -> bool:
    parts = (verify.mismatches, verify.missing_caller, *verify.kernel_wrong.values())
    return min(verify.every, *parts) >= 0 and sum(parts) <= verify.checked


def _has_room(tree: TreeUse) -> bool:
    return 0 <= tree.used <= tree.size and tree.full >= 0


def _is_kept(sampling: Sampling) -> bool:
    return min(sampling.budget, sampling.cost) >= 0 and sampling.scale > 0


def _took(hot: HotUse, hits: int) -> bool:
    return min(hot.taken, hot.missed, hot.programs) >= 0 and hot.taken + hot.missed <= hits


def _nests(nested: NestedUse, hits: int) -> bool:
    least = min(nested.taken, nested.programs, nested.twice)
    return least >= 0 and nested.taken - nested.twice <= hits
