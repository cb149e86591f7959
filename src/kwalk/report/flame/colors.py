# SPDX-License-Identifier: MIT
"""Colours of frames in flame graphs, by kind of code or by change."""

from __future__ import annotations

import colorsys
import zlib
from typing import NamedTuple

from kwalk.arch import of_recording
from kwalk.report.calltree import TRUNCATED

SHADES = 4


class FrameKind(NamedTuple):
    """A kind of frame: its name in the legend, hue (degrees) and saturation (0 to 1)."""

    what: str
    hue: float
    saturation: float


KINDS = {
    "vmlinux": FrameKind("kernel (vmlinux)", 36, 0.88),
    "module": FrameKind("kernel module", 140, 0.45),
    "bpf": FrameKind("BPF program", 285, 0.45),
    "entry": FrameKind("system call and interrupt entry", 208, 0.62),
    "unknown": FrameKind("no symbol known", 345, 0.35),
    "truncated": FrameKind("stack goes on, not recorded", 0, 0.0),
    "group": FrameKind("group", 185, 0.32),
    "all": FrameKind("all", 220, 0.10),
}

# Least ratio between before and after for each step of colour.
STEPS = (1.02, 1.1, 1.25, 1.5, 2.0)


def kind_of(name: str, machine: str = "") -> str:
    """Return the key of ``KINDS`` for a frame.

    :param name: Name of the frame, made by ``calltree.function_name``.
    :param machine: ``uname -m`` of the recorded machine; "" if unknown.
    """
    if name == TRUNCATED:
        return "truncated"
    if name.endswith(" [bpf]"):
        return "bpf"
    if name.endswith("]") and " [" in name:
        return "module"
    if not name or name.startswith("0x"):
        return "unknown"
    return "entry" if of_recording(machine).entry_code.match(name) else "vmlinux"


def shade(name: str) -> int:
    """Return the shade of a function, a hash of its name from 0 to ``SHADES`` - 1."""
    return zlib.crc32(name.encode(errors="surrogatepass")) % SHADES


def color(kind: str, number: int, dark: bool = False) -> str:
    """Return the colour of a shade of a kind, as ``#rrggbb``."""
    found = KINDS[kind]
    light = (0.31 + 0.035 * number) if dark else (0.66 + 0.05 * number)
    saturation = found.saturation * (0.66 if dark else 1.0)
    return _hex(found.hue - (8 if dark else 0) + 3 * number, light, saturation)


def change_color(step: int, dark: bool = False) -> str:
    """Return the colour of a change: red for steps above 0 (more), blue below 0 (less)."""
    share = abs(step) / len(STEPS)
    if dark:
        return _hex(2 if step > 0 else 215, 0.27 + 0.17 * share, 0.06 + 0.62 * share)
    return _hex(6 if step > 0 else 213, 0.91 - 0.27 * share, 0.10 + 0.78 * share)


def _hex(hue: float, light: float, saturation: float) -> str:
    rgb = colorsys.hls_to_rgb(hue % 360 / 360, light, saturation)
    return "#" + "".join(f"{round(255 * part):02x}" for part in rgb)
