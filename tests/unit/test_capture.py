# SPDX-License-Identifier: MIT
"""A capture turns what the kernel hands over into events and a ledger, without a kernel."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from kwalk import capture as captures
from kwalk.capture import Capture
from kwalk.cli import main
from kwalk.commands import published
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.probe.options import ProbeOptions
from kwalk.probe.probe import Probe
from kwalk.probe.target import Target
from kwalk.profile import Summary
from kwalk.report.verify import KERNEL_WRONG
from kwalk.transport.abi import (
    COUNTERS,
    DIFFERS,
    EVENT,
    FALLBACK,
    NO_ID,
    OTHER,
    TRUNCATED,
    Method,
    Unwinder,
)

FUNC = 0xFFFFFFFF81000000
A, B, C, D = (FUNC + 0x100 * number + 0x10 for number in range(1, 5))
SYMBOLS = Kallsyms(
    b"ffffffff81000000 T ip_rcv\n"
    b"ffffffff81000100 T a\n"
    b"ffffffff81000200 T b\n"
    b"ffffffff81000300 T c\n"
    b"ffffffff81000400 T d\n"
)
WAYS = {"kprobe": "kprobe", "fentry": "fentry", "r:kprobe": "kretprobe", "r:fentry": "fexit"}


def record(
    *frames: int,
    flags: int = 0,
    time_ns: int = 1,
    cpu: int = 0,
    pid: int = 7,
    stack_id: int = 0,
    caller: int = A,
) -> bytes:
    header = EVENT.pack(
        {
            "time_ns": time_ns,
            "caller": caller,
            "tgid": 7,
            "pid": pid,
            "cpu": cpu,
            "stack_id": stack_id,
            "nr": len(frames),
            "flags": flags,
            "comm": b"redis",
        }
    )
    return header + struct.pack(f"<{len(frames)}Q", *frames)


class Engine:
    """Stands in for a loaded program: its ring, its counters, its stack maps.

    :ivar ring: What the next read finds, one list a read.
    :ivar maps: Stacks by id; both maps hold the same.
    """

    def __init__(self) -> None:
        self.ring: list[list[bytes]] = []
        self.maps: dict[int, bytes] = {}
        self.counted = dict.fromkeys(COUNTERS.fields, 0)
        self.unwinder = Unwinder.ORC
        self.method: Method | None = None
        self.target = Target("ip_rcv", FUNC, "")
        self.attach = "fentry"

    def open(self, target: Target, symbols: Kallsyms, options: ProbeOptions) -> Probe:
        """Attach; what was asked for is what is used."""
        obj: Any = SimpleNamespace(
            map=lambda name: SimpleNamespace(fd=-1), close=lambda: None, detach=lambda: None
        )
        method = self.method or options.method or Method.MANUAL
        attach = ("r:" if target.returns else "") + self.attach
        return Probe(obj, target, method, WAYS[attach], self.unwinder, True, {}, 127, ["a note"])

    def batch(self, complete: bool = False) -> Iterator[memoryview]:
        """The ring's records of one read."""
        yield from map(memoryview, self.ring.pop(0) if self.ring else [])

    def count(self, hits: int, **others: int) -> None:
        """Set what the program counted."""
        self.counted |= {"hits": hits, **others}


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    """What the captures of this test are connected to."""
    engine = Engine()
    maps = SimpleNamespace(
        wait=lambda: None,
        swap=lambda: 0,
        clear=lambda idle: None,
        stack=lambda idle, number: engine.maps.get(number),
    )
    ring = SimpleNamespace(batch=engine.batch, close=lambda: None)
    counters = SimpleNamespace(read=lambda: dict(engine.counted))
    monkeypatch.setattr(captures, "check_access", lambda: None)
    monkeypatch.setattr(captures.Kallsyms, "read", lambda: SYMBOLS)
    monkeypatch.setattr(captures, "open_probe", engine.open)
    monkeypatch.setattr(captures, "Ring", lambda fd, size: ring)
    monkeypatch.setattr(captures, "StackMaps", lambda obj, depth, control: maps)
    monkeypatch.setattr(captures, "Counters", lambda obj: counters)
    monkeypatch.setattr(captures, "kernel_misses", lambda obj, program, link: {"recursion": 0})
    monkeypatch.setattr(captures, "kernel_release", lambda: "6.12.107")
    return engine


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


