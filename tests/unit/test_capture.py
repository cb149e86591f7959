# SPDX-License-Identifier: MIT
"""A capture turns what the kernel hands over into events and a ledger, without a kernel."""

from __future__ import annotations

import errno
import gc
from typing import Any

import pytest
from engine import WAYS, Engine, words
from planted import FUNC, A, B, C, D, record

from kwalk.abi import (
    DIFFERS,
    FALLBACK,
    JUMPED,
    NO_ID,
    SECOND_MAP,
    TRUNCATED,
    Method,
    Output,
    Unwinder,
)
from kwalk.decode import records, unwound
from kwalk.engine.capture import Capture
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.model.event import Event, Who
from kwalk.model.ledger import Summary, TreeUse
from kwalk.model.stack import Stack
from kwalk.options.probe import ProbeOptions
from kwalk.report.verify import KERNEL_WRONG

Captured = tuple[list[tuple[int, ...]], Summary]


def captured(function: str = "ip_rcv", reads: int = 3, **options: Any) -> Captured:
    """Read so often, stop, read what is left: the stacks of the events, and the summary."""
    stacks = []
    with Capture(function, ProbeOptions(**options)) as capture:
        for _ in range(reads):
            stacks += [event.stack.addresses for event in capture.read()]
        capture.stop()
        stacks += [event.stack.addresses for event in capture.read()]
        return stacks, capture.summary()


def sides(summary: Summary) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    assert summary.verify
    return [
        (found.walked.addresses, found.kernel.addresses) for found in summary.verify.differences
    ]


def test_summary_without_differences_has_no_verify(engine: Engine) -> None:
    engine.ring = [[engine.walked(A, B), engine.walked(A, flags=TRUNCATED)]]
    engine.count(2)
    stacks, summary = captured()
    assert stacks == [(FUNC, A, B), (FUNC, A)]
    assert summary.ledger.balance == 0
    assert (summary.ledger.recorded, summary.ledger.truncated) == (2, 1)
    assert summary.verify is None
    assert summary.notes == ["a note"]


def test_event_has_time_task_and_stack(engine: Engine) -> None:
    who: dict[str, Any] = {"cpu": 1, "tgid": 100, "pid": 101, "comm": b"redis\0server"}
    engine.ring = [
        [
            engine.walked(A, time_ns=5, **who),
            engine.walked(A, time_ns=6, cpu=0, tgid=100, pid=101),
            engine.walked(A, time_ns=7, **who),
        ]
    ]
    with Capture("ip_rcv", ProbeOptions()) as capture:
        first, second, third = capture.read()
    assert first == Event(5, Who(1, 100, 101, "redis"), first.stack)
    assert second == Event(6, Who(0, 100, 101, "redis"), first.stack)
    assert third == Event(7, first.who, first.stack)
    assert third.who is first.who


def test_record_flags_affect_only_their_own_event(engine: Engine) -> None:
    engine.ring = [
        [
            engine.walked(A, B, time_ns=1),
            engine.walked(A, cut=C, flags=TRUNCATED, time_ns=2, pid=8),
            engine.kernels(D, C, flags=FALLBACK, time_ns=3, pid=9),
            engine.kernels(D, FUNC + 5, A, flags=FALLBACK | TRUNCATED, time_ns=4, pid=10),
            engine.walked(A, flags=JUMPED, time_ns=5, pid=11),
        ]
    ]
    engine.count(5)
    with Capture("ip_rcv", ProbeOptions()) as capture:
        events = list(capture.read())
        ledger = capture.summary().ledger
    assert [(e.time_ns, e.who.pid, e.stack.addresses) for e in events] == [
        (1, 7, (FUNC, A, B)),
        (2, 8, (FUNC, A)),
        (4, 10, (FUNC, A)),
        (5, 11, (FUNC, A)),
    ]
    assert [e.stack.truncated for e in events] == [False, True, True, False]
    assert [e.stack.fallback for e in events] == [False, False, True, False]
    assert ledger.lost == {"no_entry_frame": 1}
    assert (ledger.recorded, ledger.truncated, ledger.fallback, ledger.balance) == (4, 2, 1, 0)


