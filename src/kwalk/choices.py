# SPDX-License-Identifier: MIT
"""What users of the library may choose: the options of the command line, as keywords."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Hashable, Iterable, Mapping
from typing import Literal, TypedDict, TypeVar

from kwalk.errors import UsageError
from kwalk.probe.options import ProbeOptions
from kwalk.probe.wanted import Wanted
from kwalk.transport.abi import MAX_FRAMES, Method, Output, Per

METHODS: dict[str, Method | None] = {"auto": None, "manual": Method.MANUAL, "helper": Method.HELPER}
ATTACHES = ("auto", "kprobe", "fentry", "kprobe.multi")
PER: dict[str | None, Per] = {None: Per.NOTHING} | {per.name.lower(): per for per in Per if per}
_MOST_NODES = 1 << 23  # the kernel takes no value of a map of 2 GiB or more
_MOST_ENTRIES = 1 << 20
_MOST_RATE = 10000
_MOST_RING = 1024
_MOST_ONE_IN = 1 << 30
_Key = TypeVar("_Key", bound=Hashable)
_Item = TypeVar("_Item")


class Choices(TypedDict, total=False):
    """How to trace, and whose calls; what is not given is as on the command line.

    :ivar method: ``auto`` is manual where the kernel allows it.
    :ivar attach: How to get called; ``auto`` takes the cheapest way that the kernel permits.
    :ivar depth: Most frames of a stack, 2 to 127.
    :ivar per: What the calls of a stack are told apart by, too.
    :ivar pids: Processes.
    :ivar tids: Threads.
    :ivar comms: Names of tasks, at most 15 bytes each.
    :ivar cgroups: Paths of cgroups of version 2, from the hierarchy's top or absolute.
    :ivar netns: Network namespaces: names of ``ip netns``, paths, or inode numbers.
    :ivar cpus: Numbers of CPUs.
    :ivar follow: Also what the processes of ``pids`` start from now on.
    :ivar sample: Take a random one in so many calls; 1 for all.
    :ivar verify: Compare a random one in so many stacks with the kernel's; True for all.
    :ivar from_caller: Only stacks through a function of a name that this regular expression finds.
    :ivar until: Leave out what lies outside of the first frame of this name (``*`` may be in it).
    :ivar nodes: Manual: frames that the tree of stacks has room for.
    :ivar stack_entries: Helper: stacks in each of its two maps.
    :ivar ring_mib: Streams: size of the ring between kernel and user space, a power of two.
    :ivar frequency: In place of functions: so many samples a second of each CPU.
    """

    method: Literal["auto", "manual", "helper"]
    attach: Literal["auto", "kprobe", "fentry", "kprobe.multi"]
    depth: int
    per: Literal["pid", "comm", "cpu", "cgroup"] | None
    pids: Iterable[int]
    tids: Iterable[int]
    comms: Iterable[str]
    cgroups: Iterable[str | os.PathLike[str]]
    netns: Iterable[str | os.PathLike[str] | int]
    cpus: Iterable[int]
    follow: bool
    sample: int
    verify: bool | int
    from_caller: str | re.Pattern[str] | None
    until: str | None
    nodes: int
    stack_entries: int
    ring_mib: int
    frequency: int | None


def probe_options(choices: Choices, output: Output) -> ProbeOptions:
    """Return the choices for the engine.

    :raises TypeError: if one has a name that there is not, as of any keyword.
    :raises UsageError: if one is out of bounds, or names what is not there.
    """
    for name in choices:
        if name not in Choices.__annotations__:
            raise TypeError(f"there is no choice {name!r}; there are {', '.join(_names())}")
    depth = _number("depth", choices.get("depth", MAX_FRAMES), 2, MAX_FRAMES)
    ring = _number("ring_mib", choices.get("ring_mib", 16), 1, _MOST_RING)
    if ring & (ring - 1):
        raise UsageError(f"ring_mib={ring} is no power of two", "Give 8, 16, 32, ...")
    sample = _number("sample", choices.get("sample", 1), 1, _MOST_ONE_IN)
    frequency = choices.get("frequency")
    if frequency is not None:
        _number("frequency", frequency, 1, _MOST_RATE)
    until = choices.get("until")
    return ProbeOptions(
        method=_one_of("method", choices.get("method", "auto"), METHODS),
        attach=_one_of("attach", choices.get("attach", "auto"), {a: a for a in ATTACHES}),
        depth=depth,
        ring_bytes=ring << 20,
        stack_entries=_number(
            "stack_entries", choices.get("stack_entries", 16384), 1, _MOST_ENTRIES
        ),
        output=output,
        nodes=_number("nodes", choices.get("nodes", 1 << 17), 1, _MOST_NODES),
        per=_one_of("per", choices.get("per"), PER),
        verify=_number("verify", int(choices.get("verify", 0)), 0, _MOST_ONE_IN),
        chance=1 / sample if sample > 1 else None,
        frequency=frequency,
        through=_expression(choices.get("from_caller")),
        until=None if until is None else re.compile(fnmatch.translate(until)),
        filters=_wanted(choices).filters(),
    )


def _names() -> list[str]:
    return list(Choices.__annotations__)


def _wanted(choices: Choices) -> Wanted:
    for name in ("comms", "cgroups", "netns"):
        if isinstance(value := choices.get(name), str):
            raise UsageError(f"{name} is one text, not several", f"Give {name}=[{value!r}].")
    wanted = Wanted(
        pids=_several("pids", choices.get("pids")),
        tids=_several("tids", choices.get("tids")),
        comms=_several("comms", choices.get("comms")),
        cpus=_several("cpus", choices.get("cpus")),
        netns=tuple(map(_path, _several("netns", choices.get("netns")))),
        cgroups=tuple(map(_path, _several("cgroups", choices.get("cgroups")))),
        follow=choices.get("follow", False),
    )
    if wanted.follow and not wanted.pids:
        raise UsageError("follow wants processes to follow", "Give pids as well.")
    return wanted


def _several(name: str, values: Iterable[_Item] | None) -> tuple[_Item, ...]:
    """Return all of them; none were not given at all, which is another thing than an empty list."""
    found = () if values is None else tuple(values)
    if values is not None and not found:
        raise UsageError(
            f"{name} is given, but empty", f"Nobody's calls are those: leave {name} out for all."
        )
    return found


def _path(name: str | os.PathLike[str] | int) -> str:
    return str(name) if isinstance(name, int) else os.fspath(name)


def _number(name: str, value: int, least: int, most: int) -> int:
    if not isinstance(value, int) or not least <= value <= most:
        raise UsageError(
            f"{name}={value!r} is not from {least} to {most:,}", "Give a whole number of these."
        )
    return value


def _one_of(name: str, value: _Key, known: Mapping[_Key, _Item]) -> _Item:
    if value not in known:
        names = ", ".join(map(repr, known))
        raise UsageError(f"{name}={value!r} is unknown", f"There are {names}.")
    return known[value]


def _expression(text: str | re.Pattern[str] | None) -> re.Pattern[str] | None:
    if text is None:
        return None
    try:
        return re.compile(text)
    except re.error as error:
        raise UsageError(
            f"from_caller={text!r} is no regular expression: {error}", "See Python's module re."
        ) from None