def test_without_differences_there_is_nothing_beside_the_events(engine: Engine) -> None:
    engine.ring = [[record(FUNC, A, B), record(FUNC, A, flags=TRUNCATED)]]
    engine.count(2, recorded=2)
    stacks, summary = captured()
    assert stacks == [(FUNC, A, B), (FUNC, A)]
    assert summary.ledger.balance == 0
    assert (summary.ledger.recorded, summary.ledger.truncated) == (2, 1)
    assert summary.verify is None
    assert summary.notes == ["a note"]


def test_the_kernels_side_of_a_difference_stands_beside_the_walks(engine: Engine) -> None:
    engine.ring = [
        [
            record(FUNC, A, B, flags=DIFFERS),
            record(D, FUNC + 5, A, C, flags=OTHER),
            record(FUNC, A, time_ns=2),
        ]
    ]
    engine.count(2, checked=2, mismatches=1)
    stacks, summary = captured(method=Method.MANUAL, verify=1)
    assert stacks == [(FUNC, A, B), (FUNC, A)]
    assert summary.ledger.recorded == 2
    assert summary.ledger.balance == 0
    assert summary.ledger.fallback == 0
    assert summary.verify
    assert (summary.verify.every, summary.verify.checked, summary.verify.mismatches) == (1, 2, 1)
    assert sides(summary) == [((FUNC, A, B), (FUNC, A, C))]


def test_where_the_kernels_stack_was_recorded_the_walk_stands_beside_it(engine: Engine) -> None:
    engine.ring = [
        [
            record(D, FUNC + 5, A, C, flags=DIFFERS | FALLBACK),
            record(FUNC, A, B, flags=DIFFERS | OTHER | TRUNCATED),
        ]
    ]
    engine.count(1, checked=1, mismatches=1)
    stacks, summary = captured()
    assert stacks == [(FUNC, A, C)]
    assert (summary.ledger.recorded, summary.ledger.fallback) == (1, 1)
    assert summary.ledger.truncated == 0
    assert sides(summary) == [((FUNC, A, B), (FUNC, A, C))]


def test_a_kernels_stack_without_the_function_is_shown_as_it_is(engine: Engine) -> None:
    engine.ring = [[record(FUNC, A, flags=DIFFERS), record(D, C, flags=OTHER)]]
    _, summary = captured(method=Method.MANUAL, verify=1)
    assert sides(summary) == [((FUNC, A), (D, C))]


def test_both_sides_find_each_other_among_other_cpus_records(engine: Engine) -> None:
    engine.ring = [
        [
            record(FUNC, A, flags=DIFFERS, cpu=0, pid=10),
            record(FUNC, B, flags=DIFFERS, cpu=1, pid=11),
            record(FUNC, D, cpu=2),
            record(FUNC, C, flags=OTHER | DIFFERS, cpu=1, pid=11),
        ],
        [record(FUNC, D, flags=OTHER | DIFFERS, cpu=0, pid=10)],
    ]
    stacks, summary = captured(method=Method.MANUAL, verify=1)
    assert stacks == [(FUNC, A), (FUNC, B), (FUNC, D)]
    assert sides(summary) == [((FUNC, B), (FUNC, C)), ((FUNC, A), (FUNC, D))]


@pytest.mark.parametrize("other", [{"time_ns": 2}, {"cpu": 1}, {"pid": 8}])
def test_another_events_other_side_is_not_taken_for_it(
    engine: Engine, other: dict[str, int]
) -> None:
    engine.ring = [[record(FUNC, A, flags=DIFFERS), record(FUNC, C, flags=OTHER, **other)]]
    stacks, summary = captured(method=Method.MANUAL, verify=1)
    assert stacks == [(FUNC, A)]
    assert sides(summary) == []


def test_only_the_first_differences_are_kept(engine: Engine) -> None:
    for number in range(20):
        first = record(FUNC, A + number, flags=DIFFERS, time_ns=number)
        engine.ring.append([first, record(FUNC, B, flags=OTHER, time_ns=number)])
    stacks, summary = captured(method=Method.MANUAL, verify=1, reads=20)
    assert len(stacks) == 20
    assert sides(summary) == [((FUNC, A + number), (FUNC, B)) for number in range(8)]


