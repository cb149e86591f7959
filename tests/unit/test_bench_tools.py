# SPDX-License-Identifier: MIT
"""Tools that are attached while the workload runs: started, ended, and what they saw is read."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from programs import python, temporary

from kwalk import __version__
from kwalk.api.profile import Profile
from kwalk.bench import closing, methods, own, tool
from kwalk.bench.results import Outcome
from kwalk.bench.tool import Process, ToolUnavailable
from kwalk.cli import published
from kwalk.cli.parser import parse
from kwalk.cli.parsers import command_line
from kwalk.errors import UsageError
from kwalk.model.ledger import Ledger, Summary
from kwalk.model.stack import Count, Stack
from kwalk.report import summary
from kwalk.report.count import Json
from waiting import wait_for


def attached(process: Process) -> bool:
    return "attached" in process.err()


def read(process: Process) -> Outcome:
    return Outcome(process.out().count("x"), None)


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    yield from temporary(monkeypatch, tmp_path)


def gone(process: Process) -> bool:
    try:
        os.kill(process.process.pid, 0)
    except ProcessLookupError:
        return True
    return False


WAITS = "say('x'); say('attached', sys.stderr); wait(); say('xx')"


def test_tool_is_attached_then_ended_by_sigint_and_read(folder: Path) -> None:
    process = Process(python(WAITS), attached, read)
    try:
        assert 0 < process.attach_seconds < 60
        assert process.process.poll() is None
        assert len(list(folder.iterdir())) == 1
        # Ctrl-C in the terminal goes to the bench only.
        assert os.getsid(process.process.pid) == process.process.pid
        assert process.finish() == Outcome(3, None)
        assert process.process.returncode == 0
        assert process.early == ""
    finally:
        process.kill()
    assert list(folder.iterdir()) == []
    process.kill()  # once more does no harm
    assert gone(process)


def test_kill_ends_one_that_is_running() -> None:
    process = Process(python(WAITS), attached, read)
    process.kill()
    assert gone(process)
    process.kill()


def test_tool_output_soon_after_the_load_is_kept_apart() -> None:
    process = Process(python(WAITS), attached, read, settle=0.1)
    started = time.monotonic()
    try:
        outcome = process.finish()
    finally:
        process.kill()
    assert time.monotonic() - started >= 0.1
    assert (process.early, outcome.delivered) == ("x", 3)


def test_tool_cpu_time_includes_all_threads() -> None:
    busy = (
        "import threading\n"
        "threading.Thread(target=lambda: [sum(range(999)) for _ in iter(going.__len__, 0)]).start()"
        "\nsay('attached', sys.stderr); wait()"
    )
    process = Process(python(busy), attached, read)
    try:
        enough = process.cpu_seconds() + 0.05
        assert wait_for(lambda: process.cpu_seconds() >= enough, 60, 0.01)
        assert process.cpu_seconds() < 60
        process.finish()
        assert process.cpu_seconds() == 0  # and no error
    finally:
        process.kill()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("say('x\\n'); say('\\nno BTF\\nhint\\n', sys.stderr); sys.exit(1)", "no BTF"),
        ("say('usage: x\\nmore\\n'); sys.exit(1)", "usage: x"),
        ("", "it ended without a message"),
    ],
)
def test_tool_that_ends_before_attaching_is_reported_in_its_own_words(
    body: str, words: str
) -> None:
    with pytest.raises(ToolUnavailable) as reason:
        Process(python(body), attached, read)
    assert str(reason.value) == words


def test_tool_that_never_attaches_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Process] = []

    def never(process: Process) -> bool:
        seen.append(process)
        return False

    monkeypatch.setattr(tool, "ATTACH_SECONDS", 0.1)
    with pytest.raises(ToolUnavailable, match="it had not attached after 0 seconds"):
        Process(python("wait()"), never, read)
    assert gone(seen[0])


def test_ctrl_c_while_it_attaches_leaves_nothing_behind() -> None:
    seen: list[Process] = []

    def interrupted(process: Process) -> bool:
        seen.append(process)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Process(python("wait()"), interrupted, read)
    assert gone(seen[0])


def test_tool_that_ignores_sigint_is_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stubborn = "signal.signal(signal.SIGINT, signal.SIG_IGN)\nsay('attached', sys.stderr)\nwait()"
    process = Process(python(stubborn), attached, read)
    monkeypatch.setattr(tool, "END_SECONDS", 0.1)
    try:
        with pytest.raises(ToolUnavailable, match="it did not end within 0 seconds of Ctrl-C"):
            process.finish()
        assert not gone(process)
    finally:
        process.kill()
    assert gone(process)


def words_of(monkeypatch: pytest.MonkeyPatch, made: own.Kwalk) -> list[str]:
    seen: list[list[str]] = []
    monkeypatch.setattr(own, "Process", lambda words, *_: seen.append(words))
    made.start()
    return seen[0]


@pytest.mark.parametrize("command", ["count", "stream"])
def test_kwalk_is_run_by_a_command_line_that_it_takes(
    monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    made = own.kwalk("ip_rcv", command, "helper", "kprobe", "helper:kprobe")
    interpreter, dash, module, *words = words_of(monkeypatch, made)
    assert (interpreter, dash, module) == (sys.executable, "-m", "kwalk")
    assert words[0] == command
    args = parse(command_line(command), words[1:])
    assert args.functions == ["ip_rcv"]
    assert (args.method, args.attach) == ("helper", "kprobe")
    assert args.format == ("json" if command == "count" else "text")
    assert made.version() == f"kwalk {__version__}"


def test_stream_with_each_stack_once_is_run_by_a_command_line_that_it_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = words_of(monkeypatch, own.once("ip_rcv", "fentry"))
    args = parse(command_line("stream"), words[4:])
    assert (args.functions, args.method, args.attach) == (["ip_rcv"], "manual", "fentry")
    assert (args.stacks, args.format) == ("once", "text")


@pytest.mark.parametrize("method", ["manual", "helper"])
def test_published_tool_is_run_by_a_command_line_it_accepts(
    monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    made = own.published("ip_rcv", method)
    assert made.name == f"test-{method}"
    interpreter, dash, code, *words = words_of(monkeypatch, made)
    assert (interpreter, dash) == (sys.executable, "-c")
    args = vars(parse(published.LINE, words))
    assert args[method] == "ip_rcv"
    monkeypatch.setattr(published, "main", lambda: 7)
    with pytest.raises(SystemExit) as stop:
        exec(code)
    assert stop.value.code == 7


def told(**ledger: Any) -> Summary:
    return Summary("ip_rcv", "manual", "fentry", "6.12", Ledger(**ledger))


def kwalks(text: str, first: str = "", rest: str = "", prints: bool = True) -> own.Kwalk:
    """What stands in for kwalk: it prints ``first`` while it runs, and the rest when it is ended.

    :param text: For standard error.
    """
    body = (
        f"say({first!r}); say('kwalk: tracing ip_rcv (manual by fentry); Ctrl-C ends\\n',"
        f" sys.stderr); wait(); say({rest!r}); say({text!r}, sys.stderr)"
    )
    return own.Kwalk("manual", python(body)[1:], "\n\n" if prints else "")


def finished(made: own.Kwalk) -> Outcome:
    process = made.start()
    try:
        return process.finish()
    finally:
        process.kill()


@pytest.mark.parametrize(
    ("ledger", "outcome"),
    [
        (
            {"hits": 5, "recorded": 3, "not_wanted": {"filtered": 2}, "fallback": 2},
            Outcome(3, 0, 2),
        ),
        (
            {"hits": 9, "recorded": 2, "lost": {"recursion": 3}, "not_wanted": {"past_count": 4}},
            Outcome(2, 3),
        ),
    ],
)
def test_kwalk_json_gives_the_outcome(ledger: dict[str, Any], outcome: Outcome) -> None:
    report = Json(addresses=True, top=None)
    # As at intervals: of its lines, the last is that of the whole.
    counts = [Count(Stack(()), count) for count in (1, ledger["recorded"] - 1)]
    rest = report.interval(counts, 1.0, 0.0) + report.end(Profile(counts, told(**ledger)))
    assert finished(kwalks("nothing to be read\n", rest=rest, prints=False)) == outcome


def test_kwalk_that_shows_other_counts_than_it_recorded_is_no_result() -> None:
    """What is delivered is what its output has, whatever its ledger says."""
    rest = Json(addresses=True, top=None).end(
        Profile([Count(Stack(()), 3)], told(hits=4, recorded=4))
    )
    with pytest.raises(ToolUnavailable, match="it recorded 4 stacks, but showed 3"):
        finished(kwalks("", rest=rest, prints=False))


@pytest.mark.parametrize("unit", ["calls", "samples", "calls + events"])
@pytest.mark.parametrize("number", [0, 1, 1_234_567])
def test_closing_sentence_is_parsed_as_it_is_written(unit: str, number: int) -> None:
    lost = {"ring_full": number, "other": 1}
    left = {"filtered": 2 * number}
    found = told(hits=4 * number + 1, recorded=number, lost=lost, not_wanted=left, fallback=number)
    text = "kwalk: tracing\n" + summary.as_text(replace(found, unit=unit))
    assert closing.from_text(text) == (4 * number + 1, number, number + 1, number)


@pytest.mark.parametrize("text", ["", "\n", "{}\n", "[1]\n", "1\n", "ip_rcv\na\n"])
def test_closing_parser_returns_none_for_other_text(text: str) -> None:
    assert closing.from_json(text) is None
    assert closing.from_text(text) is None


def test_kwalk_outcome_tells_how_much_was_printed_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(own, "CATCH_UP_SECONDS", 0.1)
    text = summary.as_text(told(hits=4, recorded=3, lost={"ring_full": 1}))
    event = "ip_rcv\na\n\n"
    assert finished(kwalks(text, event * 2, event)) == Outcome(3, 1, 0, shown=2)
    with pytest.raises(ToolUnavailable, match="it recorded 3 stacks, but showed 2"):
        finished(kwalks(text, event, event))


@pytest.mark.parametrize("prints", [False, True])
def test_kwalk_that_fails_while_it_traces_says_why(
    monkeypatch: pytest.MonkeyPatch, prints: bool
) -> None:
    monkeypatch.setattr(own, "CATCH_UP_SECONDS", 0.1)
    error = "kwalk: the output cannot be written: No space left on device\n  Hint.\n"
    with pytest.raises(ToolUnavailable) as reason:
        finished(kwalks(error, prints=prints))
    assert "No space left on device" in str(reason.value)


def test_kwalk_that_may_not_trace_says_why() -> None:
    error = "kwalk: tracing needs CAP_BPF, which this process lacks\n  Run it as root (sudo).\n"
    words = python(f"say({error!r}, sys.stderr); sys.exit(1)")[1:]
    with pytest.raises(ToolUnavailable, match="tracing needs CAP_BPF"):
        finished(own.Kwalk("manual", words, ""))


@pytest.mark.parametrize("mode", ["count", "stream"])
@pytest.mark.parametrize("method", ["kwalk", "manual", "helper"])
@pytest.mark.parametrize("by", ["", ":kprobe", ":fentry"])
def test_method_name_may_give_the_way_to_attach(
    monkeypatch: pytest.MonkeyPatch, mode: str, method: str, by: str
) -> None:
    made = methods.find(method + by, "ip_rcv", mode, "auto")
    assert made.name == method + by
    assert isinstance(made, own.Kwalk)
    words = words_of(monkeypatch, made)[3:]
    assert words[0] == mode
    args = parse(command_line(mode), words[1:])
    assert args.method == ("auto" if method == "kwalk" else method)
    assert args.attach == (by[1:] or "auto")


def test_attach_option_is_overridden_by_the_method_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, attach in {"manual": "kprobe", "manual:fentry": "fentry"}.items():
        made = methods.find(name, "ip_rcv", "count", "kprobe")
        assert isinstance(made, own.Kwalk)
        words = words_of(monkeypatch, made)
        assert words[words.index("--attach") + 1] == attach


COUNT_ONLY = {"bcc", "ftrace", "perf"}
PRINT_ONLY = {"once", "test-manual", "test-helper"}


@pytest.mark.parametrize("name", methods.OTHERS)
@pytest.mark.parametrize("mode", ["count", "stream"])
def test_peer_tools_are_found_in_the_modes_they_support(name: str, mode: str) -> None:
    if name in (COUNT_ONLY if mode == "stream" else PRINT_ONLY):
        with pytest.raises(UsageError, match=f"{name} does not go with --mode {mode}"):
            methods.find(name, "ip_rcv", mode, "auto")
    else:
        assert methods.find(name, "ip_rcv", mode, "auto").name == name


@pytest.mark.parametrize("name", ["manuel", "manual:ftrace", "perf:kprobe", "test-kwalk", "Perf"])
def test_unknown_method_error_lists_the_known_ones(name: str) -> None:
    with pytest.raises(UsageError) as failed:
        methods.find(name, "ip_rcv", "count", "auto")
    what, hint = str(failed.value).splitlines()
    assert what == f"there is no method {name!r}"
    for known in ("none", *methods.OWN, *methods.OTHERS):
        assert known in hint


def test_methods_are_a_list_with_commas_and_none_is_measured_anyhow() -> None:
    def names(text: str) -> list[str]:
        return [made.name for made in methods.find_all(text, "ip_rcv", "count", "auto")]

    assert names(methods.DEFAULT) == ["helper", "manual"]
    assert names(" manual , none,perf,") == ["manual", "perf"]


@pytest.mark.parametrize("text", ["", ",", "none", "manual,perf,manual"])
def test_method_list_empty_or_with_duplicates_is_an_error(text: str) -> None:
    with pytest.raises(UsageError) as failed:
        methods.find_all(text, "ip_rcv", "count", "auto")
    assert "twice" in failed.value.what
    assert methods.DEFAULT in failed.value.hint
