# SPDX-License-Identifier: MIT
"""Other tools, played by programs that print what these print."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from programs import PROGRAM, temporary

from kwalk.bench import ftrace, methods, peers, tool
from kwalk.bench.results import Outcome
from kwalk.bench.tool import ToolUnavailable


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    yield from temporary(monkeypatch, tmp_path)


Fake = Callable[[str, str], None]


@pytest.fixture
def tracing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """What stands in for tracefs, with something else attached already."""
    made = tmp_path / "tracing"
    (made / f"events/kwalk_bench/hit_{os.getpid()}").mkdir(parents=True)
    (made / "kprobe_events").touch()
    (made / "enabled_functions").write_text("ip_rcv_core (1) R\nip_rcv (1) R\n")
    monkeypatch.setattr(ftrace, "TRACING", made)
    monkeypatch.setattr(ftrace, "KPROBES", made / "kprobes")
    return made


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tracing: Path) -> Fake:
    """Make a program of that name; there are no others."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def make(name: str, body: str) -> None:
        path = folder / name
        helper = f"from pathlib import Path\ntracing = Path({str(tracing)!r})\n"
        path.write_text(f"#!{sys.executable} -SE\n{PROGRAM}{helper}{body}")
        path.chmod(0o755)

    return make


ATTACHES = "(tracing / 'enabled_functions').write_text('ip_rcv_core (1) R\\nip_rcv (2) R\\n')\n"


def saw(made: tool.Tool) -> Outcome:
    running = made.start()
    try:
        assert running.attach_seconds > 0
        assert running.cpu_seconds() >= 0
        return running.finish()
    finally:
        running.kill()
        running.kill()


@pytest.mark.parametrize("name", ["bpftrace", "bcc", "perf"])
def test_tool_not_installed_is_reported(name: str, fake: Fake, tracing: Path) -> None:
    with pytest.raises(ToolUnavailable, match=r"^(stackcount|bpftrace|perf) is not installed$"):
        methods.find(name, "ip_rcv", "count", "auto").start()
    assert (tracing / "kprobe_events").read_text() == ""


def test_bpftraces_counts_are_added_up(fake: Fake) -> None:
    fake(
        "bpftrace",
        ATTACHES + "say('Attaching 1 probe...\\n'); wait()\n"
        "say('Lost 12 events\\nLost 3 events\\n', sys.stderr)\n"
        "say('\\n\\n@[]: 5\\n@[\\n]: 2\\n')\n"  # stacks that it could not take
        "say('@[\\n    ip_rcv+1\\n    process_backlog+136\\n]: 3\\n')\n"
        "say('@[\\n    ip_rcv+1\\n]: 1200\\n')",
    )
    assert saw(peers.Bpftrace("ip_rcv", prints=False)) == Outcome(1203, 22)


def test_bpftraces_printed_stacks_are_counted_then_and_in_the_end(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "CATCH_UP_SECONDS", 0.1)
    event = "\\n        ip_rcv+1\\n        ip_rcv_core+9\\n        process_backlog+136\\n\\n"
    fake(
        "bpftrace",
        f"say('Attaching 1 probe...\\n{event}{event}')\n{ATTACHES}wait(); say('{event}')",
    )
    assert saw(peers.Bpftrace("ip_rcv", prints=True)) == Outcome(3, 0, shown=2)


def test_bpftrace_says_how_many_events_it_lost(fake: Fake) -> None:
    fake(
        "bpftrace",
        ATTACHES + "say('Attaching 1 probe...\\n'); wait()\n"
        "say('Lost 40 events\\n'); say('\\n    ip_rcv+1\\n    process_backlog+136\\n')\n",
    )
    assert saw(peers.Bpftrace("ip_rcv", prints=True)) == Outcome(1, 40, shown=0)


def test_bpftrace_that_fails_is_not_here_in_its_own_words(fake: Fake) -> None:
    fake("bpftrace", "say('ERROR: bpftrace needs root\\n', sys.stderr); sys.exit(1)")
    with pytest.raises(ToolUnavailable, match=r"^ERROR: bpftrace needs root$"):
        peers.Bpftrace("ip_rcv", prints=False).start()


