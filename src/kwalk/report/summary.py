# SPDX-License-Identifier: MIT
"""Summary of a capture, as text and as JSON-ready data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kwalk.model.ledger import NOT_WANTED, HotUse, Ledger, NestedUse, Summary, TreeUse, Verify
from kwalk.report import verify as verifies
from kwalk.support.printable import plain
from kwalk.support.text import counted, form, plural

if TYPE_CHECKING:  # the engine is nothing that a report needs
    from kwalk.symbolize.symbolizer import Symbolizer

SCHEMA = "kwalk.stream/2"

LISTED = 100
"""Limit on the causes, and on the notes, that text lists."""
WARNED = 12
"""Limit on the causes that a warning lists."""
CAUSES = {
    "ring_full": "the ring buffer was full; a larger --ring or less output helps",
    "ring_busy": "an NMI met the ring buffer locked",
    "eexist": "another stack was in its bucket of the stack map; a larger --stack-entries helps",
    "enomem": "the stack map was full; a larger --stack-entries helps",
    "efault": "the kernel's unwinder returned no stack",
    "ebusy": "the kernel's unwinder was busy on that CPU",
    "other": "the kernel's unwinder failed with another error",
    "map_full": "there was no room to count one more stack; a larger --stack-entries helps",
    "sampled_out": "skipped by --sample or --budget",
    "user_mode": "in user space: there is no kernel stack",
    "other_callers": "no caller matches --from-caller",
    "other_seconds": "outside of --seconds",
    "other_groups": "not in the groups of --group",
    "filtered": "refused by the filters of tasks, cgroups, namespaces or CPUs",
    "unmatched": "in the recording's ledger, but not in its counts",
    "not_recorded": "after the last complete second of the recording",
    "stack_gone": "the stack had left the stack map before it could be read",
    "no_entry_frame": "the kernel's unwinder returned a stack without the traced function",
    "recursion": "the program was already running on that CPU",
    "kprobe_missed": "another kprobe was running on that CPU, or too many calls were in flight to "
    "trace their returns",
    "output_closed": "the output was closed, or there was no space left for it",
    "after_snapshot": "while the snapshot was taken",
    "not_taken": "not read from the stream before it was closed",
    "past_count": "after the last one for --count",
}


def as_data(summary: Summary, schema: str = SCHEMA) -> dict[str, Any]:
    """Return the summary as JSON-ready data."""
    ledger = summary.ledger
    data: dict[str, Any] = {
        "schema": schema,
        "function": summary.function,
        "method": summary.method,
        "attach": summary.attach,
        "kernel": summary.kernel,
        "unit": summary.unit,
        "seconds": None if summary.seconds is None else round(summary.seconds, 6),
        "per_second": None if summary.rate is None else round(summary.rate, 3),
        "ledger": {
            "hits": ledger.hits,
            "recorded": ledger.recorded,
            "not_wanted": ledger.not_wanted,
            "lost": ledger.lost,
            "truncated": ledger.truncated,
            "fallback": ledger.fallback,
            "uncounted": ledger.uncounted,
            "balance": ledger.balance,
        },
        "notes": summary.notes,
    }
    if summary.unseen:
        data["unseen"] = summary.unseen
    if summary.verify:
        data["verify"] = verify_data(summary.verify)
    if summary.sampling:
        data["sampling"] = summary.sampling._asdict()
    if summary.tree:
        data["tree"] = summary.tree._asdict()
    if summary.hot:
        data["fast"] = summary.hot._asdict()
    if summary.nested:
        data["nested"] = summary.nested._asdict()
    return data


def verify_data(verify: Verify) -> dict[str, Any]:
    """Return the results of ``--verify`` as JSON-ready data."""
    return {
        "every": verify.every,
        "checked": verify.checked,
        "mismatches": verify.mismatches,
        "missing_caller": verify.missing_caller,
        "kernel_wrong": verify.kernel_wrong,
        "differences": [
            {side: [f"{address:#x}" for address in stack.addresses] for side, stack in pair}
            for pair in (zip(d._fields, d, strict=True) for d in verify.differences)
        ],
    }


def lost_any(ledger: Ledger) -> bool:
    """Return whether hits were lost (other than to a closed output) or are unexplained."""
    return bool(set(ledger.lost) - {"output_closed"} or ledger.balance)


def warnings(summary: Summary) -> list[str]:
    """Return a sentence for missed hits, each note, and lost or unexplained hits."""
    ledger = summary.ledger
    lost = dict(ledger.lost)
    if ledger.balance:
        lost["unexplained"] = ledger.balance
    told = [*([summary.unseen] if summary.unseen else []), *summary.notes]
    if not lost:
        return _at_most(told, "note")
    shown = sorted(lost.items(), key=lambda item: -item[1])[:WARNED]
    causes = ", ".join(f"{number:,} {cause}" for cause, number in shown)
    if len(lost) > WARNED:
        causes += f" and {plural(len(lost) - WARNED, 'other cause')}"
    total = sum(lost.values())
    calls = counted(ledger.hits, summary.unit)
    were = form(total, "was", "were")
    told = _at_most(told, "note")
    return [*told, f"{total:,} of {calls} {were} lost: {causes}"]


def _at_most(lines: Sequence[str], name: str) -> list[str]:
    """Return the first ``LISTED`` lines, and one that counts the others."""
    more = len(lines) - LISTED
    return [*lines[:LISTED], *([f"and {plural(more, f'more {name}')}"] if more > 0 else [])]


def exit_code(summary: Summary, strict: bool = False) -> int:
    """Return 1 if ``--verify`` found a difference or the kernel did not run the program, else 0.

    :param strict: Return 1 for lost or unexplained hits, too (``lost_any``).
    """
    verify = summary.verify
    if summary.unseen:
        return 1
    if strict and lost_any(summary.ledger):
        return 1
    return int(bool(verify and verify.every and verify.mismatches))


def _is_told(hot: HotUse, verify: Verify | None) -> bool:
    """Return whether to tell about generated programs: if asked to, or if none can be made."""
    return bool(verify and verify.every) or bool(hot.why and not hot.programs)


def _hot_line(hot: HotUse, ledger: Ledger) -> str:
    """Return a line about generated programs."""
    if not hot.programs:
        return f"  fast: off, {hot.why}" if hot.why else "  fast: no program was generated"
    share = 100 * hot.taken / max(ledger.hits - ledger.not_wanted.get("filtered", 0), 1)
    made = f"{plural(hot.programs, 'program')} generated"
    off = f"; off now, {hot.why}" if hot.why else ""
    return f"  fast: {made}; {hot.taken:,} taken ({share:.1f} %), {hot.missed:,} missed{off}"


def _nested_lines(nested: NestedUse) -> list[str]:
    """Return a line about nested hits if there were any."""
    if nested.why:
        return [f"  nested: hits that come while the program is running are lost: {nested.why}"]
    if not nested.taken:
        return []
    calls = counted(nested.taken, "hits")
    line = f"  nested: {calls} {form(nested.taken, 'was', 'were')} recorded that came while "
    line += "the program was running"
    if nested.twice:
        line += f"; {nested.twice:,} or more of them are counted twice"
    return [line]


def _tree_lines(tree: TreeUse) -> list[str]:
    """Return a line about the calling-context tree if it is more than half full."""
    share = f"{tree.used:,} of {tree.size:,} nodes used"
    if tree.full:
        cut = f"{plural(tree.full, 'stack')} {form(tree.full, 'was', 'were')} cut short"
        return [f"  tree: full, {share}; {cut}; a larger --nodes helps"]
    return [f"  tree: {share}"] if tree.used > tree.size // 2 else []


def sum_text(ledger: Ledger) -> str:
    """Return the sum that hits are made of: ``5 stacks + 2 not wanted + 0 lost``."""
    not_wanted = sum(ledger.not_wanted.values())
    middle = f" + {not_wanted:,} not wanted" if not_wanted else ""
    return f"{plural(ledger.recorded, 'stack')}{middle} + {sum(ledger.lost.values()):,} lost"


def _time_text(summary: Summary) -> str:
    """Return the duration of the capture and the rate of hits, each after a comma."""
    text = ""
    if summary.seconds is not None:
        text += f", {summary.seconds:,.{1 + (summary.seconds < 10)}f} s"
    if summary.rate:
        rate = f"{summary.rate:,.0f}" if summary.rate >= 10 else f"{summary.rate:.2g}"
        text += f", {counted(rate, f'{summary.unit}/s')}"
    return text


def kind_of(cause: str) -> str:
    """Return the kind of a cause: ``not wanted`` or ``lost``."""
    return "not wanted" if cause in NOT_WANTED else "lost"


def cause_lines(ledger: Ledger) -> list[str]:
    """Return a line for each cause, the one with most hits first."""
    causes = sorted(ledger.causes.items(), key=lambda item: -item[1])
    lines = [
        f"  {kind_of(cause)}: {number:,} {cause}: {CAUSES.get(cause, cause)}"
        for cause, number in causes[:LISTED]
    ]
    if others := causes[LISTED:]:
        hits = sum(number for _, number in others)
        lines.append(f"  and {plural(len(others), 'other cause')}: {hits:,}")
    return lines


def as_text(summary: Summary, symbolizer: Symbolizer | None = None) -> str:
    """Return the summary as lines of text; hits = recorded + lost comes first.

    :param symbolizer: Names the frames of differences that ``--verify`` found.
    """
    ledger = summary.ledger
    lines = [
        f"{summary.function}: {counted(ledger.hits, summary.unit)} = {sum_text(ledger)}  "
        f"({summary.method} by {summary.attach}, {summary.kernel}{_time_text(summary)})"
    ]
    lines += cause_lines(ledger)
    if summary.unseen:
        lines.append(f"  not seen: {summary.unseen}")
    if ledger.truncated:
        stacks = plural(ledger.truncated, "stack")
        go = form(ledger.truncated, "goes on below its", "go on below their")
        lines.append(f"  truncated: {stacks} {go} last frame")
    if found := summary.sampling:
        lines.append(
            f"  budget: {100 * found.budget:g} %; tracing cost about {100 * found.cost:.1f} % of "
            f"the CPU time used; {counted(f'{found.scale:,.4g}', 'calls')} for each one recorded"
        )
    if summary.tree:
        lines += _tree_lines(summary.tree)
    if summary.hot and _is_told(summary.hot, summary.verify):
        lines.append(_hot_line(summary.hot, ledger))
    if summary.nested:
        lines += _nested_lines(summary.nested)
    if ledger.fallback:
        stacks, come = plural(ledger.fallback, "stack"), form(ledger.fallback, "comes", "come")
        lines.append(f"  fallback: {stacks} {come} from the kernel's unwinder")
    lines += [f"  not counted: {text}" for text in _at_most(ledger.uncounted, "sentence")]
    lines += [f"  note: {text}" for text in _at_most(summary.notes, "note")]
    if ledger.balance:
        lines.append(f"  unexplained: {ledger.balance:,} (a bug of kwalk; please report it)")
    if summary.verify:
        lines += verifies.lines(summary.verify, symbolizer)
    return "\n".join(map(plain, lines)) + "\n"