@pytest.mark.parametrize("programs", [[], [7]])
def test_kallsyms_end_is_read_at_the_start_where_symbols_come_and_go(
    programs: list[int], engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Kallsyms, "renew", lambda _: engine.done.append("renew"))
    engine.programs = programs
    with Capture("ip_rcv", ProbeOptions()):
        assert ("renew" in engine.done) == bool(programs)


def clock(number: int) -> bytes:
    return b"12:00:00.%06d " % number


def test_times_stay_beside_their_calls_where_one_is_left_out(engine: Engine) -> None:
    records = [
        engine.walked(A, time_ns=1, clock=clock(1)),
        engine.kernels(D, C, flags=FALLBACK, time_ns=2, clock=clock(2)),  # lacks the function
        engine.walked(A, B, time_ns=3, clock=clock(3)),
    ]
    engine.ring = [[*records, *records]]  # as two runs
    with Capture("ip_rcv", ProbeOptions()) as capture:
        batches = list(capture.reader.batches())
    assert [list(batch.times) for batch in batches] == [[1, 3]] * 2
    assert [list(batch.clocks) for batch in batches] == [[clock(1), clock(3)]] * 2


def test_helper_events_have_times(engine: Engine) -> None:
    engine.stacks = {5: words(FUNC, A), 6: words(D)}
    engine.ring = [
        [record(stack_id=id_, time_ns=n, clock=clock(n)) for n, id_ in enumerate((5, 6, 5))]
    ]
    with Capture("ip_rcv", ProbeOptions(Method.HELPER)) as capture:
        (batch,) = capture.reader.batches()
    assert (list(batch.times), list(batch.clocks)) == ([0, 2], [clock(0), clock(2)])


@pytest.mark.parametrize("method", [Method.MANUAL, Method.HELPER])
def test_brief_records_tell_the_stacks_only(engine: Engine, method: Method) -> None:
    engine.brief = True
    engine.stacks = {5: words(FUNC, A, B), 6: words(FUNC, A)}
    engine.ring = [
        [
            engine.walked(A, B, stack_id=5),
            engine.walked(A, cut=C, flags=TRUNCATED * (method == Method.MANUAL), stack_id=6),
        ]
    ]
    if method == Method.HELPER:  # its records name no node
        engine.ring = [[record(stack_id=number, brief=True) for number in (5, 6)]]
    engine.count(2)
    with Capture("ip_rcv", ProbeOptions(method, output=Output.BRIEF)) as capture:
        batches = list(capture.reader.batches())
        ledger = capture.summary().ledger
    stacks = [call.stack.addresses for batch in batches for call in batch.calls]
    assert stacks == [(FUNC, A, B), (FUNC, A)]
    assert not any(batch.times or call.who for batch in batches for call in batch.calls)
    assert (ledger.recorded, ledger.balance) == (2, 0)


def test_difference_counts_as_one_event(engine: Engine) -> None:
    kernel = engine.planted.kernels(D, FUNC + 5, A, C)
    engine.ring = [[engine.walked(A, B, flags=DIFFERS, other=kernel), engine.walked(A, time_ns=2)]]
    engine.count(2, checked=2, mismatches=1)
    stacks, summary = captured(method=Method.MANUAL, verify=1)
    assert stacks == [(FUNC, A, B), (FUNC, A)]
    assert summary.ledger.recorded == 2
    assert summary.ledger.balance == 0
    assert summary.ledger.fallback == 0
    assert summary.verify
    assert (summary.verify.every, summary.verify.checked, summary.verify.mismatches) == (1, 2, 1)
    assert sides(summary) == [((FUNC, A, B), (FUNC, A, C))]


def test_difference_of_a_fallback_has_the_walk_beside_it(engine: Engine) -> None:
    walk = engine.planted.walked(A, B)
    engine.ring = [[engine.kernels(D, FUNC + 5, A, C, flags=DIFFERS | FALLBACK, other=walk)]]
    engine.count(1, checked=1, mismatches=1)
    stacks, summary = captured()
    assert stacks == [(FUNC, A, C)]
    assert (summary.ledger.recorded, summary.ledger.fallback) == (1, 1)
    assert summary.ledger.truncated == 0
    assert sides(summary) == [((FUNC, A, B), (FUNC, A, C))]


