# SPDX-License-Identifier: MIT
"""Counters of the programs, and the kernel's counters of missed hits."""

from __future__ import annotations

import os
import struct
from pathlib import Path

from kwalk.abi import COUNTERS
from kwalk.libbpf.object import Object

_POSSIBLE = Path("/sys/devices/system/cpu/possible")
_ONLINE = Path("/sys/devices/system/cpu/online")

# include/uapi/linux/bpf.h: struct bpf_prog_info and struct bpf_link_info
_RECURSION_MISSES = 208
_VERIFIED_INSNS = 216
_LINK_TYPE, _PERF_EVENT, _KPROBE_MULTI = 0, 7, 8
_MISSED = {_PERF_EVENT: 48, _KPROBE_MULTI: 32}


def possible_cpus(text: str | None = None) -> int:
    """Return the number of values that a per-CPU map has for a key.

    :param text: The contents of ``/sys/devices/system/cpu/possible``, such as ``0-3``.
    """
    text = _POSSIBLE.read_text() if text is None else text
    last = text.strip().split(",")[-1].split("-")[-1]
    return int(last) + 1


def online_cpus(text: str | None = None) -> list[int]:
    """Return the numbers of the online CPUs.

    :param text: The contents of ``/sys/devices/system/cpu/online``, such as ``0,2-3``.
    """
    text = _ONLINE.read_text() if text is None else text
    ends = [part.split("-") for part in text.strip().split(",")]
    return [cpu for end in ends for cpu in range(int(end[0]), int(end[-1]) + 1)]


class Counters:
    """``struct kw_counters``, summed over all CPUs and objects."""

    def __init__(self, obj: Object) -> None:
        self._maps = [obj.map("counters")]
        self._cpus = possible_cpus()

    def add(self, obj: Object) -> None:
        """Add the counters of another object."""
        self._maps.append(obj.map("counters"))

    def read(self) -> dict[str, int]:
        """Return the sums by member name."""
        size = self._cpus * COUNTERS.size
        data = b"".join(map_.lookup(bytes(4), size) or b"" for map_ in self._maps)
        rows = [COUNTERS.struct.unpack_from(data, at) for at in range(0, len(data), COUNTERS.size)]
        sums = [sum(column) for column in zip(*rows, strict=True)]
        return dict(zip(COUNTERS.fields, sums, strict=True))


def _field(info: bytes, offset: int, code: str) -> int:
    if len(info) < offset + struct.calcsize(code):
        return 0  # an older kernel's shorter struct
    return int(struct.unpack_from(code, info, offset)[0])


def kernel_misses(obj: Object, program: str, link: bool) -> dict[str, int]:
    """Return the hits that never reached the program, by cause, as far as the kernel counts them.

    ``recursion``: the program was already running on that CPU; ``kprobe_missed``: another kprobe
    was being handled, or too many calls of the function were in progress to trace their returns.

    :param link: Read the kprobe's links as well, which must still be attached.
    """
    misses = {"recursion": _field(obj.program_info(program), _RECURSION_MISSES, "<Q")}
    if link:
        misses["kprobe_missed"] = sum(map(_missed, obj.link_infos()))
    return misses


def _missed(info: bytes) -> int:
    at = _MISSED.get(_field(info, _LINK_TYPE, "<I"))
    return _field(info, at, "<Q") if at else 0


def verified_insns(obj: Object, program: str) -> int:
    """Return the number of instructions that the verifier processed to accept ``program``."""
    return _field(obj.program_info(program), _VERIFIED_INSNS, "<I")


def kernel_release() -> str:
    """Return the running kernel's release, as ``uname -r`` prints it."""
    return os.uname().release
