# SPDX-License-Identifier: MIT
"""What several unit tests share. None of them needs root, a virtual machine or the network."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from built import ROOT, build
from engine import Engine, connect
from hypothesis import settings
from planted import Planted

_PR_CAPBSET_DROP = 24

# The same examples each time, so that results change with the code only. KWALK_EXPLORE=N tries N
# new ones of each property. No deadline: machines that run tests are shared and slow.
settings.register_profile("unit", deadline=None, derandomize=True, database=None)
settings.register_profile(
    "explore", deadline=None, max_examples=int(os.environ.get("KWALK_EXPLORE", "1000"))
)
settings.load_profile("explore" if "KWALK_EXPLORE" in os.environ else "unit")


# Shells start what is in the background with SIGINT ignored, and nohup with SIGHUP, which what is
# tested inherits.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_configure(config: pytest.Config) -> None:
    """Compile bpf/ for this machine, for the trees of ``planted.py``."""
    os.environ.setdefault("KWALK_HOST_OBJECT", str(build("gcc", ROOT / "build" / "host" / "unit")))


@pytest.fixture(scope="session")
def root() -> Path:
    """The source tree."""
    return ROOT


@pytest.fixture(scope="session")
def powerless_python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run Python with these arguments in a process that holds no capability.

    So that a test as root does what it does for everybody else, and traces nothing.
    """
    libc = ctypes.CDLL(None)

    def drop() -> None:
        for capability in range(64):
            libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)

    def run(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
        import os

        return subprocess.run(
            [sys.executable, *args],
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            preexec_fn=drop,
        )

    return run


@pytest.fixture(scope="session")
def gcc() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run gcc on C source text given as ``source``; the caller looks at the exit code."""

    def run(source: str, *args: str) -> subprocess.CompletedProcess[str]:
        command = ["gcc", "-Wall", "-Werror", "-x", "c", "-", *args]
        return subprocess.run(command, input=source, capture_output=True, text=True, timeout=60)

    return run


@pytest.fixture
def c_output(
    gcc: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> Callable[..., str]:
    """Compile C source text, run it, and return what it prints."""

    def run(source: str, *args: str) -> str:
        program = tmp_path / "program"
        built = gcc(source, "-o", str(program), *args)
        assert built.returncode == 0, built.stderr
        return subprocess.run([program], capture_output=True, text=True, check=True).stdout

    return run


@pytest.fixture
def usage_error(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command's ``main`` that must end with exit code 2; return its one line of error."""

    def run(main: Callable[[Sequence[str]], int], *argv: str) -> str:
        with pytest.raises(SystemExit) as stop:
            main(argv)
        assert stop.value.code == 2
        out, err = capsys.readouterr()
        assert out == ""
        *usage, line = err.splitlines()
        assert usage[0].startswith("usage: ")
        assert not any("error" in text for text in usage)
        return line

    return run


@pytest.fixture
def planted() -> Iterator[Planted]:
    """A tree of two CPUs, with its roots planted."""
    made = Planted()
    yield made
    made.close()


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """What the captures of this test are connected to."""
    made = connect(monkeypatch)
    yield made
    made.planted.close()


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a command's ``main``; return its exit code, standard output and standard error."""

    def run(entry: Callable[[list[str]], int], *argv: str) -> tuple[int, str, str]:
        code = entry(list(argv))
        out, err = capfd.readouterr()
        return code, out, err

    return run
