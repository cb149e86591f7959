# SPDX-License-Identifier: MIT
"""Trace by both methods at once, then by each alone to measure its overhead."""

from __future__ import annotations

import argparse
import math
import os
import time
from collections import Counter
from collections.abc import Callable

from kwalk.abi import Method, Output
from kwalk.cli.streaming import POLL_SECONDS
from kwalk.cli.tracing import tracing
from kwalk.engine.capture import Capture
from kwalk.errors import NotSupported
from kwalk.libbpf import LibbpfError, stats
from kwalk.model.comparison import Comparison, MethodCost, Pair, Sides
from kwalk.options.probe import ProbeOptions


def compare(args: argparse.Namespace) -> Comparison:
    """Run all captures of a comparison; Ctrl-C ends it early with the result so far.

    :param args: Parsed options of ``kwalk compare``.
    :raises KwalkError: if it cannot be traced.
    """
    comparison, go_on = _pairs(args)
    if args.cost:
        costs: list[MethodCost | None] = []
        for method in (Method.HELPER, Method.MANUAL):
            cost, go_on = _cost(args, method, comparison.notes) if go_on else (None, False)
            costs.append(cost)
        comparison.costs = Sides(*costs)
    return comparison


def _check(capture: Capture) -> None:
    probe = capture.probe
    if probe.method != Method.BOTH:
        raise NotSupported(
            f"there is nothing to compare: {'; '.join(probe.notes)}",
            "`kwalk doctor` says what this kernel offers; --method helper counts there.",
        )


def _alone(method: Method) -> Callable[[ProbeOptions], ProbeOptions]:
    """Return the change of options that counts by one method, without comparing."""
    return lambda options: options._replace(method=method, verify=0)


def _both(options: ProbeOptions) -> ProbeOptions:
    return options._replace(method=Method.BOTH)


def _pairs(args: argparse.Namespace) -> tuple[Comparison, bool]:
    """Capture by both methods; return the comparison without costs, and whether to go on."""
    pairs: Counter[Pair] = Counter()
    with tracing(args, Output.EVENT, _check, refine=_both) as session:
        capture = session.capture

        def take(until: float = math.inf) -> None:
            """Take the events that have come, until a time; the next call takes the rest."""
            for _, walked, helper, cause in capture.pairs():
                pairs[Pair(helper, walked, cause)] += 1
                if time.monotonic() > until:
                    break

        end = session.end(args.duration)
        for _ in session.looks(end, lambda now: now + POLL_SECONDS):
            take(end)
        session.detach()
        # The rest, then what each of the helper's two maps held.
        for _ in range(3):
            take()
        summary = session.conclude()
        manual, helper = capture.ledgers()
        verify = summary.verify
        shown = {stack for pair in pairs for stack in (pair.helper, pair.manual) if stack}
        shown |= {stack for pair in (verify.differences if verify else ()) for stack in pair}
        for stack in shown:
            stack.frames = tuple(capture.symbolizer.frames(stack))
        comparison = Comparison(
            function=summary.function,
            attach=summary.attach,
            kernel=summary.kernel,
            unwinder=capture.unwinder,
            unit=summary.unit,
            seconds=capture.seconds,
            pairs=pairs,
            ledgers=Sides(helper, manual),
            costs=Sides(None, None),
            clock=os.environ.get("KWALK_LAB_CLOCK", "time"),
            notes=summary.notes,
            verify=verify,
            unseen=summary.unseen,
        )
        return comparison, not session.stopper.interrupted


def _cost(
    args: argparse.Namespace, method: Method, notes: list[str]
) -> tuple[MethodCost | None, bool]:
    """Capture by one method; return the cost of an event, and whether to go on.

    :param notes: Extended by why the cost is unknown and how the command ended.
    """
    name = str(method.name).lower()
    try:
        with stats.measured(), tracing(args, Output.COUNT, refine=_alone(method)) as session:
            capture = session.capture
            for _ in session.looks(session.end(args.duration), lambda now: math.inf):
                pass
            session.detach()
            time_ns, runs = capture.probe.spent()
            summary = session.conclude()
            notes += [note for note in summary.notes if note not in notes]
            # Filtered and skipped hits run the program, too, but yield no event.
            left = summary.ledger.not_wanted
            events = runs - left.get("filtered", 0) - left.get("sampled_out", 0)
            if events <= 0:
                why = summary.unseen or "no call of it was seen meanwhile"
                notes.append(f"the cost of {name} is not known: {why}")
                return None, not session.stopper.interrupted
            cost = MethodCost(time_ns / events, events, capture.probe.attach)
            return cost, not session.stopper.interrupted
    except LibbpfError as error:
        notes.append(f"the cost of {name} is not known: {error.what}")
        return None, True
