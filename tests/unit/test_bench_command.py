# SPDX-License-Identifier: MIT
"""``kwalk bench``: its options, its errors, and what it leaves when it ends early."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import pytest
from engine import SYMBOLS

from kwalk.bench import own, peers, quiet
from kwalk.bench import workload as workloads
from kwalk.bench.results import Outcome, WorkloadRun
from kwalk.bench.tool import ToolUnavailable
from kwalk.bench.workload import Workload
from kwalk.cli.main import main
from kwalk.errors import NotSupported
from kwalk.kernel import capabilities
from kwalk.kernel.kallsyms import Kallsyms
from kwalk.libbpf import stats

Run = Callable[..., tuple[int, str, str]]
UsageErrorOf = Callable[..., str]
MINUS = "\N{MINUS SIGN}"
DASH = "\N{EN DASH}"


class Tool:
    """kwalk by a method, in place of the real one.

    :ivar made: This test's tools, in order.
    :ivar attached: Their names, while they are.
    :ivar at_end: What happens when one is ended, by its name.
    """

    made: ClassVar[list[Tool]]
    at_end: ClassVar[dict[str, Callable[[], None]]]
    attached: ClassVar[list[str]]
    attach_seconds = 0.5

    def __init__(self, function: str, command: str, method: str, attach: str, name: str) -> None:
        self.name = name
        self.asked = (function, command, method, attach)
        self.made.append(self)

    def start(self) -> Tool:
        self.attached.append(self.name)
        return self

    def version(self) -> str:
        return "kwalk 9.9"

    def cpu_seconds(self) -> float:
        return 0.0

    def finish(self) -> Outcome:
        self.at_end.get(self.name, lambda: None)()
        return Outcome(1234, 5)

    def kill(self) -> None:
        if self.name in self.attached:
            self.attached.remove(self.name)


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine that traces, with kwalk's methods in place; SIGTERM is as before afterwards."""

    def fails() -> stats.Costs:
        raise NotSupported("no libbpf here")

    monkeypatch.setattr(Tool, "made", [], raising=False)
    monkeypatch.setattr(Tool, "attached", [], raising=False)
    monkeypatch.setattr(Tool, "at_end", {}, raising=False)
    monkeypatch.setattr(own, "kwalk", Tool)
    monkeypatch.setattr(capabilities, "check_access", lambda: None)
    monkeypatch.setattr(Kallsyms, "read", lambda *_: SYMBOLS)
    monkeypatch.setattr(stats, "measured", fails)
    monkeypatch.setattr(quiet, "wait", lambda _: True)
    monkeypatch.setattr(workloads, "redis_version", lambda: "redis 7.7")
    monkeypatch.setenv("COLUMNS", "150")
    monkeypatch.delenv("KWALK_LAB_CLOCK", raising=False)
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> list[Workload]:
    """Take the place of every workload's runs; return those that were run."""
    seen: list[Workload] = []

    def run(self: Workload) -> WorkloadRun:
        seen.append(self)
        return WorkloadRun(80.0 if Tool.attached else 100.0, 2.0)

    monkeypatch.setattr(Workload, "run", run)
    return seen


OWN = ("--", "sh", "-c", "sleep 0.06; echo ops=100")


