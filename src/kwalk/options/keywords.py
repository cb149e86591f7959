# SPDX-License-Identifier: MIT
"""What users of the library may choose: the options of the command line, as keywords."""

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
ATTACHES = ("auto", "kprobe", "fentry", "kprobe.multi")
PER: dict[str | None, Per] = {
    None: Per.NOTHING,
    **{per.name.lower(): per for per in (Per.PID, Per.COMM, Per.CPU, Per.CGROUP)},
}
FIRST_CHANCE = 0.01  # to be taken under a budget, until it is known what a call costs


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
    :ivar budget: Take calls at random, so that tracing costs at most this share of the CPU time
        that the machine uses, such as 0.02.
    :ivar command: Run this, program and arguments, and trace its calls only.
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
    budget: float | None
    command: Sequence[str] | None
    frequency: int | None


def probe_options(choices: Choices, output: Output) -> ProbeOptions:
    """Return the choices for the engine; a session adds the process of ``command`` to the filters.

    :raises TypeError: if one has a name that there is not, as of any keyword.
    :raises UsageError: if one is out of bounds, or names what is not there.
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