def test_second_kprobe_on_a_function_is_seen_when_it_is_enabled(tracing: Path) -> None:
    """Both share one hook of ftrace's, whose line stays as it is."""
    first = "ffffffff81234560  k  ip_rcv+0x0    [FTRACE]\n"
    other = "ffffffff81234560  k  ip_rcv_core+0x0    [FTRACE]\n"
    (tracing / "kprobes").write_text(first)
    attached = ftrace.Attached("ip_rcv")
    process: Any = None
    assert not attached(process)
    (tracing / "kprobes").write_text(first + other + first.replace("]", "][DISABLED]"))
    assert not attached(process)
    (tracing / "kprobes").write_text(first * 2)
    assert attached(process)


@pytest.mark.parametrize("name", ["bpftrace", "perf"])
def test_tool_is_unavailable_where_attachment_cannot_be_seen(
    name: str, fake: Fake, tracing: Path
) -> None:
    fake(name, "wait()")
    (tracing / "enabled_functions").unlink()  # a kernel without ftrace's function hooks
    with pytest.raises(ToolUnavailable):
        methods.find(name, "ip_rcv", "count", "auto").start()
    events = (tracing / "kprobe_events").read_text()
    assert events.count("p:") == events.count("-:")  # what was made is taken away again


STACKCOUNT = (
    "say('Tracing 1 functions for \"ip_rcv\"... Hit Ctrl-C to end.\\n'); wait()\n"
    "say('\\n  ip_rcv\\n  process_backlog\\n    12\\n\\n  ip_rcv\\n    345\\n\\nDetaching...\\n')"
)


@pytest.mark.parametrize("name", ["stackcount-bpfcc", "stackcount"])
def test_bccs_counts_are_added_up(fake: Fake, name: str) -> None:
    fake(name, STACKCOUNT)
    assert saw(peers.Bcc("ip_rcv")) == Outcome(357, 0)


def test_bccs_counts_without_a_stack_are_lost(fake: Fake) -> None:
    fake("stackcount", STACKCOUNT.replace("Detaching", "    41\\n\\nDetaching"))
    assert saw(peers.Bcc("ip_rcv")) == Outcome(357, 41)


def test_bcc_where_nothing_was_called_has_counted_none(fake: Fake) -> None:
    fake("stackcount", "say('Tracing 1 functions\\n'); wait(); say('\\nDetaching...\\n')")
    assert saw(peers.Bcc("ip_rcv")) == Outcome(0, 0)


def test_bcc_that_failed_is_not_here(fake: Fake) -> None:
    fake("stackcount", "say('Tracing 1 functions\\n'); wait(); say('failed\\n', sys.stderr)")
    with pytest.raises(ToolUnavailable, match=r"^failed$"):
        saw(peers.Bcc("ip_rcv"))


def test_versions_are_what_the_programs_say(fake: Fake) -> None:
    fake("bpftrace", "say('bpftrace v0.17.0\\n')")
    fake("perf", "say('perf version 6.1.99\\n')")
    fake("dpkg-query", "say('0.26.0+ds-1')")
    found = [peers.Bpftrace("f", False).version(), ftrace.Perf("f").version()]
    assert [*found, peers.Bcc("f").version()] == [
        "bpftrace v0.17.0",
        "perf 6.1.99",
        "bcc 0.26.0+ds-1",
    ]


def test_bccs_version_is_no_error_where_there_is_no_dpkg(fake: Fake) -> None:
    fake("stackcount", STACKCOUNT)
    assert peers.Bcc("ip_rcv").version().startswith("bcc")


STATISTICS = """\
Aggregated stats:
           TOTAL events:      17349
            LOST events:        133  ( 0.8%)
          SAMPLE events:         91  (97.0%)
    LOST_SAMPLES events:          1  ( 0.0%)
kwalk_bench:hit_PID stats:
          SAMPLE events:         90
    LOST_SAMPLES events:      43174
"""


@pytest.mark.parametrize(
    ("statistics", "lost"),
    [
        (STATISTICS, 43174),
        (STATISTICS.replace("LOST", "NONE"), 0),
        (STATISTICS.replace("LOST_SAMPLES", "NONE"), None),  # before Linux 6.0
    ],
)
def test_perfs_samples_are_counted_and_what_it_lost_of_them(
    fake: Fake, tracing: Path, statistics: str, lost: int | None
) -> None:
    text = statistics.replace("PID", str(os.getpid()))
    fake(
        "perf",
        f"if sys.argv[1] == 'record':\n    {ATTACHES}    wait()\nelse:\n    say({text!r})\n",
    )
    assert saw(ftrace.Perf("ip_rcv")) == Outcome(90, lost)
    event = f"kwalk_bench/hit_{os.getpid()}"
    assert (tracing / "kprobe_events").read_text() == f"p:{event} ip_rcv\n-:{event}\n"


