# SPDX-License-Identifier: MIT
"""What ``import kwalk`` offers, on captures without a kernel."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from engine import Engine, Sent, words
from planted import FUNC, A, B, record

import kwalk
from kwalk.abi import DIFFERS, Method, Output, Per
from kwalk.api import live
from kwalk.api import trace as api_trace
from kwalk.engine import budget
from kwalk.engine.session import Session
from kwalk.model.ledger import Ledger
from kwalk.options import filter_names
from kwalk.options.filters import Filters
from kwalk.options.keywords import Choices, probe_options


def counted(engine: Engine, number: int, *addresses: int) -> None:
    engine.planted.write(engine.planted.walked(*addresses), count=number)


def names(stack: kwalk.Stack) -> list[str]:
    return [frame.name for frame in stack.frames]


def test_trace_counts_and_keeps_its_profile(engine: Engine) -> None:
    with kwalk.trace("ip_rcv") as trace:
        assert (trace.method, trace.attach) == ("manual", "fentry")
        counted(engine, 3, A, B)
        engine.count(3)
        early = trace.snapshot()
        counted(engine, 5, A, B)
        counted(engine, 1, A)
        engine.count(6)
        assert "detach" not in engine.done
    assert engine.done.count("detach") == 1
    assert engine.done[-1] == "close"
    last = trace.snapshot()
    assert trace.snapshot() is last
    assert [(names(c.stack), c.count) for c in early] == [(["ip_rcv", "a", "b"], 3)]
    assert [(names(c.stack), c.count) for c in last] == [
        (["ip_rcv", "a"], 1),
        (["ip_rcv", "a", "b"], 5),
    ]
    assert last.summary.ledger == Ledger(hits=6, recorded=6)
    assert last.facts["command"] == ["kwalk.trace('ip_rcv')"]
    assert len(last.timeline) == len(last)
    assert last.seconds >= early.seconds > 0


def test_trace_without_calls_has_an_empty_profile(engine: Engine) -> None:
    with kwalk.trace("ip_rcv") as trace:
        pass
    assert trace.snapshot().calls == 0
    assert trace.stop() is trace.snapshot()


def test_stop_gives_the_last_profile_at_once(engine: Engine) -> None:
    with kwalk.trace("ip_rcv") as trace:
        counted(engine, 3, A)
        engine.count(3)
        last = trace.stop()
        assert "detach" in engine.done
        assert trace.stop() is last
        assert trace.snapshot() is last
    assert last.calls == 3


def test_calls_that_come_during_a_snapshot_are_told(engine: Engine) -> None:
    with kwalk.trace("ip_rcv") as trace:
        counted(engine, 3, A)
        engine.count(5, lost_efault=1)
        ledger = trace.snapshot().summary.ledger
        engine.count(5, lost_efault=9)  # some of a loss can be counted after the hits were
        later = trace.snapshot().summary.ledger
        engine.count(4, lost_efault=1)
    assert (ledger.lost, ledger.not_wanted) == ({"efault": 1}, {"after_snapshot": 1})
    assert (ledger.hits, ledger.balance) == (5, 0)
    assert (later.hits, later.lost, later.balance) == (12, {"efault": 9}, 0)
    assert trace.snapshot().summary.ledger.lost == {"efault": 1}


def test_helper_snapshot_is_refused_until_the_trace_has_ended(engine: Engine) -> None:
    engine.stacks = {5: words(FUNC, A)}
    engine.planted.count_stack(7, stack_id=5)
    engine.count(7)
    with kwalk.trace("ip_rcv", method="helper") as trace:
        with pytest.raises(kwalk.KwalkError, match="cannot be read while it counts") as caught:
            trace.snapshot()
        assert "stop()" in caught.value.hint
        assert not any(text.startswith("look") for text in engine.done)
    assert [(names(c.stack), c.count) for c in trace.snapshot()] == [(["ip_rcv", "a"], 7)]


def test_exception_in_the_with_detaches(engine: Engine) -> None:
    trace = kwalk.trace("ip_rcv")
    counted(engine, 2, A)
    engine.count(2)
    with pytest.raises(ZeroDivisionError), trace:
        raise ZeroDivisionError
    assert engine.done[-1] == "close"
    assert trace.snapshot().calls == 2


def test_trace_and_stream_are_for_one_with(engine: Engine) -> None:
    trace = kwalk.trace("ip_rcv")
    with pytest.raises(kwalk.UsageError, match="has not begun"):
        trace.snapshot()
    with trace:
        pass
    with pytest.raises(kwalk.UsageError, match="already"), trace:
        pass
    stream = kwalk.stream("ip_rcv")
    with pytest.raises(kwalk.UsageError, match="has not begun"):
        next(iter(stream))
    with stream, pytest.raises(kwalk.UsageError, match="after the with"):
        _ = stream.summary
    with pytest.raises(kwalk.UsageError, match="nothing is being traced"):
        next(iter(stream))


def test_differences_have_names(engine: Engine) -> None:
    kernel = engine.planted.kernels(FUNC, B)
    engine.ring = [[engine.walked(A, flags=DIFFERS, other=kernel)]]
    engine.count(1, checked=1, mismatches=1)
    with kwalk.stream("ip_rcv", verify=True) as stream:
        list(stream.events(count=1))
    assert stream.summary.verify
    (difference,) = stream.summary.verify.differences
    assert [names(side) for side in difference] == [["ip_rcv", "a"], ["ip_rcv", "b"]]


def test_command_is_held_until_attached(engine: Engine, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    trace = kwalk.trace("ip_rcv", command=["touch", str(mark)])
    assert not mark.exists()
    with trace:
        assert trace.wait(30)
        assert mark.exists()
        assert trace.wait()
        counted(engine, 3, A)
        engine.count(3)
    profile = trace.snapshot()
    assert profile.calls == 3
    assert not any("touch" in note for note in profile.summary.notes)
    assert profile.facts["command"] == [f"kwalk.trace('ip_rcv', command=['touch', '{mark}'])"]


def test_command_exit_code_is_a_note_and_a_running_one_is_ended(engine: Engine) -> None:
    with kwalk.trace("ip_rcv", command=["false"]) as trace:
        trace.wait()
    assert any("exit code 1" in note for note in trace.snapshot().summary.notes)
    with kwalk.trace("ip_rcv", command=["sleep", "1000"]) as trace:
        assert not trace.wait(0)
        assert trace._session.child
        pid = trace._session.child.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_command_note_is_about_its_final_state(engine: Engine) -> None:
    words: Any = iter(["sh", "-c", "read x < /dev/null; exit 3"])
    with kwalk.trace("ip_rcv", command=words) as trace:
        profile = trace.stop()
        assert "sh" not in " ".join(profile.summary.notes)
        assert trace.wait(20)
    assert "sh ended with exit code 3" in trace.snapshot().summary.notes


def test_command_wait_takes_a_timeout(engine: Engine) -> None:
    with kwalk.trace("ip_rcv", command=["sleep", "1000"]) as trace:
        assert not trace.wait(0.01)
        with pytest.raises(kwalk.UsageError, match="'1' is not a number of seconds"):
            trace.wait("1")  # type: ignore[arg-type]


def test_command_not_found_leaves_nothing_attached(engine: Engine) -> None:
    trace = kwalk.trace("ip_rcv", command=["/no/such/program"])
    with pytest.raises(kwalk.UsageError, match="/no/such/program"), trace:
        raise AssertionError
    assert engine.done[-1] == "close"


def test_wait_without_a_command_is_a_usage_error(engine: Engine) -> None:
    with kwalk.trace("ip_rcv") as trace, pytest.raises(kwalk.UsageError, match="no command"):
        trace.wait()


def test_stream_ends_with_its_command(engine: Engine) -> None:
    engine.ring = [[engine.walked(A)] * 4]
    engine.count(4)
    with kwalk.stream("ip_rcv", command=["true"]) as stream:
        assert len(list(stream)) == 4
    assert stream.summary.ledger.balance == 0


@pytest.fixture
def watched(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[budget.BudgetReading]:
    """Readings as of a machine whose CPU is busy with nothing but calls, 50 ms a look."""
    readings: list[budget.BudgetReading] = []

    def read(_: object) -> budget.BudgetReading:
        now = budget.BudgetReading(*[len(readings) * step for step in costs])
        readings.append(now)
        return now

    costs = (10_000, 0, 5_000_000, 500_000_000, 0)
    monkeypatch.setattr(budget, "read", read)
    monkeypatch.setattr(budget, "STEP_SECONDS", 0.02)
    monkeypatch.setattr(live, "TEND_SECONDS", 0.01)
    return readings


def test_budget_is_tended_in_a_thread(engine: Engine, watched: list[budget.BudgetReading]) -> None:
    with kwalk.trace("ip_rcv", budget=0.02) as trace:
        while len(watched) < 4:
            time.sleep(0.01)
        threads = threading.active_count()
        early = trace.snapshot()
    assert threading.active_count() == threads - 1
    for profile in early, trace.snapshot():
        assert profile.summary.sampling
        assert profile.summary.sampling.budget == 0.02
        assert profile.summary.sampling.cost > 0


def test_budget_that_cannot_be_kept_ends_tracing(
    engine: Engine, watched: list[budget.BudgetReading]
) -> None:
    with kwalk.trace("ip_rcv", budget=0.00001) as trace:
        deadline = time.monotonic() + 30
        while "detach" not in engine.done and time.monotonic() < deadline:
            time.sleep(0.01)
        assert "detach" in engine.done
    assert any("too much" in note or "detached" in note for note in trace.snapshot().summary.notes)


def test_budget_that_cannot_be_measured_ends_tracing(
    engine: Engine, watched: list[budget.BudgetReading], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> budget.BudgetReading:
        raise OSError(24, "Too many open files", "/proc/stat")

    with kwalk.trace("ip_rcv", budget=0.02) as trace:
        monkeypatch.setattr(budget, "read", fail)
        deadline = time.monotonic() + 30
        while "detach" not in engine.done and time.monotonic() < deadline:
            time.sleep(0.01)
        assert "detach" in engine.done
    assert any("Too many open files" in note for note in trace.snapshot().summary.notes)


def test_error_while_tending_ends_tracing_with_a_note(
    engine: Engine, watched: list[budget.BudgetReading], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Session) -> bool:
        raise kwalk.KwalkError("a map cannot be written")

    monkeypatch.setattr(Session, "tend", fail)
    with kwalk.trace("ip_rcv", budget=0.02) as trace:
        deadline = time.monotonic() + 30
        while "detach" not in engine.done and time.monotonic() < deadline:
            time.sleep(0.01)
        assert "detach" in engine.done
    notes = trace.snapshot().summary.notes
    assert "tracing ended early: a map cannot be written" in notes


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_trace, "POLL_SECONDS", 0.001)


@pytest.mark.usefixtures("quickly")
def test_stream_yields_events_with_their_stacks(engine: Engine) -> None:
    who: dict[str, Any] = {"cpu": 1, "tgid": 100, "pid": 101, "comm": b"redis"}
    engine.ring = [
        [engine.walked(A, B, time_ns=1, **who), engine.walked(A, time_ns=2)],
        [],
        [engine.walked(A, B, time_ns=3, **who)],
    ]
    engine.count(3)
    with kwalk.stream("ip_rcv") as stream:
        events = stream.events(count=3)
        first = next(events)
        assert first.who == kwalk.Who(1, 100, 101, "redis")
        assert names(first.stack) == ["ip_rcv", "a", "b"]
        rest = list(events)
        assert list(stream.events(duration=0.01)) == []
    assert [event.time_ns for event in rest] == [2, 3]
    assert rest[1].stack is first.stack
    assert stream.summary.ledger == Ledger(hits=3, recorded=3)


@pytest.mark.usefixtures("quickly")
def test_stream_counts_events_not_taken(engine: Engine) -> None:
    def run() -> list[Sent]:
        return [engine.walked(A, time_ns=number) for number in range(10)]

    engine.ring = [run(), run()]
    engine.count(20)
    with kwalk.stream("ip_rcv") as stream:
        for event in stream:
            if event.time_ns == 2:
                break
        assert [event.time_ns for event in stream.events(count=1)] == [3]
        assert "detach" not in engine.done
    assert stream.summary.ledger.not_wanted == {"not_taken": 16}
    assert (stream.summary.ledger.recorded, stream.summary.ledger.balance) == (4, 0)


@pytest.mark.usefixtures("quickly")
def test_stream_ends_after_stop_once_it_is_empty(engine: Engine) -> None:
    engine.ring = [[engine.walked(A)] * 4, [engine.walked(A)] * 2]
    engine.count(6)
    seen = 0
    with kwalk.stream("ip_rcv") as stream:
        for _ in stream:
            seen += 1
            stream.stop()
    assert seen == 6
    assert stream.summary.ledger.lost == {}


def test_stream_works_by_the_helper(engine: Engine) -> None:
    engine.stacks = {5: words(FUNC, A)}
    engine.ring = [[record(stack_id=5, time_ns=n) for n in range(4)]]
    engine.count(4)
    with kwalk.stream("ip_rcv", method="helper") as stream:
        stream.stop()
        assert [names(event.stack) for event in stream] == [["ip_rcv", "a"]] * 4
    assert stream.summary.ledger.balance == 0


def test_choices_reach_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[filter_names.Wanted] = []

    def filters(self: filter_names.Wanted) -> Filters:
        seen.append(self)
        return Filters()

    monkeypatch.setattr(filter_names.Wanted, "filters", filters)
    options = probe_options(
        {
            "method": "helper", "attach": "kprobe", "depth": 9, "per": "cpu", "pids": {7},
            "tids": [8], "comms": ["redis"], "cgroups": ["a"], "netns": [4026531840, "blue"],
            "cpus": range(2), "follow": True, "sample": 10, "verify": 100,
            "from_caller": "tcp_.*", "until": "*_sendmsg", "nodes": 5, "stack_entries": 6,
            "ring_mib": 8, "frequency": 99, "command": ["true"],
        },
        Output.EVENT,
    )  # fmt: skip
    assert seen == [
        filter_names.Wanted(
            (7,), (8,), ("redis",), (0, 1), ("4026531840", "blue"), ("a",), follow=True
        )
    ]
    assert (options.method, options.attach, options.depth) == (Method.HELPER, "kprobe", 9)
    assert (options.per, options.verify, options.chance) == (Per.CPU, 100, 0.1)
    assert (options.nodes, options.stack_entries, options.ring_bytes) == (5, 6, 8 << 20)
    assert (options.frequency, options.output) == (99, Output.EVENT)
    assert options.through
    assert options.through.search("x tcp_v4_rcv")
    assert options.until
    assert options.until.fullmatch("tcp_sendmsg")


def test_default_choices_are_those_of_the_command_line() -> None:
    from kwalk.cli import trace_options
    from kwalk.cli.parser import parse
    from kwalk.cli.parsers import command_line

    args = parse(command_line("stream"), ["ip_rcv"])
    assert probe_options({}, Output.EVENT) == probe_options(
        trace_options.choices(args), Output.EVENT
    )


@pytest.mark.parametrize(
    ("choices", "what"),
    [
        ({"method": "magic"}, "method='magic' is not one of 'auto', 'manual', 'helper'"),
        ({"attach": "uprobe"}, "attach='uprobe' is not one of 'auto', "),
        ({"per": "user"}, "per='user' is not one of None, 'pid', "),
        ({"depth": 1}, "depth=1 is not a whole number from 2 to 127"),
        ({"depth": 20.5}, "depth=20.5 is not"),
        ({"nodes": 0}, "nodes=0 is not"),
        ({"stack_entries": 1 << 30}, "stack_entries=1073741824 is not"),
        ({"sample": 0}, "sample=0 is not"),
        ({"verify": -1}, "verify=-1 is not"),
        ({"ring_mib": 12}, "ring_mib=12 is not a power of two"),
        ({"from_caller": "("}, "is not a regular expression"),
        ({"comms": "redis"}, "comms='redis' is not several"),
        ({"pids": 1}, "pids=1 is not several"),
        ({"pids": ["1"]}, "pids has '1', which is not a number"),
        ({"cpus": "0-3"}, "cpus='0-3' is not several"),
        ({"netns": [1.5]}, "netns has 1.5, which is not a text or number or path"),
        ({"follow": "yes"}, "follow='yes' is neither True nor False"),
        ({"verify": "x"}, "verify='x' is not a whole number from 0 to"),
        ({"sample": True}, "sample=True is not a whole number from 1 to"),
        ({"frequency": "99"}, "frequency='99' is not a whole number from 1 to 10,000"),
        ({"budget": 2}, "budget=2 is not between 0 % and 100 %"),
        ({"budget": 0.0}, "budget=0.0 is not between 0 % and 100 %"),
        ({"budget": 1.0}, "budget=1.0 is not between 0 % and 100 %"),
        ({"tids": [1 << 32]}, "tids has 4294967296"),
        ({"budget": 0.02, "sample": 10}, "sample cannot be combined with budget"),
        ({"command": "true"}, "command='true' is not several"),
        ({"command": []}, "command is empty"),
        ({"until": 5}, "until=5 is not text"),
        ({"from_caller": re.compile(b"x")}, "is not text"),
        ({"method": ["manual"]}, "method=['manual'] is not one of "),
        ({"follow": True}, "follow needs processes"),
        ({"pids": []}, "pids is given, but empty"),
        ({"tids": ()}, "tids is given, but empty"),
        ({"comms": set()}, "comms is given, but empty"),
        ({"cpus": range(3, 1)}, "cpus is given, but empty"),
        ({"cgroups": []}, "cgroups is given, but empty"),
        ({"netns": iter(())}, "netns is given, but empty"),
        ({"pids": [1 << 30]}, "there is no process 1073741824"),
        ({"frequency": 99}, "either functions or a frequency is needed"),
    ],
)
def test_invalid_choice_is_refused(choices: Choices, what: str) -> None:
    with pytest.raises(kwalk.UsageError, match=re.escape(what)):
        kwalk.trace("ip_rcv", **choices)


def test_misuse_of_the_api_is_an_error() -> None:
    with pytest.raises(TypeError, match="no option 'methd'; there are method, "):
        kwalk.trace("ip_rcv", methd="manual")  # type: ignore[call-arg]
    with pytest.raises(kwalk.UsageError, match="either functions or a frequency is needed"):
        kwalk.trace()
    for functions in (5, ["ip_rcv", 5]):
        with pytest.raises(kwalk.UsageError, match=r"^functions.* 5|^functions=5"):
            kwalk.trace(functions)  # type: ignore[arg-type]
    with pytest.raises(kwalk.KwalkError, match="- cannot be read"):
        kwalk.open("-")
    with pytest.raises(kwalk.UsageError, match="a stream has no counts to aggregate"):
        kwalk.stream("ip_rcv", per="pid")


def python(text: str) -> str:
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    return done.stdout


def test_importing_kwalk_loads_nothing() -> None:
    assert (
        python("import kwalk, sys; print([m for m in sys.modules if 'kwalk.' in m])")
        == "['kwalk.version']\n"
    )
    loaded = python("import kwalk, sys; kwalk.trace; print('argparse' in sys.modules)")
    assert loaded == "False\n"


def test_public_names_are_all_documented_and_importable() -> None:
    assert set(kwalk.__all__) == {"__version__", *kwalk._HOMES}
    for name in kwalk.__all__:
        assert getattr(kwalk, name).__doc__
    assert set(kwalk.__all__) <= set(dir(kwalk))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = kwalk.nothing
    # What type checkers are told is what there is.
    told = set(
        re.findall(r"^    from kwalk\.([\w.]+) import", Path(kwalk.__file__).read_text(), re.M)
    )
    assert told == set(kwalk._MODULES)