def test_what_is_skipped_still_shows_its_difference(engine: Engine) -> None:
    engine.ring = [[record(FUNC, A, flags=DIFFERS), record(FUNC, B, flags=OTHER)]]
    engine.count(1, checked=1, mismatches=1)
    with Capture("ip_rcv", ProbeOptions(Method.MANUAL, verify=1)) as capture:
        capture.stop()
        capture.skip("past_count")
        summary = capture.summary()
    assert summary.ledger.lost == {"past_count": 1}
    assert summary.ledger.balance == 0
    assert sides(summary) == [((FUNC, A), (FUNC, B))]


NOTE = (
    "the self-check failed: 1 of 64 stacks differ from the kernel's; since then its unwinder was "
    "asked each time (a bug of kwalk; please report it)"
)


@pytest.mark.parametrize("verify", [0, 1])
def test_a_failed_self_check_is_a_note(engine: Engine, verify: int) -> None:
    engine.count(0, checked=64, mismatches=1)
    assert captured(verify=verify)[1].notes == ["a note", NOTE]


@pytest.mark.parametrize(
    ("method", "counted"), [(None, {"checked": 64}), (Method.MANUAL, {"mismatches": 1})]
)
def test_there_is_no_self_check_to_speak_of_otherwise(
    engine: Engine, method: Method | None, counted: dict[str, int]
) -> None:
    engine.count(0, **counted)
    assert captured(method=method, verify=1)[1].notes == ["a note"]


def test_what_was_compared_is_what_the_program_counted(engine: Engine) -> None:
    engine.count(0, checked=90, mismatches=1, missing_caller=2, wrong_start=3, stacked_hooks=4)
    verify = captured(method=Method.MANUAL, verify=100)[1].verify
    assert verify
    assert (verify.every, verify.checked, verify.mismatches) == (100, 90, 1)
    assert verify.missing_caller == 2
    assert verify.kernel_wrong == {"int3_start": 3, "stacked_hooks": 4}
    assert set(verify.kernel_wrong) == set(KERNEL_WRONG)


def test_what_the_kernel_did_not_get_wrong_is_not_listed(engine: Engine) -> None:
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
def test_there_is_a_comparison_where_the_walk_was_to_be_compared(
    engine: Engine, method: Method, verify: int, checked: int, shown: bool
) -> None:
    engine.count(0, checked=checked)
    summary = captured(method=method, verify=verify)[1]
    assert (summary.verify is not None) == shown


@pytest.mark.parametrize("spelling", ["ip_rcv", "ip_rcv+0x1f", "r:ip_rcv"])
def test_the_summary_names_the_place(engine: Engine, spelling: str) -> None:
    assert captured(spelling)[1].function == spelling


def test_inside_a_function_stacks_begin_at_the_traced_instruction(engine: Engine) -> None:
    engine.ring = [[record(FUNC + 0x1F, A), record(FUNC + 0x20, B, flags=FALLBACK, caller=B)]]
    stacks, _ = captured("ip_rcv+0x1f")
    assert stacks == [(FUNC + 0x1F, A), (FUNC + 0x1F, B)]


@pytest.mark.parametrize(("attach", "raw"), [("kprobe", (A, B)), ("fentry", (D, FUNC + 9, A, B))])
def test_behind_a_return_the_kernels_stacks_begin_where_the_probe_is(
    engine: Engine, attach: str, raw: tuple[int, ...]
) -> None:
    engine.attach = attach
    engine.ring = [[record(*raw, flags=FALLBACK)]]
    stacks, summary = captured("r:ip_rcv")
    assert stacks == [(FUNC, A, B)]
    assert summary.attach == WAYS["r:" + attach]


def test_with_frame_pointers_a_fallback_gets_the_caller_that_the_kernel_misses(
    engine: Engine,
) -> None:
    engine.ring = [[record(FUNC, B, flags=FALLBACK)], [record(FUNC, B, flags=FALLBACK)]]
    assert captured()[0] == [(FUNC, B)] * 2
    engine.unwinder = Unwinder.FRAME_POINTER
    engine.ring = [[record(FUNC, B, flags=FALLBACK)]]
    assert captured()[0] == [(FUNC, A, B)]


def test_the_helpers_losses_have_their_causes(engine: Engine) -> None:
    engine.maps = {5: struct.pack("<2Q", FUNC, A), 6: struct.pack("<Q", D)}
    engine.ring = [
        [
            record(stack_id=5),
            record(stack_id=6),
            record(stack_id=9),
            record(stack_id=-errno.EEXIST, flags=NO_ID),
        ]
    ]
    engine.count(4, recorded=4)
    stacks, summary = captured(method=Method.HELPER)
    assert stacks == [(FUNC, A)]
    assert summary.ledger.lost == {"no_entry_frame": 1, "stack_gone": 1, "eexist": 1}
    assert summary.ledger.balance == 0