def test_help_lists_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["bench", "--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    for option in ("methods", "attach", "mode", "runs", "metric", "requests", "format", "html"):
        assert f"  --{option} " in out
    assert "-- COMMAND" in out
    for name in ("manual", "helper", "bpftrace", "perf", "test-manual", "redis-benchmark"):
        assert name in out


def test_default_run_counts_by_both_methods_and_prints_a_table(
    run: Run, load: list[Workload]
) -> None:
    code, out, err = run(main, "bench", "--runs=2", "ip_rcv", *OWN)
    assert code == 0
    assert [made.asked for made in Tool.made] == [
        ("ip_rcv", "count", "helper", "auto"),
        ("ip_rcv", "count", "manual", "auto"),
    ]
    assert len(load) == 1 + 2 * 3
    rows = [" ".join(line.split()) for line in out.splitlines()]
    assert "ip_rcv, counting stacks: sh -c 'sleep 0.06; echo ops=100'" in rows
    for name in ("helper", "manual"):
        assert any(
            row.startswith(f"{name} 80 {MINUS}20.0 % identical runs 0.0 % 0.5 s {DASH} 1,234 5 ")
            for row in rows
        )
    assert "kwalk 9.9" in out
    # Progress is not part of the output.
    assert "kwalk bench: " not in out
    assert err.startswith("kwalk bench: warm-up\nkwalk bench: 1/2 none: 100 ")


def test_options_reach_the_tools(run: Run, load: list[Workload]) -> None:
    words = ["--methods=none,manual,helper:fentry", "--attach=kprobe", "--mode=stream", "--runs=1"]
    code, out, _ = run(main, "bench", *words, "--format=json", "ip_rcv", *OWN)
    assert code == 0
    assert [made.asked for made in Tool.made] == [
        ("ip_rcv", "stream", "manual", "kprobe"),
        ("ip_rcv", "stream", "helper", "fentry"),
    ]
    data = json.loads(out)
    assert data["schema"] == "kwalk.bench/2"
    assert (data["function"], data["mode"]) == ("ip_rcv", "stream")
    assert [row["name"] for row in data["methods"]] == ["manual", "helper:fentry"]
    assert [row["changes"] for row in data["methods"]] == [[-20.0], [-20.0]]


@pytest.mark.parametrize(
    "words",
    [
        ["ip_rcv", "--runs=1", "--format=json", "--", "sh", "-c", "x"],
        ["ip_rcv", "--format", "json", "--runs", "1", "--", "sh", "-c", "x"],
        ["--runs=1", "ip_rcv", "--format=json", "--", "sh", "-c", "x"],
        ["--runs=1", "--format=json", "ip_rcv", "--", "sh", "-c", "x"],
    ],
    ids=" ".join,
)
def test_options_may_stand_before_and_behind_the_function(
    run: Run, load: list[Workload], words: list[str]
) -> None:
    code, out, _ = run(main, "bench", *words)
    assert code == 0
    assert json.loads(out)["workload"] == "sh -c x"


def test_words_after_two_dashes_are_the_workload(run: Run, load: list[Workload]) -> None:
    words = ["env", "--", "wrk", "--runs", "--verify", "--", "--format=text"]
    _, out, _ = run(main, "bench", "--runs=1", "--format=json", "ip_rcv", "--", *words)
    assert json.loads(out)["workload"] == " ".join(words)
    assert load[0].words == words


@pytest.mark.parametrize(("words", "number"), [((), "100000"), (("--requests=77",), "77")])
def test_default_workload_is_redis(
    run: Run,
    load: list[Workload],
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    number: str,
) -> None:
    events: list[str] = []

    @contextmanager
    def redis(requests: int, metric: str) -> Iterator[Workload]:
        events.append(metric)
        try:
            yield Workload(["redis-benchmark", str(requests)])
        finally:
            events.append("gone")

    monkeypatch.setattr(workloads, "redis", redis)
    code, out, _ = run(main, "bench", "--runs=1", *words, "ip_rcv")
    assert code == 0
    assert f"ip_rcv, counting stacks: redis-benchmark {number}\n" in out
    assert events == ["auto", "gone"]


def test_seven_rounds_are_run_by_default(run: Run, load: list[Workload]) -> None:
    code, out, _ = run(main, "bench", "--format=json", "--methods=manual", "ip_rcv", *OWN)
    assert code == 0
    assert len(json.loads(out)["base"]["rates"]) == 7


def test_tools_option_names_folders_of_other_versions(
    run: Run, load: list[Workload], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, Path | None]] = []

    def bpftrace(function: str, prints: bool, name: str, folder: Path | None) -> Tool:
        seen.append((name, folder))
        return Tool(function, "count", "", "", name)

    monkeypatch.setattr(peers, "Bpftrace", bpftrace)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    words = ["--methods=bpftrace,bpftrace@old,bpftrace@new", "--runs=1", "--tools=old=a"]
    code, out, _ = run(main, "bench", *words, f"--tools=new={tmp_path}/b", "ip_rcv", *OWN)
    assert code == 0
    assert seen == [
        ("bpftrace", None),
        ("bpftrace@old", tmp_path / "a"),
        ("bpftrace@new", tmp_path / "b"),
    ]
    assert "bpftrace@new" in out


@pytest.mark.parametrize("text", ["", "sid", "sid=", "=/", "a b=/"])
def test_tools_option_wants_a_label_and_a_folder(usage_error: UsageErrorOf, text: str) -> None:
    words = ("bench", f"--tools={text}", "ip_rcv")
    assert f"{text!r} is not LABEL=DIR" in usage_error(main, *words)


def test_folder_of_tools_that_does_not_exist_is_told(run: Run) -> None:
    words = ["--methods=perf@sid", "--tools=sid=/nonexistent"]
    code, _, err = run(main, "bench", *words, "ip_rcv", *OWN)
    assert code == 2
    assert "/nonexistent, the folder of perf@sid, does not exist" in err


def test_label_without_a_folder_is_told(run: Run) -> None:
    code, _, err = run(main, "bench", "--methods=perf@sid", "ip_rcv", *OWN)
    assert code == 2
    assert "the method perf@sid is of no folder of --tools" in err
    assert "--tools sid=FOLDER" in err


