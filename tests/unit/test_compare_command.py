# SPDX-License-Identifier: MIT
"""``kwalk compare``: what it runs, what it prints, and what it does when that goes wrong."""

from __future__ import annotations

import errno
import json
import os
import signal
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from engine import Engine, words
from planted import FUNC, A, B, C

from kwalk.abi import DIFFERS, FALLBACK, NO_ID, Method, Output, Unwinder
from kwalk.cli.main import main
from kwalk.cli.stopper import Stopper
from kwalk.engine.capture import Capture
from kwalk.libbpf import LibbpfError, stats
from kwalk.model.stack import Frame
from kwalk.options.probe import ProbeOptions
from kwalk.symbolize.symbolizer import Symbolizer

Run = Callable[..., tuple[int, str, str]]
COMPARE = ("compare", "ip_rcv", "--duration=0.01")


class Runs:
    """The captures of a test: by which method, with what output.

    :ivar found: What each was asked for.
    :ivar infos: What the program of each has cost, in nanoseconds and runs.
    :ivar measured: Whether that was being measured.
    """

    def __init__(self) -> None:
        self.found: list[ProbeOptions] = []
        self.infos = {Method.HELPER: (80_000, 10), Method.MANUAL: (14_000, 10)}
        self.measured: list[bool] = []
        self.measuring = False


