# SPDX-License-Identifier: MIT
"""Keywords of the library, which are the tracing options of the command line."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, TypedDict, TypeVar

from kwalk.abi import Method, Output, Per
from kwalk.errors import UsageError
from kwalk.options import limits, validate
from kwalk.options.filter_names import Wanted
from kwalk.options.limits import Limit
from kwalk.options.probe import ProbeOptions
from kwalk.options.validate import named

_Item = TypeVar("_Item")
METHODS: dict[str, Method | None] = {"auto": None, "manual": Method.MANUAL, "helper": Method.HELPER}
ATTACHES = ("auto", "kprobe", "fentry", "kprobe.multi", "fentry.multi")
PER: dict[str | None, Per] = {
    None: Per.NOTHING,
    **{per.name.lower(): per for per in (Per.PID, Per.COMM, Per.CPU, Per.CGROUP)},
}
FIRST_CHANCE = 0.01  # initial sampling probability under a budget


class Choices(TypedDict, total=False):
    """Tracing options, with the command line's defaults.

    :ivar method: ``auto`` is manual if the kernel supports it.
    :ivar attach: Attach type; ``auto`` is the cheapest that the kernel supports.
    :ivar depth: Maximum frames per stack, 2 to 127.
    :ivar per: Aggregate counts also by this.
    :ivar pids: Process ids.
    :ivar tids: Thread ids.
    :ivar comms: Task names, at most 15 bytes each.
    :ivar cgroups: Paths of cgroups (version 2), absolute or relative to the hierarchy's root.
    :ivar netns: Network namespaces: names of ``ip netns``, paths, or inode numbers.
    :ivar cpus: CPU numbers.
    :ivar follow: Trace child processes that ``pids`` start from now on, too.
    :ivar sample: Record a random one in this many hits; 1 for all.
    :ivar verify: Compare a random one in this many stacks with the kernel's; True for all.
    :ivar from_caller: Keep only stacks with a caller matching this regular expression.
    :ivar until: Cut stacks after the first frame named so; ``*`` matches any text.
    :ivar nodes: Manual: size of the calling-context tree in nodes.
    :ivar stack_entries: Helper: size of each of its two stack maps, in stacks.
    :ivar ring_mib: Streams: size of the BPF ring buffer in MiB, a power of two.
    :ivar budget: Limit of the overhead, as a share of used CPU time such as 0.02.
    :ivar command: Program and arguments to run; only its hits are recorded.
    :ivar frequency: Instead of functions: samples per second of each CPU.
    """

    method: Literal["auto", "manual", "helper"]
    attach: Literal["auto", "kprobe", "fentry", "kprobe.multi", "fentry.multi"]
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
    budget: float | None
    command: Sequence[str] | None
    frequency: int | None
    fast: bool


def probe_options(choices: Choices, output: Output) -> ProbeOptions:
    """Check options and convert them for the engine; a session adds the process of ``command``.

    :raises TypeError: for an unknown option.
    :raises UsageError: for a value that is out of bounds, or names something that does not exist.
    """
    for name in choices:
        if name not in Choices.__annotations__:
            raise TypeError(f"there is no option {name!r}; there are {', '.join(_names())}")

    def chosen(name: str, check: Callable[[object], _Item], default: object = None) -> _Item:
        return named(name, check, choices.get(name, default))

    ring = chosen("ring_mib", validate.ring_mib, limits.RING_MIB.default)
    frequency = choices.get("frequency")
    return ProbeOptions(
        method=chosen("method", validate.one_of(METHODS), "auto"),
        attach=chosen("attach", validate.one_of({way: way for way in ATTACHES}), "auto"),
        depth=_number(limits.DEPTH, choices),
        ring_bytes=ring << 20,
        stack_entries=_number(limits.STACK_ENTRIES, choices),
        output=output,
        nodes=_number(limits.NODES, choices),
        per=chosen("per", validate.one_of(PER)),
        verify=chosen("verify", validate.within(limits.VERIFY, truth=True), 0),
        chance=_chance(choices),
        frequency=None if frequency is None else _number(limits.FREQUENCY, choices),
        through=chosen("from_caller", validate.expression),
        until=chosen("until", validate.glob),
        filters=_wanted(choices).filters(),
        fast=chosen("fast", validate.truth, True),
    )


def _names() -> list[str]:
    return list(Choices.__annotations__)


def _number(limit: Limit, choices: Choices) -> int:
    return named(limit.name, validate.within(limit), choices.get(limit.name, limit.default))


def _chance(choices: Choices) -> float | None:
    sample, budget = _number(limits.SAMPLE, choices), choices.get("budget")
    if budget is None:
        return 1 / sample if sample > 1 else None
    named("budget", validate.share, budget)
    if "sample" in choices:
        raise UsageError(
            "sample cannot be combined with budget",
            "A budget sets the sampling rate itself.",
        )
    return FIRST_CHANCE


def _wanted(choices: Choices) -> Wanted:
    def each(name: str, *kinds: type) -> tuple[Any, ...]:
        if (given := choices.get(name)) is None:
            return ()
        found: tuple[Any, ...] = named(name, validate.several(*kinds), given)
        if not found:
            raise UsageError(
                f"{name} is given, but empty",
                f"Leave {name} out to trace all.",
            )
        return found

    wanted = Wanted(
        pids=each("pids", int),
        tids=each("tids", int),
        comms=each("comms", str),
        cpus=each("cpus", int),
        netns=tuple(map(_path, each("netns", str, int, os.PathLike))),
        cgroups=tuple(map(_path, each("cgroups", str, os.PathLike))),
        follow=named("follow", validate.truth, choices.get("follow", False)),
    )
    command = choices.get("command")
    if command is not None and not named("command", validate.several(str), command):
        raise UsageError("command is empty", "Give a program and its arguments.")
    if wanted.follow and not (wanted.pids or command):
        raise UsageError("follow needs processes to follow", "Give pids, or a command to run.")
    return wanted


def _path(name: str | os.PathLike[str] | int) -> str:
    return str(name) if isinstance(name, int) else os.fspath(name)