def test_differences_beyond_the_first_ones_are_dropped(engine: Engine) -> None:
    kernel = engine.planted.kernels(FUNC, B)
    for number in range(20):
        engine.ring.append([engine.walked(A + number, flags=DIFFERS, other=kernel)])
    stacks, summary = captured(method=Method.MANUAL, verify=1, reads=20)
    assert len(stacks) == 20
    assert sides(summary) == [((FUNC, A + number), (FUNC, B)) for number in range(8)]


def test_dropped_events_are_counted_and_keep_their_difference(engine: Engine) -> None:
    kernel = engine.planted.kernels(FUNC, B)
    engine.ring = [
        [
            engine.walked(A, flags=DIFFERS, other=kernel),
            engine.walked(A, flags=TRUNCATED),
            engine.kernels(FUNC, C, flags=FALLBACK),
        ]
    ]
    engine.count(3, checked=1, mismatches=1)
    with Capture("ip_rcv", ProbeOptions(Method.MANUAL, verify=1)) as capture:
        capture.stop()
        for batch in capture.reader.batches():
            capture.reader.drop(batch, "past_count")
        summary = capture.summary()
    ledger = summary.ledger
    assert ledger.not_wanted == {"past_count": 3}
    assert (ledger.recorded, ledger.truncated, ledger.fallback, ledger.balance) == (0, 0, 0, 0)
    assert sides(summary) == [((FUNC, A), (FUNC, B))]


NOTE = (
    "the self-check failed: 1 of 64 stacks differs from the kernel's; since then its unwinder was "
    "asked each time (a bug of kwalk; please report it)"
)


@pytest.mark.parametrize("verify", [0, 1])
def test_self_check_failure_is_a_note(engine: Engine, verify: int) -> None:
    engine.count(0, checked=64, mismatches=1)
    assert captured(verify=verify)[1].notes == ["a note", NOTE]


@pytest.mark.parametrize(
    ("method", "counted"), [(None, {"checked": 64}), (Method.MANUAL, {"mismatches": 1})]
)
def test_self_check_that_holds_adds_no_note(
    engine: Engine, method: Method | None, counted: dict[str, int]
) -> None:
    engine.count(0, **counted)
    assert captured(method=method, verify=1)[1].notes == ["a note"]


def test_verify_numbers_are_the_programs_counters(engine: Engine) -> None:
    wrong = {"wrong_start": 3, "stacked_hooks": 4, "nested_nmi": 5, "task_switch": 6}
    wrong |= {"stack_switch": 7, "overwritten": 8}
    engine.count(0, checked=90, mismatches=1, missing_caller=2, **wrong)
    verify = captured(method=Method.MANUAL, verify=100)[1].verify
    assert verify
    assert (verify.every, verify.checked, verify.mismatches) == (100, 90, 1)
    assert verify.missing_caller == 2
    assert verify.kernel_wrong == {
        "int3_start": 3,
        "stacked_hooks": 4,
        "nested_nmi": 5,
        "task_switch": 6,
        "stack_switch": 7,
        "overwritten": 8,
    }
    assert set(verify.kernel_wrong) == set(KERNEL_WRONG)


def test_verify_lists_only_causes_that_occurred(engine: Engine) -> None:
    engine.count(0, checked=90, wrong_start=3)
    verify = captured(method=Method.MANUAL, verify=1)[1].verify
    assert verify
    assert verify.kernel_wrong == {"int3_start": 3}


@pytest.mark.parametrize(
    ("method", "verify", "checked", "shown"),
    [
        (Method.MANUAL, 1, 0, True),
        (Method.MANUAL, 0, 0, False),
        (Method.MANUAL, 0, 64, True),
        (Method.HELPER, 1, 0, False),
        (Method.BOTH, 1, 0, True),
    ],
)
def test_verify_is_present_where_the_walk_is_compared(
    engine: Engine, method: Method, verify: int, checked: int, shown: bool
) -> None:
    engine.count(0, checked=checked)
    summary = captured(method=method, verify=verify)[1]
    assert (summary.verify is not None) == shown


@pytest.mark.parametrize("spelling", ["ip_rcv", "ip_rcv+0x1f", "r:ip_rcv"])
def test_summary_names_the_place(engine: Engine, spelling: str) -> None:
    assert captured(spelling)[1].function == spelling


def test_inside_a_function_stacks_begin_at_the_traced_instruction(engine: Engine) -> None:
    engine.ring = [[engine.walked(A), engine.kernels(FUNC + 0x20, B, flags=FALLBACK, mark=B)]]
    stacks, _ = captured("ip_rcv+0x1f")
    assert stacks == [(FUNC + 0x1F, A), (FUNC + 0x1F, B)]


