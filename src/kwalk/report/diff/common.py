# SPDX-License-Identifier: MIT
"""Texts common to all formats of ``kwalk diff``: numbers, head, verdict, warnings, ledgers."""

from __future__ import annotations

from collections.abc import Iterable

from kwalk.model.ledger import NARROWED
from kwalk.model.profile import kinds_of
from kwalk.report import summary
from kwalk.report.ansi import Paint
from kwalk.report.diff import chance
from kwalk.report.diff.change import By, Change, Diff, Side
from kwalk.report.frame_limits import Room
from kwalk.support.printable import plain
from kwalk.support.text import counted, form, plural

MORE, LESS = "red", "cyan"
_LOST = 0.01
_LENGTHS = 1.1


def number(value: float, by: By) -> str:
    """Return a value in the unit of the comparison as text."""
    size = abs(value)
    if by == By.SHARE and size:
        return f"{value:.2f}" if size >= 0.005 else f"{value:.1g}"
    if by == By.COUNT or size >= 10 or not size:
        return f"{round(value):,}"
    return f"{value:.1f}" if size >= 1 else f"{value:.2g}"


def moved(before: float, after: float) -> float:
    """Return the change, 0 if it is within the rounding error of the sums."""
    change = after - before
    return change if abs(change) > 1e-9 * max(before, after) else 0.0


def signed(value: float, by: By) -> str:
    """Return a change with its sign as text."""
    text = number(abs(value), by)
    return text if text == "0" else f"+{text}" if value > 0 else f"-{text}"


def percentage(before: float, after: float) -> str:
    """Return a change in percent as text, or ``new``, or ``gone``."""
    if not before or not after:
        return "new" if after else "gone" if before else ""
    percent = 100 * moved(before, after) / before
    return f"{percent:+,.{int(abs(percent) < 1000)}f} %" if percent else "0 %"


def style(change: float) -> str:
    """Return the colour of a change."""
    return MORE if change > 0 else LESS if change < 0 else "dim"


def head(diff: Diff, paint: Paint) -> str:
    """Return the lines about both recordings, and the change of all hits."""
    lines = [
        plain(_of_side(label, side))
        for label, side in (("before", diff.before), ("after", diff.after))
    ]
    total = diff.total
    if diff.by != By.SHARE:
        numbers = f"{number(total.before, diff.by)} -> {number(total.after, diff.by)}"
        change = signed(total.change, diff.by)
        if percent := percentage(total.before, total.after):
            change += f" ({percent})"
        lines.append(
            f"all:    {numbers} {plain(diff.unit)}, "
            + (paint(change, style(total.change)) if total.certain else change)
            + ("" if total.certain or not total.change else ", no more than chance explains")
        )
    return "\n".join(lines) + "\n"


def _of_side(label: str, side: Side) -> str:
    found = side.profile
    known = found.summary
    seconds = f" in {found.seconds:.1f} s" if found.seconds else ""
    about = "" if round(side.tally.calls) == side.tally.count else "about "
    return (
        f"{label + ':':8}{side.name + ': ' * bool(side.name)}{about}"
        f"{counted(round(side.tally.calls), known.unit)} of {known.function}{seconds}, "
        f"{known.kernel}"
    )


def verdict(diff: Diff, every: bool) -> str:
    """Return the numbers of stacks with and without a significant change.

    :param every: Insignificant changes are shown, too.
    """
    kinds = {"more": "more", "less": "less", "new": "new", "gone": "gone"}
    changed = [change.kind for change in diff.stacks if change.certain]
    parts = [f"{changed.count(kind):,} {text}" for kind, text in kinds.items() if kind in changed]
    rest = [change for change in diff.stacks if not change.certain]
    same = sum(change.kind == "same" for change in rest)
    number = plural(len(changed), "stack") if changed else "no stack"
    lines = [f"{number} changed" + (f": {', '.join(parts)}" * bool(parts))]
    if len(rest) > same:
        lines.append(
            f"{len(rest) - same:,} {form(len(rest) - same, 'differs', 'differ')} "
            "by no more than chance explains" + " (--all shows them)" * (not every)
        )
    if same:
        lines.append(f"{same:,} {form(same, 'is', 'are')} the same")
    return "\n".join(lines) + "\n" + _certainty(diff)