def test_metric_option_is_compared(run: Run) -> None:
    code, out, _ = run(
        main, "bench", "--runs=1", "--methods=manual", r"--metric=ops=(\d+)", "ip_rcv", *OWN
    )
    assert code == 0
    row = f"manual 100 +0.0 % one run: no interval 0.0 % 0.5 s {DASH} 1,234 5 unknown {DASH}"
    assert row in " ".join(out.split())


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("--methods=manuel",), "there is no method 'manuel'"),
        (("--methods=none",), "--methods 'none' has no method besides none"),
        (("--methods=perf", "--mode=stream"), "the method perf does not go with --mode stream"),
        (("--requests=5",), "--requests is for the default workload only"),
    ],
)
def test_impossible_options_are_refused_before_the_first_run(
    run: Run, load: list[Workload], words: tuple[str, ...], what: str
) -> None:
    code, out, err = run(main, "bench", *words, "ip_rcv", *OWN)
    assert (code, out) == (2, "")
    assert err.startswith(f"kwalk: {what}")
    assert len(err.splitlines()) == 2  # a hint follows
    assert load == []


@pytest.mark.parametrize(
    ("path", "why"), [("/no/such/folder/x.html", "No such file or directory"), ("/", "Is a dir")]
)
def test_unwritable_html_page_is_refused_before_the_first_run(
    run: Run, load: list[Workload], path: str, why: str
) -> None:
    code, out, err = run(main, "bench", f"--html={path}", "ip_rcv", *OWN)
    assert (code, out) == (1, "")
    assert err.startswith(f"kwalk: {path} cannot be written: {why}")
    assert len(err.splitlines()) == 2  # a hint follows
    assert load == []


def test_unknown_function_is_refused_before_the_first_run(run: Run, load: list[Workload]) -> None:
    code, out, err = run(main, "bench", "ip_rvc", *OWN)
    assert (code, out) == (2, "")
    assert err.startswith("kwalk: this kernel has no function ip_rvc\n  Did you mean ip_rcv?")
    assert load == []


def test_missing_capability_is_told_before_the_first_run(
    run: Run, load: list[Workload], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> None:
        raise NotSupported("tracing needs CAP_BPF", "Run it as root.")

    monkeypatch.setattr(capabilities, "check_access", fails)
    code, out, err = run(main, "bench", "ip_rcv", *OWN)
    assert (code, out, err) == (1, "", "kwalk: tracing needs CAP_BPF\n  Run it as root.\n")
    assert load == []


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("--metric=ops=(",), "--metric: 'ops=(' is not a regular expression: "),
        (("--runs=0",), "--runs: '0' is not a whole number above 0"),
        (("--requests=0",), "--requests: '0' is not a whole number above 0"),
        (("--mode=both",), "--mode: 'both' is not one of "),
        (("--format=html",), "--format: 'html' is not one of "),
        (("--attach=tracepoint",), "--attach: 'tracepoint' is not one of "),
    ],
)
def test_wrong_option_value_is_a_usage_error(
    usage_error: UsageErrorOf, words: tuple[str, ...], error: str
) -> None:
    line = usage_error(main, "bench", *words, "ip_rcv")
    assert line.startswith(f"kwalk bench: error: argument {error}")


def test_missing_function_is_a_usage_error(usage_error: UsageErrorOf) -> None:
    assert "FUNC" in usage_error(main, "bench")


def test_html_page_is_written_besides_the_table(
    run: Run, load: list[Workload], tmp_path: Path
) -> None:
    path = tmp_path / "page.html"
    code, out, _ = run(main, "bench", "--runs=2", f"--html={path}", "ip_rcv", *OWN)
    assert code == 0
    assert "identical runs" in out
    page = path.read_text()
    assert page.startswith("<!DOCTYPE html>")
    assert page.count('class="bar"') == 2
    assert f"{MINUS}20.0 %" in page


@pytest.mark.parametrize("before", [None, "an older page"])
def test_html_page_is_unchanged_where_nothing_was_measured(
    run: Run, tmp_path: Path, before: str | None
) -> None:
    page = tmp_path / "page.html"
    if before:
        page.write_text(before)
    code, _, _ = run(main, "bench", f"--html={page}", "ip_rcv", *failing_after(0, tmp_path))
    assert code == 1
    assert (page.read_text() if page.exists() else None) == before
    assert not list(tmp_path.glob(".kwalk*"))


def test_html_page_write_error_follows_the_table(run: Run, load: list[Workload]) -> None:
    code, out, err = run(main, "bench", "--runs=2", "--html=/dev/full", "ip_rcv", *OWN)
    assert code == 1
    assert "identical runs" in out
    assert "/dev/full cannot be written: No space left on device" in err


