# SPDX-License-Identifier: MIT
"""The order of the experiment's runs, what they are compared with, and how it ends early."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from kwalk.bench import empty, quiet
from kwalk.bench import experiment as experiments
from kwalk.bench import workload as workloads
from kwalk.bench.experiment import Experiment
from kwalk.bench.results import Account, Outcome, Results, WorkloadRun
from kwalk.bench.tool import ToolUnavailable
from kwalk.bench.workload import Workload
from kwalk.errors import KwalkError, NotSupported
from kwalk.libbpf import LibbpfError, stats


class Machine:
    """What is attached at the moment, and what was when the workload ran.

    :ivar programs: BPF programs of the kernel: time and runs by id.
    :ivar calls: Calls of the traced function so far.
    """

    def __init__(self) -> None:
        self.attached: list[str] = []
        self.loads: list[str] = []
        self.starts: list[str] = []
        self.measures = False
        self.programs: stats.Costs = {7: (10**9, 10)}
        self.calls = 10**6


class Load(Workload):
    """A workload that comes to these rates, one after the other, then to 100; or fails."""

    def __init__(self, machine: Machine, rates: Sequence[float | BaseException] = ()) -> None:
        super().__init__(["load", "-n", "a b"])
        self._machine = machine
        self._rates = list(rates)

    @property
    def unit(self) -> str:
        return "ops/s" if self._machine.loads else "metric"

    def run(self) -> WorkloadRun:
        self._machine.loads.append("+".join(self._machine.attached) or "none")
        self._machine.calls += 1003
        rate = self._rates.pop(0) if self._rates else 100.0
        if isinstance(rate, BaseException):
            raise rate
        if self._machine.measures:
            loaded = self._machine.programs
            loaded |= {number: (10**6 + 400 * 50, 60) for number in loaded if number > 7}
        return WorkloadRun(rate, 2.0, {50.0: 1.0})


class Running:
    """An attached tool of these tests."""

    attach_seconds = 1.5

    def __init__(self, machine: Machine, name: str, error: BaseException | None) -> None:
        self._machine = machine
        self.name = name
        self._error = error
        self._clock = iter([3.0, 3.5])
        machine.attached.append(name)
        self._program = 8 + len(machine.starts)
        machine.programs[self._program] = (10**6, 10)  # as it starts
        machine.calls += 20

    def cpu_seconds(self) -> float:
        return next(self._clock)

    def finish(self) -> Outcome:
        if self._error:
            raise self._error
        self._machine.calls += 30
        return Outcome(1000, 3)

    def kill(self) -> None:
        if self.name in self._machine.attached:
            self._machine.attached.remove(self.name)
            del self._machine.programs[self._program]


class Counter:
    """The counter of calls; it is not attached while runs are timed."""

    way = "fentry"

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def __enter__(self) -> Counter:
        assert self._machine.measures
        self._machine.attached.append("counter")
        return self

    def __exit__(self, *_: object) -> None:
        self._machine.attached.remove("counter")

    def calls(self) -> int:
        return self._machine.calls


class Fake:
    """A tool that can be attached, or not; ``errors`` are those of its starts, one by one."""

    def __init__(
        self,
        machine: Machine,
        name: str,
        starts: Sequence[BaseException | None] = (),
        finishes: Sequence[BaseException | None] = (),
    ) -> None:
        self.name = name
        self._machine = machine
        self._starts = list(starts)
        self._finishes = list(finishes)

    def start(self) -> Running:
        self._machine.starts.append(self.name)
        error = self._starts.pop(0) if self._starts else None
        if error:
            raise error
        return Running(self._machine, self.name, self._finishes.pop(0) if self._finishes else None)

    def version(self) -> str:
        return f"{self.name} 1.0"


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    """A machine whose kernel measures BPF programs, without redis and outside of the lab."""
    made = Machine()

    @contextmanager
    def measured() -> Iterator[None]:
        made.measures = True
        yield
        made.measures = False

    monkeypatch.setattr(stats, "programs", lambda: dict(made.programs))
    monkeypatch.setattr(stats, "measured", measured)
    monkeypatch.setattr(empty, "counter", lambda _: Counter(made))
    monkeypatch.setattr(quiet, "wait", lambda _: True)
    monkeypatch.setattr(workloads, "redis_version", lambda: "")
    line = tmp_path / "cmdline"
    line.write_text("root=/dev/vda quiet\n")
    monkeypatch.setattr(experiments, "_COMMAND_LINE", line)
    monkeypatch.delenv("KWALK_LAB_CLOCK", raising=False)
    return made


def made(
    machine: Machine, rates: Sequence[float | BaseException] = (), *tools: Fake
) -> tuple[Experiment, list[str]]:
    said: list[str] = []
    fakes = tools or (Fake(machine, "A"), Fake(machine, "B"))
    return Experiment("ip_rcv", "count", fakes, Load(machine, rates), said.append), said


def test_methods_take_turns_after_a_warm_up_and_are_weighed_in_the_end(machine: Machine) -> None:
    experiment, said = made(machine)
    experiment.run(3)
    assert machine.loads == ["none", *["none", "A", "B"] * 3, "counter+A", "counter+B"]
    assert machine.attached == []
    results = experiment.results
    assert len(results.base) == 3  # the warm-up is not one of them
    assert [(row.name, len(row.runs), row.not_run) for row in results.rows] == [
        ("A", 3, ""),
        ("B", 3, ""),
    ]
    assert said[0] == "warm-up"
    assert said[1] == "1/3 none: 100 ops/s"
    assert said[9] == "3/3 B: 100 ops/s, +0.0 %"
    assert said[-2:] == ["calls and cost of A", "calls and cost of B"]


def test_change_is_relative_to_the_untraced_run_of_its_round(machine: Machine) -> None:
    experiment, said = made(machine, [9999, 100, 80, 110, 200, 100, 200])
    experiment.run(2)
    first, second = experiment.results.rows
    assert [run.change for run in first.runs] == pytest.approx([-20, -50])
    assert [run.change for run in second.runs] == pytest.approx([10, 0])
    assert [sample.rate for sample in experiment.results.base] == [100, 200]
    assert "2/2 A: 100 ops/s, -50.0 %" in said


def test_rate_below_one_keeps_its_digits(machine: Machine) -> None:
    experiment, said = made(machine, [0.4] * 5)  # a workload of 2.5 s by its time
    experiment.run(1)
    assert "1/1 none: 0.4 ops/s" in said
    assert "1/1 A: 0.4 ops/s, +0.0 %" in said


def test_run_has_the_outcome_and_the_cost_of_its_tool(machine: Machine) -> None:
    experiment, _ = made(machine)
    experiment.run(1)
    (run,) = experiment.results.rows[0].runs
    assert run.sample == WorkloadRun(100, 2.0, {50.0: 1.0})
    assert (run.attach_seconds, run.reader_seconds) == (1.5, 0.5)
    assert run.outcome == Outcome(1000, 3)


def test_results_say_what_was_measured_and_where(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment, _ = made(machine)
    assert experiment.results.workload == "load -n 'a b'"
    experiment.run(1)
    results = experiment.results
    assert (results.function, results.mode, results.metric) == ("ip_rcv", "count", "ops/s")
    assert (results.clock, results.mitigations, results.stopped) == ("time", "on", "")
    assert results.versions == ["A 1.0", "B 1.0"]
    assert [row.version for row in results.rows] == ["A 1.0", "B 1.0"]
    monkeypatch.setattr(workloads, "redis_version", lambda: "redis 7.0.15")
    monkeypatch.setenv("KWALK_LAB_CLOCK", "instructions")
    experiments._COMMAND_LINE.write_text("quiet mitigations=off\n")
    experiment, _ = made(machine, (), Fake(machine, "A"))
    experiment.run(1)
    assert (experiment.results.clock, experiment.results.mitigations) == ("instructions", "off")


def test_missing_tool_is_told_once_and_not_retried(machine: Machine) -> None:
    missing = Fake(machine, "A", [ToolUnavailable("A is not installed")])
    experiment, said = made(machine, (), missing, Fake(machine, "B"))
    experiment.run(3)
    assert machine.loads == ["none", *["none", "B"] * 3, "counter+B"]
    assert machine.starts.count("A") == 1
    assert [text for text in said if "A" in text] == ["1/3 A: not run: A is not installed"]
    absent, present = experiment.results.rows
    assert (absent.runs, absent.not_run, absent.cost_ns) == ([], "A is not installed", None)
    assert len(present.runs) == 3
    assert experiment.results.versions == ["B 1.0"]


def test_tool_that_gives_up_later_keeps_its_runs_and_the_reason(machine: Machine) -> None:
    failing = Fake(machine, "A", finishes=[None, ToolUnavailable("it did not end")])
    experiment, _ = made(machine, (), failing, Fake(machine, "B"))
    experiment.run(3)
    assert machine.loads == ["none", *["none", "A", "B"] * 2, "none", "B", "counter+B"]
    assert machine.attached == []
    row = experiment.results.rows[0]
    assert (len(row.runs), row.not_run) == (1, "it did not end")


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), KwalkError("the workload failed")], ids=["Ctrl-C", "failure"]
)
@pytest.mark.parametrize(
    ("loads", "base", "runs"),
    [
        (0, 0, [0, 0]),  # in the warm-up
        (1, 0, [0, 0]),
        (2, 1, [0, 0]),
        (3, 1, [1, 0]),
        (5, 2, [1, 1]),
        (6, 2, [2, 1]),
    ],
)
def test_early_end_keeps_results_and_detaches(
    machine: Machine, error: BaseException, loads: int, base: int, runs: list[int]
) -> None:
    experiment, _ = made(machine, [*[100.0] * loads, error])
    with pytest.raises(type(error)):
        experiment.run(2)
    assert machine.attached == []
    assert machine.loads[-1] == ["none", "none", "A", "B"][loads if loads < 4 else loads - 3]
    results = experiment.results
    assert len(results.base) == base
    assert [len(row.runs) for row in results.rows] == runs
    assert [row.not_run for row in results.rows] == ["", ""]
    assert results.metric == ("ops/s" if loads else "")


def test_interrupt_of_the_cost_run_keeps_all_runs(machine: Machine) -> None:
    experiment, _ = made(machine, [100.0, 100, 100, 100, KeyboardInterrupt()])
    with pytest.raises(KeyboardInterrupt):
        experiment.run(1)
    assert machine.loads[-1] == "counter+A"
    assert machine.attached == []
    assert [len(row.runs) for row in experiment.results.rows] == [1, 1]


def test_cost_is_per_event_of_the_new_programs(machine: Machine) -> None:
    experiment, _ = made(machine)
    experiment.run(1)
    assert [row.cost_ns for row in experiment.results.rows] == [400, 400]
    assert not machine.measures


def results_with(machine: Machine, *tools: Fake) -> Results:
    experiment, _ = made(machine, (), *tools)
    experiment.run(2)
    return experiment.results


@pytest.mark.parametrize("error", [LibbpfError("stats", 1), NotSupported("no libbpf")])
@pytest.mark.parametrize("name", ["programs", "measured"])
def test_unmeasurable_cost_is_none_and_the_runs_are_kept(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, name: str, error: KwalkError
) -> None:
    def fails() -> None:
        raise error

    monkeypatch.setattr(stats, name, fails)
    results = results_with(machine)
    assert [row.cost_ns for row in results.rows] == [None, None]
    assert [row.not_counted for row in results.rows] == [error.what] * 2
    assert [len(row.runs) for row in results.rows] == [2, 2]
    assert results.versions == ["A 1.0", "B 1.0"]
    assert machine.attached == []


def test_tool_without_bpf_programs_has_no_cost(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stats, "programs", lambda: {7: (10**9, 10)})
    assert [row.cost_ns for row in results_with(machine).rows] == [None, None]


def test_tool_that_fails_to_reattach_has_no_cost(machine: Machine) -> None:
    once = Fake(machine, "A", [None, None, ToolUnavailable("busy")])
    results = results_with(machine, once, Fake(machine, "B"))
    assert [row.cost_ns for row in results.rows] == [None, 400]
    assert [row.not_run for row in results.rows] == ["", ""]
    assert [row.not_counted for row in results.rows] == ["busy", ""]


def test_calls_are_counted_apart_from_what_a_tool_says(machine: Machine) -> None:
    """20 calls come while a tool starts, 1003 under load, 30 while it ends."""
    row, _ = results_with(machine).rows
    assert row.account == Account(1003, 50, "fentry", Outcome(1000, 3))
    assert row.account.silent == 0


@pytest.mark.parametrize(
    ("outcome", "silent"),
    [
        (Outcome(1000, 3), 0),
        (Outcome(1000, 0), 3),
        (Outcome(800, 100), 103),
        (Outcome(800, None), 203),  # of a tool that does not say what it lost
        (Outcome(1040, 0), 0),  # some of them came outside the load
        (Outcome(None, None), None),
    ],
)
def test_silent_calls_are_neither_delivered_nor_admitted(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, outcome: Outcome, silent: int | None
) -> None:
    monkeypatch.setattr(Running, "finish", lambda _: outcome)
    row, _ = results_with(machine).rows
    assert row.account
    assert (row.account.calls, row.account.silent) == (1003, silent)


def test_function_without_a_counter_has_its_cost_and_the_reason(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(_: str) -> Counter:
        raise LibbpfError("cannot attach a kprobe to ip_rcv", 1)

    monkeypatch.setattr(empty, "counter", refuses)
    row, _ = results_with(machine).rows
    assert (row.cost_ns, row.account) == (400, None)
    assert row.not_counted.startswith("cannot attach a kprobe to ip_rcv")
    assert machine.loads[-1] == "B"


def test_load_begins_when_the_tool_is_at_rest(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[int] = []

    def wait(running: Running) -> bool:
        loads.append(len(machine.loads))
        assert machine.attached[-1] == running.name
        return running.name != "B"

    monkeypatch.setattr(quiet, "wait", wait)
    first, second = results_with(machine).rows
    # Before each load under a tool, timed or not; not before those without one.
    assert loads == [2, 3, 5, 6, 7, 8]
    assert [run.quiet for run in first.runs] == [True, True]
    assert [run.quiet for run in second.runs] == [False, False]


def test_a_little_of_the_load_comes_before_each_measurement(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not timed and costs nothing in the figures, but its calls are counted."""
    seen: list[tuple[int, str]] = []

    def begin(load: Load) -> bool:
        seen.append((len(machine.loads), "+".join(machine.attached) or "none"))
        machine.calls += 250
        machine.programs |= {n: (10**6, 10) for n in machine.programs if n > 7}
        return True

    monkeypatch.setattr(Load, "begin", begin)
    tool = Fake(machine, "A")
    experiment, _ = made(machine, (), tool)
    experiment.run(1)
    # After the warm-up: without tracing, under the tool, and under it with the counter.
    assert seen == [(1, "none"), (2, "A"), (3, "counter+A")]
    (row,) = experiment.results.rows
    assert row.account
    assert row.account.calls == 1003 + 250
    assert row.cost_ns == 400


def test_unrunnable_workload_is_told_before_attaching(
    machine: Machine,
) -> None:
    experiment, _ = made(machine, [KwalkError("no such program")])
    with pytest.raises(KwalkError, match="no such program"):
        experiment.run(5)
    assert machine.starts == []
