# SPDX-License-Identifier: MIT
"""The load that is put on the traced function."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kwalk.bench import workload as workloads
from kwalk.bench.workload import Workload, redis, redis_version
from kwalk.errors import KwalkError, NotSupported
from waiting import wait_for

SLOWLY = "sleep 0.06; "
REDIS = pytest.mark.skipif(
    not (shutil.which("redis-server") and shutil.which("redis-benchmark")),
    reason="redis is not installed",
)


def shell(script: str, metric: str = workloads.AUTO) -> Workload:
    return Workload(["sh", "-c", SLOWLY + script], metric)


def error_of(workload: Workload) -> tuple[str, str]:
    with pytest.raises(KwalkError) as failed:
        workload.run()
    assert failed.value.hint
    return failed.value.what, failed.value.hint


def test_command_is_shown_with_shell_quoting() -> None:
    assert Workload(["sh", "-c", "echo 'a b'"]).text == """sh -c 'echo '"'"'a b'"'"''"""


def test_workload_output_is_recognized_and_timed() -> None:
    workload = shell("echo Requests/sec: 1234.5")
    sample = workload.run()
    assert workload.unit == "requests/s"
    assert sample.rate == 1234.5
    assert 0.06 <= sample.seconds < 60


def test_workload_with_unknown_output_gives_runs_per_second() -> None:
    workload = shell("echo hello")
    sample = workload.run()
    assert workload.unit == "runs/s"
    assert sample.rate == pytest.approx(1 / sample.seconds)
    assert sample.latency == {}


def test_workload_metric_does_not_change_between_runs(tmp_path: Path) -> None:
    once = tmp_path / "once"
    workload = shell(f"if mkdir {once}; then echo Requests/sec: 5; else echo broken; fi")
    assert workload.run().rate == 5
    what, hint = error_of(workload)
    assert "it has none this time" in what
    assert hint.endswith("broken")
    assert workload.unit == "requests/s"


def test_standard_error_is_searched_too_and_a_metric_of_ones_own_is_used() -> None:
    workload = shell("echo ops=7 Requests/sec: 5 >&2", r"ops=(\d+)")
    assert workload.run().rate == 7
    assert workload.unit == "metric"


def test_progress_that_is_drawn_over_itself_does_not_hide_the_end_of_it() -> None:
    script = r"printf 'SET: rps=1\rSET: rps=2\r     \r9%% done\rRequests/sec: 8\r\n'"
    assert shell(script).run().rate == 8
    assert shell(script, r"^Requests/sec: (\d+)$").run().rate == 8


def test_bytes_that_are_no_text_do_no_harm() -> None:
    assert shell(r"printf '\377\376\nRequests/sec: 3\n'").run().rate == 3


def test_workload_reads_nothing_from_the_terminal() -> None:
    read, write = os.pipe()
    before = os.dup(0)
    os.write(write, b"23\n")
    try:
        os.dup2(read, 0)
        sample = shell("read line; echo Requests/sec: 1$line", r"sec: (\d+)$").run()
    finally:
        os.dup2(before, 0)
        for fd in (read, write, before):
            os.close(fd)
    assert sample.rate == 1


@pytest.mark.parametrize(
    ("script", "end", "last"),
    [
        ("echo first; echo second >&2; exit 3", "exit code 3", "second"),
        ("kill -9 $$", "signal 9", "it printed nothing"),
        (r"printf 'Requests/sec: 5\r50%%\rgone\r\n\n'; exit 1", "exit code 1", "gone"),
    ],
)
def test_failed_command_is_an_error_with_its_last_line(script: str, end: str, last: str) -> None:
    workload = shell(script)
    what, hint = error_of(workload)
    assert what == f"the workload failed ({end}): {workload.text}"
    assert hint == f"Its last line was: {last}"


@pytest.mark.parametrize(
    ("command", "why"),
    [("/no/such/program", "No such file or directory"), ("/dev/null", "Permission denied")],
)
def test_command_that_cannot_be_started_is_an_error(command: str, why: str) -> None:
    what, hint = error_of(Workload([command, "x"]))
    assert what == f"the workload {command} cannot be started: {why}"
    assert "spelling" in hint


def test_command_that_ends_too_soon_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workloads, "TOO_SHORT_SECONDS", 30.0)
    what, hint = error_of(shell("echo Requests/sec: 5"))
    assert what.startswith("the workload ended after ")
    assert what.endswith(" ms, too soon to measure anything")
    assert "second" in hint


def test_failed_command_is_not_reported_as_too_short() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workloads, "TOO_SHORT_SECONDS", 30.0)
        assert "exit code 1" in error_of(Workload(["false"]))[0]
    assert 0 < workloads.TOO_SHORT_SECONDS <= 0.06  # what these tests and users rely on


def fake(folder: Path, name: str, body: str) -> None:
    path = folder / name
    path.write_text(f"#!{sys.executable} -SE\n{body}")
    path.chmod(0o755)


@pytest.mark.parametrize(
    "missing", [{"redis-server"}, {"redis-benchmark"}, {"redis-server", "redis-benchmark"}]
)
def test_missing_redis_is_named_with_a_remedy(
    monkeypatch: pytest.MonkeyPatch, missing: set[str]
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None if name in missing else f"/bin/{name}")
    with pytest.raises(NotSupported) as failed, redis(1):
        pass
    what, _, rest = failed.value.what.partition(" cannot be found")
    assert set(what.split(" and ")) == missing
    assert rest
    assert "redis-tools" in failed.value.hint
    assert "kwalk bench FUNC -- COMMAND" in failed.value.hint


def test_redis_server_that_does_not_start_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake(tmp_path, "redis-server", "print('reading'); print('out of memory'); raise SystemExit(1)")
    fake(tmp_path, "redis-benchmark", "")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(KwalkError) as failed, redis(1):
        pass
    assert failed.value.what == "redis-server does not start"
    assert failed.value.hint == "Its last line was: out of memory"


def test_redis_server_that_never_answers_is_ended(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pid = tmp_path / "pid"
    body = f"import os, time\nopen({str(pid)!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)\n"
    fake(tmp_path, "redis-server", body)
    fake(tmp_path, "redis-benchmark", "")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(workloads, "_answers", lambda port: False)
    monkeypatch.setattr(workloads, "_START_SECONDS", 0.3)
    with pytest.raises(KwalkError, match="does not start"), redis(1):
        pass
    if pid.exists():  # it had come that far
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid.read_text()), 0)


def ask(port: int, line: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(line)
        return connection.recv(65536)


def listens(port: int) -> bool:
    """Whether somebody does; asked again and again, this gives who is about to end some time."""
    time.sleep(0.05)
    try:
        ask(port, b"PING\r\n")
    except ConnectionError:
        return False
    return True


@REDIS
def test_redis_runs_on_a_server_of_its_own_that_is_gone_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workloads, "TOO_SHORT_SECONDS", 0.0)
    with redis(2000) as workload:
        port = int(workload.words[workload.words.index("-p") + 1])
        assert workload.words[-2:] == ["-n", "2000"]
        sample = workload.run()
        assert workload.unit == "requests/s"
        assert sample.rate > 1
        assert sample.latency[100.0] > 0
        assert b"calls=2000," in ask(port, b"INFO commandstats\r\n")
        assert ask(port, b"CONFIG GET save\r\n").endswith(b"$0\r\n\r\n")  # it writes no file
    with pytest.raises(ConnectionRefusedError):
        ask(port, b"PING\r\n")


@REDIS
@pytest.mark.parametrize("error", [KeyboardInterrupt, KwalkError])
def test_redis_server_is_gone_after_an_error(error: type[BaseException]) -> None:
    ports: list[int] = []

    def interrupted() -> None:
        with redis(10, r"ops=(\d+)") as workload:
            ports.append(int(workload.words[workload.words.index("-p") + 1]))
            assert workload.unit == "metric"
            raise error("enough")

    with pytest.raises(error):
        interrupted()
    with pytest.raises(ConnectionRefusedError):
        ask(ports[0], b"PING\r\n")


@REDIS
def test_redis_server_is_gone_if_the_bench_is_killed() -> None:
    script = (
        "import time; from kwalk.bench.workload import redis\n"
        "with redis(10) as workload: print(workload.words[2], flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as bench:
        assert bench.stdout
        port = int(bench.stdout.readline())
        assert b"PONG" in ask(port, b"PING\r\n")
        bench.kill()
    assert any(not listens(port) for _ in range(100))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("print('Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc bits=64')", "redis 7.0.15"),
        (None, ""),
    ],
)
def test_redis_version_is_the_servers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, body: str | None, expected: str
) -> None:
    if body:
        fake(tmp_path, "redis-server", body)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert redis_version() == expected


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_workload_and_what_it_started_end_with_the_bench(
    tmp_path: Path, number: signal.Signals
) -> None:
    told = tmp_path / "pids"
    load = f"sleep 1000 & echo $$ $! >{told}.new; mv {told}.new {told}; wait"
    script = "import sys; from kwalk.bench.workload import Workload; Workload(sys.argv[1:]).run()"
    words = [sys.executable, "-c", script, "sh", "-c", load]
    with subprocess.Popen(words, stderr=subprocess.DEVNULL) as bench:
        assert wait_for(told.exists, 30)
        bench.send_signal(number)
    pids = told.read_text().split()
    assert wait_for(lambda: not any(Path("/proc", pid).exists() for pid in pids), 20)
