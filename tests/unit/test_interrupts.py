# SPDX-License-Identifier: MIT
"""Ctrl-C and hang-ups: quiet wherever they come, and the second one ends everything."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from kwalk.cli import stopper as stoppers
from kwalk.engine.traced_command import Child
from kwalk.support import aborting
from waiting import wait_for

# Interrupts the process whenever a module is imported whose turn it is; prints how many there were.
AT_IMPORTS = """
import atexit, os, signal, sys
wanted, seen = int(sys.argv.pop(1)), [0]
class Finder:
    def find_spec(self, name, path=None, target=None):
        seen[0] += 1
        if seen[0] == wanted:
            os.kill(os.getpid(), signal.SIGINT)
        return None
from kwalk import __main__
if wanted < 0:
    atexit.register(lambda: os.kill(os.getpid(), signal.SIGINT))
sys.meta_path.insert(0, Finder())
try:
    sys.exit(getattr(__main__, sys.argv.pop(1))())
finally:
    os.write(3, b"%d" % seen[0])
"""


def at_import(number: int, *words: str) -> tuple[int, str, int]:
    read, end = os.pipe()
    script = f"import os; os.dup2({end}, 3); os.close({end}) if {end} != 3 else 0\n{AT_IMPORTS}"
    done = subprocess.run(
        [sys.executable, "-c", script, str(number), *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=[end],
        text=True,
        timeout=100,
    )
    os.close(end)
    with os.fdopen(read) as told:
        text = told.read()
    return done.returncode, done.stderr, int(text or 0)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "words",
    [("kwalk", "report", "nosuch.rec"), ("kwalk", "--help"), ("bpf_get_stack_test", "--nosuch")],
    ids=" ".join,
)
def test_ctrl_c_at_an_import_is_quiet(words: tuple[str, ...]) -> None:
    code, _, imports = at_import(0, *words)
    assert code in (0, 1, 2)
    assert imports > 10
    for number in [1, 2, 3, *range(4, imports, max(1, imports // 6)), imports]:
        code, err, _ = at_import(number, *words)
        assert (code, err) == (130, ""), number


# What is interrupted at the first module that a script imports and Python has not loaded.
AT_ONCE = """
import os, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        os.kill(os.getpid(), signal.SIGINT)
assert "kwalk" not in sys.modules
sys.meta_path.insert(0, Finder())
exec(compile(open(sys.argv[1]).read(), sys.argv[1], "exec"))
"""


@pytest.mark.parametrize("name", ["kwalk", "bpf_get_stack_test"])
def test_ctrl_c_in_an_installed_script_is_quiet(name: str) -> None:
    script = Path(sys.prefix, "bin", name)
    words = [sys.executable, "-c", AT_ONCE, str(script)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_ctrl_c_while_python_ends_is_quiet() -> None:
    assert at_import(-1, "kwalk", "--help")[:2] == (130, "")


def test_second_ctrl_c_ends_the_process_after_its_last_acts() -> None:
    read, end = os.pipe()
    pid = os.fork()
    if not pid:
        with stoppers.Stopper() as stopper, aborting.at_abort(lambda: os.write(end, b"last")):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)  # as timeout(1) does
            assert stopper.stopped
            time.sleep(stoppers._ONE_SIGNAL_SECONDS + 0.1)
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGINT)
        os._exit(99)
    _, status = os.waitpid(pid, 0)
    assert os.read(read, 9) == b"last"
    os.close(read)
    os.close(end)
    assert os.waitstatus_to_exitcode(status) == 130


def test_signals_within_half_a_second_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    now, aborted = [100.0], list[int]()
    monkeypatch.setattr(stoppers, "abort", aborted.append)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with stoppers.Stopper(-1) as stopper:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stopper.interrupted
        now[0] += 0.4
        os.kill(os.getpid(), signal.SIGTERM)
        assert aborted == []
        now[0] += 0.2
        os.kill(os.getpid(), signal.SIGINT)
        assert aborted == [128 + signal.SIGINT]


def test_hang_up_stops_as_sigterm_does_unless_it_is_ignored() -> None:
    with stoppers.Stopper() as stopper:
        os.kill(os.getpid(), signal.SIGHUP)
        assert (stopper.stopped, stopper.interrupted) == (True, True)
    old = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stoppers.Stopper() as stopper:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stopper.stopped
    finally:
        signal.signal(signal.SIGHUP, old)


HOLDS = """
import sys, time
from kwalk.engine.traced_command import Child
with Child(sys.argv[1:]) as child:
    child.go()
    print(child.pid, flush=True)
    time.sleep(1000)
"""


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def test_child_is_killed_where_kwalk_is(tmp_path: Path) -> None:
    words = [sys.executable, "-c", HOLDS, "sh", "-c", f"sleep 1000 & echo $! >{tmp_path}/pid; wait"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        pid = int(holder.stdout.readline())
        assert wait_for(lambda: (tmp_path / "pid").exists(), 20)
        holder.kill()
    started = int((tmp_path / "pid").read_text())
    assert wait_for(lambda: gone(pid) and gone(started), 20)


def test_child_of_a_thread_outlives_that_thread() -> None:
    made: list[Child] = []
    thread = threading.Thread(target=lambda: made.append(Child(["sleep", "1000"])))
    thread.start()
    thread.join()
    with made[0] as child:
        child.go()
        time.sleep(0.2)
        assert not child.wait(0)