def _certainty(diff: Diff) -> str:
    """Return the threshold of a significant change, and the uncertainty of the rates."""
    least = chance.threshold(len(diff.stacks))
    text = (
        f"  chance: up to {least:.1f} standard deviations (Poisson, "
        f"{plural(len(diff.stacks), 'comparison')})"
    )
    sides = {"before": diff.before, "after": diff.after}
    what = "calls/s" if diff.by == By.RATE else "calls"
    known = [f"+-{100 * s.unsteady:.1f} % {label}" for label, s in sides.items() if s.unsteady]
    if known:
        text += f";\n  {what} are uncertain by {', '.join(known)}: they vary from second to second"
    few = [
        label
        for label, s in sides.items()
        if 0 < len(s.profile.timeline.ends) < chance.LEAST_INTERVALS
    ]
    if few and diff.by != By.SHARE:
        text += (
            f";\n  a change may mean little: how much {what} vary by themselves is unknown\n"
            f"  ({' and '.join(few)}: fewer than {chance.LEAST_INTERVALS} intervals were recorded)"
        )
    return text + "\n"


def no_room(diff: Diff, room: Room[Change]) -> list[str]:
    """Return a sentence about the stacks that exceed a tree's limit of frames; [] if none do."""
    return room.told(
        lambda change: sum(tally.calls for tally in change.tallies),
        diff.before.profile.summary.unit,
    )


def warnings(diff: Diff) -> list[str]:
    """Return why the two recordings may not be comparable, a sentence each."""
    before, after = diff.before.profile, diff.after.profile
    found = []

    def differ(what: str, pair: Iterable[object], so: str) -> None:
        one, other = pair
        if one != other:
            found.append(f"{what} differ: {one} before, {other} after; {so}")

    both = before.summary, after.summary
    differ("the functions", (each.function for each in both), "stacks end in other functions")
    differ("the units", (each.unit for each in both), "the numbers mean different things")
    differ("the methods", (each.method for each in both), "stacks can differ by some frames")
    differ("the kernels", (each.kernel for each in both), "functions can be inlined or renamed")
    cpus = [side.facts.get("cpus") for side in (before, after)]
    if all(cpus):
        differ("the numbers of CPUs", cpus, "the load can be distributed differently")
    if len(before) and len(after):
        differ(
            "the groups",
            (" and ".join(sorted(kinds_of(side.counts))) for side in (before, after)),
            "stacks are compared without them",
        )
    lengths = sorted((before.seconds, after.seconds))
    if diff.by == By.COUNT and lengths[0] and lengths[1] > _LENGTHS * lengths[0]:
        differ(
            "the durations",
            (f"{side.seconds:.1f} s" for side in (before, after)),
            "numbers are compared undivided; --by rate divides by the seconds",
        )
    for label, side in (("before", diff.before), ("after", diff.after)):
        if not side.tally.calls:
            found.append(f"{side.name or label} has no stacks: nothing can be compared")
        found += _lost(label, side)
    return found


def _lost(label: str, side: Side) -> Iterable[str]:
    ledger = side.profile.summary.ledger
    lost = sum(ledger.lost.values())
    # ``lost`` is of the whole recording, so add the hits that narrowing left out.
    wanted = ledger.recorded + lost + sum(ledger.not_wanted.get(cause, 0) for cause in NARROWED)
    if wanted and lost > _LOST * wanted:
        what = f"{100 * lost / wanted:.1f} % of the {side.profile.summary.unit} {label}"
        yield f"{what} were lost, so their stacks are missing"


def foot(diff: Diff, paint: Paint) -> str:
    """Return the warnings and the summaries of both recordings."""
    lines = [paint(f"warning: {text}", "yellow") + "\n" for text in warnings(diff)]
    if lines:
        lines.insert(0, "\n")
    for label, side in (("before", diff.before), ("after", diff.after)):
        name = f" ({plain(side.name)})" if side.name else ""
        lines.append(f"\n{label}{name}\n{summary.as_text(side.profile.summary)}")
    return "".join(lines)