@pytest.mark.parametrize(("attach", "raw"), [("kprobe", (A, B)), ("fentry", (D, FUNC + 9, A, B))])
def test_behind_a_return_the_kernels_stacks_begin_where_the_probe_is(
    engine: Engine, attach: str, raw: tuple[int, ...]
) -> None:
    engine.attach = attach
    engine.ring = [[engine.kernels(*raw, flags=FALLBACK, mark=A)]]
    stacks, summary = captured("r:ip_rcv")
    assert stacks == [(FUNC, A, B)]
    assert summary.attach == WAYS["r:" + attach]


def test_fallback_by_frame_pointers_gets_its_caller_back(
    engine: Engine,
) -> None:
    missed = engine.kernels(FUNC, B, flags=FALLBACK, mark=A)
    engine.ring = [[missed], [missed]]
    assert captured()[0] == [(FUNC, B)] * 2
    engine.unwinder = Unwinder.FRAME_POINTER
    engine.ring = [[missed]]
    assert captured()[0] == [(FUNC, A, B)]


def test_fallback_as_deep_as_the_kernel_unwinds_is_truncated(engine: Engine) -> None:
    engine.kernel_frames = 3
    engine.ring = [
        [
            engine.kernels(FUNC, A, flags=FALLBACK, mark=A),
            engine.kernels(FUNC, A, B, flags=FALLBACK, mark=A),
        ]
    ]
    assert captured()[1].ledger.truncated == 1


def test_helper_losses_have_causes(engine: Engine) -> None:
    engine.stacks = {5: words(FUNC, A), 6: words(D)}
    engine.ring = [
        [
            record(stack_id=5),
            record(stack_id=6),
            record(stack_id=9),
            record(0, NO_ID, stack_id=-errno.EEXIST),
        ]
    ]
    engine.count(4)
    stacks, summary = captured(method=Method.HELPER)
    assert stacks == [(FUNC, A)]
    assert summary.ledger.lost == {"no_entry_frame": 1, "stack_gone": 1, "eexist": 1}
    assert summary.ledger.balance == 0


def test_helper_stacks_are_read_from_the_idle_map(engine: Engine) -> None:
    engine.stacks = {5: words(FUNC, A), 6: words(FUNC, B)}
    engine.ring = [[record(0, SECOND_MAP, stack_id=6), record(stack_id=5)]]
    engine.count(2)
    with Capture("ip_rcv", ProbeOptions(Method.HELPER)) as capture:
        assert [event.stack.addresses for event in capture.read()] == [(FUNC, A)]
        assert engine.done == ["swap 0", "look 0", "clear 0"]
        assert capture.summary().ledger.balance == 1  # it is on its way
        assert [event.stack.addresses for event in capture.read()] == [(FUNC, B)]
        assert engine.done[3:] == ["swap 1", "look 1", "clear 1"]
        assert capture.summary().ledger.balance == 0


def test_helper_stacks_of_both_maps_are_read_after_detaching(engine: Engine) -> None:
    engine.stacks = {5: words(FUNC, A), 6: words(FUNC, B)}
    engine.ring = [[record(0, SECOND_MAP, stack_id=6), record(stack_id=5)]]
    engine.count(2)
    stacks, summary = captured(method=Method.HELPER, reads=0)
    assert stacks == [(FUNC, A), (FUNC, B)]
    assert summary.ledger.balance == 0