def test_both_methods_stacks_of_an_event_come_together(engine: Engine) -> None:
    engine.maps = {5: struct.pack("<2Q", FUNC, B)}
    engine.ring = [[record(FUNC, A, stack_id=5), record(FUNC, C, stack_id=9)]]
    engine.count(2, recorded=2)
    with Capture("ip_rcv", ProbeOptions(Method.BOTH)) as capture:
        pairs = [
            (walked.stack.addresses, helper and helper.stack.addresses)
            for walked, helper in capture.read_both()
        ]
        ledger = capture.summary().ledger
    assert pairs == [((FUNC, A), (FUNC, B)), ((FUNC, C), None)]
    assert (ledger.recorded, ledger.lost, ledger.balance) == (1, {"stack_gone": 1}, 0)


@pytest.mark.parametrize("pairwise", [True, False])
def test_the_other_side_of_a_difference_is_no_event_of_the_helpers(
    engine: Engine, pairwise: bool
) -> None:
    engine.maps = {5: struct.pack("<2Q", FUNC, B)}
    first = record(FUNC, A, flags=DIFFERS, stack_id=5)
    engine.ring = [[first, record(FUNC, B, flags=DIFFERS | OTHER, stack_id=5)]]
    engine.count(1, recorded=1, checked=1, mismatches=1)
    with Capture("ip_rcv", ProbeOptions(Method.BOTH, verify=1)) as capture:
        events = list(capture.read_both() if pairwise else capture.read())
        summary = capture.summary()
    assert len(events) == 1
    assert (summary.ledger.recorded, summary.ledger.balance) == (1, 0)
    assert sides(summary) == ([((FUNC, A), (FUNC, B))] if pairwise else [])


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Run a command; return its exit code, standard output and standard error."""

    def run(entry: Callable[[list[str]], int], *argv: str) -> tuple[int, str, str]:
        code = entry(list(argv))
        out, err = capfd.readouterr()
        return code, out, err

    return run


COMMANDS = [
    (main, ("stream", "ip_rcv", "--method=manual", "--duration=0.01")),
    (published.main, ("--manual=ip_rcv",)),
]


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands end by themselves: as if Ctrl-C had been pressed when they were attached."""
    from kwalk.commands import running

    stopped = property(lambda self: True, lambda self, value: None)
    monkeypatch.setattr(running.Stopper, "stopped", stopped, raising=False)


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(("entry", "argv"), COMMANDS, ids=["stream", "published"])
@pytest.mark.parametrize(
    ("option", "counted", "code"),
    [
        ("--verify", {"mismatches": 1}, 1),
        ("--verify=1/100", {"mismatches": 3}, 1),
        ("--verify", {"missing_caller": 9, "wrong_start": 9, "stacked_hooks": 9}, 0),
        ("--verify", {}, 0),
        ("--attach=auto", {}, 0),
        ("--attach=kprobe", {"mismatches": 1}, 0),
    ],
)
def test_the_exit_code_tells_scripts_whether_any_stack_differs(
    engine: Engine,
    run: Run,
    entry: Callable[[list[str]], int],
    argv: tuple[str, ...],
    option: str,
    counted: dict[str, int],
    code: int,
) -> None:
    engine.count(1, checked=1, **counted)
    engine.ring = [[record(FUNC, A, flags=DIFFERS), record(FUNC, B, flags=OTHER)]]
    found, out, err = run(entry, *argv, option)
    assert found == code
    assert out.count("ip_rcv") == 1
    compared = option.startswith("--verify") or bool(counted)
    assert ("compared with the kernel's unwinder" in err) == compared
    if code:
        assert "    a+0x10      |  b+0x10\n" in err


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("place", ["ip_rcv", "ip_rcv+0x1f", "r:ip_rcv"])
def test_the_place_is_announced_as_it_was_asked_for(engine: Engine, run: Run, place: str) -> None:
    code, out, err = run(main, "stream", place)
    assert (code, out) == (0, "")
    assert err.startswith(f"kwalk: tracing {place} (manual by ")
    assert f"\n{place}: 0 calls" in err
