# SPDX-License-Identifier: MIT
"""Formats of a report: each is a module with a function ``render(profile, options)``."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter
from typing import Protocol, cast

from kwalk.model.profile import ProfileData
from kwalk.report.style import ReportOptions


@dataclass(frozen=True)
class Format:
    """A format of ``kwalk report``.

    :ivar module: Module of this package with its ``render()``.
    :ivar what: Description for the help text.
    :ivar heeds: Options that it has, besides ``--top``: of callers, min, title, addr.
    :ivar binary: It renders bytes, not text.
    :ivar addresses: It always contains kernel addresses, which reveal KASLR.
    :ivar people: It is text for people, not data.
    """

    module: str
    what: str
    heeds: tuple[str, ...] = ()
    binary: bool = False
    addresses: bool = False
    people: bool = False


_FRAMES, _NAME = attrgetter("frames"), attrgetter("name")
PICTURE = ("callers", "title")
TREE = (*PICTURE, "min")


FORMATS = {
    "text": Format("text", "stacks with their counts, the hottest last", ("addr",), people=True),
    "tree": Format("tree", "the tree of calls with shares, for a terminal", TREE, people=True),
    "folded": Format("folded", "a line a stack, root first, for flame graph tools", ("callers",)),
    "json": Format(
        "json_", "one JSON object: stacks, ledger, timeline, facts", ("addr",), addresses=True
    ),
    "csv": Format("csv_", "a table: a row a stack, the hottest first, then the ledger"),
    "pprof": Format("pprof", "for `go tool pprof`", ("title",), binary=True, addresses=True),
    "speedscope": Format("speedscope", "JSON for speedscope.app", ("title",)),
    "perfetto": Format(
        "perfetto",
        "for ui.perfetto.dev: calls and stacks over time",
        ("title",),
        binary=True,
        addresses=True,
    ),
    "flamegraph": Format(
        "flamegraph", "an HTML page to search and zoom in, for a browser", PICTURE
    ),
    "svg": Format("svg", "a still flame graph, for papers and issues", PICTURE),
}


class Render(Protocol):
    """Signature of ``render()`` in each module of this package."""

    def __call__(self, profile: ProfileData, options: ReportOptions) -> Iterable[str | bytes]:
        """Return the pieces of the report, text or bytes."""


def renderer(name: str) -> Render:
    """Return ``render()`` of a format, importing its module.

    :param name: Key of ``FORMATS``.
    :raises KeyError: if there is no such format.
    """
    module = importlib.import_module(f"{__name__}.{FORMATS[name].module}")
    return cast(Render, module.render)


def holds_addresses(chosen: Format, profile: ProfileData, options: ReportOptions) -> bool:
    """Return whether a report contains kernel addresses; a frame without a symbol is one."""
    return (
        chosen.addresses
        or bool(options.addresses)
        or not all(map(_NAME, chain.from_iterable(map(_FRAMES, profile.columns.stacks))))
    )