def test_helpers_stream_keeps_a_bounded_number_of_stacks(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream goes on for days, and of some functions there is no end of stacks."""
    monkeypatch.setattr(unwound, "MOST_STACKS", 10)
    monkeypatch.setattr(records, "MOST_KNOWN", 10)

    def alive() -> int:
        gc.collect()
        return sum(isinstance(thing, Stack) for thing in gc.get_objects())

    before = alive()
    with Capture("ip_rcv", ProbeOptions(Method.HELPER)) as capture:
        for number in range(1, 101):
            engine.stacks = {5: words(FUNC, A, number)}
            engine.ring = [[record(stack_id=5)]]
            found = [event.stack.addresses for _ in range(2) for event in capture.read()]
            assert found == [(FUNC, A, number)]
        assert alive() - before <= 25


def test_helper_stack_of_a_jumped_trampoline_begins_behind_the_tracer(
    engine: Engine,
) -> None:
    engine.stacks = {5: words(D, C, A, B)}
    caller = engine.planted.child(engine.planted.root(), A)
    engine.ring = [[record(caller, JUMPED, stack_id=5), record(0, stack_id=5)]]
    engine.count(2)
    stacks, summary = captured(method=Method.HELPER)
    assert stacks == [(FUNC, A, B)]
    assert summary.ledger.lost == {"no_entry_frame": 1}


def test_pairs_have_the_stacks_of_both_methods(engine: Engine) -> None:
    engine.stacks = {5: words(FUNC, B)}
    engine.ring = [[engine.walked(A, stack_id=5), engine.walked(C, stack_id=9)]]
    engine.count(2)
    with Capture("ip_rcv", ProbeOptions(Method.BOTH)) as capture:
        pairs = [
            (walked and walked.addresses, helper and helper.addresses)
            for _, walked, helper, _ in capture.pairs()
        ]
        ledger = capture.summary().ledger
    assert pairs == [((FUNC, A), (FUNC, B)), ((FUNC, C), None)]
    assert (ledger.recorded, ledger.lost, ledger.balance) == (1, {"stack_gone": 1}, 0)


def test_difference_is_kept_with_both_methods(engine: Engine) -> None:
    engine.stacks = {5: words(FUNC, B)}
    kernel = engine.planted.kernels(FUNC, B)
    engine.ring = [[engine.walked(A, flags=DIFFERS, stack_id=5, other=kernel)]]
    engine.count(1, checked=1, mismatches=1)
    with Capture("ip_rcv", ProbeOptions(Method.BOTH, verify=1)) as capture:
        assert len(list(capture.pairs())) == 1
        summary = capture.summary()
    assert (summary.ledger.recorded, summary.ledger.balance) == (1, 0)
    assert sides(summary) == [((FUNC, A), (FUNC, B))]


def test_hits_that_never_reached_the_program_are_hits_and_losses(engine: Engine) -> None:
    engine.misses = {"recursion": 3}
    engine.ring = [[engine.walked(A)]]
    engine.count(2, lost_ring_full=1)
    ledger = captured()[1].ledger
    assert (ledger.hits, ledger.recorded) == (5, 1)
    assert ledger.lost == {"ring_full": 1, "recursion": 3}
    assert ledger.balance == 0


def test_misses_while_tasks_leave_the_trampoline_are_counted(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def misses(obj: object, program: str, link: bool) -> dict[str, int]:
        # Links are gone once it is detached, the program is not.
        assert link <= ("detach" not in engine.done)
        late = 2 if "wait" in engine.done else 0
        return {"recursion": 3 + late} | ({"kprobe_missed": 4} if link else {})

    engine.attach = "kprobe"
    engine.count(1)
    monkeypatch.setattr("kwalk.probe.probe.kernel_misses", misses)
    ledger = captured()[1].ledger
    assert ledger.lost["recursion"] == 5
    assert ledger.lost["kprobe_missed"] == 4
    assert ledger.hits == 1 + 5 + 4


def test_stop_detaches_once_and_before_the_last_read(engine: Engine) -> None:
    with Capture("ip_rcv", ProbeOptions()) as capture:
        capture.stop()
        capture.stop()
        assert engine.done[0] == "detach"
        assert engine.done.count("detach") == 1
        assert "wait" in engine.done
    assert engine.done[-1] == "close"


@pytest.mark.parametrize(
    ("method", "shown"), [(Method.MANUAL, True), (Method.BOTH, True), (Method.HELPER, False)]
)
def test_tree_use_is_reported_where_stacks_are_walked(
    engine: Engine, method: Method, shown: bool
) -> None:
    engine.planted.walked(A, B)
    engine.count(0, pool_full=5)
    tree = captured(method=method, nodes=240)[1].tree
    assert tree == (TreeUse(used=2, size=240, full=5) if shown else None)


def test_tree_use_never_exceeds_the_tree_size(engine: Engine) -> None:
    # Each CPU may ask for one more before it sees that there is none.
    room = 240
    engine.planted.used = engine.planted.used + room + 1
    tree = captured(nodes=room)[1].tree
    assert tree
    assert (tree.used, tree.size) == (room, room)
