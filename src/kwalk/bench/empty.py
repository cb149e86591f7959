# SPDX-License-Identifier: MIT
"""Empty BPF program on a function: the cost of being called at all, and a counter of its calls."""

from __future__ import annotations

import time
from pathlib import Path

from kwalk.bench.results import Outcome
from kwalk.bench.tool import Running, ToolUnavailable
from kwalk.errors import KwalkError, NotSupported
from kwalk.libbpf import stats
from kwalk.libbpf.object import Object
from kwalk.transport.counters import kernel_misses

# In order of preference: fentry runs whatever else the CPU is doing.
WAYS = ("fentry", "kprobe")
_IMAGE = "empty.bpf.o"


class EmptyProgram:
    """Attached program that returns at once. Use it in a ``with``, which detaches it.

    :param function: The function, with its module (``overlay:ovl_open``) or without.
    :param way: One of ``WAYS``.
    :raises KwalkError: if it cannot be attached.
    """

    def __init__(self, function: str, way: str) -> None:
        name = function.rpartition(":")[2]
        self.way = way
        self._program = f"kw_empty_{way}"
        self._object = Object(_image())
        try:
            self._object.set_autoload({self._program: name if way == "fentry" else None})
            self._object.load()
            if way == "fentry":
                self._object.attach_trace(self._program, name)
            else:
                self._object.attach_kprobe(self._program, name)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> EmptyProgram:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def calls(self) -> int:
        """Return the function's calls since attaching, while ``stats.measured`` was in force.

        Runs of the program, and the calls for which the kernel could not run it; before 6.7 it
        does not tell all of these for kprobes.
        """
        _, runs = stats.of_program(self._object.program_info(self._program))
        link = self.way == "kprobe"
        return runs + sum(kernel_misses(self._object, self._program, link).values())

    def close(self) -> None:
        """Detach; may be called at any time."""
        self._object.close()


def counter(function: str) -> EmptyProgram:
    """Attach an empty program by the first of ``WAYS`` that works for a function.

    :raises KwalkError: if none does.
    """
    for way in WAYS[:-1]:
        try:
            return EmptyProgram(function, way)
        except KwalkError:
            continue
    return EmptyProgram(function, WAYS[-1])


class _Attached:
    """Empty program as a benchmarked tool."""

    def __init__(self, function: str, way: str) -> None:
        started = time.monotonic()
        try:
            self._program = EmptyProgram(function, way)
        except KwalkError as error:
            raise ToolUnavailable(error.what) from None
        self.attach_seconds = time.monotonic() - started

    def cpu_seconds(self) -> float:
        """Return 0: it has no process."""
        return 0.0

    def finish(self) -> Outcome:
        """Detach; it delivers nothing."""
        self.kill()
        return Outcome(None, None)

    def kill(self) -> None:
        """See ``Running.kill``."""
        self._program.close()


class Empty:
    """Program that returns at once, by fentry or kprobe."""

    def __init__(self, function: str, way: str, name: str) -> None:
        self.name = name
        self._function = function
        self._way = way

    def start(self) -> Running:
        """See ``Tool.start``."""
        return _Attached(self._function, self._way)

    def version(self) -> str:
        """Return "": it is kwalk's."""
        return ""


def _image() -> bytes:
    try:
        return Path(__file__).with_name(_IMAGE).read_bytes()
    except FileNotFoundError:
        raise NotSupported(
            f"kwalk was installed without its empty BPF program ({_IMAGE})",
            "Install it anew; in a source tree, `make venv` builds it.",
        ) from None
