# SPDX-License-Identifier: MIT
"""The command line as its users meet it, in a process of its own."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from engine import Engine
from recorded import FACTS, summary

from full_pipe import stalled
from kwalk import __version__
from kwalk.cli.main import guarded, main
from kwalk.cli.parsers import COMMANDS
from kwalk.cli.recorder import Recorder
from kwalk.errors import KwalkError, NotSupported, UsageError
from kwalk.kernel.features import KPROBE_PMU

HEAVY = {"cffi", "_cffi_backend", "pycparser", "rich", "kwalk.libbpf", "kwalk.engine.capture"}
MODULES_AFTER = """
import json, sys
from kwalk.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit as stop:
    print(json.dumps([stop.code, sorted(sys.modules)]))
"""

Run = Callable[..., tuple[int, str, str]]
Python = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.parametrize("argv", [("--help",), ("--version",), ("--no-such-option",)])
def test_help_imports_nothing_heavy(powerless_python: Python, argv: tuple[str, ...]) -> None:
    done = powerless_python("-c", MODULES_AFTER, *argv)
    code, modules = json.loads(done.stdout.splitlines()[-1])
    assert code == (2 if argv == ("--no-such-option",) else 0)
    assert "kwalk.cli.main" in modules
    assert HEAVY.intersection(modules) == set()
    if argv != ("--no-such-option",):  # which is one of kwalk FUNC, perhaps
        commands = {name for name in modules if name.startswith("kwalk.cli.commands.")}
        assert commands <= {"kwalk.cli.parsers"}


def test_start_runs_no_garbage_collection(powerless_python: Python) -> None:
    program = """
import gc, sys
from kwalk.cli.main import main
def collections():
    return sum(each["collections"] for each in gc.get_stats())
before = collections()
code = main(["count", "ip_rcv"])
print(code, collections() - before, "kwalk.engine.capture" in sys.modules)
"""
    done = powerless_python("-c", program)
    assert done.stdout == "1 0 True\n"


def test_decoding_and_reports_are_imported_after_attaching(
    powerless_python: Python,
) -> None:
    program = """
