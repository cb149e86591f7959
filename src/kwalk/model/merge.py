# SPDX-License-Identifier: MIT
"""Several profiles added up: plain data in, plain data out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from kwalk.errors import UsageError
from kwalk.model.builder import ProfileBuilder
from kwalk.model.counts import Counts
from kwalk.model.ledger import Ledger, Summary, TreeUse, Verify
from kwalk.model.profile import ProfileData, Timeline, kinds_of
from kwalk.model.stack import Stack
from kwalk.support.text import counted

# Separator of joined names; first words of a merge's notes, which a later merge replaces.
JOIN = " + "
NOTE = "merged: "
_DIFFERENCES_KEPT = 8


def merge(profiles: Sequence[ProfileData]) -> ProfileData:
    """Return the sum of profiles, which are not changed.

    Stacks are equal if their frames' names, offsets and modules are, and their ``truncated`` and
    ``fallback``: addresses differ from boot to boot. Counts are added by stack and group, ledgers
    by cause. Timelines follow each other without a gap; a profile without one is one interval.
    If the length of any profile is unknown, so is the sum's, which then has no timeline.

    :raises UsageError: if there is none.
    :raises KwalkError: if the sums are more than a profile can hold (``profile.MOST``).
    """
    if not profiles:
        raise UsageError("there is nothing to merge", "Give one profile or more.")
    stacks = _shared(chain.from_iterable(profile.columns.stacks for profile in profiles))
    scaled = any(profile.sampled for profile in profiles)
    timed = all(
        profile.seconds or not (len(profile) or profile.summary.seconds is None)
        for profile in profiles
    )
    builder = ProfileBuilder()
    for profile in profiles:
        timeline = profile.checked_timeline()
        if not timeline.ends and profile.seconds:
            timeline = Timeline.one_interval(profile.counts, profile.seconds)
        columns = profile.columns
        builder.add(
            Counts(
                list(map(stacks.__getitem__, columns.stacks)),
                columns.groups,
                columns.stack_of,
                columns.group_of,
                columns.numbers,
                columns.calls if scaled else None,
            ),
            timeline if timed and timeline.ends else None,
        )
    counts, timeline = builder.build()
    summary = _summary([profile.summary for profile in profiles], _differing(profiles))
    merged = ProfileData(counts, summary, timeline, _facts(profiles))
    merged.check()
    return merged


def _shared(stacks: Iterable[Stack]) -> dict[Stack, Stack]:
    """Return for each stack the first one equal to it, whichever boot it is from."""
    first: dict[object, Stack] = {}
    return {stack: first.setdefault(stack.key, stack) for stack in dict.fromkeys(stacks)}


def _parts(texts: Iterable[str]) -> list[str]:
    """Return each text once; joined texts are split."""
    return list(dict.fromkeys(part for text in texts for part in text.split(JOIN)))


def _joined(texts: Iterable[str]) -> str:
    return JOIN.join(_parts(texts))


_TOLD: dict[str, Callable[[Summary], str]] = {
    "functions": lambda summary: summary.function,
    "methods": lambda summary: summary.method,
    "ways to attach": lambda summary: summary.attach,
    "kernels": lambda summary: summary.kernel,
    "units": lambda summary: summary.unit,
}


def _differing(profiles: Sequence[ProfileData]) -> list[str]:
    found = []
    for what, tell in _TOLD.items():
        parts = _parts(tell(profile.summary) for profile in profiles)
        if len(parts) > 1:
            found.append(f"{NOTE}different {what}: {', '.join(parts)}")
    kinds = set().union(*(kinds_of(profile.counts) for profile in profiles))
    if len(kinds) > 1:
        found.append(f"{NOTE}different kinds of groups: {', '.join(sorted(kinds))}")
    return found


def _notes(summary: Summary) -> list[str]:
    """Return the notes of one part of a merge."""
    notes = [note for note in summary.notes if not note.startswith(NOTE)]
    if found := summary.sampling:
        notes.append(
            f"budget of one part: {100 * found.budget:g} %; tracing cost about "
            f"{100 * found.cost:.1f} %; "
            f"{counted(f'{found.scale:,.4g}', 'calls')} for each one recorded"
        )
    return notes


def _summary(summaries: Sequence[Summary], notes: list[str]) -> Summary:
    if len(summaries) == 1:
        (one,) = summaries
        verify = _verify([one.verify]) if one.verify else None
        return replace(one, ledger=_ledger([one.ledger]), notes=[*one.notes], verify=verify)
    return Summary(
        function=_joined(summary.function for summary in summaries),
        method=_joined(summary.method for summary in summaries),
        attach=_joined(summary.attach for summary in summaries),
        kernel=_joined(summary.kernel for summary in summaries),
        ledger=_ledger([summary.ledger for summary in summaries]),
        notes=list(dict.fromkeys([*chain.from_iterable(map(_notes, summaries)), *notes])),
        verify=_verify([summary.verify for summary in summaries if summary.verify]),
        tree=_tree([summary.tree for summary in summaries if summary.tree]),
        unit=_joined(summary.unit for summary in summaries),
        seconds=_seconds(summaries),
        unseen="; ".join(dict.fromkeys(one.unseen for one in summaries if one.unseen)),
    )


def _seconds(summaries: Sequence[Summary]) -> float | None:
    known = [summary.seconds for summary in summaries if summary.seconds is not None]
    return sum(known) if len(known) == len(summaries) else None


def _ledger(ledgers: Sequence[Ledger]) -> Ledger:
    total = Ledger()
    for ledger in ledgers:
        total.hits += ledger.hits
        total.recorded += ledger.recorded
        total.truncated += ledger.truncated
        total.fallback += ledger.fallback
        for cause, number in ledger.causes.items():
            total.lose(cause, number)
    total.uncounted = list(
        dict.fromkeys(chain.from_iterable(ledger.uncounted for ledger in ledgers))
    )
    return total


def _verify(found: Sequence[Verify]) -> Verify | None:
    if not found:
        return None
    total = Verify(max(one.every for one in found))
    for one in found:
        total.checked += one.checked
        total.mismatches += one.mismatches
        total.missing_caller += one.missing_caller
        for cause, number in one.kernel_wrong.items():
            total.kernel_wrong[cause] = total.kernel_wrong.get(cause, 0) + number
        total.differences += one.differences
    del total.differences[_DIFFERENCES_KEPT:]
    return total


def _tree(found: Sequence[TreeUse]) -> TreeUse | None:
    """Return the fullest tree, with the truncated hits of all."""
    if not found:
        return None
    fullest = max(found, key=lambda tree: tree.used / max(tree.size, 1))
    return fullest._replace(full=sum(tree.full for tree in found))


def _facts(profiles: Sequence[ProfileData]) -> dict[str, Any]:
    """Return the facts that all share; under ``merged``, the facts of each."""
    if len(profiles) == 1:
        return dict(profiles[0].facts)
    parts: list[dict[str, Any]] = []
    for profile in profiles:
        parts += profile.facts.get("merged") or [profile.facts]
    same = {
        name: value
        for name, value in parts[0].items()
        if all(name in part and part[name] == value for part in parts)
    }
    return same | {"merged": parts}
