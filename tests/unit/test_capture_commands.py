# SPDX-License-Identifier: MIT
"""Commands that trace: what they print, and what their exit code tells scripts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from engine import Engine, words
from planted import FUNC, A, B, C, record

from kwalk.abi import DIFFERS, FALLBACK, TRUNCATED, Method, Output
from kwalk.cli import published
from kwalk.cli.main import main
from kwalk.cli.stopper import Stopper

Run = Callable[..., tuple[int, str, str]]
Main = Callable[[list[str]], int]

STREAM = (main, ("stream", "ip_rcv", "--method=manual", "--duration=0.01"))
COUNT = (main, ("count", "ip_rcv", "--method=manual", "--duration=0.01"))
PUBLISHED = (published.main, ("--manual=ip_rcv",))
COMMANDS = pytest.mark.parametrize(
    ("entry", "argv"), [STREAM, COUNT, PUBLISHED], ids=["stream", "count", "published"]
)
PER_EVENT = pytest.mark.parametrize(
    ("entry", "argv"), [STREAM, PUBLISHED], ids=["stream", "published"]
)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands end by themselves: as if Ctrl-C had been pressed when they were attached."""
    stopped = property(lambda self: True, lambda self, value: None)
    monkeypatch.setattr(Stopper, "stopped", stopped, raising=False)


@PER_EVENT
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
def test_exit_code_says_whether_any_stack_differs(
    engine: Engine,
    run: Run,
    entry: Main,
    argv: tuple[str, ...],
    option: str,
    counted: dict[str, int],
    code: int,
) -> None:
    engine.count(1, checked=1, **counted)
    engine.brief = entry is published.main
    engine.ring = [[engine.walked(A, flags=DIFFERS, other=engine.planted.kernels(FUNC, B))]]
    found, out, err = run(entry, *argv, option)
    assert found == code
    assert out.count("ip_rcv") == 1
    compared = option.startswith("--verify") or bool(counted)
    assert ("compared with the kernel's unwinder" in err) == compared
    if code:
        assert "    a+0x10      |  b+0x10\n" in err


@COMMANDS
@pytest.mark.parametrize(
    ("hits", "counted", "misses", "code"),
    [
        (1, {}, {}, 0),
        (2, {"lost_ring_full": 1}, {}, 1),
        (2, {"lost_efault": 1}, {}, 1),
        (1, {}, {"recursion": 1}, 1),
        (2, {}, {}, 1),  # unexplained
        (1, {"checked": 1, "mismatches": 1}, {}, 0),
    ],
)
def test_strict_tells_scripts_whether_any_call_was_lost(
    engine: Engine,
    run: Run,
    entry: Main,
    argv: tuple[str, ...],
    hits: int,
    counted: dict[str, int],
    misses: dict[str, int],
    code: int,
) -> None:
    for option, expected in ((), 0), (("--strict",), code):
        engine.count(hits, **counted)
        engine.misses = {"recursion": 0} | misses
        engine.brief = entry is published.main
        if "count" in argv:
            leaf = engine.planted.walked(A)
            engine.planted.write(leaf, count=1)
        else:
            engine.ring = [[engine.walked(A)]]
        found, out, err = run(entry, *argv, *option)
        assert found == expected
        assert out.count("ip_rcv") == 1
        calls = hits + sum(misses.values())
        assert f"ip_rcv: {calls} {'call' if calls == 1 else 'calls'} = 1 stack + " in err


def test_strict_does_not_mind_calls_that_nobody_wanted(engine: Engine, run: Run) -> None:
    engine.count(3)
    engine.ring = [[engine.walked(A)] * 3]
    code, out, err = run(main, "stream", "ip_rcv", "--count=1", "--strict")
    assert (code, out.count("ip_rcv")) == (0, 1)
    assert "calls = 1 stack + 2 not wanted + 0 lost  " in err
    assert "  not wanted: 2 past_count: " in err


def test_strict_and_verify_look_at_different_things(engine: Engine, run: Run) -> None:
    engine.count(1, checked=1, mismatches=1)
    engine.ring = [[engine.walked(A)]]
    assert run(main, "stream", "ip_rcv", "--strict", "--verify")[0] == 1
    engine.ring = [[engine.walked(A)]]
    assert run(main, "stream", "ip_rcv", "--strict")[0] == 0


@pytest.mark.parametrize("command", ["stream", "count"])
@pytest.mark.parametrize("place", ["ip_rcv", "ip_rcv+0x1f", "r:ip_rcv"])
def test_target_is_announced_as_it_was_spelt(
    engine: Engine, run: Run, command: str, place: str
) -> None:
    code, out, err = run(main, command, place)
    assert (code, out) == (0, "")
    assert err.startswith(f"kwalk: tracing {place} (manual by ")
    assert f"\n{place}: 0 calls" in err


def counts(engine: Engine, each: float = 1) -> None:
    """Two stacks, three calls, each of which stands for some."""
    engine.planted.count(engine.planted.walked(A), ended=1, each=each)
    engine.planted.count(engine.planted.walked(A, B, cpu=1), ended=2, each=each)
    engine.count(3)


