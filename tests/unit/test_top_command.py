# SPDX-License-Identifier: MIT
"""``kwalk top`` at a terminal, and without one, on a capture without a kernel."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from engine import Engine
from planted import A, B, C

from kwalk.abi import Method
from kwalk.api.profile import open as load
from kwalk.cli.main import main
from kwalk.cli.stopper import Stopper
from kwalk.errors import OutputError
from screen import LEAVES, Screen

Run = Callable[..., tuple[int, str, str]]
SUMMARY = "= 6,000 stacks + 0 lost  (manual by fentry, 6.12.107, "
LOST = "= 0 stacks + 6,000 lost  (manual by fentry, 6.12.107, "


@pytest.fixture(autouse=True)
def load_of_its_own(engine: Engine) -> None:
    """What was called before the first interval ends."""
    tree = engine.planted
    tree.count(tree.process(tree.walked(A, C), 7, b"redis"), ended=1000)
    tree.count(tree.process(tree.walked(A, B, C), 8, b"nginx"), ended=2000)
    tree.count(tree.process(tree.walked(A, B, C, cpu=1), 8, b"nginx"), ended=3000)
    engine.count(6000)


def top(*words: str, env: dict[str, str] | None = None, size: tuple[int, int] = (80, 24)) -> Screen:
    """``kwalk top`` at a terminal, looking often."""
    argv = ["top", "ip_rcv", "--interval=0.2", *words]
    return Screen(lambda: main(argv), *size, env=env)


def test_top_shows_the_stacks_and_restores_the_terminal() -> None:
    with top() as screen:
        screen.shows("6,000 calls")
        screen.shows("ledger: 6,000 calls = 6,000 stacks + 0 lost")
        assert screen.now() != screen.mode  # no echo, key by key
        screen.shows("in all: ip_rcv ← a ← ⋯ ← c")
        assert any(line.endswith(" b") for line in screen.lines)
        screen.press("q")
        assert screen.ends() == 0
        assert screen.now() == screen.mode
        assert screen.raw.count(b"\x1b[?1049h") == screen.raw.count(LEAVES) == 1
        assert screen.raw.count(b"\x1b[?25l") == screen.raw.count(b"\x1b[?25h") == 1
        after = screen.raw.partition(LEAVES)[2].decode().replace("\r", "")
        assert (
            "    ip_rcv+0x0\n    a+0x10\n    b+0x10\n    c+0x10\n  5,000 calls, 83.3 %\n" in after
        )
        assert SUMMARY in after
        assert "\x1b" not in after


def test_keys_open_sort_filter_and_freeze() -> None:
    with top("--per=pid") as screen:
        screen.shows("nginx (8)")
        screen.press("\r")
        screen.shows("── 5,000 calls, 83.3 % of all")
        screen.shows("2 b+0x10")
        screen.press("\x1b")
        screen.until(lambda: "── 5,000" not in screen.text)
        screen.press("s")
        screen.shows("total▾")
        screen.press("gg")
        screen.shows("2 groups")
        screen.press("g/")
        screen.press("^b$")
        screen.shows("1 of 2 stacks")
        screen.press("\r")
        screen.shows("filter: ^b$")
        screen.press("p")
        screen.shows("frozen")
        screen.press("\x1b")
        screen.until(lambda: "filter: " not in screen.text)
        screen.press("+")
        screen.shows("every 0.5 s")
        screen.press("?")
        screen.shows("kwalk top: keys")
        screen.press("q")
        assert screen.ends() == 0


def test_save_key_writes_the_counts_so_far(tmp_path: Path) -> None:
    path = tmp_path / "it.rec"
    with top("--per=pid") as screen:
        screen.shows("6,000 calls")
        screen.press("w")
        screen.shows("save as: kwalk-top-")
        screen.press(f"{path}\r")
        screen.until(lambda: "saved 2 stacks; " in screen.text)
        screen.press("w")
        screen.press(f"{path}\r")
        screen.shows("not saved: there is a file ")
        screen.press("w")
        screen.press("/nowhere/it.rec\r")
        screen.shows("not saved: /nowhere/it.rec cannot be written: No such file or directory")
        screen.press("w")
        screen.press("it.html\r")
        screen.shows("not saved: it.html is not a name for a recording")
        screen.press("q")
        assert screen.ends() == 0
        after = screen.raw.partition(LEAVES)[2].decode()
        assert after.count(f"kwalk: saved 2 stacks; `kwalk report {path}` shows them") == 1
    profile = load(str(path))
    assert [(count.count, str(count.group)) for count in profile.counts] == [
        (1000, "redis (7)"), (5000, "nginx (8)"),
    ]  # fmt: skip
    assert profile.summary.ledger.balance == 0
    assert profile.seconds > 0
    assert profile.facts["command"][:3] == ["kwalk", "top", "ip_rcv"]


def test_calls_that_are_under_way_are_told_in_a_recording(engine: Engine, tmp_path: Path) -> None:
    engine.count(6003)
    path = tmp_path / "it.rec"
    with top() as screen:
        screen.shows("+ 3 under way")
        screen.press(f"w{path}\r")
        screen.shows("saved 2 stacks")
    ledger = load(str(path)).summary.ledger
    assert (ledger.hits, ledger.recorded, ledger.lost) == (6003, 6000, {})
    assert ledger.not_wanted == {"after_snapshot": 3}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_and_the_terminal_is_restored(number: int) -> None:
    with top() as screen:
        screen.shows("6,000 calls")
        if number == signal.SIGINT:
            screen.press("\x03")
        else:
            os.kill(screen.pid, number)
        assert screen.ends() == 0
        assert screen.now() == screen.mode
        assert SUMMARY in screen.raw.partition(LEAVES)[2].decode()


def test_ctrl_z_gives_the_terminal_back_for_a_while() -> None:
    with top() as screen:
        screen.shows("6,000 calls")
        screen.press("\x1a")
        screen.stops()
        assert screen.now() == screen.mode
        assert screen.raw.count(LEAVES) == 1
        os.kill(screen.pid, signal.SIGCONT)
        screen.until(lambda: screen.raw.count(b"\x1b[?1049h") == 2)
        screen.shows("q quit")
        assert screen.now() != screen.mode
        screen.press("q")
        assert screen.ends() == 0
        assert screen.now() == screen.mode


def test_ctrl_backslash_does_not_leave_a_broken_terminal() -> None:
    with top() as screen:
        screen.shows("6,000 calls")
        screen.press("\x1cq")
        assert screen.ends() == 0


def test_keys_and_the_size_of_the_terminal_are_heeded_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kwalk.cli.tracing.LOOK_SECONDS", 600)
    with top("--interval=600", size=(120, 30)) as screen:
        screen.shows("the first interval ends in 600 s")
        screen.press("s")
        screen.shows("sorted by total")
        before = len(screen.raw)
        screen.resize(60, 12)
        screen.until(lambda: b"\x1b[12;1H" in screen.raw[before:])
        assert "sorted by total" in screen.lines[11]
        assert b"\x1b[13;1H" not in screen.raw[before:]
        screen.press("q")
        assert screen.ends() == 0


def test_error_is_printed_once_the_terminal_is_restored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise OutputError(OSError(5, "Input/output error"))

    monkeypatch.setattr("kwalk.tui.model.Model.feed", fail)
    with top() as screen:
        assert screen.ends() == 1
        assert screen.now() == screen.mode
        after = screen.raw.partition(LEAVES)[2]
        assert b"kwalk: the output cannot be written: Input/output error" in after
        assert LOST.encode() in after


def test_bug_restores_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kwalk.tui.view.View.draw", lambda *_: 1 / 0)
    with top() as screen:
        assert screen.ends() == 99
        assert screen.now() == screen.mode
        assert LEAVES in screen.raw


def test_duration_ends_it() -> None:
    with top("--duration=0.5") as screen:
        assert screen.ends() == 0
        assert SUMMARY.encode() in screen.raw


def test_hang_up_ends_top(engine: Engine) -> None:
    with top() as screen:
        screen.shows("6,000 calls")
        screen.hang_up()
        assert screen.ends() != 99


def test_no_color_leaves_cursor_movement_only() -> None:
    with top(env={"NO_COLOR": "1"}) as screen:
        screen.shows("6,000 calls")
        screen.press("q")
        assert screen.ends() == 0
        drawn = screen.raw.partition(LEAVES)[0]
    assert b"\x1b[1m" not in drawn
    assert b"\x1b[7m" not in drawn


def test_locale_without_unicode_gets_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("locale.nl_langinfo", lambda item: "ANSI_X3.4-1968")
    with top() as screen:
        screen.shows("6,000 calls")
        screen.shows("> ")
        screen.press("q")
        assert screen.ends() == 0
        assert screen.raw.isascii()


def test_dumb_terminal_gets_lines() -> None:
    with top("--duration=0.7", env={"TERM": "dumb"}) as screen:
        assert screen.ends() == 0
        assert b"\x1b" not in screen.raw
        assert re.search(rb"--- \d\d:\d\d:\d\d, 0 s: ", screen.raw)


def test_command_output_does_not_spoil_the_view() -> None:
    with top("--", "sh", "-c", "echo spoilt; echo more >&2; sleep 1; exit 3") as screen:
        screen.shows("6,000 calls")
        assert b"spoilt" not in screen.raw
        assert screen.ends() == 0
        after = screen.raw.partition(LEAVES)[2]
        assert b"spoilt\r\nmore\r\n" in after
        assert b"note: sh ended with exit code 3" in after


def test_budget_is_shown_in_the_view(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kwalk.engine.budget.STEP_SECONDS", 0.1)
    with top("--budget=2%") as screen:
        screen.shows("budget 2 %: overhead about")
        screen.press("q")
        assert screen.ends() == 0
        assert b"kwalk: budget" not in screen.raw.partition(LEAVES)[0]


def test_frozen_view_is_not_updated(engine: Engine) -> None:
    tree = engine.planted

    def call() -> int:
        def more() -> None:
            while True:
                tree.count(tree.process(tree.walked(A, C), 7, b"redis"), ended=1)
                time.sleep(0.01)

        threading.Thread(target=more, daemon=True).start()
        return main(["top", "ip_rcv", "--interval=0.2"])

    with Screen(call) as screen:
        screen.until(lambda: " c" in screen.text and "/s" in screen.text)
        screen.until(lambda: "  0 s" not in screen.lines[0])
        screen.press("p")
        screen.shows("frozen")
        before = screen.lines[0]
        end = time.monotonic() + 1
        screen.until(lambda: time.monotonic() > end)
        assert screen.lines[0] == before
        screen.press("p")
        screen.until(lambda: "frozen" not in screen.text and screen.lines[0][:40] != before[:40])


def test_looking_takes_a_share_of_the_time_only(
    run: Run, monkeypatch: pytest.MonkeyPatch, engine: Engine
) -> None:
    """As with a great many stacks."""

    def feed(*_: object) -> None:
        spent = time.process_time()
        while time.process_time() < spent + 0.1:
            pass
        fed.append(time.monotonic())

    fed: list[float] = []
    monkeypatch.setattr("kwalk.tui.model.Model.feed", feed)
    run(main, "top", "ip_rcv", "--interval=0.05", "--duration=1.6")
    assert 2 <= len(fed) <= 4
    assert fed[1] - fed[0] > 0.4


# Without a terminal


def test_lines_are_printed_where_there_is_no_terminal(run: Run) -> None:
    code, out, err = run(main, "top", "ip_rcv", "--interval=0.2", "--duration=0.5")
    assert code == 0
    first, second, *_ = out.split("\n\n")
    lines = first.splitlines()
    assert re.match(r"--- \d\d:\d\d:\d\d, 0 s: ", lines[0])
    assert "6,000 calls, 2 stacks" in lines[0]
    assert lines[1] == "  in all: ip_rcv ← a ← ⋯ ← c"
    assert lines[2].endswith("83.3%     5,000  b")
    assert lines[3].endswith("16.7%     1,000  (nothing)")
    assert lines[4] == "  ledger: 6,000 calls = 6,000 stacks + 0 lost"
    assert second.splitlines()[0].endswith(", 0 s: 0/s, 6,000 calls, 2 stacks")
    assert "    ip_rcv+0x0\n    a+0x10\n    b+0x10\n    c+0x10\n  5,000 calls, 83.3 %\n" in out
    assert "\x1b" not in out
    assert SUMMARY in err


def test_top_leaves_stacks_out_of_the_lines_and_of_the_end(run: Run) -> None:
    _, out, _ = run(main, "top", "ip_rcv", "--interval=0.2", "--duration=0.3", "--top=1")
    assert "16.7%" not in out
    assert "(1 more stack, 1,000 calls, left out by --top)" in out


def test_end_before_the_first_interval_prints_the_total(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = property(lambda self: True, lambda self, value: None)
    monkeypatch.setattr(Stopper, "stopped", stopped, raising=False)
    code, out, err = run(main, "top", "ip_rcv")
    assert code == 0
    assert "---" not in out
    assert "5,000 calls" in out
    assert SUMMARY in err


@pytest.mark.parametrize("words", [("--method=helper",), ()], ids=["asked for", "auto"])
def test_helper_stacks_cannot_be_watched(engine: Engine, run: Run, words: tuple[str, ...]) -> None:
    engine.method = Method.HELPER
    code, out, err = run(main, "top", "ip_rcv", *words)
    assert (code, out) == (2, "")
    assert err.startswith("kwalk: the helper's stacks cannot be read while it counts\n  ")
    assert "kwalk count" in err
    assert engine.done[-1] == "close"


def test_output_that_cannot_be_written_is_one_message(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open("/dev/full", "w") as stdout:
        monkeypatch.setattr("sys.stdout", stdout)
        code, out, err = run(main, "top", "ip_rcv", "--interval=0.2")
        monkeypatch.undo()
    assert (code, out) == (1, "")
    assert "kwalk: the output cannot be written: No space left on device" in err
    assert LOST in err


def test_top_has_the_options_of_count() -> None:
    from kwalk.cli.parsers import command_line

    def flags(name: str) -> set[str]:
        return {flag for option in command_line(name).each() for flag in option.spellings}

    own = {"--format", "--addr", "--no-addr", "--per-pid"}
    assert flags("count") - flags("top") == own
