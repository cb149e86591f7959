# SPDX-License-Identifier: MIT
"""Gzipped profile.proto, for ``pprof`` (``go tool pprof``), Perfetto and others.

Field numbers are from https://github.com/google/pprof/blob/main/proto/profile.proto.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter

from kwalk.model.counts import Counts
from kwalk.model.profile import ProfileData
from kwalk.model.stack import NAMELESS, Frame, Group, Stack
from kwalk.report import headings
from kwalk.report.calls import whole_calls
from kwalk.report.calltree import TRUNCATED, function_name
from kwalk.report.protobuf import message, number, packed, tag, text, varint
from kwalk.report.rows import CellKey, cells
from kwalk.report.style import ReportOptions
from kwalk.report.top_n import cut
from kwalk.support.memo import Memo
from kwalk.support.printable import plain

KERNEL = "[kernel.kallsyms]"
# Level of Go's own profiles. Level 6 would save 3 to 19 % of the bytes.
_LEVEL = 1
# No timestamp in the header: equal profiles make equal files.
_GZIP = 16 + zlib.MAX_WBITS
_VALUES = 1 << 14


def render(profile: ProfileData, options: ReportOptions) -> Iterator[bytes]:
    """Yield the profile.

    The sample type is the summary's unit; if the capture was sampled, the recorded hits are a
    second one (``taken``). Groups, ``truncated`` and ``fallback`` are labels of the samples. The
    ledger, the kernel and the command line are comments (``pprof -comments``).
    """
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    for piece in _pieces(profile, options):
        yield packer.compress(piece)
    yield packer.flush()


def _pieces(profile: ProfileData, options: ReportOptions) -> Iterator[bytes]:
    strings = _Strings()
    tables = _Tables(profile, strings)
    for name in _types(profile):
        yield _value_type(strings, name)
    yield from _samples(cut(profile, options.top).columns, tables, strings, profile.sampled)
    parts = [*tables.parts()]
    parts.append(number(9, headings.started_ns(profile)))
    if profile.seconds:
        parts.append(number(10, round(profile.seconds * 1e9)))
    lines = ([options.title] if options.title else []) + headings.lines(profile)
    parts += [number(13, strings.index(line)) for line in lines]
    parts.append(number(14, strings.index(profile.summary.unit)))
    parts += [text(6, string) for string in strings.all]
    yield b"".join(parts)


def _types(profile: ProfileData) -> list[str]:
    return [profile.summary.unit, "taken"] if profile.sampled else [profile.summary.unit]


def _samples(counts: Counts, tables: _Tables, strings: _Strings, sampled: bool) -> Iterator[bytes]:
    """Yield the samples; equal fields of several are encoded once."""
    calls = iter(whole_calls(counts))
    values = Memo[tuple[int, ...], bytes](lambda each: packed(2, each), _VALUES)
    heads = Memo[int, bytes](lambda size: tag(2, 2) + varint(size))
    for piece in cells(
        counts,
        (CellKey.STACK, lambda stack: packed(1, tables.locations(stack))),
        (CellKey.GROUP, lambda group: _labels(_of_group(group), strings)),
        (CellKey.STACK, lambda stack: _labels(_of_stack(stack), strings)),
        (CellKey.NUMBER, itemgetter(0)),
    ):
        fields: list[bytes] = []
        for places, group, flags, taken in piece:
            total = next(calls)
            body = places + values[(total, taken) if sampled else (total,)] + group + flags
            fields += (heads[len(body)], body)
        yield b"".join(fields)


def _value_type(strings: _Strings, name: str) -> bytes:
    return message(1, number(1, strings.index(name)), number(2, strings.index("count")))


class _Strings:
    """String table of profile.proto; string 0 is empty."""

    def __init__(self) -> None:
        self._index = {"": 0}

    def index(self, string: str) -> int:
        """Return the index of a string, which is added if it is new."""
        return self._index.setdefault(plain(string), len(self._index))

    @property
    def all(self) -> Sequence[str]:
        """Strings by their index."""
        return list(self._index)


class _Tables:
    """Tables of distinct locations, functions and mappings; ids count from 1."""

    def __init__(self, profile: ProfileData, strings: _Strings) -> None:
        self._text = profile.facts.get("text") or 0
        self._strings = strings
        self._locations: dict[tuple[Frame, ...], int] = {}
        self._functions: dict[tuple[str, str, str], int] = {}
        self._mappings: dict[str, tuple[int, list[int]]] = {}
        self._sources = False
        self._made: list[bytes] = []

    def locations(self, stack: Stack) -> list[int]:
        """Return the ids of a stack's locations, innermost first.

        A frame shares its location with the functions inlined into it. A truncated stack ends with
        a location ``[truncated]`` without an address.
        """
        found = []
        inlined: list[Frame] = []
        for frame in stack.frames:
            if frame.inlined:
                inlined.append(frame)
            elif inlined:
                found.append(self._location((*inlined, frame)))
                inlined.clear()
            else:
                found.append(self._location((frame,)))
        if stack.truncated:
            found.append(self._location((Frame(TRUNCATED, 0, "", 0),)))
        return found

    def _location(self, frames: tuple[Frame, ...]) -> int:
        known = self._locations.get(frames)
        if known is not None:
            return known
        made = self._locations[frames] = len(self._locations) + 1
        frame = frames[-1]
        parts = [number(1, made)]
        if frame.address:
            parts += [number(2, self._mapping(frame)), number(3, frame.address)]
        self._made.append(message(4, *parts, *map(self._line, frames)))
        return made

    def _line(self, frame: Frame) -> bytes:
        file, _, line = frame.source.rpartition(":")
        self._sources |= bool(file)
        # Several lines in a location mean inlining, so the name need not say so.
        name = function_name(frame._replace(inlined=False), source=False)
        key = name, frame.name or name, file
        function = self._functions.setdefault(key, len(self._functions) + 1)
        return message(4, number(1, function), *([number(2, int(line))] if file else []))

    def _mapping(self, frame: Frame) -> int:
        """Return the id of the mapping of a frame's module; 1 for vmlinux."""
        if not self._mappings:
            self._mappings[""] = 1, [self._text] if self._text else []
        made, addresses = self._mappings.setdefault(frame.module, (len(self._mappings) + 1, []))
        addresses.append(frame.address)
        return made

    def parts(self) -> Iterator[bytes]:
        """Yield the fields of the mapping, location and function tables."""
        for module, (made, addresses) in self._mappings.items():
            # The extent of a module is unknown: take the lowest and highest address met.
            start, end = min(addresses, default=0), max(addresses, default=0)
            name = f"[{module}]" if module else KERNEL
            # has_functions: tools need not symbolize it.
            flags = [number(7, 1)]
            if self._sources and not module:
                flags += [number(field, 1) for field in (8, 9, 10)]
            where = number(2, start), number(3, min(end + 1, (1 << 64) - 1))
            named = number(5, self._strings.index(name))
            yield message(3, number(1, made), *where, named, *flags)
        yield from self._made
        for names, made in self._functions.items():
            indices = [self._strings.index(name) for name in names]
            yield message(5, *map(number, (1, 2, 3, 4), (made, *indices)))


def _labels(pairs: Iterable[tuple[str, str]], strings: _Strings) -> bytes:
    """Return labels of a sample, as non-empty strings, since pprof drops 0 and ""."""
    return b"".join(
        message(3, number(1, strings.index(key)), number(2, strings.index(value)))
        for key, value in pairs
    )


def _of_stack(stack: Stack) -> Iterator[tuple[str, str]]:
    return ((name, "yes") for name in ("truncated", "fallback") if getattr(stack, name))


def _of_group(group: Group | None) -> Iterator[tuple[str, str]]:
    for key, value in group.as_data().items() if group else ():
        if value is not None:
            yield key, str(value) or NAMELESS