import sys
from kwalk.cli.main import main
main(["count", "ip_rcv"])
print(*sys.modules)
"""
    modules = set(powerless_python("-c", program).stdout.split())
    assert "kwalk.engine.capture" in modules
    later = (
        "kwalk.decode",
        "kwalk.report",
        "kwalk.symbolize",
        "kwalk.engine.reader",
        "kwalk.model.ledger",
    )
    slow = ("dataclasses", "inspect")
    assert [name for name in modules if name.startswith(later) or name in slow] == []


def test_version_is_the_packages(powerless_python: Python) -> None:
    done = powerless_python("-m", "kwalk", "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"kwalk {__version__}\n", "")


def test_help_lists_every_command_and_each_has_its_own(powerless_python: Python) -> None:
    done = powerless_python("-m", "kwalk", "--help")
    assert done.returncode == 0
    for command in COMMANDS:
        assert re.search(rf"\n    {command}\s", done.stdout)
        own = powerless_python("-m", "kwalk", command, "--help")
        assert (own.returncode, own.stderr) == (0, "")
        assert own.stdout.startswith(f"usage: kwalk {command} ")


def test_help_is_a_command_too(powerless_python: Python) -> None:
    def said(*words: str) -> tuple[int, str]:
        done = powerless_python("-m", "kwalk", *words)
        return done.returncode, done.stdout

    assert said("help") == said("--help")
    assert said("help", "report") == said("report", "--help")
    assert said("help", "lab", "run") == said("lab", "run", "--help")
    assert said("-V") == said("--version") == (0, f"kwalk {__version__}\n")
    done = powerless_python("-m", "kwalk", "help", "nosuch")
    assert done.returncode == 2
    assert "there is no command nosuch; see kwalk --help" in done.stderr


@pytest.mark.parametrize("argv", [("ip_rcv", "--help"), ("--top=3", "ip_rcv", "--help")])
def test_help_for_a_function_is_that_of_count(
    powerless_python: Python, argv: tuple[str, ...]
) -> None:
    own = powerless_python("-m", "kwalk", "count", "--help")
    done = powerless_python("-m", "kwalk", *argv)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == own.stdout


def test_unprivileged_process_gets_one_message(powerless_python: Python) -> None:
    commands = (
        (["-m", "kwalk", "stream", "ip_rcv"], "kwalk"),
        (["-m", "kwalk", "count", "ip_rcv"], "kwalk"),
        (["-m", "kwalk", "ip_rcv"], "kwalk"),
        (
            ["-c", "from kwalk.cli.published import main; exit(main())", "--manual", "ip_rcv"],
            "bpf_get_stack_test",
        ),
    )
    for command, name in commands:
        done = powerless_python(*command)
        assert (done.returncode, done.stdout) == (1, "")
        what, hint = done.stderr.splitlines()
        assert what == (
            f"{name}: tracing needs CAP_SYSLOG, CAP_PERFMON, CAP_BPF, which this process lacks"
        )
        assert "root" in hint


@pytest.mark.skipif(KPROBE_PMU.exists(), reason="this host has kprobes; the VM tests trace there")
@pytest.mark.timeout(300)  # the kernel's verifier takes its time on a busy machine
def test_host_without_kprobes_gets_a_message() -> None:
    command = [sys.executable, "-m", "kwalk", "stream", "--duration=1", "ip_rcv"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 1
    assert done.stderr.startswith("kwalk: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (KwalkError("it failed", "Try this."), 1, "kwalk: it failed\n  Try this.\n"),
        (KwalkError("it failed"), 1, "kwalk: it failed\n"),
        (NotSupported("no BTF"), 1, "kwalk: no BTF\n"),
        (UsageError("no such function"), 2, "kwalk: no such function\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_error_is_one_message_and_an_exit_code(
    capsys: pytest.CaptureFixture[str], error: BaseException, code: int, text: str
) -> None:
    def fail() -> int:
        raise error

    assert guarded("kwalk", fail) == code
    assert capsys.readouterr() == ("", text)


def test_full_disk_is_one_message(powerless_python: Python) -> None:
    body = "from kwalk.cli.main import guarded; code = guarded('kwalk', lambda: print('x') or 0)"
    script = (
        f"import os, sys; os.dup2(os.open('/dev/full', os.O_WRONLY), 1); {body}; sys.exit(code)"
    )
    done = powerless_python("-c", script, PYTHONUNBUFFERED="")  # else nothing is left to flush
    assert done.returncode == 1
    what, hint = done.stderr.splitlines()
    assert what == "kwalk: the output cannot be written: No space left on device"
    assert hint.startswith("  Make room ")


def test_closed_pipe_is_no_error(powerless_python: Python) -> None:
    no_reader = "import os, sys; read, write = os.pipe(); os.close(read); os.dup2(write, 1)"
    body = "from kwalk.cli.main import guarded; code = guarded('kwalk', lambda: print('x') or 0)"
    script = f"{no_reader}; {body}; sys.exit(code)"
    done = powerless_python("-c", script, PYTHONUNBUFFERED="")  # else nothing is left to flush
    assert (done.returncode, done.stderr) == (0, "")


PYTHON = shlex.quote(sys.executable)


@pytest.mark.parametrize("words", ["doctor", "--help", "functions ip_rcv", "report FILE"])
def test_closed_standard_output_is_one_message(words: str, tmp_path: Path) -> None:
    path = tmp_path / "a.rec"
    with Recorder(str(path)) as recorder:
        recorder.begin(dict(FACTS), summary([]))
        recorder.end([], 1.0, summary([]))
    words = words.replace("FILE", str(path))
    done = subprocess.run(
        ["sh", "-c", f"{PYTHON} -m kwalk {words} >&-"], capture_output=True, text=True, timeout=100
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "kwalk: the output cannot be written: it is closed\n"
        "  Leave standard output open, or send it to a file.\n"
    )


def test_closed_standard_output_is_told_before_anything_is_traced(run: Run, engine: Engine) -> None:
    with open(os.devnull) as closed, pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", closed)
        codes = [main([*words, "ip_rcv"]) for words in (["count"], ["stream"], ["top"], ["bench"])]
        codes += [main(["record", "ip_rcv", "-o", "-"]), main(["compare", "ip_rcv"])]
    assert codes == [1] * 6
    assert engine.done == []


@pytest.mark.parametrize("where", ["2>&-", "2>/dev/full", "2>/dev/full >/dev/full"])
@pytest.mark.parametrize("words", ["nosuch --nosuch", "report nosuch.rec", "count"])
def test_standard_error_that_takes_nothing_changes_no_exit_code(words: str, where: str) -> None:
    codes = [
        subprocess.run(
            ["sh", "-c", f"{PYTHON} -m kwalk {words} {each}"], capture_output=True, timeout=100
        ).returncode
        for each in ("", where)
    ]
    assert codes[0] == codes[1] != 0


def test_standard_error_that_nobody_reads_is_given_up() -> None:
    with stalled() as end:
        done = subprocess.run(
            [sys.executable, "-m", "kwalk", "report", "nosuch.rec"], stderr=end, timeout=100
        )
    assert done.returncode == 1


DESTRUCTOR = """
import os, signal, sys
from kwalk import __main__
from kwalk.cli import main as cli

class Closing:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        len([])

def body():
    made = Closing()
    del made
    return 0

__main__._quiet()
sys.exit(cli.guarded("kwalk", body))
"""
SET_NAME = """
import os, signal, sys
from kwalk import __main__
from kwalk.cli import main as cli

class Named:
    def __set_name__(self, owner, name):
        os.kill(os.getpid(), signal.SIGINT)
        len([])

def body():
    class Owner:
        name = Named()
    return 0

__main__._quiet()
sys.exit(cli.guarded("kwalk", body))
"""


@pytest.mark.parametrize("script", [DESTRUCTOR, SET_NAME], ids=["destructor", "class body"])
def test_ctrl_c_where_python_wraps_or_drops_it_ends_in_silence(script: str) -> None:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
