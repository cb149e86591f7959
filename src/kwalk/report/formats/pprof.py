# SPDX-License-Identifier: MIT
"""A gzipped profile.proto, for ``pprof`` (``go tool pprof``), Perfetto and others.

Field numbers are those of https://github.com/google/pprof/blob/main/proto/profile.proto.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence

from kwalk.model.profile import ProfileData
from kwalk.model.stack import NAMELESS, Count, Frame, Group, Stack
from kwalk.report import headings
from kwalk.report.calls import whole_calls
from kwalk.report.calltree import TRUNCATED, function_name
from kwalk.report.protobuf import message, number, packed, text
from kwalk.report.style import ReportOptions
from kwalk.report.top_n import cut
from kwalk.support.printable import plain

KERNEL = "[kernel.kallsyms]"
# A whole profile's bytes are few; higher levels take longer than all the rest.
_LEVEL = 6


def render(profile: ProfileData, options: ReportOptions) -> Iterator[bytes]:
    """Yield the profile.

    Its sample type is the summary's unit; where not every call was taken, how many were is a second
    one (``taken``). Groups, ``truncated`` and ``fallback`` are labels of the samples. The ledger,
    the kernel and the command line are comments (``pprof -comments``).
    """
    scaled = any(count.scaled is not None for count in profile)
    shown = cut(profile, options.top)
    strings = _Strings()
    tables = _Tables(profile, strings)
    parts = [_value_type(strings, name) for name in _types(profile, scaled)]
    for count, calls in zip(shown, whole_calls(shown), strict=True):
        values = [calls, count.count] if scaled else [calls]
        places = packed(1, tables.locations(count.stack))
        parts.append(message(2, places, packed(2, values), *_labels(count, strings)))
    parts += tables.parts()
    parts.append(number(9, headings.started_ns(profile)))
    if profile.seconds:
        parts.append(number(10, round(profile.seconds * 1e9)))
    lines = ([options.title] if options.title else []) + headings.lines(profile)
    parts += [number(13, strings.index(line)) for line in lines]
    parts.append(number(14, strings.index(profile.summary.unit)))
    parts += [text(6, string) for string in strings.all]
    # No time in the header: equal profiles are equal files.
    yield gzip.compress(b"".join(parts), _LEVEL, mtime=0)


def _types(profile: ProfileData, scaled: bool) -> list[str]:
    return [profile.summary.unit, "taken"] if scaled else [profile.summary.unit]


def _value_type(strings: _Strings, name: str) -> bytes:
    return message(1, number(1, strings.index(name)), number(2, strings.index("count")))


class _Strings:
    """The table of strings; the first one is the empty one."""

    def __init__(self) -> None:
        self._index = {"": 0}

    def index(self, string: str) -> int:
        """Return where a string is."""
        return self._index.setdefault(plain(string), len(self._index))

    @property
    def all(self) -> Sequence[str]:
        """All of them, in order."""
        return list(self._index)


class _Tables:
    """Locations, functions and mappings, by what makes them one; ids are counted from 1."""

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

        A frame and the functions inlined into it are one; what lies beyond a stack that was cut off
        is one without an address.
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
        # That it was inlined is told by the location.
        name = function_name(frame._replace(inlined=False), source=False)
        key = name, frame.name or name, file
        function = self._functions.setdefault(key, len(self._functions) + 1)
        return message(4, number(1, function), *([number(2, int(line))] if file else []))

    def _mapping(self, frame: Frame) -> int:
        """Return the id of what a frame's code belongs to; the kernel's is 1."""
        if not self._mappings:
            self._mappings[""] = 1, [self._text] if self._text else []
        made, addresses = self._mappings.setdefault(frame.module, (len(self._mappings) + 1, []))
        addresses.append(frame.address)
        return made

    def parts(self) -> Iterator[bytes]:
        """Yield the tables' fields of the profile."""
        for module, (made, addresses) in self._mappings.items():
            # Where it lies is known only as far as it was met.
            start, end = min(addresses, default=0), max(addresses, default=0)
            name = f"[{module}]" if module else KERNEL
            # It has all names that there are: nobody is to look for more.
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


def _labels(count: Count, strings: _Strings) -> Iterator[bytes]:
    """Yield a sample's labels: texts, none of them empty, since pprof drops what is 0 or ""."""
    pairs = list(_group(count.group)) if count.group else []
    pairs += [(name, "yes") for name in ("truncated", "fallback") if getattr(count.stack, name)]
    for key, value in pairs:
        yield message(3, number(1, strings.index(key)), number(2, strings.index(value)))


def _group(group: Group) -> Iterator[tuple[str, str]]:
    for key, value in group.as_data().items():
        if value is not None:
            yield key, str(value) or NAMELESS