@pytest.fixture
def newer(fake: Fake, tmp_path: Path) -> Path:
    """A folder with other versions of all tools; those in PATH fail."""
    folder = tmp_path / "newer" / "bin"
    folder.mkdir(parents=True)
    for name, text in {
        "bpftrace": "bpftrace v0.27.1",
        "perf": "perf version 7.2.13",
        "stackcount-bpfcc": "",
    }.items():
        fake(name, f"say({text!r})")
        (tmp_path / "bin" / name).rename(folder / name)
        fake(name, "sys.exit('the wrong one')")
    (folder.parent / "packages.json").write_text('{"bpfcc-tools": "0.37.0+ds-8"}')
    return folder


def test_methods_with_a_label_run_the_programs_of_its_folder(newer: Path) -> None:
    names = ["bpftrace@sid", "perf@sid", "bcc@sid"]
    found = [methods.find(name, "f", "count", "auto", {"sid": newer}) for name in names]
    assert [each.name for each in found] == names
    assert [each.version() for each in found] == [
        "bpftrace v0.27.1",
        "perf 7.2.13",
        "bcc 0.37.0+ds-8",
    ]
    with pytest.raises(ToolUnavailable, match="it ended without a message"):
        found[2].start()  # not by the one in PATH


def test_program_that_its_folder_lacks_is_not_taken_from_path(fake: Fake, tmp_path: Path) -> None:
    fake("bpftrace", "wait()")
    (tmp_path / "empty").mkdir()
    made = methods.find("bpftrace@old", "f", "count", "auto", {"old": tmp_path / "empty"})
    with pytest.raises(ToolUnavailable, match=r"^bpftrace is not in its folder of --tools$"):
        made.start()


def test_perf_that_fails_leaves_no_event_behind(fake: Fake, tracing: Path) -> None:
    fake("perf", "say('No permission\\n', sys.stderr); sys.exit(255)")
    with pytest.raises(ToolUnavailable, match=r"^No permission$"):
        ftrace.Perf("ip_rcv").start()
    event = f"kwalk_bench/hit_{os.getpid()}"
    assert (tracing / "kprobe_events").read_text() == f"p:{event} ip_rcv\n-:{event}\n"


HIST = """\
# event histogram
{ common_stacktrace:
         ip_rcv+0x1/0x10
} hitcount:         90

Totals:
    Hits: 100
    Entries: 1
    Dropped: 10
"""


def test_ftraces_histogram_is_read_and_taken_away(tracing: Path) -> None:
    event = f"kwalk_bench/hit_{os.getpid()}"
    (tracing / "events" / event / "hist").write_text(HIST)
    running = ftrace.Ftrace("ip_rcv").start()
    trigger = tracing / "events" / event / "trigger"
    assert trigger.read_text() == "hist:keys=common_stacktrace:size=8192\n"
    assert running.finish() == Outcome(100, 10)
    assert trigger.read_text() == "!hist:keys=common_stacktrace:size=8192\n"
    assert (tracing / "kprobe_events").read_text() == f"p:{event} ip_rcv\n-:{event}\n"
    running.kill()  # once more does no harm
    assert (tracing / "kprobe_events").read_text().count("-:") == 1


@pytest.mark.parametrize(
    ("lacks", "words"),
    [
        ("kprobe_events", "ftrace refuses the kprobe event: No such file or directory"),
        ("events", "this kernel has no hist triggers by stack"),
    ],
)
def test_ftrace_that_cannot_do_it_is_not_here(tracing: Path, lacks: str, words: str) -> None:
    (tracing / lacks).rename(tracing / "gone")
    with pytest.raises(ToolUnavailable, match=f"^{words}$"):
        ftrace.Ftrace("ip_rcv").start()
    if lacks == "events":
        assert (tracing / "kprobe_events").read_text().splitlines()[-1].startswith("-:")