@pytest.mark.parametrize("command", [(), ("count",)], ids=["no command", "count"])
def test_function_without_a_command_is_counted(
    engine: Engine, run: Run, command: tuple[str, ...]
) -> None:
    counts(engine)
    code, out, err = run(main, *command, "ip_rcv", "--no-addr")
    assert code == 0
    assert out == (
        "    ip_rcv+0x0\n    a+0x10\n  1 call, 33.3 %\n\n"
        "    ip_rcv+0x0\n    a+0x10\n    b+0x10\n  2 calls, 66.7 %\n\n"
    )
    ledger = r"\nip_rcv: 3 calls = 3 stacks \+ 0 lost  \(manual by fentry, 6.12.107, 0.\d\d s, "
    assert re.search(ledger + r"[\d,]+ calls/s\)\n", err)


@pytest.mark.parametrize("options", [(), ("--top=1",), ("--no-addr",)])
def test_counts_as_json_are_one_object_with_the_summary(
    engine: Engine, run: Run, options: tuple[str, ...]
) -> None:
    counts(engine)
    code, out, _ = run(main, "ip_rcv", "--format=json", *options)
    assert code == 0
    assert out.count("\n") == 1
    data = json.loads(out)
    assert data["schema"] == "kwalk.count/2"
    assert (data["ledger"]["hits"], data["ledger"]["recorded"]) == (3, 3)
    stacks = [(s["count"], [f["name"] for f in s["frames"]]) for s in data["stacks"]]
    expected = [(1, ["ip_rcv", "a"]), (2, ["ip_rcv", "a", "b"])]
    assert stacks == (expected[1:] if "--top=1" in options else expected)
    assert ("addr" in data["stacks"][0]["frames"][0]) == ("--no-addr" not in options)


def test_counts_folded_are_for_flame_graphs(engine: Engine, run: Run) -> None:
    counts(engine)
    engine.planted.count(engine.planted.walked(A, cut=C), cut=4)
    code, out, _ = run(main, "ip_rcv", "--format=folded")
    assert (code, out) == (0, "a;ip_rcv 1\nb;a;ip_rcv 2\n[truncated];a;ip_rcv 4\n")


def test_counts_per_process_have_their_processes(engine: Engine, run: Run) -> None:
    tree = engine.planted
    tree.count(tree.process(tree.walked(A), 7, b"redis"), ended=1)
    tree.count(tree.process(tree.walked(A), 8, b"nginx"), ended=3)
    engine.count(4)
    _, out, err = run(main, "ip_rcv", "--per-pid", "--no-addr")
    assert [line for line in out.splitlines() if " call" in line] == [
        "  1 call, 25.0 %  redis (7)",
        "  3 calls, 75.0 %  nginx (8)",
    ]
    assert "ip_rcv: 4 calls = 4 stacks + 0 lost" in err


def test_helper_stacks_are_counted(engine: Engine, run: Run) -> None:
    engine.stacks = {5: words(FUNC, A)}
    engine.planted.count_stack(3, stack_id=5)
    engine.count(3)
    code, out, _ = run(main, "ip_rcv", "--method=helper", "--format=folded", "--strict")
    assert (code, out) == (0, "a;ip_rcv 3\n")


@pytest.mark.parametrize("options", [("--method=helper",), ()], ids=["asked for", "auto"])
def test_helper_counts_are_refused_at_intervals(
    engine: Engine, run: Run, options: tuple[str, ...]
) -> None:
    engine.method = Method.HELPER  # what kwalk uses where the walk is impossible
    code, out, err = run(main, "ip_rcv", "--interval=1", *options)
    assert (code, out) == (2, "")
    assert err.startswith("kwalk: the helper's stacks cannot be read while it counts\n  ")
    assert "Traceback" not in err
    assert engine.done[-1] == "close"


@pytest.mark.parametrize("option", ["--budget=2%", "--sample=1/3"])
def test_counts_of_a_sample_cannot_be_had_at_intervals(
    engine: Engine, run: Run, option: str
) -> None:
    code, out, err = run(main, "ip_rcv", "--interval=1", option)
    assert (code, out) == (2, "")
    assert err.startswith("kwalk: --interval cannot be combined with --budget or --sample\n  ")
    assert engine.done == []  # nothing was attached