@pytest.mark.parametrize("form", ["text", "json"])
def test_table_write_error_is_one_message(
    run: Run, load: list[Workload], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, form: str
) -> None:
    page = tmp_path / "page.html"
    words = ["--runs=1", f"--format={form}", f"--html={page}"]
    with open("/dev/full", "w") as stdout:
        monkeypatch.setattr("sys.stdout", stdout)
        code, _, err = run(main, "bench", *words, "ip_rcv", *OWN)
        monkeypatch.undo()
    assert code == 1
    assert page.read_text().rstrip().endswith("</html>")  # there is room for that
    assert "kwalk: the output cannot be written: No space left on device\n  Make room " in err
    assert "Traceback" not in err


def interrupts() -> None:
    raise KeyboardInterrupt


def terminates() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("end", [interrupts, terminates], ids=["Ctrl-C", "SIGTERM"])
@pytest.mark.parametrize("form", ["text", "json"])
def test_interrupt_prints_the_results_so_far(
    run: Run, load: list[Workload], tmp_path: Path, end: Callable[[], None], form: str
) -> None:
    path = tmp_path / "page.html"
    Tool.at_end["manual"] = end
    words = ["--runs=9", f"--format={form}", f"--html={path}"]
    code, out, _ = run(main, "bench", *words, "ip_rcv", *OWN)
    assert code == 130
    assert len(load) == 1 + 3
    assert Tool.attached == []
    if form == "text":
        assert "It ended early: interrupted\n" in out
        assert f"helper 80 {MINUS}20.0 % one run: no interval" in " ".join(out.split())
        assert "manual 80" not in " ".join(out.split())
    else:
        data = json.loads(out)
        assert data["stopped"] == "interrupted"
        assert data["base"]["rates"] == [100.0]
        assert data["methods"][0]["changes"] == [-20.0]
        assert data["methods"][1] == {"name": "manual", "not_run": "interrupted"}
    assert "It ended early: interrupted" in path.read_text()


def test_interrupt_ends_the_redis_server(
    run: Run, load: list[Workload], monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []

    @contextmanager
    def redis(requests: int, metric: str) -> Iterator[Workload]:
        try:
            yield Workload(["redis-benchmark"])
        finally:
            events.append("gone")

    monkeypatch.setattr(workloads, "redis", redis)
    Tool.at_end["helper"] = interrupts
    assert run(main, "bench", "ip_rcv")[0] == 130
    assert events == ["gone"]


def failing_after(runs: int, folder: Path) -> list[str]:
    """A workload that can be run so many times."""
    count = folder / "count"
    script = f"sleep 0.06; echo >>{count}; test $(wc -l <{count}) -le {runs} || exit 3"
    return ["--", "sh", "-c", script]


def test_workload_failure_keeps_the_results_so_far(run: Run, tmp_path: Path) -> None:
    words = failing_after(3, tmp_path)
    code, out, err = run(main, "bench", "--runs=9", "--format=json", "ip_rcv", *words)
    assert code == 1
    assert "\nkwalk: the workload failed (exit code 3): " in err
    data = json.loads(out)
    assert data["stopped"].startswith("the workload failed (exit code 3): ")
    assert [len(row.get("changes", [])) for row in data["methods"]] == [1, 0]
    assert Tool.attached == []


@pytest.mark.parametrize("runs", [0, 1, 2])
def test_workload_failure_in_the_first_runs_prints_no_results(
    run: Run, tmp_path: Path, runs: int
) -> None:
    code, out, err = run(main, "bench", "ip_rcv", *failing_after(runs, tmp_path))
    assert (code, out) == (1, "")
    assert "kwalk: the workload failed (exit code 3): " in err


def test_unavailable_method_is_a_note(run: Run, load: list[Workload]) -> None:
    def fails() -> None:
        raise ToolUnavailable("no BTF")

    Tool.at_end["helper"] = fails
    code, out, _ = run(main, "bench", "--runs=2", "ip_rcv", *OWN)
    assert code == 0
    assert "helper was not run: no BTF\n" in out
    assert "manual 80" in " ".join(out.split())


def test_unavailable_methods_only_are_an_error(
    run: Run, load: list[Workload], tmp_path: Path
) -> None:
    def fails() -> None:
        raise ToolUnavailable("no BTF")

    Tool.at_end |= {"helper": fails, "manual": fails}
    page = tmp_path / "page.html"
    code, out, _ = run(main, "bench", "--runs=2", f"--html={page}", "ip_rcv", *OWN)
    assert code == 1
    assert "helper was not run: no BTF\n" in out
    assert "manual was not run: no BTF\n" in out
    assert not page.exists()  # there is nothing to draw