@pytest.fixture
def runs(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Runs:
    made = Runs()
    enter = Capture.__enter__

    def begin(self: Capture) -> Capture:
        made.found.append(self.options)
        made.measured.append(made.measuring)
        cost = made.infos.get(self.options.method or Method.MANUAL, (0, 0))
        engine.info = bytes(192) + struct.pack("<QQ", *cost)
        return enter(self)

    @contextmanager
    def measured() -> Iterator[None]:
        made.measuring = True
        yield
        made.measuring = False

    monkeypatch.setattr(Capture, "__enter__", begin)
    monkeypatch.setattr(stats, "measured", measured)
    engine.unwinder = Unwinder.FRAME_POINTER
    engine.stacks = {5: words(FUNC, B), 6: words(FUNC, A, B)}
    engine.ring = [
        [engine.walked(A, B, stack_id=5)] * 8
        + [engine.walked(A, B, stack_id=-errno.EEXIST, flags=NO_ID)]
    ]
    engine.count(10, lost_ring_full=1)
    return made


def test_compare_runs_both_methods_and_then_each_for_its_cost(runs: Runs, run: Run) -> None:
    code, out, err = run(main, *COMPARE, "--ring=8", "--depth=20")
    assert (code, err.count("kwalk: tracing ip_rcv")) == (0, 3)
    asked = [(o.method, o.output, o.depth, o.ring_bytes) for o in runs.found]
    assert asked == [
        (Method.BOTH, Output.EVENT, 20, 8 << 20),
        (Method.HELPER, Output.COUNT, 20, 8 << 20),
        (Method.MANUAL, Output.COUNT, 20, 8 << 20),
    ]
    assert runs.measured == [False, True, True]
    assert "8 of 9 calls (88.9 %): the helper lacks frames that manual has" in out
    assert " ->  a+0x10\n" in out
    assert "1 of 9 calls (11.1 %): the helper has no stack" in out
    assert "= 8 stacks + 2 lost " in out
    assert "= 9 stacks + 1 lost" in out
    assert "8,000 ns each (by fentry)" in out
    assert "1,400 ns each" in out
    assert "-> The helper misses a in 8 calls." in out


def test_json_has_both_ledgers(runs: Runs, run: Run) -> None:
    data = json.loads(run(main, *COMPARE, "--format=json")[1])
    helper, manual = data["sides"]["helper"], data["sides"]["manual"]
    assert helper["ledger"]["lost"] == {"eexist": 1, "ring_full": 1}
    assert manual["ledger"]["lost"] == {"ring_full": 1}
    for side in (helper, manual):
        assert (side["ledger"]["hits"], side["ledger"]["balance"]) == (10, 0)
    assert (helper["cost"]["each"], helper["cost"]["events"]) == (8000, 10)
    assert len(data["pairs"]) == 2


def test_manual_ledger_counts_its_own_losses(engine: Engine, runs: Runs, run: Run) -> None:
    engine.ring = [[engine.kernels(C, flags=FALLBACK, stack_id=5), engine.walked(A, stack_id=5)]]
    engine.count(2, lost_ring_full=0)
    data = json.loads(run(main, *COMPARE, "--format=json", "--no-cost")[1])
    assert data["sides"]["manual"]["ledger"]["lost"] == {"no_entry_frame": 1}
    assert data["sides"]["helper"]["ledger"]["lost"] == {}
    assert data["sides"]["manual"]["ledger"]["balance"] == 0
    assert data["kinds"]["manual_lost"] == 1


def test_no_cost_option_runs_once(runs: Runs, run: Run) -> None:
    out = run(main, *COMPARE, "--no-cost")[1]
    assert [o.method for o in runs.found] == [Method.BOTH]
    assert "costs" not in out


def test_calls_that_filters_refused_are_no_events(engine: Engine, runs: Runs, run: Run) -> None:
    engine.filtered = 8
    data = json.loads(run(main, *COMPARE, "--format=json")[1])
    assert data["sides"]["helper"]["cost"]["each"] == 40_000
    assert data["sides"]["helper"]["cost"]["events"] == 2


def test_unknown_cost_is_a_note(runs: Runs, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    runs.infos[Method.HELPER] = 0, 0
    code, out, _ = run(main, *COMPARE)
    assert code == 0
    assert "note: the cost of helper is not known: no call of it was seen meanwhile" in out
    assert "1,400 ns each" in out

    @contextmanager
    def refused() -> Iterator[None]:
        raise LibbpfError("the kernel does not measure BPF programs", errno.EPERM)
        yield

    monkeypatch.setattr(stats, "measured", refused)
    code, out, _ = run(main, *COMPARE)
    assert code == 0
    assert out.count("is not known: the kernel does not measure BPF programs") == 2


@pytest.mark.usefixtures("runs")
def test_html_page_is_written_beside_the_text(run: Run, tmp_path: Path) -> None:
    code, out, _ = run(main, *COMPARE, "--html", str(tmp_path / "page.html"))
    assert code == 0
    assert "the helper lacks frames" in out
    assert "<title>kwalk compare: ip_rcv</title>" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize("before", [None, "an older page"])
def test_html_page_is_unchanged_where_nothing_was_traced(
    runs: Runs, run: Run, tmp_path: Path, before: str | None
) -> None:
    page = tmp_path / "page.html"
    if before:
        page.write_text(before)
    code, _, _ = run(main, "compare", "--html", str(page), "no_such_function")
    assert code == 2
    assert page.exists() == bool(before)
    assert not before or page.read_text() == before
    assert len(list(tmp_path.iterdir())) == bool(before)


def test_unwritable_html_page_is_refused_before_tracing(runs: Runs, run: Run) -> None:
    code, _, err = run(main, *COMPARE, "--html=/nowhere/page.html")
    assert code == 1
    assert "/nowhere/page.html cannot be written" in err
    assert runs.found == []


@pytest.mark.usefixtures("runs")
def test_strict_looks_at_both_sides(engine: Engine, run: Run) -> None:
    ring = list(engine.ring)
    assert run(main, *COMPARE, "--no-cost")[0] == 0
    engine.ring = ring
    engine.count(9, lost_ring_full=0)  # the helper lost one
    assert run(main, *COMPARE, "--no-cost", "--strict")[0] == 1
    engine.ring = [[engine.kernels(C, flags=FALLBACK, stack_id=5)]]
    engine.count(1)  # manual did
    assert run(main, *COMPARE, "--no-cost", "--strict")[0] == 1
    engine.ring = [[engine.walked(A, B, stack_id=5)] * 8]
    engine.count(8)
    assert run(main, *COMPARE, "--no-cost", "--strict")[0] == 0


def test_ctrl_c_ends_with_what_there_is(
    runs: Runs, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait = Stopper.wait

    def interrupt(self: Stopper, seconds: float) -> None:
        signal.raise_signal(signal.SIGINT)
        wait(self, seconds)

    monkeypatch.setattr(Stopper, "wait", interrupt)
    code, out, _ = run(main, "compare", "ip_rcv", "--duration=60")
    assert code == 0
    assert [o.method for o in runs.found] == [Method.BOTH]
    assert "8 of 9 calls" in out


def test_command_is_run_once_per_capture(
    engine: Engine, runs: Runs, run: Run, tmp_path: Path
) -> None:
    script = f"echo x >> {tmp_path}/runs; exit 3"
    code, out, err = run(main, "compare", "ip_rcv", "--", "sh", "-c", script)
    assert code == 0
    assert (tmp_path / "runs").read_text() == "x\n" * 3
    assert out.count("note: sh ended with exit code 3") == 1
    assert all(o.filters.pids for o in runs.found)
    assert err.count("until sh ends") == 3


def test_duration_detaches_before_pending_events_are_read(
    engine: Engine, runs: Runs, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There can be a lot of it, and more would come all the while."""
    engine.ring = [[engine.walked(A, B, stack_id=5)] * 4 for _ in range(2)]
    engine.count(8, lost_ring_full=0)
    seen = []
    pairs = Capture.pairs

    def slowly(self: Capture) -> Iterator[Any]:
        for pair in pairs(self):
            seen.append("detach" in engine.done)
            time.sleep(0.02)
            yield pair

    monkeypatch.setattr(Capture, "pairs", slowly)
    data = json.loads(run(main, *COMPARE, "--no-cost", "--format=json")[1])
    assert data["events"] == 8
    assert data["sides"]["helper"]["ledger"]["balance"] == 0
    assert seen == [False] + 7 * [True]


@pytest.mark.usefixtures("runs")
def test_kernel_that_cannot_be_walked_is_refused(engine: Engine, run: Run) -> None:
    engine.method = Method.HELPER
    code, _, err = run(main, *COMPARE)
    assert code == 1
    assert err.startswith("kwalk: there is nothing to compare: a note\n")


@pytest.mark.usefixtures("runs")
def test_events_through_a_caller_are_seen_on_both_sides(engine: Engine, run: Run) -> None:
    engine.ring[0] += [engine.walked(C, stack_id=5)] * 2  # the helper's leads through B
    engine.ring[0] += [engine.walked(C, stack_id=7)] * 3
    engine.stacks[7] = words(FUNC, C)
    engine.count(15)
    words_ = ("--from-caller=^b$", "--until=a", "--no-cost", "--format=json")
    code, out, _ = run(main, *COMPARE, *words_)
    data = json.loads(out)
    assert code == 0
    assert data["events"] == 11
    for side in ("helper", "manual"):
        ledger = data["sides"][side]["ledger"]
        assert (ledger["not_wanted"]["other_callers"], ledger["balance"]) == (3, 0)
    names = [[frame["name"] for frame in pair["manual"]["frames"]] for pair in data["pairs"]]
    assert names == [["ip_rcv", "a"], ["ip_rcv", "c"], ["ip_rcv", "a"]]


@pytest.mark.usefixtures("runs")
def test_addresses_are_shown_where_they_are_wanted(run: Run, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    address = f"{A:016x}"
    out = run(main, *COMPARE, "--no-cost", "--addr", f"--html={page}")[1]
    assert f"{address}  a+0x10" in out
    assert f"{address}  a+0x10" in page.read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="what others make is as their umask has it")
@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize("option", ["--addr", "--no-addr", "no symbol"])
def test_page_with_addresses_is_for_nobody_else_to_read(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    page = tmp_path / "page.html"
    words = [option] if option != "no symbol" else []
    if option == "no symbol":
        monkeypatch.setattr(
            Symbolizer, "frames", lambda _, stack: [Frame("", 0, "", at) for at in stack.addresses]
        )
    old = os.umask(0o022)
    try:
        assert run(main, *COMPARE, "--no-cost", *words, f"--html={page}")[0] == 0
    finally:
        os.umask(old)
    assert page.stat().st_mode & 0o777 == (0o644 if option == "--no-addr" else 0o600)


def test_json_has_addresses_unless_told_otherwise(runs: Runs, engine: Engine, run: Run) -> None:
    ring = list(engine.ring)
    assert '"addr"' in run(main, *COMPARE, "--no-cost", "--format=json")[1]
    engine.ring = ring
    assert '"addr"' not in run(main, *COMPARE, "--no-cost", "--format=json", "--no-addr")[1]


def test_manual_is_verified_where_both_are_taken(runs: Runs, engine: Engine, run: Run) -> None:
    kernel = engine.planted.kernels(FUNC, B)
    engine.ring[0] += [engine.walked(A, B, stack_id=5, flags=DIFFERS, other=kernel)]
    engine.count(11, checked=10, mismatches=1)
    ring = [list(batch) for batch in engine.ring]
    code, out, _ = run(main, *COMPARE, "--verify")
    assert code == 1
    assert [found.verify for found in runs.found] == [1, 0, 0]
    assert "10 stacks compared with the kernel's unwinder, 1 differ" in out
    assert "difference 1: the walk on the left, the kernel on the right" in out
    engine.ring = ring
    data = json.loads(run(main, *COMPARE, "--verify=1/5", "--no-cost", "--format=json")[1])
    assert (data["verify"]["every"], data["verify"]["mismatches"]) == (5, 1)


def test_options_that_make_no_sense_are_refused(usage_error: Callable[..., str]) -> None:
    for option in ("--method=manual", "--per=pid", "--budget=2%", "--top=0"):
        assert option.split("=")[0] in usage_error(main, *COMPARE, option)