@pytest.mark.parametrize("budget", ["2%", "2", "2.0%"])
@pytest.mark.parametrize(
    "form",
    [
        ("count", "--format=text"),
        ("count", "--format=json"),
        ("count", "--format=folded"),
        ("stream", "--format=text"),
        ("stream", "--format=json"),
    ],
    ids=" ".join,
)
def test_calls_left_alone_for_the_budget_are_in_every_ledger(
    engine: Engine, run: Run, form: tuple[str, str], budget: str
) -> None:
    counts(engine, each=110)
    engine.ring = [[engine.walked(A), engine.walked(A, B), engine.walked(A, B)]]
    engine.count(300)
    engine.planted.sample_out(290, cpu=0)
    engine.planted.sample_out(7, cpu=1)
    command, option = form
    # Such calls are not wanted, hence no loss to be strict about.
    words = (command, "ip_rcv", "--method=manual", option, f"--budget={budget}", "--strict")
    code, out, err = run(main, *words)
    assert code == 0
    assert "\nip_rcv: 300 calls = 3 stacks + 297 not wanted + 0 lost  " in err
    assert "  not wanted: 297 sampled_out: skipped by --sample or --budget\n" in err
    assert "  budget: 2 %; tracing cost about " in err
    assert "; 100 calls for each one recorded\n" in err
    if form == ("count", "--format=text"):
        assert "  about 200 calls (2 recorded), 66.7 %\n" in out
    if "json" in option:
        data = json.loads(out.splitlines()[-1])
        assert data["ledger"]["not_wanted"] == {"sampled_out": 297}
        assert (data["sampling"]["budget"], data["sampling"]["scale"]) == (0.02, 100)
    if form == ("count", "--format=json"):
        assert [(s["count"], s["scaled"]) for s in data["stacks"]] == [(1, 100), (2, 200)]


def test_top_option_scales_the_left_out_calls(engine: Engine, run: Run) -> None:
    counts(engine, each=90)
    engine.count(300)
    engine.planted.sample_out(297)
    _, out, _ = run(main, "ip_rcv", "--method=manual", "--top=1", "--budget=2%")
    assert out.startswith("(1 more stack, about 100 calls (1 recorded), left out by --top)\n")


def test_folded_counts_cannot_be_had_at_intervals(engine: Engine, run: Run) -> None:
    code, out, err = run(main, "ip_rcv", "--interval=1", "--format=folded")
    assert (code, out) == (2, "")
    what, hint = err.splitlines()
    assert what == "kwalk: --interval cannot be combined with --format folded"
    assert "--format json" in hint
    assert engine.done == []  # nothing was attached


@COMMANDS
def test_unwritable_output_is_one_message_and_detaches(
    engine: Engine,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    entry: Main,
    argv: tuple[str, ...],
) -> None:
    engine.count(3)
    engine.brief = entry is published.main
    engine.planted.count(engine.planted.walked(A), ended=3)
    engine.ring = [[engine.walked(A)] * 3]
    with open("/dev/full", "w") as stdout:
        monkeypatch.setattr("sys.stdout", stdout)
        code, out, err = run(entry, *argv)
        monkeypatch.undo()
    assert (code, out) == (1, "")
    assert ": the output cannot be written: No space left on device\n  Make room " in err
    # What there was is told all the same, and that nobody got it.
    assert "\nip_rcv: 3 calls = 0 stacks + 3 lost" in err
    assert "  lost: 3 output_closed: " in err
    assert "unexplained" not in err
    assert "Traceback" not in err
    assert engine.done[-1] == "close"


@pytest.mark.parametrize("command", ["count", "stream"])
@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ((), False),
        (("--addr",), True),
        (("--no-addr",), False),
        (("--format=json",), True),
        (("--format=json", "--addr"), True),
        (("--format=json", "--no-addr"), False),
    ],
)
def test_addresses_are_shown_in_json_or_where_they_were_asked_for(
    engine: Engine, run: Run, command: str, options: tuple[str, ...], shown: bool
) -> None:
    engine.count(1)
    engine.planted.count(engine.planted.walked(A), ended=1)
    engine.ring = [[engine.walked(A)]]
    _, out, _ = run(main, command, "ip_rcv", *options)
    assert "ip_rcv" in out
    assert (f"{A:x}" in out) == shown


@pytest.mark.parametrize(
    ("entry", "argv", "output"),
    [(*STREAM, Output.EVENT), (*COUNT, Output.COUNT), (*PUBLISHED, Output.BRIEF)],
)
def test_commands_set_the_probe_options_they_need(
    engine: Engine,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    entry: Main,
    argv: tuple[str, ...],
    output: Output,
) -> None:
    seen: list[Any] = []

    def opened(selection: Any, symbols: Any, options: Any, watch: Any) -> Any:
        seen.append(options)
        return engine.open(selection, symbols, options, watch)

    monkeypatch.setattr("kwalk.engine.capture.open_probe", opened)
    run(entry, *argv)
    assert [options.output for options in seen] == [output]


def test_published_tool_prints_names_only(engine: Engine, run: Run) -> None:
    engine.brief = True
    engine.ring = [
        [
            engine.walked(A, B),
            engine.walked(A, cut=C, flags=TRUNCATED),
            engine.kernels(FUNC, C, flags=FALLBACK),
        ]
    ]
    engine.count(3)
    code, out, _ = run(published.main, "--manual", "ip_rcv")
    assert (code, out) == (0, "ip_rcv\na\nb\n\nip_rcv\na\n\nip_rcv\nc\n\n")


def test_published_tool_prints_helper_stacks(engine: Engine, run: Run) -> None:
    engine.stacks = {5: words(FUNC, A)}
    engine.ring = [[record(stack_id=5, brief=True)]]
    engine.count(1)
    code, out, err = run(published.main, "--helper", "ip_rcv", "--strict")
    assert (code, out) == (0, "ip_rcv\na\n\n")
    assert "ip_rcv: 1 call = 1 stack + 0 lost  (helper by " in err
