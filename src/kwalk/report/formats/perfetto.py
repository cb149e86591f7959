# SPDX-License-Identifier: MIT
"""Perfetto trace, gzipped, for https://ui.perfetto.dev: hits and stacks over time.

Each row of the timeline is a stack sample, weighted by its hits, in a thread for each group: the UI
draws a flame graph of the selected span of time. Counter tracks show hits per second. It takes
Perfetto 58 or newer, which has ``StackSample``.

Field numbers are from https://github.com/google/perfetto/tree/main/protos/perfetto/trace.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from kwalk.model.profile import ProfileData
from kwalk.report import headings
from kwalk.report.calls import ScaledTimeline, scaled_timeline
from kwalk.report.perfetto.interned import Interned
from kwalk.report.perfetto.packets import CLEARED, NEEDS_STATE, SEQUENCE, packet
from kwalk.report.perfetto.tracks import counters, ledger, tracks
from kwalk.report.protobuf import message, number, tag, text, varint
from kwalk.report.style import ReportOptions
from kwalk.report.top_n import cut

# Samples are all but equal: the lowest level compresses them well.
_LEVEL = 1
_GZIP = 16 + zlib.MAX_WBITS


def render(profile: ProfileData, options: ReportOptions) -> Iterator[bytes]:
    """Yield the trace."""
    shown = cut(profile, options.top)
    found = scaled_timeline(shown)
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    for piece in _pieces(shown, found, options.title):
        yield packer.compress(piece)
    yield packer.flush()


def _pieces(profile: ProfileData, found: ScaledTimeline, title: str) -> Iterator[bytes]:
    interned = Interned(profile)
    yield _head(profile)
    yield _begin(profile, interned)
    yield b"".join(tracks(profile, title, interned.groups))
    yield b"".join(ledger(profile, found))
    yield b"".join(counters(profile, found))
    yield from _samples(found, interned.stubs)


def _head(profile: ProfileData) -> bytes:
    """Return the packets of the clock, the kernel, and the ledger as attributes of the trace."""
    clocks = [message(1, number(1, 6), number(2, 0))]  # BUILTIN_CLOCK_BOOTTIME, of all timestamps
    if began := headings.started_ns(profile):
        clocks.append(message(1, number(1, 1), number(2, began)))  # BUILTIN_CLOCK_REALTIME
    facts = {key: str(profile.facts.get(key, "")) for key in ("kernel_version", "machine")}
    names = ["Linux", facts["kernel_version"], profile.summary.kernel, facts["machine"]]
    utsname = message(1, *(text(field, name) for field, name in enumerate(names, 1)))
    attributes = [
        message(1, text(1, f"kwalk.{index:02}"), text(3, line))
        for index, line in enumerate(headings.lines(profile), 1)
    ]
    return b"".join(
        (
            packet(message(6, *clocks)),
            packet(message(45, utsname)),
            packet(message(126, *attributes)),
        )
    )


def _begin(profile: ProfileData, interned: Interned) -> bytes:
    """Return the packet that samples refer to: names, frames and stacks, and the unit."""
    counted = message(2, text(2, profile.summary.unit), number(3, 9))  # UNIT_COUNT
    defaults = message(59, message(100, text(1, "kwalk"), counted))
    return packet(
        number(10, SEQUENCE), number(13, CLEARED), defaults, message(12, *interned.parts())
    )


def _samples(found: ScaledTimeline, stubs: list[bytes]) -> Iterator[bytes]:
    """Yield the samples of each interval, with its start as their timestamp.

    There can be a million, so packets are put together from parts that were encoded before.
    """
    small = [tag(11, 0) + varint(value) for value in range(1 << 14)]
    sample = tag(135, 2)
    heads: dict[int, bytes] = {}
    pieces: list[bytes] = []
    last = -1
    for interval, index, calls in found.rows():
        if interval != last:
            yield b"".join(pieces)
            pieces.clear()
            last = interval
            # Length of a sample's fields -> the packet's bytes before them.
            begin = number(8, round(found.starts[interval] * 1e9))
            begin += number(10, SEQUENCE) + number(13, NEEDS_STATE) + sample
            heads = {
                size: tag(1, 2) + varint(len(begin) + 1 + size) + begin + varint(size)
                for size in range(64)
            }
        if calls <= 0:
            continue
        weight = small[calls] if calls < 1 << 14 else tag(11, 0) + varint(calls)
        stub = stubs[index]
        pieces += (heads[len(stub) + len(weight)], stub, weight)
    yield b"".join(pieces)
